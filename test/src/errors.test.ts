// Errors: the table that programs rely on, and what is shown for whatever was thrown. test/protocol.test.ts
// holds docs/protocol.md against the same table.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ERRORS, type ErrorName, errorText, LongwireError } from '../../src/errors.ts';

const NAMES = Object.keys(ERRORS) as ErrorName[];

describe('the table of errors', () => {
  it('is what clients have been told: codes and statuses do not change', () => {
    const told: Record<string, [code: number, status: number]> = {
      internal: [100, 500],
      unauthorized: [101, 401],
      'not-allowed': [103, 403],
      'method-not-found': [104, 404],
      'limit-exceeded': [106, 413],
      'bad-request': [107, 400],
      'not-available': [108, 400],
      'token-expired': [109, 401],
      'session-gone': [110, 410],
      gap: [112, 409],
      superseded: [409, 409],
      disconnected: [410, 410],
      'session-elsewhere': [421, 421],
      unavailable: [503, 503],
    };
    for (const [name, [code, status]] of Object.entries(told))
      assert.deepEqual(ERRORS[name as ErrorName], { code, status });
  });

  it('has Centrifugo’s numbers, or the status from the range that it leaves to applications', () => {
    for (const name of NAMES) {
      const { code, status } = ERRORS[name];
      assert.ok(code < 113 || code === status, name);
    }
  });

  it('has each code once, and only statuses that say failure', () => {
    const codes = NAMES.map((name) => ERRORS[name].code);
    assert.equal(new Set(codes).size, codes.length);
    for (const name of NAMES) assert.ok(ERRORS[name].status >= 400 && ERRORS[name].status < 600);
  });
});

describe('a LongwireError', () => {
  it('carries its code, its status and its text', () => {
    for (const name of NAMES) {
      const error = new LongwireError(name, 'why');
      assert.ok(error instanceof Error);
      assert.deepEqual(
        [error.kind, error.status, error.message, error.name],
        [name, ERRORS[name].status, 'why', 'LongwireError'],
      );
      assert.deepEqual(JSON.parse(JSON.stringify(error.toBody())), {
        error: { code: ERRORS[name].code, message: 'why' },
      });
    }
  });

  it('keeps its cause', () => {
    const cause = new TypeError('underneath');
    assert.equal(new LongwireError('internal', 'why', { cause }).cause, cause);
  });
});

describe('errorText', () => {
  it('has something to say of anything that is thrown', () => {
    for (const [thrown, text] of [
      [new TypeError('why'), 'why'],
      [new LongwireError('unavailable', 'away'), 'away'],
      [new Error(''), ''],
      ['a text', 'a text'],
      [undefined, 'undefined'],
      [null, 'null'],
      [7, '7'],
      [{ toString: () => 'an object' }, 'an object'],
      [Symbol('s'), 'Symbol(s)'],
    ] as const) {
      assert.equal(errorText(thrown), text);
    }
  });
});
