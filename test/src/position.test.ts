// Positions as text, and what they are worth in a history.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type ChannelHistory, missedSince } from '../../src/history.ts';
import { formatPosition, parsePosition } from '../../src/position.ts';
import { Publication } from '../../src/publication.ts';

describe('a position', () => {
  it('is read as it was written', () => {
    for (const [epoch, offset] of [
      ['a', 0],
      ['b1946ac92f', 17],
      ['A-_9', Number.MAX_SAFE_INTEGER],
    ] as const) {
      assert.deepEqual(parsePosition(formatPosition(epoch, offset)), { epoch, offset });
    }
  });

  it('is nothing else', () => {
    for (const text of [
      '',
      '.',
      'a',
      'a.',
      '.1',
      'a.b',
      'a.01',
      'a.-1',
      'a.1.2',
      'a b.1',
      'a.1 ',
      'a.1e3',
      'a.9007199254740992',
      `${'a'.repeat(33)}.1`,
    ]) {
      assert.equal(parsePosition(text), null, text);
    }
  });
});

describe('what a position has missed', () => {
  const at = (offset: number, previous: number) => new Publication('a', Buffer.from('x')).place('e', offset, previous);
  const history: ChannelHistory = {
    state: { epoch: 'e', offset: 20, past: new Map([['former', 8]]) },
    top: 15,
    floor: 7,
    publications: [at(9, 7), at(15, 9)],
  };
  const missed = (epoch: string, offset: number) =>
    missedSince(history, { epoch, offset })?.map(({ offset: o }) => o) ?? null;

  it('is what lies behind it, nothing at the top, and a gap below the floor', () => {
    assert.equal(missed('e', 6), null);
    assert.deepEqual(missed('e', 7), [9, 15]);
    assert.deepEqual(missed('e', 9), [15]);
    assert.deepEqual(missed('e', 14), [15]);
    assert.deepEqual(missed('e', 15), []);
    assert.deepEqual(missed('e', 20), []);
  });

  it('is a gap beyond the counter, in an unknown epoch, and where a former epoch no longer holds', () => {
    assert.equal(missed('e', 21), null);
    assert.equal(missed('other', 9), null);
    assert.deepEqual(missed('former', 8), [9, 15]);
    assert.equal(missed('former', 9), null);
    assert.equal(missed('former', 6), null);
  });
});
