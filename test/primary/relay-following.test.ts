// Two relays of which one follows the other: one order for the workers of both, and the same history, whatever is published and
// removed while it catches up; then the order passes to the one that followed, asked for or not.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { packedBytes, packPublications, unpackPublications } from '../../src/broker/packed.ts';
import { type FrameKind, FrameReader, FrameWriter } from '../../src/broker/relay-frames.ts';
import type { FramePort } from '../../src/broker/relay-link.ts';
import { createLog } from '../../src/log.ts';
import { Relay } from '../../src/primary/relay.ts';
import { Following, type FollowingLink } from '../../src/primary/relay-following.ts';
import { type TellingLink, tellHistory, tellMembers, tellRemoved } from '../../src/primary/relay-telling.ts';
import { Publication } from '../../src/publication.ts';
import { waitUntil } from '../harness/wait.ts';

const CHANNELS = ['a', 'b', 'c'];
const KEPT = { historySize: 4, historyTtlSeconds: 60 };
const NEXT = 0;

/** One direction: frames arrive whole and in order, a turn later, unless nobody reads. */
class OneWay implements FollowingLink, TellingLink {
  readonly #reader: FrameReader;
  readonly #queue: Buffer[] = [];
  state: 'open' | 'closed' = 'open';
  /** Of the direction that ends at the one who calls `setReading`. */
  back: OneWay | null = null;
  reading = true;

  constructor(take: (kind: FrameKind, call: number, body: Buffer) => void) {
    this.#reader = new FrameReader(take);
  }

  get backlogBytes(): number {
    return this.state === 'closed' ? 0 : this.#queue.reduce((sum, { length }) => sum + length, 0);
  }

  send(frames: Buffer): boolean {
    if (this.state === 'closed') return true;
    this.#queue.push(Buffer.from(frames));
    setImmediate(() => this.deliver());
    return true;
  }

  deliver(): void {
    while (this.reading && this.state === 'open') {
      const next = this.#queue.shift();
      if (next === undefined) return;
      assert.equal(this.#reader.push(next), null);
      next.fill('!');
    }
  }

  async drained(): Promise<void> {
    await waitUntil(() => this.backlogBytes === 0, 'the link to be read');
  }

  setReading(on: boolean): void {
    if (this.back === null) return;
    this.back.reading = on;
    this.back.deliver();
  }

  destroy(): void {
    this.state = 'closed';
    if (this.back !== null) this.back.state = 'closed';
  }
}

/** A worker that reads at once; what it was sent, and its answers. */
class Worker implements FramePort {
  backlogBytes = 0;
  readonly texts: string[] = [];
  readonly offsets: number[] = [];
  readonly answers: number[] = [];
  readonly #reader = new FrameReader((kind, call, body) => {
    if (kind === 'publications') {
      unpackPublications(body, ({ channel, payload, offset }) => {
        this.texts.push(`${channel} ${payload}`);
        this.offsets.push(offset);
      });
    } else {
      this.answers.push(call);
    }
  });

  send(frames: Buffer): boolean {
    assert.equal(this.#reader.push(frames), null);
    return true;
  }
}

/** Pieces are of one publication, each told in a turn of its own. */
function setup(historyBytes = 1_000_000, yieldLimitMs?: number) {
  const log = createLog('error', 'test', () => {});
  const former = new Relay(log, undefined, historyBytes);
  const next = new Relay(log, undefined, historyBytes);
  const toNext = new OneWay((kind, call, body) => following.receive(kind, call, body));
  const toFormer = new OneWay((kind, call, body) => {
    if (kind === 'follow') void tellHistory(former.history, toNext, { pieceBytes: 1, turnBytes: 1 });
    else if (kind !== 'yield') former.receive(NEXT, kind, call, body);
    else void tellMembers(former.presence, toNext).then(() => former.receive(NEXT, kind, call, Buffer.alloc(0)));
  });
  toFormer.back = toNext;
  const following = new Following(next, toFormer, 1_000, log, yieldLimitMs);
  const workers = [new Worker(), new Worker()] as const;
  former.join(1, workers[0]);
  next.join(1, workers[1]);
  return { former, next, following, workers, toNext, toFormer };
}

