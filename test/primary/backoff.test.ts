// The wait before a replacement: at once, then doubling, bounded, random by half, forgotten after a minute of service.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Backoff, STEADY_MS } from '../../src/primary/backoff.ts';

describe('back-off', () => {
  it('replaces a first death at once, then waits 100 ms, doubling up to 10 s', () => {
    const backoff = new Backoff(() => 1);
    const waits = Array.from({ length: 12 }, () => backoff.died(0));
    assert.deepEqual(waits, [0, 100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000, 10_000, 10_000]);
    assert.equal(backoff.deaths, 12);
  });

  it('leaves half of each wait to chance', () => {
    const least = new Backoff(() => 0);
    assert.deepEqual(
      Array.from({ length: 4 }, () => least.died(0)),
      [0, 50, 100, 200],
    );
  });

  it('forgets after a minute of service, and not before', () => {
    const backoff = new Backoff(() => 1);
    for (let i = 0; i < 5; i++) backoff.died(0);
    assert.equal(backoff.died(STEADY_MS - 1), 1_600);
    assert.equal(backoff.died(STEADY_MS), 0);
    assert.equal(backoff.deaths, 1);
    assert.equal(backoff.died(0), 100);
  });

  it('stays bounded however long a slot keeps failing', () => {
    const backoff = new Backoff(() => 1);
    for (let i = 0; i < 5_000; i++) assert.ok(backoff.died(0) <= 10_000);
  });
});
