// What the benchmarks compute with: percentiles, /proc's formats, the division of kernel memory, the table.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { nowMs } from '../../bench/clock.ts';
import { parseCores, waitedForCoreMs, withCoresApart } from '../../bench/cores.ts';
import {
  isStill,
  type KernelMemory,
  kernelMemory,
  parseRollup,
  parseSlabinfo,
  pssOf,
  serverShare,
} from '../../bench/memory.ts';
import { cpuOf, parseStat, processTree } from '../../bench/processes.ts';
import { aligned, atLeast, atMost, table } from '../../bench/report.ts';
import { median, mergeSorted, percentile } from '../../bench/statistics.ts';

describe('cores', () => {
  const allowed = () => /^Cpus_allowed_list:\s*(.+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '';

  it('are read from the kernel’s list', () => {
    assert.deepEqual(parseCores('0-3,8\n'), [0, 1, 2, 3, 8]);
    assert.deepEqual(parseCores('5'), [5]);
  });

  it('are set apart while something is measured, and given back', async () => {
    const before = allowed();
    const child = spawn('sleep', ['60']);
    try {
      const { result, note } = await withCoresApart([child.pid ?? 0], [], async () => allowed());
      if (parseCores(before).length === 1) assert.match(note ?? '', /none was set apart/);
      else assert.deepEqual([parseCores(result), note], [parseCores(before).slice(1), null]);
      assert.equal(allowed(), before);
    } finally {
      child.kill('SIGKILL');
    }
  });

  it('cannot all be given away', async () => {
    const all = parseCores(allowed()).map(() => process.pid);
    const { result, note } = await withCoresApart(all, [], async () => 'measured');
    assert.equal(result, 'measured');
    assert.match(note ?? '', /none was set apart/);
  });

  it('are waited for, which only grows', () => {
    const waited = waitedForCoreMs([process.pid]);
    assert.ok(waited >= 0 && waitedForCoreMs([process.pid]) >= waited);
  });
});

describe('percentiles', () => {
  const hundred = Array.from({ length: 100 }, (_, i) => i + 1);

  it('are the nearest rank', () => {
    assert.deepEqual(
      [0, 0.5, 0.99, 1].map((share) => percentile(hundred, share)),
      [1, 50, 99, 100],
    );
  });

  it('of one value are that value, of none no number', () => {
    assert.equal(percentile([7], 0.99), 7);
    assert.ok(Number.isNaN(percentile([], 0.5)));
  });

  it('are taken from all lists together', () => {
    assert.deepEqual([...mergeSorted([Float64Array.of(3, 1), Float64Array.of(), Float64Array.of(2)])], [1, 2, 3]);
  });

  it('have a median that leaves out what is no number', () => {
    assert.equal(median([3, Number.NaN, 1, 2]), 2);
    assert.equal(median([4, 1, 2, 3]), 2.5);
    assert.ok(Number.isNaN(median([])));
  });
});

describe('/proc', () => {
  const ROLLUP =
    'Rss:  5000 kB\nPss:                1200 kB\nPss_Dirty: 1 kB\nPss_Anon:            800 kB\nShared_Clean: 0 kB\n';

  it('gives PSS and its anonymous part', () => {
    assert.deepEqual(parseRollup(ROLLUP), { pssBytes: 1200 * 1024, anonBytes: 800 * 1024 });
  });

  it('gives parent and CPU time, whatever the command is called', () => {
    const line = `12 (a) b (c) S 7 1 1 0 -1 4 10 0 0 0 ${[150, 25].join(' ')} 0 0 20 0 1 0`;
    assert.deepEqual(parseStat(line), { parent: 7, cpu: { user: 1500, system: 250 } });
  });

  it('knows this process', () => {
    assert.ok(processTree(process.ppid).includes(process.pid));
    assert.ok(pssOf([process.pid]).pssBytes > 5e6);
    assert.ok(cpuOf([process.pid]).user > 0);
  });

  it('counts a process that is gone as nothing', () => {
    assert.deepEqual(pssOf([2 ** 30]), { pssBytes: 0, anonBytes: 0 });
    assert.deepEqual(cpuOf([2 ** 30]), { user: 0, system: 0 });
  });

  it('gives the slabs that sockets use, in bytes of their pages', () => {
    const text = [
      'slabinfo - version: 2.1',
      '# name <active_objs> …',
      'ext4_inode_cache 10 10 1000 8 2 : tunables 0 0 0 : slabdata 9 9 0',
      'TCPv6 20 26 2432 13 8 : tunables 0 0 0 : slabdata 2 2 0',
      'sock_inode_cache 20 26 832 19 4 : tunables 0 0 0 : slabdata 3 5 0',
    ].join('\n');
    assert.deepEqual(parseSlabinfo(text), { TCPv6: 2 * 8 * 4096, sock_inode_cache: 5 * 4 * 4096 });
  });

  it('gives kernel memory one way or the other', () => {
    assert.ok(Object.values(kernelMemory().caches).some((bytes) => bytes > 0));
  });
});

describe('the server share of kernel memory', () => {
  const reading = (caches: Record<string, number>, bufferBytes = 0): KernelMemory => {
    return { source: 'slabinfo', caches, bufferBytes };
  };

  it('is half when both ends are alike', () => {
    assert.equal(serverShare(reading({ TCP: 100, filp: 10 }), reading({ TCP: 300, filp: 30 }, 40)), 130);
  });

  it('is all of TCPv6 and none of TCP when only the server has IPv6 sockets', () => {
    assert.equal(serverShare(reading({}), reading({ TCP: 200, TCPv6: 220, filp: 30 })), 235);
  });

  it('does not count what shrank', () => {
    assert.equal(serverShare(reading({ TCP: 100, dentry: 50 }), reading({ TCP: 300, dentry: 10 })), 100);
  });
});

describe('standing still', () => {
  it('means within half a percent of the mean', () => {
    assert.ok(isStill([1000, 1004, 998]));
    assert.ok(!isStill([1000, 1020, 998]));
  });
});

describe('the clock', () => {
  it('is that of hrtime, to a fraction of a millisecond', () => {
    const distances = Array.from({ length: 50 }, () => Math.abs(nowMs() - Number(process.hrtime.bigint()) / 1e6));
    assert.ok(Math.min(...distances) < 0.2);
  });
});

describe('the table', () => {
  const rows = [
    { name: 'cost', unit: 'bytes', digits: 0, of: (value: number) => value, budget: atMost(1_300, 'bytes') },
    { name: 'rate', unit: '', digits: 1, of: (value: number) => value / 10, budget: atLeast(200, '') },
  ];

  it('judges the median of the gateway, not the references', () => {
    const results = new Map<string, number[]>([
      ['longwire', [1_000, 1_200, 9_000]],
      ['http', [10_000]],
    ]);
    const { verdicts } = table(rows, results);
    assert.deepEqual(
      verdicts.map(({ value, holds }) => [value, holds]),
      [
        [1_200, true],
        [120, false],
      ],
    );
  });

  it('judges each column that a budget is for, and names those that missed it', () => {
    const results = new Map([
      ['sse', [1_200]],
      ['stream', [1_250]],
      ['websocket', [1_500]],
    ]);
    const [row] = rows;
    assert.ok(row !== undefined);
    const { lines, verdicts } = table([{ ...row, judged: ['stream', 'websocket', 'poll'] }], results);
    assert.deepEqual(
      verdicts.map(({ column, holds }) => [column, holds]),
      [
        ['stream', true],
        ['websocket', false],
      ],
    );
    assert.match(lines[1] ?? '', /≤ 1,300 bytes +MISSED: websocket$/);
  });

  it('has columns of one width', () => {
    assert.deepEqual(
      aligned([
        ['', 'a', 'bb'],
        ['name', '1,000', '2'],
      ]),
      ['          a  bb', 'name  1,000   2'],
    );
  });
});