function connect({ former, toNext }: ReturnType<typeof setup>): void {
  former.join(NEXT, toNext);
  former.onRemoved = (channel) => tellRemoved(former.history, channel, toNext);
}

let calls = 0;

function publish(relay: Relay, channel: string, text: string, key: string | null = null): number {
  const publication = new Publication(channel, Buffer.from(text));
  publication.idempotencyKey = key;
  const body = Buffer.alloc(packedBytes([publication], () => KEPT));
  packPublications(body, [publication], () => KEPT);
  relay.receive(1, 'store', ++calls, body);
  body.fill('!');
  return calls;
}

function remove(relay: Relay, channel: string): void {
  relay.receive(1, 'ask', ++calls, Buffer.from(JSON.stringify({ what: 'remove', channel })));
}

/** What a log tells of all channels. */
function told({ history }: Relay): object {
  const of = (channel: string): object => {
    const { top, floor, packed } = history.read(channel, 0, 100, false);
    return { top, floor, packed: packed.map((each) => each.toString('latin1')) };
  };
  return { epoch: history.epoch, offset: history.offset, channels: CHANNELS.map(of) };
}

async function settled({ toNext, toFormer }: ReturnType<typeof setup>): Promise<void> {
  for (let turns = 0; turns < 3; ) {
    await new Promise((resolve) => setImmediate(resolve));
    turns = toNext.backlogBytes + toFormer.backlogBytes === 0 ? turns + 1 : 0;
  }
}

