// The connection limit: shares, the descriptor reserve, and where RLIMIT_NOFILE is read from.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, it } from 'node:test';
import {
  CONNECTION_CEILING,
  DESCRIPTOR_RESERVE,
  parseProcLimits,
  readDescriptorLimit,
  shareConnections,
} from '../../src/primary/limits.ts';

describe('connection limit', () => {
  it('is what the descriptors allow, less the reserve, when none is configured', () => {
    const share = shareConnections(0, 3, 20_000);
    assert.deepEqual(share, { perWorker: 19_744, total: 59_232, warning: null });
    assert.equal(share.perWorker, 20_000 - DESCRIPTOR_RESERVE);
  });

  it('is an equal share of the maximum, rounded up', () => {
    assert.deepEqual(shareConnections(10, 3, 20_000), { perWorker: 4, total: 12, warning: null });
    assert.deepEqual(shareConnections(1, 1, 20_000), { perWorker: 1, total: 1, warning: null });
  });

  it('never passes the descriptors, and says so with both numbers', () => {
    const { perWorker, total, warning } = shareConnections(100_000, 2, 20_000);
    assert.equal(perWorker, 19_744);
    assert.equal(total, 39_488);
    assert.match(warning ?? '', /100000/);
    assert.match(warning ?? '', /39488/);
    assert.match(warning ?? '', /RLIMIT_NOFILE 20000/);
  });

  it('is exactly the maximum where the descriptors just carry it', () => {
    assert.equal(shareConnections(2 * 19_744, 2, 20_000).warning, null);
    assert.notEqual(shareConnections(2 * 19_744 + 1, 2, 20_000).warning, null);
  });

  it('leaves half in reserve where there are very few descriptors', () => {
    assert.equal(shareConnections(0, 1, 256).perWorker, 128);
    assert.equal(shareConnections(0, 1, 512).perWorker, 256);
    assert.equal(shareConnections(0, 1, 1).perWorker, 1);
  });

  it('is bounded without any limit on descriptors', () => {
    assert.equal(shareConnections(0, 1, Number.POSITIVE_INFINITY).perWorker, CONNECTION_CEILING);
    assert.equal(shareConnections(1_000_000, 4, Number.POSITIVE_INFINITY).perWorker, 250_000);
  });
});

describe('RLIMIT_NOFILE', () => {
  it('is read from the text of /proc/self/limits', () => {
    const text = [
      'Limit                     Soft Limit           Hard Limit           Units     ',
      'Max processes             1000                 2000                 processes ',
      'Max open files            1024                 524288               files     ',
      'Max locked memory         8388608              8388608              bytes     ',
    ].join('\n');
    assert.equal(parseProcLimits(text), 1024);
    assert.equal(parseProcLimits(text.replace('1024', 'unlimited')), Number.POSITIVE_INFINITY);
    assert.equal(parseProcLimits('Max processes 10 20 processes'), null);
    assert.equal(parseProcLimits(''), null);
  });

  it('is the same as the process report says', () => {
    const report = execFileSync(process.execPath, ['-p', 'process.report.getReport().userLimits.open_files.soft'], {
      encoding: 'utf8',
    }).trim();
    assert.equal(String(readDescriptorLimit()), report === 'unlimited' ? 'Infinity' : report);
  });
});
