// How long a worker that leaves is waited for, on a clock of the test's own. How slots pass on: supervisor.test.ts, and for real
// test/end-to-end/moving-faults.test.ts.

import assert from 'node:assert/strict';
import { beforeEach, describe, it, mock } from 'node:test';
import { makeSlot, type Slot } from '../../src/primary/slot.ts';
import { Succession } from '../../src/primary/succession.ts';
import type { WorkerProcess } from '../../src/primary/worker-process.ts';
import { WorkerTable } from '../../src/primary/worker-table.ts';
import { emptyCounters, emptyGauges } from '../../src/stats.ts';

/** A minute and the drain's ten seconds, with the grace. */
const LIMIT_MS = 75_000;
const ADDRESS = { address: '::', port: 1, wire: 'handle', wireWhy: '' };

describe('a worker that leaves', () => {
  let nowMs = 0;
  let table: WorkerTable;
  let killed = 0;
  let leaving: WorkerProcess;

  beforeEach(() => {
    mock.timers.reset();
    mock.timers.enable({ apis: ['setTimeout'] });
    nowMs = 1_000;
    killed = 0;
    table = new WorkerTable(2, () => nowMs);
    const slots: Slot[] = [makeSlot(1), makeSlot(2)];
    const workers = slots.map((slot) => {
      const row = table.begin(slot.id, 4_000 + slot.id);
      table.ready(row, ADDRESS);
      row.brokerState = 'up';
      const worker = { id: slot.id, row, send: () => {}, kill: () => killed++ } as unknown as WorkerProcess;
      slot.worker = worker;
      return worker;
    });
    leaving = workers[1] as WorkerProcess;
    const succession = new Succession({
      table,
      slots,
      readyDeadlineMs: 30_000,
      killGraceMs: 5_000,
      running: () => true,
      drainSeconds: () => 10,
      readyWorker: (id) => workers[id - 1] ?? null,
      makeProcess: () => assert.fail('nobody is forked'),
      assign: () => {},
      onChange: () => {},
      onSlots: () => {},
      onPromoted: () => {},
    });
    void succession.removeSlot();
  });

  /** Lets the limit pass, with word of the worker or without. */
  function pass(heard: boolean, movedOut = 0): void {
    nowMs += LIMIT_MS;
    if (heard) table.snapshot(leaving.row, { counters: { ...emptyCounters(), movedOut }, gauges: emptyGauges() });
    mock.timers.tick(LIMIT_MS);
  }

  it('has the time again while it gives connections, and is killed when it gives none', () => {
    pass(true, 10);
    pass(true, 20);
    assert.equal(killed, 0);
    pass(true, 20);
    assert.equal(killed, 1);
  });

  it('has it for as long as its broker is away, or that of whoever is to take', () => {
    leaving.row.brokerState = 'down';
    pass(true);
    leaving.row.brokerState = 'up';
    const [taker] = table.rows;
    assert.ok(taker !== undefined);
    taker.brokerState = 'down';
    pass(true);
    assert.equal(killed, 0);
    taker.brokerState = 'up';
    pass(true);
    assert.equal(killed, 1);
  });

  it('is killed when nothing is heard of it, although its broker was away when it was last heard of', () => {
    leaving.row.brokerState = 'down';
    pass(true);
    assert.equal(killed, 0);
    pass(false);
    assert.equal(killed, 1);
  });
});
