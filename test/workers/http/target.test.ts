// Percent-encoding and queries: strict, and the same as the WHATWG parser wherever that has nothing to repair.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { percentDecode, queryValues } from '../../../workers/http/target.ts';

const SEED = 1;

describe('percentDecode', () => {
  for (const [text, decoded] of [
    ['', ''],
    ['alice', 'alice'],
    ['a+b', 'a+b'],
    ['%61', 'a'],
    ['%25%2525', '%%25'],
    ['%c3%A9', 'é'],
    ['%F0%9F%98%80', '😀'],
    ['%EF%BB%BFa', '\ufeffa'],
    ['%00', '\0'],
    // Malformed escapes.
    ['%', null],
    ['%6', null],
    ['a%', null],
    ['%zz', null],
    ['%6g', null],
    ['%%61', null],
    ['% 61', null],
    ['%+1', null],
    ['%u0061', null],
    // Not UTF-8: a lone byte, one cut short, overlong, a surrogate, beyond U+10FFFF, Latin-1.
    ['%80', null],
    ['%C3', null],
    ['%C3a', null],
    ['%F0%9F%98', null],
    ['%C0%AF', null],
    ['%E0%80%AF', null],
    ['%ED%A0%80', null],
    ['%F4%90%80%80', null],
    ['%FF', null],
    ['%E9', null],
  ] as const) {
    it(`${JSON.stringify(text)} is ${JSON.stringify(decoded)}`, () => assert.equal(percentDecode(text), decoded));
  }

  it('undoes encodeURIComponent', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        assert.equal(percentDecode(encodeURIComponent(text)), text);
      }),
      { seed: SEED },
    );
  });
});

describe('queryValues', () => {
  for (const [query, values] of [
    ['', []],
    ['a', [['a', '']]],
    ['a=', [['a', '']]],
    ['=', [['', '']]],
    ['=b', [['', 'b']]],
    ['a=b', [['a', 'b']]],
    ['a=b=c', [['a', 'b=c']]],
    [
      'a&b=c',
      [
        ['a', ''],
        ['b', 'c'],
      ],
    ],
    [
      'a=1&a=2',
      [
        ['a', '1'],
        ['a', '2'],
      ],
    ],
    ['&&a=b&&', [['a', 'b']]],
    ['a+b=c+d%2B', [['a b', 'c d+']]],
    ['%61%3D=%26', [['a=', '&']]],
    ['a;b=c', [['a;b', 'c']]],
    ['?a=b', [['?a', 'b']]],
    ['a=%zz', null],
    ['%=b', null],
    ['ok=1&a=%C3', null],
    ['a=%C3&b=%A9', null],
  ] as const) {
    it(`${JSON.stringify(query)} is ${JSON.stringify(values)}`, () => {
      assert.deepEqual(queryValues(query)?.map(({ name, value }) => [name, value]) ?? null, values);
    });
  }

  it('reads what URLSearchParams writes', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }))), (pairs) => {
        const read = queryValues(new URLSearchParams(pairs).toString());
        assert.deepEqual(
          read?.map(({ name, value }) => [name, value]),
          pairs,
        );
      }),
      { seed: SEED },
    );
  });
});
