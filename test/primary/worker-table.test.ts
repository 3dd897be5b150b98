// The worker table: lives in slots, and totals that never go backwards whatever the order in which workers end.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { WorkerTable } from '../../src/primary/worker-table.ts';
import { emptyCounters, emptyGauges, type Snapshot } from '../../src/stats.ts';

const ADDRESS = { address: '::', port: 3000, wire: 'handle', wireWhy: 'it works' };

function snapshotOf(accepted: number, connections = 0): Snapshot {
  const counters = emptyCounters();
  counters.accepted = accepted;
  counters.closed[0] = accepted;
  counters.fanoutBuckets[3] = accepted;
  const gauges = emptyGauges();
  gauges.connections[1] = connections;
  gauges.acceptState = 'listening';
  return { counters, gauges };
}

describe('worker table', () => {
  it('has one row a slot from the start, with nobody in it', () => {
    const table = new WorkerTable(3);
    assert.deepEqual(
      table.rows.map(({ id, generation, state, pid }) => ({ id, generation, state, pid })),
      [1, 2, 3].map((id) => ({ id, generation: 0, state: 'gone', pid: null })),
    );
    assert.deepEqual(table.totals(), emptyCounters());
  });

  it('takes a worker through its states', () => {
    let nowMs = 1_000;
    const table = new WorkerTable(1, () => nowMs);
    const row = table.begin(1, 4711);
    assert.equal(row.state, 'starting');
    assert.equal(row.acceptState, 'starting');
    assert.equal(row.pid, 4711);
    assert.equal(row.startedAtMs, 1_000);
    nowMs = 1_250;
    table.ready(row, ADDRESS);
    assert.equal(row.state, 'ready');
    assert.equal(row.readyAtMs, 1_250);
    assert.equal(row.address, ADDRESS);
    assert.equal(row.acceptState, 'listening', 'ready and not yet heard of means listening');
    nowMs = 2_000;
    table.snapshot(row, snapshotOf(5, 2));
    assert.equal(row.snapshotAtMs, 2_000);
    table.draining(row);
    assert.equal(row.state, 'draining');
    assert.equal(row.acceptState, 'draining', 'whatever the last snapshot says');
    table.end(row);
    assert.equal(row.state, 'gone');
    assert.deepEqual(row.gauges, emptyGauges());
    table.draining(row);
    assert.equal(row.state, 'gone');
  });

  it('raises the generation and counts the restart when a slot is filled again', () => {
    const table = new WorkerTable(2);
    const first = table.begin(2, 1);
    assert.equal(first.generation, 1);
    assert.equal(table.restarts(2), 0);
    table.end(first);
    const second = table.begin(2, 2);
    assert.equal(second.generation, 2);
    assert.equal(second.id, 2);
    assert.equal(table.restarts(2), 1);
    assert.equal(table.restarts(1), 0);
    assert.equal(table.rows[1], second);
  });

  it('refuses a second worker in a slot that is taken, and slots that it does not have', () => {
    const table = new WorkerTable(1);
    table.begin(1, 1);
    assert.throws(() => table.begin(1, 2), RangeError);
    assert.throws(() => table.begin(0, 2), RangeError);
    assert.throws(() => table.begin(2, 2), RangeError);
  });

  it('keeps what a dead worker counted, and not what it held', () => {
    const table = new WorkerTable(2);
    const one = table.begin(1, 1);
    const two = table.begin(2, 2);
    table.snapshot(one, snapshotOf(10, 7));
    table.snapshot(two, snapshotOf(1, 1));
    assert.equal(table.totals().accepted, 11);
    table.end(one);
    assert.equal(one.gauges.connections[1], 0);
    assert.equal(table.totals().accepted, 11, 'ended, its channel still open');
    table.settle(one);
    table.settle(one);
    assert.equal(table.totals().accepted, 11, 'settled once, however often it is said');
    table.snapshot(table.begin(1, 3), snapshotOf(2));
    assert.equal(table.totals().accepted, 13);
    assert.equal(table.totals().closed[0], 13);
    assert.equal(table.totals().fanoutBuckets[3], 13);
  });

  it('counts a last snapshot that was still in the channel when the process ended', () => {
    const table = new WorkerTable(1);
    const first = table.begin(1, 1);
    table.snapshot(first, snapshotOf(10));
    table.end(first);
    const second = table.begin(1, 2);
    table.snapshot(second, snapshotOf(1));
    table.snapshot(first, snapshotOf(12, 5));
    assert.equal(first.gauges.connections[1], 0, 'the connections are gone all the same');
    assert.equal(table.totals().accepted, 13);
    table.settle(first);
    table.snapshot(first, snapshotOf(99));
    assert.equal(table.totals().accepted, 13, 'nothing comes after the channel has closed');
  });

  it('never goes backwards over a long run of deaths', () => {
    const table = new WorkerTable(4);
    const rows = [1, 2, 3, 4].map((id) => table.begin(id, id));
    let former = 0;
    for (let step = 0; step < 1_000; step++) {
      const index = step % 4;
      const row = rows[index];
      assert.ok(row !== undefined);
      if (step % 7 === 6) {
        table.end(row);
        if (step % 2 === 0) table.settle(row);
        rows[index] = table.begin(index + 1, step);
      } else {
        table.snapshot(row, snapshotOf(row.counters.accepted + (step % 5)));
      }
      const { accepted } = table.totals();
      assert.ok(accepted >= former, `step ${step}: ${accepted} after ${former}`);
      former = accepted;
    }
    assert.ok(former > 0);
  });

  it('does not let a reader change what it has counted', () => {
    const table = new WorkerTable(1);
    table.snapshot(table.begin(1, 1), snapshotOf(3));
    table.totals().closed[0] = 999;
    assert.equal(table.totals().closed[0], 3);
  });
});
