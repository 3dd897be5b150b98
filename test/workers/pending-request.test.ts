// What a connection keeps of a request that came cut: every byte, in order, its own, and at a bounded cost.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PendingRequest } from '../../workers/pending-request.ts';
import { Random } from './http/random.ts';

describe('a pending request', () => {
  it('has nothing at first, and no memory of its own', () => {
    const request = new PendingRequest();
    assert.deepEqual([request.length, request.bytes.length], [0, 0]);
    assert.deepEqual([request.parser, request.body, request.onBody, request.keepAlive], [null, null, null, false]);
  });

  it('keeps what is appended, in order, whatever the pieces', () => {
    for (let seed = 0; seed < 50; seed++) {
      const random = new Random(seed);
      const bytes = Buffer.from(Array.from({ length: 1 + random.below(9_000) }, () => random.below(256)));
      const request = new PendingRequest();
      for (let at = 0; at < bytes.length; ) {
        const end = Math.min(bytes.length, at + random.below(random.pick([2, 50, 3_000])));
        request.append(bytes, at, end);
        at = end;
      }
      assert.equal(request.length, bytes.length);
      assert.ok(request.bytes.subarray(0, request.length).equals(bytes), `seed ${seed}`);
    }
  });

  it('copies: the buffer that the bytes came in is used again for other connections', () => {
    const shared = Buffer.from('..GET /..');
    const request = new PendingRequest();
    request.append(shared, 2, 7);
    shared.fill('x');
    assert.equal(request.bytes.toString('latin1', 0, request.length), 'GET /');
  });

  it('a head that comes byte by byte is moved a few times, not once a byte', () => {
    const request = new PendingRequest();
    const one = Buffer.from('x');
    let memory = request.bytes;
    let moves = 0;
    for (let i = 0; i < 16_384; i++) {
      request.append(one, 0, 1);
      if (request.bytes !== memory) moves++;
      memory = request.bytes;
    }
    assert.equal(request.length, 16_384);
    assert.ok(moves <= 5, `${moves} moves`);
    assert.ok(request.bytes.length <= 2 * request.length);
  });

  it('has memory of its own, not a part of one that others share', () => {
    const request = new PendingRequest();
    request.append(Buffer.from('GET'), 0, 3);
    assert.equal(request.bytes.buffer.byteLength, request.bytes.length);
  });
});
