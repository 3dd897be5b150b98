// The embedded broker's history: places, limits by count, age and bytes, and that what is gone is never taken for silence.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import type { HistoryQuestion, ToldHead } from '../../src/broker/memory-questions.ts';
import { packedBytes, packPublications, unpackPublications } from '../../src/broker/packed.ts';
import { FrameReader, FrameWriter, LENGTH_OF_HEAD_BYTES } from '../../src/broker/relay-frames.ts';
import { ANSWER_LIMIT_BYTES, answerQuestion } from '../../src/primary/history-answers.ts';
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

  it('tells the newest that fit into an answer, and of the others that they are gone; of a page, fewer', () => {
    const { publish, log, texts } = setup();
    for (const text of ['1', '2', '3']) publish('a', text);
    const one = log.read('a', 0, 1, false).packed[0]?.length ?? 0;
    const whole = log.read('a', 0, 100, false, 2 * one);
    assert.deepEqual([texts(whole.packed), whole.floor, whole.top], [['2', '3'], 1, 3]);
    const fits = log.read('a', 0, 100, false, 3 * one);
    assert.deepEqual([texts(fits.packed), fits.floor], [['1', '2', '3'], 0]);
    const least = log.read('a', 0, 100, false, 1);
    assert.deepEqual([texts(least.packed), least.floor], [['3'], 2]);
    assert.deepEqual(texts(log.read('a', 0, 2, false, one).packed), ['1']);
    assert.deepEqual(texts(log.read('a', 0, 100, true, 2 * one).packed), ['3', '2']);
  });
});

describe('an answer of the embedded broker’s history', () => {
  it('is bounded: what does not fit is told as gone, and never refused', () => {
    const { log } = setup(100_000_000);
    const retention = () => ({ historySize: 100, historyTtlSeconds: 10 });
    const publications = Array.from({ length: 40 }, (_, i) => new Publication(`c${i % 2}`, Buffer.alloc(1024 * 1024)));
    for (const publication of publications) {
      const packed = Buffer.alloc(packedBytes([publication], retention));
      packPublications(packed, [publication], retention);
      log.take(packed);
    }
    const ask = (question: HistoryQuestion): ToldHead => {
      const frames = new FrameWriter();
      answerQuestion(log, question, frames, 1);
      const bytes = frames.take();
      assert.ok(bytes.length <= ANSWER_LIMIT_BYTES + 1024, `${bytes.length} bytes`);
      let head: ToldHead | null = null;
      const reader = new FrameReader((_kind, _call, body) => {
        head = JSON.parse(body.toString('utf8', LENGTH_OF_HEAD_BYTES, LENGTH_OF_HEAD_BYTES + body.readUInt32LE(0)));
      });
      assert.equal(reader.push(bytes), null);
      return head ?? assert.fail('no answer');
    };
    const [read] = ask({ what: 'read', channel: 'c0', since: 0, limit: 100, reverse: false }).channels;
    assert.deepEqual(read, { channel: 'c0', top: 39, floor: 9, count: 15 });
    const [first, second] = ask({ what: 'missed', since: 1, channels: ['c0', 'c1'] }).channels;
    assert.deepEqual([first?.floor, first?.count], [9, 15]);
    // What is left of the answer has room for nothing, or for one.
    assert.ok(second !== undefined && second.count <= 1 && second.floor >= 38);
  });
});
