// Mailboxes against a model that keeps everything: whatever is put, acknowledged and asked for, a client gets what the model
// has behind its position or is told how much is missing, and both bounds hold.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { emptyCounters } from '../../../src/stats.ts';
import { type Frame, KeptFrame, Mailbox, MailStore } from '../../../workers/poll/mailbox.ts';

const frame = (text: string): KeptFrame => new KeptFrame(Buffer.from(text));
const texts = (frames: Frame[]): string[] => frames.map(String);
/** What an empty frame is counted as. */
const EMPTY_BYTES = frame('').heldBytes;

function store(mailboxLimitBytes = 1_000_000, totalLimitBytes = 1_000_000): MailStore {
  return new MailStore(mailboxLimitBytes, totalLimitBytes, emptyCounters());
}

describe('a mailbox', () => {
  it('keeps what was answered until it is acknowledged', () => {
    const box = new Mailbox(store());
    for (const text of ['a', 'b', 'c']) box.put(frame(text));
    assert.deepEqual(texts(box.after(0, 10, 10)), ['a', 'b', 'c']);
    assert.deepEqual(texts(box.after(0, 10, 10)), ['a', 'b', 'c']);
    box.acknowledge(2);
    assert.deepEqual([box.keptFrom, box.position, texts(box.after(2, 10, 10))], [2, 3, ['c']]);
    box.acknowledge(3);
    assert.deepEqual([box.keptFrom, box.position, box.after(3, 10, 10)], [3, 3, []]);
  });

  it('gives as many as fit into an answer, and one at least', () => {
    const box = new Mailbox(store());
    for (const text of ['aaaa', 'bb', 'cc', 'd']) box.put(frame(text));
    assert.deepEqual(texts(box.after(0, 10, 8)), ['aaaa', 'bb', 'cc']);
    assert.deepEqual(texts(box.after(0, 10, 3)), ['aaaa']);
    assert.deepEqual(texts(box.after(1, 2, 100)), ['bb', 'cc']);
  });

  it('beyond its limit drops the oldest, and keeps the newest whatever its size', () => {
    const full = store(3 * EMPTY_BYTES + 3);
    const box = new Mailbox(full);
    for (const text of ['a', 'b', 'c', 'd']) box.put(frame(text));
    assert.deepEqual([box.keptFrom, texts(box.after(0, 10, 100))], [1, ['b', 'c', 'd']]);
    box.put(frame('x'.repeat(10 * EMPTY_BYTES)));
    assert.deepEqual([box.keptFrom, box.position, full.counters.mailboxLost], [4, 5, 4]);
  });
});

describe('a frame that is kept', () => {
  it('is the same bytes whatever they are, small as a string and large as a Buffer of its own', () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    const small = new KeptFrame(bytes).frame;
    assert.equal(typeof small, 'string');
    assert.ok(Buffer.from(small as string, 'latin1').equals(bytes));
    const chunk = Buffer.alloc(100_000, bytes);
    const large = new KeptFrame(chunk.subarray(1, 50_000)).frame as Buffer;
    assert.ok(large.equals(chunk.subarray(1, 50_000)));
    assert.equal(large.buffer.byteLength, large.length, 'it keeps nothing else alive');
    chunk.fill(0);
    assert.ok(!large.equals(chunk.subarray(1, 50_000)));
  });
});

describe('all mailboxes of a worker', () => {
  it('count a frame once, however many it lies in, and nothing when they are empty', () => {
    const all = store();
    const boxes = Array.from({ length: 10 }, () => new Mailbox(all));
    const kept = frame('x'.repeat(1_000));
    for (const box of boxes) box.put(kept);
    assert.ok(all.bytes >= kept.heldBytes && all.bytes < 2 * kept.heldBytes);
    for (const box of boxes.slice(5)) box.clear();
    for (const box of boxes.slice(0, 5)) box.acknowledge(1);
    assert.equal(all.bytes, 0);
  });

  it('beyond their limit the one that is given more loses its oldest', () => {
    const all = store(1_000_000, 4 * (EMPTY_BYTES + 16));
    const [first, second] = [new Mailbox(all), new Mailbox(all)];
    for (const text of ['', '', '']) first.put(frame(text));
    for (const text of ['', '', '']) second.put(frame(text));
    assert.deepEqual([first.position - first.keptFrom, second.position - second.keptFrom], [3, 1]);
    assert.ok(all.bytes <= all.totalLimitBytes);
  });

  it('do what a model of them does', () => {
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.record({ put: fc.integer({ min: 0, max: 400 }) }) },
      { weight: 1, arbitrary: fc.record({ acknowledge: fc.double({ min: 0, max: 1, noNaN: true }) }) },
    );
    const run = fc.array(fc.tuple(fc.integer({ min: 0, max: 2 }), step), { maxLength: 200 });
    fc.assert(
      fc.property(run, (steps) => {
        const all = store(4_000, 8_000);
        const boxes = [0, 1, 2].map(() => ({ box: new Mailbox(all), put: [] as string[], acknowledged: 0 }));
        for (const [index, each] of steps) {
          const model = boxes[index] as (typeof boxes)[number];
          const { box } = model;
          if ('put' in each) {
            const text = `${model.put.length}:${'x'.repeat(each.put)}`;
            model.put.push(text);
            box.put(frame(text));
          } else {
            model.acknowledged = Math.max(model.acknowledged, Math.floor(each.acknowledge * box.position));
            box.acknowledge(model.acknowledged);
          }
          assert.equal(box.position, model.put.length);
          assert.ok(box.keptFrom >= model.acknowledged);
          assert.deepEqual(texts(box.after(0, 1_000, 1_000_000)), model.put.slice(box.keptFrom));
          assert.ok(all.bytes <= all.totalLimitBytes);
        }
        const lost = boxes.reduce((sum, { box, acknowledged }) => sum + Math.max(0, box.keptFrom - acknowledged), 0);
        assert.ok(all.counters.mailboxLost >= lost);
        for (const { box } of boxes) box.clear();
        assert.equal(all.bytes, 0);
      }),
    );
  });
});
