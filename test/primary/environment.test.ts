// `.env` lies beneath the real environment and leaves `process.env` alone.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { formatFaults, loadConfig } from '../../config/load.ts';
import { readEnvironment } from '../../src/primary/environment.ts';

describe('readEnvironment', () => {
  let parent: string;
  let folder: string;
  let count = 0;

  before(() => {
    parent = mkdtempSync(join(tmpdir(), 'longwire-environment-'));
  });
  beforeEach(() => {
    folder = join(parent, String(count++));
    mkdirSync(folder);
  });
  after(() => {
    rmSync(parent, { recursive: true });
  });

  function write(...lines: string[]): void {
    writeFileSync(join(folder, '.env'), lines.join('\n'));
  }

  it('is the real environment when there is no file', () => {
    assert.deepEqual(readEnvironment(folder, { PORT: '1' }), { environment: { PORT: '1' } });
  });

  it('adds what the file has, and the real environment wins', () => {
    write('PORT=4000', 'LONGWIRE_WORKERS=3', '# a comment', 'LONGWIRE_REDIS_PREFIX="a:#b:"');
    assert.deepEqual(readEnvironment(folder, { PORT: '1', HOME: '/home' }), {
      environment: { PORT: '1', HOME: '/home', LONGWIRE_WORKERS: '3', LONGWIRE_REDIS_PREFIX: 'a:#b:' },
    });
  });

  it('takes an empty value in the real environment for the default, not for the file', () => {
    write('PORT=4000');
    const outcome = readEnvironment(folder, { PORT: '' });
    assert.ok('environment' in outcome);
    const loaded = loadConfig(outcome.environment);
    assert.ok('config' in loaded);
    assert.equal(loaded.config.port, 3000);
  });

  it('leaves process.env as it was', () => {
    write('LONGWIRE_ENVIRONMENT_TEST=1');
    const outcome = readEnvironment(folder);
    assert.ok('environment' in outcome);
    assert.equal(outcome.environment.LONGWIRE_ENVIRONMENT_TEST, '1');
    assert.equal(process.env.LONGWIRE_ENVIRONMENT_TEST, undefined);
  });

  it('does as it is told here, whatever DOTENV_ variables say', () => {
    write('PORT=4000');
    process.env.DOTENV_OVERRIDE = 'true';
    try {
      assert.deepEqual(readEnvironment(folder, { PORT: '1' }), { environment: { PORT: '1' } });
    } finally {
      delete process.env.DOTENV_OVERRIDE;
    }
  });

  it('reports a file that is there and cannot be read', () => {
    mkdirSync(join(folder, '.env'));
    const outcome = readEnvironment(folder, {});
    assert.ok('faults' in outcome);
    assert.match(formatFaults(outcome.faults), /^1 fault in the configuration:\n {2}\.env must be a file .*EISDIR/);
  });
});
