// The embedded broker's history: places, limits by count, age and bytes, and that what is gone is never taken for silence.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { packedBytes, packPublications, unpackPublications } from '../../src/broker/packed.ts';
import { HistoryLog } from '../../src/primary/history-log.ts';
import { Publication } from '../../src/publication.ts';

const KEPT = { historySize: 3, historyTtlSeconds: 10 };

function setup(limitBytes = 1_000_000) {
  let nowMs = 0;
  const log = new HistoryLog(limitBytes, () => nowMs);
  const publish = (channel: string, payload: string | Buffer, key: string | null = null, kept = true) => {
    const publication = new Publication(channel, Buffer.from(payload));
    publication.idempotencyKey = key;
    const retention = () => (kept ? KEPT : null);
    const packed = Buffer.alloc(packedBytes([publication], retention));
    packPublications(packed, [publication], retention);
    return log.take(packed);
  };
  const texts = (parts: readonly Buffer[]): string[] => {
    const found: string[] = [];
    for (const part of parts) unpackPublications(part, ({ payload }) => found.push(payload.toString()), log.epoch);
    return found;
  };
  return {
    log,
    publish,
    texts,
    pass: (ms: number) => {
      nowMs += ms;
    },
  };
}

describe('the embedded broker’s history', () => {
  it('numbers all channels with one counter, in what is relayed too, and says what came before', () => {
    const { publish, log } = setup();
    for (const [channel, offset, previous] of [
      ['a', 1, 0],
      ['b', 2, 0],
      ['a', 3, 1],
    ] as const) {
      const { relayed, offsets } = publish(channel, 'x');
      assert.deepEqual(offsets, [offset]);
      unpackPublications(
        relayed,
        (each) => assert.deepEqual([each.offset, each.previous, each.epoch], [offset, previous, log.epoch]),
        log.epoch,
      );
    }
    assert.deepEqual(publish('plain', 'x', null, false).offsets, [0]);
    assert.equal(log.offset, 3);
  });

  it('publishes once what comes twice with one key, with history or without, for five minutes', () => {
    const { publish, texts, pass } = setup();
    for (const kept of [true, false]) {
      const channel = `a${kept}`;
      const first = publish(channel, 'x', 'key', kept);
      assert.deepEqual(texts([first.relayed]), ['x']);
      const again = publish(channel, 'x', 'key', kept);
      assert.deepEqual([again.offsets, again.relayed.length], [first.offsets, 0]);
      assert.equal(texts([publish(`b${kept}`, 'x', 'key', kept).relayed]).length, 1);
      pass(300_001);
      assert.equal(texts([publish(channel, 'x', 'key', kept).relayed]).length, 1);
    }
  });

  it('knows what expired from what never was', () => {
    const { publish, log, pass } = setup();
    publish('a', '1');
    publish('b', '1');
    pass(10_001);
    publish('b', '2');
    assert.deepEqual(log.read('a', 0, 10, false), { top: 1, floor: 1, packed: [] });
    assert.equal(log.read('b', 0, 10, false).floor, 2);
    assert.deepEqual(log.read('never', 0, 10, false), { top: 0, floor: 0, packed: [] });
  });

  it('keeps to its bytes, and calls everything a gap that it has forgotten', () => {
    const { publish, log, pass } = setup(5_000);
    for (let i = 1; i <= 100; i++) publish(`channel ${i}`, 'x'.repeat(100));
    assert.ok(log.bytes <= 5_000, `${log.bytes} bytes`);
    assert.equal(log.read('channel 100', 0, 10, false).packed.length, 1);
    const { top, floor } = log.read('channel 1', 0, 10, false);
    assert.equal(top, floor);
    assert.ok(floor > 50);
    pass(10_001);
    log.sweep();
    assert.ok(log.bytes <= 100 * 200);
  });

  it('never tells anybody that nothing was missed where something was, whatever is published, forgotten or removed', () => {
    const step = fc.oneof(
      { weight: 10, arbitrary: fc.record({ publish: fc.nat(5), bytes: fc.nat(300) }) },
      { weight: 1, arbitrary: fc.record({ remove: fc.nat(5) }) },
      { weight: 1, arbitrary: fc.record({ pass: fc.nat(12_000) }) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), fc.nat(80), (steps, since) => {
        const { publish, log, pass } = setup(2_500);
        const all = new Map<string, number[]>();
        for (const each of steps) {
          if ('publish' in each) {
            const channel = `c${each.publish}`;
            const [offset = 0] = publish(channel, Buffer.alloc(each.bytes)).offsets;
            all.set(channel, [...(all.get(channel) ?? []), offset]);
          } else if ('remove' in each) log.remove(`c${each.remove}`);
          else pass(each.pass);
        }
        if (since > log.offset) return;
        for (const [channel, offsets] of all) {
          const { top, floor, packed } = log.read(channel, since, 1_000, false);
          const owed = offsets.filter((offset) => offset > since);
          if (since >= top) assert.deepEqual(owed, []);
          else if (since >= floor) assert.equal(packed.length, owed.length);
        }
      }),
      { numRuns: 500 },
    );
  });
});
