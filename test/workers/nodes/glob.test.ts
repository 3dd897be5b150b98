// Patterns of channel names, against expressions of the language's own and against names made to fit.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { Glob } from '../../../workers/nodes/glob.ts';

const SEED = 2026;

describe('a pattern', () => {
  for (const [pattern, fits, others] of [
    ['', [''], ['a']],
    ['chat', ['chat'], ['chats', 'cha', '']],
    ['chat:*', ['chat:', 'chat:a', 'chat:a:b'], ['chat', 'xchat:a']],
    ['*:room', ['a:room', ':room', 'room:room'], ['a:rooms', 'room']],
    ['*', ['', 'anything'], []],
    ['a*b*c', ['abc', 'aXbYc', 'abbcc', 'abcbc'], ['ab', 'acb']],
    ['?', ['a', '👩', 'ü'], ['', 'ab']],
    ['a?c', ['abc', 'a*c'], ['ac', 'abbc']],
    ['\\*', ['*'], ['a', '']],
    ['a\\?b', ['a?b'], ['axb']],
    ['\\\\', ['\\'], ['a']],
    ['a\\', ['a\\'], ['a']],
    ['[ab]', ['[ab]'], ['a']],
  ] as const) {
    it(`${pattern} fits what it says`, () => {
      const glob = new Glob(pattern);
      for (const name of fits) assert.equal(glob.matches(name), true, name);
      for (const name of others) assert.equal(glob.matches(name), false, name);
    });
  }

  it('fits what the same expression fits', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '*', '?', ':'), maxLength: 12 });
    const name = fc.string({ unit: fc.constantFrom('a', 'b', ':'), maxLength: 12 });
    fc.assert(
      fc.property(text, name, (pattern, channel) => {
        const expression = pattern.replaceAll('*', '[^]*').replaceAll('?', '[^]');
        assert.equal(new Glob(pattern).matches(channel), new RegExp(`^${expression}$`, 'u').test(channel));
      }),
      { seed: SEED, numRuns: 5_000 },
    );
  });

  it('takes no time that grows out of hand', () => {
    const glob = new Glob('*a'.repeat(127));
    const begin = performance.now();
    assert.equal(glob.matches(`${'a'.repeat(254)}b`), false);
    assert.ok(performance.now() - begin < 100);
  });
});
