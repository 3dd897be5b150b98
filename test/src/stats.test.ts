// The numbers that cross to the primary: all zero at birth, one shape, and sums that lose nothing.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CLOSE_REASONS, REJECTIONS, TOKEN_REFUSALS } from '../../src/close-reason.ts';
import {
  addCounters,
  type Counters,
  closeReasonIndex,
  emptyCounters,
  emptyGauges,
  FANOUT_BUCKETS_SECONDS,
  rejectionIndex,
  TRANSPORTS,
  tokenRefusalIndex,
  transportIndex,
} from '../../src/stats.ts';

/** Every number another one, so that a field that is mixed up with another shows. */
function numbered(first: number): Counters {
  const counters: Counters = emptyCounters();
  let next = first;
  for (const key of Object.keys(counters) as (keyof Counters)[]) {
    const value = counters[key];
    if (Array.isArray(value)) for (let i = 0; i < value.length; i++) value[i] = next++;
    else (counters[key] as number) = next++;
  }
  return counters;
}

/** All numbers in the order of the fields. */
function numbersOf(counters: Counters): number[] {
  return Object.values(counters).flat() as number[];
}

describe('counters', () => {
  it('are zero at birth, with a place for each label', () => {
    const counters = emptyCounters();
    assert.ok(numbersOf(counters).every((number) => number === 0));
    assert.equal(counters.closed.length, CLOSE_REASONS.length);
    assert.equal(counters.rejected.length, REJECTIONS.length);
    assert.equal(counters.tokensRefused.length, TOKEN_REFUSALS.length);
    assert.equal(counters.fanoutBuckets.length, FANOUT_BUCKETS_SECONDS.length + 1);
  });

  it('of two workers share nothing', () => {
    const [a, b] = [emptyCounters(), emptyCounters()];
    a.closed[0] = 1;
    a.accepted = 1;
    assert.deepEqual([b.closed[0], b.accepted], [0, 0]);
  });

  it('add up field by field and place by place', () => {
    const [a, b] = [numbered(1), numbered(1_000)];
    const expected = numbersOf(a).map((number, i) => number + (numbersOf(b)[i] as number));
    addCounters(a, b);
    assert.deepEqual(numbersOf(a), expected);
    assert.deepEqual(numbersOf(b), numbersOf(numbered(1_000)), 'what is added stays as it was');
  });

  it('add up to themselves with nothing, and the order does not matter', () => {
    const sum = numbered(1);
    addCounters(sum, emptyCounters());
    assert.deepEqual(sum, numbered(1));
    const [ab, ba] = [numbered(1), numbered(500)];
    addCounters(ab, numbered(500));
    addCounters(ba, numbered(1));
    assert.deepEqual(ab, ba);
  });

  it('that came through structured clone, as they do from a worker, add up as well', () => {
    const a = emptyCounters();
    addCounters(a, structuredClone(numbered(7)));
    assert.deepEqual(a, numbered(7));
  });
});

it('gauges are plain data: what is cloned is what was sent', () => {
  assert.deepEqual(structuredClone(emptyGauges()), emptyGauges());
  assert.equal(emptyGauges().connections.length, TRANSPORTS.length);
});

it('each label has its own place', () => {
  for (const [index, table] of [
    [closeReasonIndex, CLOSE_REASONS],
    [rejectionIndex, REJECTIONS],
    [tokenRefusalIndex, TOKEN_REFUSALS],
    [transportIndex, TRANSPORTS],
  ] as const) {
    assert.deepEqual(
      Object.entries(index),
      table.map((name, i) => [name, i]),
    );
    assert.equal(new Set(table).size, table.length);
  }
});

it('the buckets of the fan-out histogram ascend', () => {
  assert.deepEqual(
    [...FANOUT_BUCKETS_SECONDS].sort((a, b) => a - b),
    FANOUT_BUCKETS_SECONDS,
  );
});
