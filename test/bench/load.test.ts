// The load generator's bookkeeping: what was published is read back, and what is lost, doubled or overtaken is told apart.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Ledger } from '../../bench/load/ledger.ts';
import { channelName } from '../../bench/load/orders.ts';
import { makePayload, nextNumber, readNumber } from '../../bench/load/payload.ts';

describe('a payload', () => {
  it('is read back as it was made', () => {
    const bytes = Buffer.from(makePayload(42, 1_234_567.891, 64));
    assert.equal(bytes.length, 64);
    assert.equal(readNumber(bytes, 0, bytes.length), 42);
    assert.equal(readNumber(bytes, nextNumber(bytes, 0, bytes.length), bytes.length), 1_234_567_891);
  });

  it('is never smaller than its numbers need', () => {
    assert.equal(makePayload(1, 1, 0).length, 32);
  });

  for (const text of ['', 'x', '12x', '-3', ' 4']) {
    it(`is not read from '${text}'`, () => assert.equal(readNumber(Buffer.from(text), 0, text.length), -1));
  }
});

describe('channel names', () => {
  it('have 24 characters and differ', () => {
    const names = [0, 1, 244_999].map((number) => channelName('bench-', number));
    assert.deepEqual(new Set(names.map((name) => name.length)), new Set([24]));
    assert.equal(new Set(names).size, 3);
  });
});

describe('a ledger', () => {
  const book = (ledger: Ledger, sequences: readonly number[]) =>
    sequences.map((sequence) => ledger.book(0, sequence, 100, 101) !== null);

  it('books a round with its latencies and moments', () => {
    const ledger = new Ledger(2);
    ledger.book(0, 1, 100, 103);
    const round = ledger.book(1, 1, 100, 107);
    assert.ok(round !== null);
    assert.deepEqual([...round.latencies.subarray(0, round.count)], [3, 7]);
    assert.deepEqual([round.firstAtMs, round.lastAtMs], [103, 107]);
  });

  it('counts what came in order as neither doubled nor overtaken', () => {
    const ledger = new Ledger(1);
    assert.deepEqual(book(ledger, [1, 2, 3]), [true, true, true]);
    assert.deepEqual([ledger.received, ledger.doubled, ledger.overtaken], [3, 0, 0]);
  });

  it('counts a double, near or far', () => {
    const ledger = new Ledger(1);
    book(ledger, [1, 1, 2, 40, 40, 1]);
    assert.deepEqual([ledger.received, ledger.doubled, ledger.overtaken], [3, 3, 0]);
  });

  it('tells late from doubled', () => {
    const ledger = new Ledger(1);
    book(ledger, [1, 3, 2, 2]);
    assert.deepEqual([ledger.received, ledger.doubled, ledger.overtaken], [3, 1, 1]);
  });

  it('leaves a gap when a publication is missing', () => {
    const ledger = new Ledger(1);
    book(ledger, [1, 2, 4, 5]);
    assert.equal(5 - ledger.received, 1);
  });

  it('keeps the connections apart', () => {
    const ledger = new Ledger(2);
    ledger.book(0, 1, 0, 1);
    ledger.book(1, 1, 0, 1);
    assert.deepEqual([ledger.received, ledger.doubled], [2, 0]);
  });
});
