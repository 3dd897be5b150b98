// Logs: one JSON object a line, whatever the fields, from the level on that was asked for.

import assert from 'node:assert/strict';
import { describe, it, mock } from 'node:test';
import { createLog, LOG_LEVELS, type LogFields, type LogLevel } from '../../src/log.ts';

function collect(level: LogLevel): { lines: string[]; log: ReturnType<typeof createLog> } {
  const lines: string[] = [];
  return { lines, log: createLog(level, 'worker 3', (line) => lines.push(line)) };
}

function written(fields: LogFields): Record<string, unknown> {
  const { lines, log } = collect('debug');
  log.info('text', fields);
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? '', /^[^\r\n]*\n$/);
  return JSON.parse(lines[0] ?? '');
}

describe('a log', () => {
  for (const [i, level] of LOG_LEVELS.entries()) {
    it(`of level ${level} writes that and above`, () => {
      const { lines, log } = collect(level);
      for (const each of LOG_LEVELS) log[each](each);
      assert.deepEqual(
        lines.map((line) => JSON.parse(line).level),
        LOG_LEVELS.slice(i),
      );
    });
  }

  it('says when, how bad, who and what, then the fields', () => {
    const { lines, log } = collect('info');
    log.warn('a text', { port: 3000, address: '::1', none: null });
    const { time, ...rest } = JSON.parse(lines[0] ?? '');
    assert.ok(Math.abs(Date.parse(time) - Date.now()) < 60_000);
    assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.deepEqual(rest, {
      level: 'warn',
      process: 'worker 3',
      text: 'a text',
      port: 3000,
      address: '::1',
      none: null,
    });
    assert.deepEqual(Object.keys(rest).slice(0, 3), ['level', 'process', 'text']);
  });

  it('is one line a call, whatever peers have put into it', () => {
    const nasty = 'a\r\nb\n{"level":"error"}\u2028\0';
    assert.equal(written({ channel: nasty }).channel, nasty);
    const { lines, log } = collect('debug');
    log.error(nasty);
    assert.match(lines[0] ?? '', /^[^\r\n]*\n$/);
  });

  it('writes nothing for a line that is below its level, and does not look at its fields', () => {
    const { lines, log } = collect('error');
    const fields = {
      get costly(): string {
        return assert.fail('looked at');
      },
    };
    log.debug('text', fields);
    assert.deepEqual(lines, []);
  });

  it('goes to stderr unless told otherwise', () => {
    const write = mock.method(process.stderr, 'write', () => true);
    createLog('info', 'primary').info('to stderr');
    const calls = write.mock.calls.map((call) => String(call.arguments[0]));
    write.mock.restore();
    assert.equal(calls.length, 1);
    assert.equal(JSON.parse(calls[0] ?? '').process, 'primary');
  });
});
