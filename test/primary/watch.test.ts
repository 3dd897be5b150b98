// The watch: who is judged, when, and what is done; on a table and a clock of the test's own.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { evenShares } from '../../src/primary/fleet.ts';
import { LOOK_MS, Watch } from '../../src/primary/watch.ts';
import { type WorkerRow, WorkerTable } from '../../src/primary/worker-table.ts';
import { emptyCounters, emptyGauges } from '../../src/stats.ts';
import { logLines } from '../broker/log-lines.ts';

const ADDRESS = { address: '::', port: 3000, wire: 'handle', wireWhy: '' };

function rig(
  config: { hangSeconds?: number; workerMemoryLimitBytes?: number; rebalancePercent?: number },
  workers = 2,
) {
  let nowMs = 100_000;
  const table = new WorkerTable(workers, () => nowMs);
  const done: string[] = [];
  const { log, lines } = logLines();
  const actions = {
    kill: ({ id }: WorkerRow) => void done.push(`kill ${id}`),
    replace: (id: number) => void done.push(`replace ${id}`),
    rebalance: () => void done.push('rebalance'),
  };
  const limits = { hangSeconds: 0, workerMemoryLimitBytes: 0, rebalancePercent: 0, ...config };
  const watch = new Watch(() => limits, actions, log);
  const start = (id: number) => {
    const row = table.begin(id, process.pid);
    table.ready(row, ADDRESS);
    return row;
  };
  const push = (row: WorkerRow, { rssBytes = 0, held = 0 } = {}) => {
    const gauges = emptyGauges();
    gauges.rssBytes = rssBytes;
    gauges.connections[1] = held;
    table.snapshot(row, { counters: emptyCounters(), gauges });
  };
  /** So many looks, a second apart, with what workers push before each. */
  const look = (times: number, before: () => void = () => {}, everyMs = LOOK_MS) => {
    for (let i = 0; i < times; i++) {
      nowMs += everyMs;
      before();
      watch.look(table.rows, nowMs);
    }
  };
  return { table, limits, done, lines, start, push, look };
}

describe('a worker that hangs', () => {
  it('is judged by the limit that is in force, which a reload changes', () => {
    const { limits, done, start, push, look } = rig({ hangSeconds: 60 });
    const [hanging, well] = [start(1), start(2)];
    push(hanging);
    look(8, () => push(well));
    assert.deepEqual(done, []);
    limits.hangSeconds = 5;
    look(1, () => push(well));
    assert.deepEqual(done, ['kill 1']);
  });

  it('is killed once when its numbers stay away for the limit, and says what the kernel says of it', () => {
    const { done, lines, start, push, look } = rig({ hangSeconds: 5 });
    const [hanging, well] = [start(1), start(2)];
    push(hanging);
    look(4, () => push(well));
    assert.deepEqual(done, []);
    look(4, () => push(well));
    assert.deepEqual(done, ['kill 1']);
    const line = lines.find(({ text }) => text.includes('hangs'));
    assert.equal(line?.silentSeconds, 5);
    assert.match(String(line?.kernelState), /^[RSDT]$/);
  });

  it('is not one that is busy: its numbers come late, and it stays', () => {
    const { done, start, push, look } = rig({ hangSeconds: 5 }, 1);
    const busy = start(1);
    for (let i = 0; i < 20; i++) {
      look(4);
      push(busy);
    }
    assert.deepEqual(done, []);
  });

  it('is not judged by a primary that was held up itself', () => {
    const { done, start, push, look } = rig({ hangSeconds: 5 }, 1);
    const row = start(1);
    look(1, () => push(row));
    look(1, () => {}, 60_000);
    look(1, () => push(row));
    look(1, () => {}, 60_000);
    assert.deepEqual(done, []);
  });

  it('has until the limit from when it is ready, and for ever where there is no limit', () => {
    const limited = rig({ hangSeconds: 5 }, 1);
    limited.start(1);
    limited.look(4);
    assert.deepEqual(limited.done, []);
    limited.look(2);
    assert.deepEqual(limited.done, ['kill 1']);
    const unlimited = rig({}, 1);
    unlimited.start(1);
    unlimited.look(600);
    assert.deepEqual(unlimited.done, []);
  });
});

describe('a worker over its memory limit', () => {
  it('is replaced when it stays there, and its replacement not again at once', () => {
    const { done, start, push, look } = rig({ workerMemoryLimitBytes: 1_000 }, 1);
    const row = start(1);
    look(2, () => push(row, { rssBytes: 1_001 }));
    look(1, () => push(row, { rssBytes: 900 }));
    look(2, () => push(row, { rssBytes: 1_001 }));
    assert.deepEqual(done, []);
    look(10, () => push(row, { rssBytes: 1_001 }));
    assert.deepEqual(done, ['replace 1']);
    look(300, () => push(row, { rssBytes: 1_001 }));
    assert.deepEqual(done, ['replace 1', 'replace 1']);
  });
});

describe('workers that hold much more than others', () => {
  it('give some away when that lasts', () => {
    const { done, start, push, look } = rig({ rebalancePercent: 20 });
    const [large, small] = [start(1), start(2)];
    const hold = (a: number, b: number) => () => {
      push(large, { held: a });
      push(small, { held: b });
    };
    look(10, hold(1_090, 900));
    look(2, hold(1_300, 900));
    look(1, hold(1_000, 900));
    look(10, hold(60, 0));
    assert.deepEqual(done, []);
    look(3, hold(1_300, 900));
    assert.deepEqual(done, ['rebalance']);
  });
});

describe('even shares', () => {
  it('bring each to the mean, give or take one', () => {
    for (const held of [[10, 0], [7, 0, 0], [100, 50, 0, 3], [5, 5, 5], [0, 0], [1], [], [9, 1, 1, 1, 1, 1, 1, 1]]) {
      const after = [...held];
      for (const { from, shares } of evenShares(
        held.map((count, i) => ({ id: i + 1, held: count })),
        1_000,
      )) {
        for (const { to, count } of shares) {
          assert.ok(count !== null && count > 0);
          after[from - 1] = (after[from - 1] as number) - count;
          after[to - 1] = (after[to - 1] as number) + count;
        }
      }
      const mean = Math.floor(held.reduce((sum, count) => sum + count, 0) / Math.max(1, held.length));
      assert.ok(
        after.every((count) => count >= mean),
        `${held} becomes ${after}`,
      );
      assert.ok(Math.max(...after, 0) - mean <= held.length, `${held} becomes ${after}`);
    }
  });

  it('go a part of the way where that is asked for', () => {
    const shares = evenShares(
      [
        { id: 1, held: 1_000 },
        { id: 2, held: 0 },
      ],
      100,
    );
    assert.deepEqual(shares, [{ from: 1, shares: [{ to: 2, count: 100 }] }]);
  });
});
