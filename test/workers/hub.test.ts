// The hub: who gets what, and in which order, however a fan-out is cut.
//
// The clock is a fake that each delivery moves on, so that slices end where the test wants; turns of the loop are real ones.
// hub-model.test.ts interleaves everything at random.

import assert from 'node:assert/strict';
import { beforeEach, describe, it, mock } from 'node:test';
import { Publication } from '../../src/publication.ts';
import { type Counters, emptyCounters } from '../../src/stats.ts';
import { FANOUT_LIMIT, FANOUT_LIMIT_BYTES, Hub, type Subscriber } from '../../workers/hub.ts';

/** Enough for several slices when each delivery takes longer than one. */
const MANY = 200;
/** Longer than a slice. */
const SLOW_MS = 5;

let nowMs = 0;
mock.method(performance, 'now', () => nowMs);

let counters: Counters;
let hub: Hub;

beforeEach(() => {
  counters = emptyCounters();
  hub = new Hub(counters);
});

/** Writes down what it gets. */
class Listener implements Subscriber {
  readonly got: string[] = [];
  readonly costMs: number;
  warmed = 0;
  onDeliver: (text: string) => void = () => {};

  constructor(costMs = 0) {
    this.costMs = costMs;
  }

  warm(): number {
    this.warmed++;
    return 0;
  }

  deliver({ payload }: Publication): void {
    nowMs += this.costMs;
    this.got.push(payload.toString());
    this.onDeliver(payload.toString());
  }
}

function subscribeMany(channel: string, count = MANY, costMs = SLOW_MS): Listener[] {
  const listeners = Array.from({ length: count }, () => new Listener(costMs));
  for (const listener of listeners) hub.subscribe(channel, listener);
  return listeners;
}

function broadcast(channel: string, ...texts: string[]): void {
  for (const text of texts) hub.broadcast(new Publication(channel, Buffer.from(text)));
}

