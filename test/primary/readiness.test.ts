// /ready: which single thing is wrong, and that each of them alone is enough.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkReadiness, type ReadinessReport } from '../../src/primary/readiness.ts';
import { WorkerTable } from '../../src/primary/worker-table.ts';

const ADDRESS = { address: '::', port: 3000, wire: 'handle', wireWhy: '' };

function serving(workers: number): WorkerTable {
  const table = new WorkerTable(workers);
  for (let id = 1; id <= workers; id++) {
    const row = table.begin(id, id);
    table.ready(row, ADDRESS);
    row.brokerState = 'up';
  }
  return table;
}

function failing({ checks }: ReadinessReport): string[] {
  return checks.filter((check) => !check.ok).map((check) => check.name);
}

describe('readiness', () => {
  it('is given when a worker accepts and the broker is up everywhere', () => {
    const report = checkReadiness(serving(2), false);
    assert.equal(report.ready, true);
    assert.deepEqual(failing(report), []);
  });

  it('is refused before any worker is ready', () => {
    const report = checkReadiness(new WorkerTable(2), false);
    assert.equal(report.ready, false);
    assert.deepEqual(failing(report), ['accepting', 'broker']);
  });

  it('is given while one of several workers is being replaced', () => {
    const table = serving(2);
    const [row] = table.rows;
    assert.ok(row !== undefined);
    table.end(row);
    assert.equal(checkReadiness(table, false).ready, true);
    table.begin(1, 9);
    assert.equal(checkReadiness(table, false).ready, true);
  });

  it('is refused during a shutdown', () => {
    assert.deepEqual(failing(checkReadiness(serving(1), true)), ['running']);
  });

  it('is refused when every ready worker is full, and given when one is not', () => {
    const table = serving(2);
    for (const row of table.rows) row.room = false;
    const report = checkReadiness(table, false);
    assert.deepEqual(failing(report), ['accepting']);
    assert.match(report.checks[1]?.text ?? '', /connection limit/);
    const [row] = table.rows;
    assert.ok(row !== undefined);
    row.room = true;
    assert.equal(checkReadiness(table, false).ready, true);
  });

  it('is refused, naming the workers, when the broker is away at one of them', () => {
    for (const state of ['down', 'connecting'] as const) {
      const table = serving(3);
      const row = table.rows[1];
      assert.ok(row !== undefined);
      row.brokerState = state;
      const report = checkReadiness(table, false);
      assert.deepEqual(failing(report), ['broker']);
      assert.match(report.checks[2]?.text ?? '', /worker 2$/);
    }
  });
});
