// The hub beside a model of a few lines, with everything interleaved at random: who is subscribed when a publication is
// broadcast gets it, in order and once, unless it leaves before; nobody else gets it.
//
// The clock is a fake that deliveries move on, so that fan-outs are cut everywhere; turns of the loop are real ones.

import assert from 'node:assert/strict';
import { describe, it, mock } from 'node:test';
import { Publication } from '../../src/publication.ts';
import { emptyCounters } from '../../src/stats.ts';
import { Hub, type Subscriber } from '../../workers/hub.ts';
import { Random } from './http/random.ts';

const STEPS = 20_000;
const PEOPLE = 60;
const CHANNELS = ['a', 'b', 'c'];

let nowMs = 0;
mock.method(performance, 'now', () => nowMs);

/** One subscriber's time on one channel, and what must reach it in that time: these publications in this order. */
interface Stay {
  due: string[];
  got: string[];
}

describe('the hub beside a model', () => {
  for (const seed of [1, 2, 3, 4, 5, 6]) {
    it(`seed ${seed}: everybody gets what is published while it is there, in order, until it leaves`, async () => {
      const hub = new Hub(emptyCounters());
      const random = new Random(seed);
      const people = Array.from({ length: PEOPLE }, () => new Map<string, Stay>());
      const over: Stay[] = [];
      const open = (): number => people.reduce((sum, stays) => sum + stays.size, 0);
      const subscribers = people.map((stays, i): Subscriber => {
        return {
          warm: () => 0,
          deliver({ channel, payload }) {
            nowMs += random.below(3) === 0 ? 1 : 0;
            const stay = stays.get(channel);
            assert.ok(stay !== undefined, `subscriber ${i} is not on ${channel}`);
            stay.got.push(payload.toString());
            // May leave, or have another leave, while it is being delivered to.
            if (random.once(40)) leave(random.once(2) ? i : random.below(people.length), channel);
          },
        };
      });
      function join(i: number, channel: string): void {
        const stays = people[i] as Map<string, Stay>;
        if (!stays.has(channel)) stays.set(channel, { due: [], got: [] });
        hub.subscribe(channel, subscribers[i] as Subscriber);
      }
      function leave(i: number, channel: string): void {
        const stay = people[i]?.get(channel);
        if (stay !== undefined) over.push(stay);
        people[i]?.delete(channel);
        hub.unsubscribe(channel, subscribers[i] as Subscriber);
      }

      for (let step = 0; step < STEPS; step++) {
        const channel = random.pick(CHANNELS);
        const what = random.below(100);
        if (what < 40) join(random.below(people.length), channel);
        else if (what < 55) leave(random.below(people.length), channel);
        else if (what < 56) for (let i = 0; i < people.length; i++) leave(i, channel);
        else if (what < 80) {
          for (const stays of people) stays.get(channel)?.due.push(`${step}`);
          hub.broadcast(new Publication(channel, Buffer.from(`${step}`)));
        } else await turn();
        assert.equal(hub.subscriptionCount, open());
      }
      while (hub.waitingCount > 0) await turn();

      assert.equal(hub.channelCount, CHANNELS.filter((channel) => people.some((stays) => stays.has(channel))).length);
      let received = 0;
      for (const { due, got } of people.flatMap((stays) => [...stays.values()])) assert.deepEqual(got, due);
      for (const { due, got } of over) {
        assert.deepEqual(got, due.slice(0, got.length));
        received += got.length;
      }
      assert.ok(received > 10_000, 'the run was worth it');
    });
  }
});

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