/** One turn of the loop: one slice. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

async function finish(): Promise<void> {
  while (hub.waitingCount > 0) await turn();
}

function reached(listeners: readonly Listener[], text: string): number {
  return listeners.filter(({ got }) => got.includes(text)).length;
}

function finishedFanouts(): number {
  return counters.fanoutBuckets.reduce((sum, count) => sum + count, 0);
}

describe('channels and their subscribers', () => {
  it('a publication on a channel without subscribers goes nowhere', () => {
    broadcast('nobody', 'a');
    assert.equal(finishedFanouts(), 0);
    assert.equal(hub.waitingCount, 0);
  });

  it('one subscriber gets what is published to its channel, and to no other', () => {
    const one = new Listener();
    hub.subscribe('a', one);
    broadcast('a', '1');
    broadcast('b', 'not this');
    broadcast('a', '2');
    assert.deepEqual(one.got, ['1', '2']);
    assert.deepEqual([hub.channelCount, hub.subscriptionCount, finishedFanouts()], [1, 1, 2]);
  });

  it('from one to two and three and back to none', () => {
    const [one, two, three] = [new Listener(), new Listener(), new Listener()];
    const seen: number[][] = [];
    const count = () => seen.push([hub.channelCount, hub.subscriptionCount]);
    for (const each of [one, two, three]) {
      hub.subscribe('a', each);
      count();
    }
    broadcast('a', '1');
    for (const [index, each] of [two, one, three].entries()) {
      hub.unsubscribe('a', each);
      count();
      broadcast('a', `${index + 2}`);
    }
    assert.deepEqual(seen, [
      [1, 1],
      [1, 2],
      [1, 3],
      [1, 2],
      [1, 1],
      [0, 0],
    ]);
    assert.deepEqual([one.got, two.got, three.got], [['1', '2'], ['1'], ['1', '2', '3']]);
  });

  it('one subscriber may hold many channels', () => {
    const one = new Listener();
    for (const channel of ['a', 'b', 'c']) hub.subscribe(channel, one);
    broadcast('c', 'c1');
    broadcast('a', 'a1');
    hub.unsubscribe('a', one);
    broadcast('a', 'a2');
    broadcast('b', 'b1');
    assert.deepEqual(one.got, ['c1', 'a1', 'b1']);
    assert.deepEqual([hub.channelCount, hub.subscriptionCount], [2, 2]);
  });

  it('subscribing twice is subscribing once, alone or in a crowd', () => {
    const [one, two] = [new Listener(), new Listener()];
    hub.subscribe('a', one);
    hub.subscribe('a', one);
    broadcast('a', '1');
    hub.subscribe('a', two);
    hub.subscribe('a', two);
    hub.subscribe('a', one);
    broadcast('a', '2');
    assert.deepEqual([one.got, two.got], [['1', '2'], ['2']]);
    assert.equal(hub.subscriptionCount, 2);
    hub.unsubscribe('a', two);
    hub.unsubscribe('a', one);
    assert.deepEqual([hub.channelCount, hub.subscriptionCount], [0, 0]);
  });

  it('unsubscribing who is not subscribed changes nothing', () => {
    const [one, two, stranger] = [new Listener(), new Listener(), new Listener()];
    hub.unsubscribe('a', stranger);
    hub.subscribe('a', one);
    hub.unsubscribe('a', stranger);
    hub.subscribe('a', two);
    hub.unsubscribe('a', stranger);
    hub.unsubscribe('a', two);
    hub.unsubscribe('a', two);
    assert.deepEqual([hub.channelCount, hub.subscriptionCount], [1, 1]);
    broadcast('a', '1');
    assert.deepEqual(one.got, ['1']);
  });

  it('a subscriber may leave while it is being delivered to, alone or in a crowd', () => {
    const [one, two] = [new Listener(), new Listener()];
    one.onDeliver = () => hub.unsubscribe('a', one);
    hub.subscribe('a', one);
    broadcast('a', '1', '2');
    hub.subscribe('a', one);
    hub.subscribe('a', two);
    broadcast('a', '3', '4');
    assert.deepEqual(
      [one.got, two.got],
      [
        ['1', '3'],
        ['3', '4'],
      ],
    );
    assert.equal(hub.subscriptionCount, 1);
  });

  it('a subscriber that is taken out while another is delivered to gets nothing', () => {
    const [one, two, three] = [new Listener(), new Listener(), new Listener()];
    one.onDeliver = () => hub.unsubscribe('a', two);
    for (const each of [one, two, three]) hub.subscribe('a', each);
    broadcast('a', '1');
    assert.deepEqual([one.got, two.got, three.got], [['1'], [], ['1']]);
  });
});

describe('a fan-out to many', () => {
  it('is done at once when it takes no longer than a slice', () => {
    const listeners = subscribeMany('a', 5_000, 0);
    broadcast('a', '1');
    assert.equal(reached(listeners, '1'), 5_000);
    assert.deepEqual([hub.waitingCount, finishedFanouts()], [0, 1]);
  });

  it('is cut into slices, and everybody gets it in the end, once', async () => {
    const listeners = subscribeMany('a');
    broadcast('a', '1');
    let before = reached(listeners, '1');
    assert.ok(before > 0 && before < MANY / 2, `${before} in the first slice`);
    assert.deepEqual([hub.waitingCount, finishedFanouts()], [1, 0]);
    while (hub.waitingCount > 0) {
      await turn();
      const now = reached(listeners, '1');
      assert.ok(now > before, 'each turn gets on');
      before = now;
    }
    for (const { got } of listeners) assert.deepEqual(got, ['1']);
    assert.equal(finishedFanouts(), 1);
    assert.ok(counters.fanoutSecondsSum >= (MANY * SLOW_MS) / 1_000, 'timed from its beginning to its last delivery');
  });

  it('keeps the order of a channel: what is published while one is cut waits behind it', async () => {
    const listeners = subscribeMany('a');
    broadcast('a', '1', '2');
    await turn();
    broadcast('a', '3');
    assert.equal(reached(listeners, '2'), 0, 'the first is not done');
    assert.equal(hub.waitingCount, 3);
    await finish();
    for (const { got } of listeners) assert.deepEqual(got, ['1', '2', '3']);
  });

  it('gives who joins while it is cut nothing that was published before', async () => {
    subscribeMany('a');
    broadcast('a', '1', '2');
    const late = new Listener();
    hub.subscribe('a', late);
    broadcast('a', '3');
    await turn();
    const later = new Listener();
    hub.subscribe('a', later);
    await finish();
    broadcast('a', '4');
    await finish();
    assert.deepEqual(late.got, ['3', '4']);
    assert.deepEqual(later.got, ['4']);
  });

  it('gives who takes the place of one that is just being told nothing of that, though the fan-out is in its first slice', () => {
    const next = new Listener();
    const former: Subscriber = {
      warm: () => 0,
      deliver: () => hub.replace('a', former, next),
    };
    for (const channel of ['a', 'b']) {
      hub.subscribe(channel, former);
      if (channel === 'b') continue;
      hub.subscribe(channel, new Listener());
    }
    broadcast('a', '1');
    assert.deepEqual([next.got, hub.subscriptionCount], [[], 3]);
    broadcast('a', '2');
    assert.deepEqual(next.got, ['2']);
  });

  it('gives who leaves while it is cut nothing more', async () => {
    const listeners = subscribeMany('a');
    broadcast('a', '1', '2');
    const [first, last] = [listeners[0] as Listener, listeners.at(-1) as Listener];
    hub.unsubscribe('a', first);
    hub.unsubscribe('a', last);
    await finish();
    assert.deepEqual([first.got, last.got], [['1'], []]);
    for (const { got } of listeners.slice(1, -1)) assert.deepEqual(got, ['1', '2']);
  });

  it('counts who leaves and comes back while it is cut as a newcomer', async () => {
    const listeners = subscribeMany('a');
    broadcast('a', '1', '2');
    const [first, last] = [listeners[0] as Listener, listeners.at(-1) as Listener];
    for (const each of [first, last]) {
      hub.unsubscribe('a', each);
      hub.subscribe('a', each);
    }
    broadcast('a', '3');
    await finish();
    assert.deepEqual([first.got, last.got], [['1', '3'], ['3']]);
  });

  it('ends when all have left, and a channel that begins anew does not wait for it', async () => {
    const listeners = subscribeMany('a');
    broadcast('a', '1', '2', '3');
    for (const listener of listeners) hub.unsubscribe('a', listener);
    assert.deepEqual([hub.channelCount, hub.subscriptionCount], [0, 0]);
    const reached1 = reached(listeners, '1');
    const anew = new Listener();
    hub.subscribe('a', anew);
    broadcast('a', '4');
    assert.deepEqual(anew.got, ['4']);
    await finish();
    assert.equal(reached(listeners, '1'), reached1);
    assert.equal(reached(listeners, '2'), 0);
    assert.deepEqual(anew.got, ['4']);
    assert.equal(finishedFanouts(), 4);
  });

  it('survives members that leave, and take others with them, in the middle of a slice', async () => {
    const listeners = subscribeMany('a');
    for (const [i, listener] of listeners.entries()) {
      // Every third goes with its first publication, and takes along who comes next and who came before.
      if (i % 3 !== 1) continue;
      listener.onDeliver = () => {
        for (const near of [i - 1, i, i + 1]) hub.unsubscribe('a', listeners[near] as Listener);
      };
    }
    broadcast('a', '1', '2');
    await finish();
    for (const [i, { got }] of listeners.entries()) {
      const last = i === listeners.length - 1;
      assert.deepEqual(got, i % 3 === 2 ? [] : i % 3 === 0 && last ? ['1', '2'] : ['1'], `member ${i}`);
    }
  });

  it('lets other channels go on: a single subscriber at once, crowds in turn', async () => {
    const crowds = ['a', 'b', 'c'].map((channel) => subscribeMany(channel));
    const single = new Listener();
    hub.subscribe('single', single);
    for (const channel of ['a', 'b', 'c']) broadcast(channel, '1', '2');
    broadcast('single', '1');
    assert.deepEqual(single.got, ['1']);
    const progress = () => crowds.map((listeners) => listeners.reduce((sum, { got }) => sum + got.length, 0));
    let before = progress();
    // Three turns are one slice for each of the three.
    for (let round = 0; round < 5; round++) {
      for (let i = 0; i < 3; i++) await turn();
      const now = progress();
      for (const [i, count] of now.entries()) assert.ok(count > (before[i] as number), `crowd ${i} in round ${round}`);
      before = now;
    }
    await finish();
    for (const { got } of crowds.flat()) assert.deepEqual(got, ['1', '2']);
  });

  it('keeps a payload that waits, though the chunk it came in be overwritten', async () => {
    const listeners = subscribeMany('a');
    const chunk = Buffer.alloc(65_536);
    chunk.write('first', 100);
    chunk.write('next', 200);
    hub.broadcast(new Publication('a', chunk.subarray(100, 105)));
    hub.broadcast(new Publication('a', chunk.subarray(200, 204)));
    chunk.fill('x');
    await finish();
    for (const { got } of listeners) assert.deepEqual(got, ['first', 'next']);
  });

  it('warms each member once a publication, before it is delivered to', async () => {
    const listeners = subscribeMany('a');
    for (const listener of listeners) listener.onDeliver = () => assert.equal(listener.warmed, listener.got.length);
    broadcast('a', '1', '2');
    await finish();
    for (const { warmed, got } of listeners) assert.deepEqual([warmed, got.length], [2, 2]);
  });
});

describe('too many publications', () => {
  it('up to the limit wait; beyond it the oldest is finished on the spot, in order, and counted', async () => {
    const listeners = subscribeMany('a', 40);
    const texts = Array.from({ length: FANOUT_LIMIT }, (_, i) => `${i}`);
    broadcast('a', ...texts);
    assert.deepEqual([hub.waitingCount, counters.fanoutOverruns], [FANOUT_LIMIT, 0]);
    assert.ok(reached(listeners, '0') < 40);
    broadcast('a', 'more', 'and more');
    assert.deepEqual([hub.waitingCount, counters.fanoutOverruns], [FANOUT_LIMIT, 2]);
    assert.deepEqual([reached(listeners, '0'), reached(listeners, '1'), reached(listeners, '2')], [40, 40, 0]);
    await finish();
    for (const { got } of listeners) assert.deepEqual(got, [...texts, 'more', 'and more']);
    assert.equal(finishedFanouts(), FANOUT_LIMIT + 2);
    assert.equal(counters.fanoutOverruns, 2);
  });

  it('are bounded by their bytes too, and one of any size may wait', async () => {
    const listeners = subscribeMany('a', 40);
    const payload = Buffer.alloc(FANOUT_LIMIT_BYTES / 4);
    for (let i = 0; i < 4; i++) hub.broadcast(new Publication('a', payload));
    assert.deepEqual([hub.waitingCount, counters.fanoutOverruns], [4, 0]);
    hub.broadcast(new Publication('a', payload));
    assert.deepEqual([hub.waitingCount, counters.fanoutOverruns], [4, 1]);
    await finish();
    for (const { got } of listeners) assert.equal(got.length, 5);
    hub.broadcast(new Publication('a', Buffer.alloc(FANOUT_LIMIT_BYTES + 1)));
    assert.equal(hub.waitingCount, 1);
    await finish();
  });

  it('are told of at a quarter of either bound, once, and again when half of that is left', async () => {
    const told: [behind: boolean, waiting: number][] = [];
    hub.onBehind = (behind) => told.push([behind, hub.waitingCount]);
    subscribeMany('a', 40);
    broadcast('a', ...Array.from({ length: FANOUT_LIMIT / 4 }, (_, i) => `${i}`));
    assert.deepEqual(told, []);
    broadcast('a', 'one too many', 'and another');
    assert.deepEqual(told, [[true, FANOUT_LIMIT / 4 + 1]]);
    await finish();
    assert.deepEqual(told.splice(0), [
      [true, FANOUT_LIMIT / 4 + 1],
      [false, FANOUT_LIMIT / 8],
    ]);
    for (let i = 0; i < 3; i++) hub.broadcast(new Publication('a', Buffer.alloc(FANOUT_LIMIT_BYTES / 8)));
    await finish();
    assert.deepEqual(told, [
      [true, 3],
      [false, 1],
    ]);
  });

  it('of many channels together are bounded as well', async () => {
    const crowds = Array.from({ length: 16 }, (_, i) => subscribeMany(`${i}`, 40));
    for (let round = 0; round < FANOUT_LIMIT / 8; round++) {
      for (let i = 0; i < crowds.length; i++) broadcast(`${i}`, `${round}`);
      assert.ok(hub.waitingCount <= FANOUT_LIMIT);
    }
    assert.equal(counters.fanoutOverruns, FANOUT_LIMIT);
    await finish();
    const all = Array.from({ length: FANOUT_LIMIT / 8 }, (_, i) => `${i}`);
    for (const { got } of crowds.flat()) assert.deepEqual(got, all);
  });
});
