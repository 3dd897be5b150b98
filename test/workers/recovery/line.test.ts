// The line: holes are filled in their place, or told; with a store that answers when the test says so.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { HistoryStore, Missed } from '../../../src/broker/broker.ts';
import { MARK_CHANNEL } from '../../../src/channel.ts';
import type { Position } from '../../../src/position.ts';
import { Publication } from '../../../src/publication.ts';
import { HELD_LIMIT_BYTES, Line } from '../../../workers/recovery/line.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function at(offset: number, channel = 'a', epoch = 'e', payload: Buffer = Buffer.alloc(0)): Publication {
  return new Publication(channel, payload).place(epoch, offset, 0);
}

class Fixture {
  readonly seen: string[] = [];
  marks = 0;
  /** Questions that have not been answered: since when, and how to. */
  readonly asked: { since: number; channels: readonly string[]; answer: (missed: Missed) => void; fail: () => void }[] =
    [];
  readonly line: Line;
  held = ['a', 'b'];

  constructor() {
    const store: HistoryStore = {
      read: () => Promise.reject(new Error('not asked for here')),
      remove: () => Promise.resolve(),
      mark: async () => {
        this.marks++;
      },
      missed: (since, channels) =>
        new Promise((answer, reject) =>
          this.asked.push({ since, channels, answer, fail: () => reject(new Error('away')) }),
        ),
    };
    this.line = new Line({
      store,
      heldChannels: () => this.held,
      broadcast: ({ channel, offset }) => this.seen.push(`${channel}${offset}`),
      tellGap: (channels: readonly string[], { epoch, offset }: Position) =>
        this.seen.push(`gap ${channels} ${epoch}.${offset}`),
      onMoved: () => {},
      onHole: () => this.seen.push('hole'),
    });
    this.line.onConnected({ epoch: 'e', offset: 10 });
  }

  async answer(
    offset: number,
    channels: Missed['channels'],
    past = new Map<string, number>(),
    epoch = 'e',
  ): Promise<void> {
    this.asked.shift()?.answer({ state: { epoch, offset, past }, channels });
    await turn();
    await turn();
  }
}