describe('a relay that follows another', () => {
  it('has the same order and the same history, whatever happens while it catches up, and goes on from there', async () => {
    const step = fc.record({
      what: fc.constantFrom('former', 'next', 'remove', 'turn'),
      channel: fc.constantFrom(...CHANNELS),
      key: fc.option(fc.constantFrom('k', 'l'), { nil: null }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), fc.array(step, { maxLength: 12 }), async (early, late) => {
        const rig = setup();
        const { former, next, following, workers } = rig;
        const run = async (steps: typeof early, joined: boolean): Promise<void> => {
          for (const [i, { what, channel, key }] of steps.entries()) {
            const relay = what === 'next' && joined ? next : former;
            if (what === 'turn') await new Promise((resolve) => setImmediate(resolve));
            else if (what === 'remove') remove(former, channel);
            else publish(relay, channel, `${joined ? 'late' : 'early'} ${i}`, key);
          }
        };
        await run(early, false);
        await new Promise((resolve) => setImmediate(resolve));
        const before = workers[0].texts.length;
        connect(rig);
        const caughtUp = following.start();
        await run(late, true);
        await caughtUp;
        await settled(rig);
        assert.deepEqual(told(next), told(former));
        assert.deepEqual(workers[1].texts, workers[0].texts.slice(before), 'one order');
        former.leave(1);
        const yielded = following.yield(() => assert.fail('it answers'));
        const call = publish(next, 'a', 'while it yields');
        await yielded;
        await settled(rig);
        assert.equal(workers[1].answers.at(-1), call);
        assert.equal(workers[1].texts.at(-1), 'a while it yields');
        assert.equal(next.history.offset, former.history.offset + 1, 'the counter goes on');
        assert.equal(next.history.epoch, former.history.epoch);
      }),
      { numRuns: 100 },
    );
  });

  it('never tells that nothing was missed where something was, whatever is forgotten while it catches up', async () => {
    const step = fc.record({
      what: fc.constantFrom('publish', 'publish', 'publish', 'turn', 'remove'),
      channel: fc.constantFrom(...CHANNELS),
      bytes: fc.nat(300),
    });
    const steps = fc.array(step, { maxLength: 16 });
    await fc.assert(
      fc.asyncProperty(steps, steps, fc.nat(30), async (early, late, since) => {
        const rig = setup(1_200);
        const { former, next, following } = rig;
        const offsets = new Map<string, number[]>(CHANNELS.map((channel) => [channel, []]));
        const run = async (steps: typeof early): Promise<void> => {
          for (const { what, channel, bytes } of steps) {
            if (what === 'turn') await new Promise((resolve) => setImmediate(resolve));
            else if (what === 'remove') remove(former, channel);
            else {
              publish(former, channel, 'x'.repeat(bytes));
              offsets.get(channel)?.push(former.history.offset);
            }
          }
        };
        await run(early);
        connect(rig);
        const caughtUp = following.start();
        await run(late);
        await caughtUp;
        await settled(rig);
        assert.equal(next.history.offset, former.history.offset);
        assert.ok(next.history.bytes <= 1_200, `${next.history.bytes} bytes are kept`);
        for (const [channel, all] of offsets) {
          const { top, floor, packed } = next.history.read(channel, since, 1_000, false);
          const owed = all.filter((offset) => offset > since);
          if (since >= top) assert.deepEqual(owed, []);
          else if (since >= floor) assert.equal(packed.length, owed.length);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('goes on with all that it knows when the other is gone, and answers nothing that may not have been done', async () => {
    const rig = setup();
    const { former, next, following, workers, toFormer } = rig;
    publish(former, 'a', 'one', 'key');
    connect(rig);
    await following.start();
    const before = told(former);
    publish(next, 'a', 'lost on its way');
    toFormer.destroy();
    following.lead();
    assert.deepEqual(told(next), before);
    const again = publish(next, 'a', 'one again', 'key');
    const call = publish(next, 'a', 'two');
    await settled(rig);
    assert.deepEqual(workers[1].answers, [again, call], 'the key is known, so it is answered; the lost one is not');
    assert.deepEqual(workers[1].texts, ['a two']);
    assert.deepEqual(workers[1].offsets, [2]);
  });

  it('reads no further while a worker of its own does not, so that the other one refuses what cannot be kept', async () => {
    const rig = setup();
    const { former, following, workers, toNext } = rig;
    connect(rig);
    await following.start();
    workers[1].backlogBytes = 64 * 1024 * 1024;
    publish(former, 'a', 'one');
    await waitUntil(() => !toNext.reading, 'the link to be left alone');
    workers[1].backlogBytes = 0;
    await waitUntil(() => toNext.reading, 'it to be read again');
  });

  it('has a primary ended that does not give the order up, and takes what that one had sent before', async () => {
    const rig = setup(1_000_000, 50);
    const { former, next, following, workers, toNext, toFormer } = rig;
    connect(rig);
    await following.start();
    toFormer.reading = false;
    publish(former, 'a', 'one');
    let ended = 0;
    const yielded = following.yield(() => {
      ended++;
      toFormer.destroy();
      following.lead();
    });
    const call = publish(next, 'a', 'two');
    await yielded;
    await settled(rig);
    assert.equal(ended, 1);
    assert.equal(toNext.backlogBytes, 0);
    assert.deepEqual(workers[1].texts, ['a one', 'a two']);
    assert.deepEqual(workers[1].answers, [call]);
  });

  it('gives a primary the time again that goes on telling who holds which channel', async () => {
    const rig = setup(1_000_000, 100);
    const { following, toNext, toFormer } = rig;
    connect(rig);
    await following.start();
    toFormer.reading = false;
    const yielded = following.yield(() => assert.fail('it goes on'));
    const words = new FrameWriter();
    for (let i = 0; i < 5; i++) {
      await new Promise((resolve) => setTimeout(resolve, 40));
      words.add('publications', 0, 0);
      toNext.send(words.take());
    }
    toFormer.reading = true;
    toFormer.deliver();
    await yielded;
  });

  it('is told behind the yield who holds which channel', async () => {
    const rig = setup();
    const { former, next, following } = rig;
    connect(rig);
    await following.start();
    const member = { channel: 'a', client: 'c', user: 'u', entry: '{"client":"c"}', told: false };
    former.presence.answer(1, { what: 'present', changes: [{ kind: 'join', ...member }] });
    await following.yield(() => assert.fail('it answers'));
    assert.deepEqual(next.presence.answer(1, { what: 'members', channel: 'a' }).members, [member.entry]);
    const renewed = next.presence.answer(1, { what: 'present', changes: [{ kind: 'renew', ...member }] });
    assert.deepEqual(renewed.unknown, [], 'it is not news');
  });
});
