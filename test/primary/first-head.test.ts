// The first head as the sticky front collects it: whole at the same byte however it is cut, and in memory that its bytes bound.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { FirstHead } from '../../src/primary/first-head.ts';

describe('the first head of a connection', () => {
  it('is whole with the empty line, at the same byte however it is cut', () => {
    const piece = fc.constantFrom('\r', '\n', '\r\n', '\r\r', '\n\n', 'G', 'GET / HTTP/1.1', 'a: b', '\r\n\r');
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), fc.array(fc.nat(20), { minLength: 1 }), (pieces, cuts) => {
        const bytes = Buffer.from(pieces.join(''));
        const end = bytes.indexOf('\r\n\r\n');
        const head = new FirstHead();
        let at = 0;
        let whole = false;
        for (let i = 0; at < bytes.length && !whole; i++) {
          const next = Math.min(bytes.length, at + 1 + (cuts[i % cuts.length] as number));
          whole = head.push(bytes.subarray(at, next));
          assert.equal(whole, end >= 0 && end + 4 <= next);
          at = next;
        }
        assert.equal(head.length, at);
        assert.deepEqual(head.take(), bytes.subarray(0, at));
        assert.deepEqual([head.length, head.heldBytes, head.take().length], [0, 0, 0]);
      }),
    );
  });

  it('costs what its bytes cost, and little more, byte by byte', () => {
    const head = new FirstHead();
    for (let i = 0; i < 100_000; i++) {
      assert.equal(head.push(Buffer.from('x')), false);
      assert.ok(head.heldBytes <= head.length + 64 * 128);
    }
    assert.equal(head.take().length, 100_000);
  });
});
