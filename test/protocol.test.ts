// docs/protocol.md's tables of errors, close reasons and statuses are the code's: nothing missing, nothing made up.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KNOBS } from '../config/knobs.ts';
import { CLOSE_REASONS } from '../src/close-reason.ts';
import { ERRORS } from '../src/errors.ts';
import { BODY_FAULTS, HEAD_FAULTS } from '../workers/http/faults.ts';
import { projectFile } from './project.ts';

const protocol = projectFile('docs/protocol.md');

/** The cells of the table whose header begins with these cells, row by row. */
function table(...header: string[]): string[][] {
  const lines = protocol.split('\n');
  const start = lines.findIndex((line) => line.startsWith(`| ${header.join(' | ')} |`));
  assert.notEqual(start, -1, `docs/protocol.md has no table ${header.join(', ')}`);
  const rows: string[][] = [];
  for (let i = start + 2; lines[i]?.startsWith('|'); i++) {
    rows.push(
      (lines[i] as string)
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim().replaceAll('`', '')),
    );
  }
  return rows;
}

describe('docs/protocol.md', () => {
  it('has the API’s errors with their codes and statuses', () => {
    const documented = table('error', 'code', 'status').map(([name, code, status]) => [
      name,
      Number(code),
      Number(status),
    ]);
    assert.deepEqual(
      documented,
      Object.entries(ERRORS).map(([name, { code, status }]) => [name, code, status]),
    );
  });

  it('has every reason for which a connection ends, in the order of the code', () => {
    assert.deepEqual(
      table('reason', 'what happened').map(([reason]) => reason),
      [...CLOSE_REASONS],
    );
  });

  it('has every status that a fault of the peer is answered with', () => {
    const documented = new Set(
      table('status', 'when').flatMap(([statuses]) => (statuses as string).split(', ').map(Number)),
    );
    for (const { status } of [...Object.values(HEAD_FAULTS), ...Object.values(BODY_FAULTS)]) {
      assert.ok(documented.has(status), `${status} is not documented`);
    }
  });

  it('names only knobs that exist', () => {
    const known = new Set(Object.values(KNOBS).map(({ environment }) => environment));
    for (const [name] of protocol.matchAll(/LONGWIRE_[A-Z_]+/g)) assert.ok(known.has(name), `${name} is no knob`);
  });
});