describe('the line', () => {
  it('passes on what comes without a hole, and plain publications at once', () => {
    const { line, seen } = new Fixture();
    for (const publication of [at(11), at(0), at(12, 'b'), at(13, MARK_CHANNEL), at(14)]) line.take(publication);
    assert.deepEqual(seen, ['a11', 'a0', 'b12', 'a14']);
    assert.deepEqual([line.position, line.live], ['e.14', true]);
  });

  it('passes over what it has had', () => {
    const { line, seen } = new Fixture();
    for (const publication of [at(11), at(11), at(9), at(12)]) line.take(publication);
    assert.deepEqual(seen, ['a11', 'a12']);
  });

  it('holds everything back at a hole, fills it with what lies in it and nothing else, and goes on in order', async () => {
    const fixture = new Fixture();
    const { line, seen } = fixture;
    line.take(at(14));
    line.take(at(0, 'a'));
    line.take(at(15, 'b'));
    assert.deepEqual([seen, line.holding, line.position], [[], true, 'e.10']);
    assert.deepEqual(
      fixture.asked.map(({ since, channels }) => [since, channels]),
      [[10, ['a', 'b']]],
    );
    await fixture.answer(20, [
      { channel: 'b', floor: 0, publications: [at(12, 'b'), at(15, 'b')] },
      { channel: 'a', floor: 10, publications: [at(11), at(13), at(14), at(16)] },
    ]);
    assert.deepEqual(seen, ['hole', 'a11', 'b12', 'a13', 'a14', 'a0', 'b15']);
    assert.deepEqual([line.position, line.live], ['e.15', true]);
  });

  it('tells a gap for channels whose history no longer has it all, behind what it has of the others', async () => {
    const fixture = new Fixture();
    fixture.line.take(at(14));
    await fixture.answer(20, [
      { channel: 'a', floor: 12, publications: [at(13)] },
      { channel: 'b', floor: 10, publications: [at(11, 'b')] },
    ]);
    assert.deepEqual(fixture.seen, ['hole', 'b11', 'gap a e.13', 'a14']);
  });

  it('is sure of itself only once something has come since the broker connected, which it asks for', async () => {
    const fixture = new Fixture();
    const { line } = fixture;
    assert.deepEqual([line.live, line.sure], [true, false]);
    line.confirm();
    assert.equal(fixture.marks, 1);
    // What was published before the subscription stood, and the mark behind it.
    line.take(at(13, MARK_CHANNEL));
    assert.equal(line.sure, false);
    await fixture.answer(13, [{ channel: 'a', floor: 0, publications: [at(11), at(12)] }]);
    assert.deepEqual([fixture.seen, line.sure], [['hole', 'a11', 'a12'], true]);
    line.confirm();
    line.onGap();
    assert.deepEqual([fixture.marks, line.sure], [2, false], 'one mark each: there was nothing to confirm in between');
  });

  it('publishes a mark when the subscription was lost, and ends the hole with it', async () => {
    const fixture = new Fixture();
    const { line, seen } = fixture;
    line.onGap();
    assert.deepEqual([fixture.marks, fixture.asked.length], [1, 0]);
    line.take(at(12, MARK_CHANNEL));
    await fixture.answer(12, [{ channel: 'a', floor: 0, publications: [at(11)] }]);
    assert.deepEqual(seen, ['hole', 'a11']);
    assert.deepEqual([line.position, line.live], ['e.12', true]);
  });

  it('asks again when the broker was away, and once more when the subscription is lost meanwhile', async () => {
    const fixture = new Fixture();
    const { line, seen } = fixture;
    line.take(at(12));
    fixture.asked.shift()?.fail();
    while (fixture.asked.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    line.onGap();
    await fixture.answer(12, [{ channel: 'a', floor: 0, publications: [at(11)] }]);
    assert.deepEqual(seen, ['hole', 'a11', 'a12']);
    assert.deepEqual([line.holding, fixture.marks], [true, 1]);
    line.take(at(13, MARK_CHANNEL));
    await fixture.answer(13, []);
    assert.deepEqual([line.position, line.live], ['e.13', true]);
  });

  it('sees a second hole behind the first', async () => {
    const fixture = new Fixture();
    fixture.line.take(at(12));
    fixture.line.take(at(14));
    await fixture.answer(14, [{ channel: 'a', floor: 0, publications: [at(11)] }]);
    assert.deepEqual(fixture.seen, ['hole', 'a11', 'a12']);
    await fixture.answer(14, [{ channel: 'b', floor: 0, publications: [at(13, 'b')] }]);
    assert.deepEqual(fixture.seen.slice(3), ['hole', 'b13', 'a14']);
  });

  it('goes on into another epoch: with everything where that vouches for the former, else with a gap for all', async () => {
    const vouched = new Fixture();
    vouched.line.take(at(13, 'a', 'f'));
    await vouched.answer(13, [{ channel: 'a', floor: 0, publications: [at(11, 'a', 'f')] }], new Map([['e', 11]]), 'f');
    assert.deepEqual([vouched.seen, vouched.line.position], [['hole', 'a11', 'a13'], 'f.13']);

    const lost = new Fixture();
    lost.line.take(at(2, 'a', 'f'));
    await lost.answer(2, [{ channel: 'a', floor: 0, publications: [at(1, 'a', 'f')] }], new Map(), 'f');
    assert.deepEqual([lost.seen, lost.line.position], [['hole', 'gap a,b f.1', 'a2'], 'f.2']);
  });

  it('gives up with a gap for all when it would hold too much', () => {
    const fixture = new Fixture();
    const large = Buffer.alloc(HELD_LIMIT_BYTES / 4);
    for (let i = 12; i <= 15; i++) fixture.line.take(at(i, 'a', 'e', large));
    assert.equal(fixture.seen.at(-1), 'gap a,b e.15');
    assert.ok(fixture.line.live);
    fixture.line.take(at(16));
    assert.equal(fixture.seen.at(-1), 'a16');
  });
});
