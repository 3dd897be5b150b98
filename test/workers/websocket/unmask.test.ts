// Unmasking against RFC 6455 §5.3 as it is written, byte i by mask byte i modulo 4, at every length and alignment.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { copyUnmasked, rotateMask } from '../../../workers/websocket/unmask.ts';
import { Random } from '../http/random.ts';
import { randomBytes } from './client-frames.ts';

const AROUND = 0x55;

describe('unmasking', () => {
  it('takes the mask off, at every length and alignment, and touches nothing else', () => {
    const random = new Random(1);
    const source = randomBytes(random, 400);
    const untouched = Buffer.from(source);
    for (let count = 0; count <= 260; count++) {
      for (let alignment = 0; alignment < 8; alignment++) {
        const mask = randomBytes(random, 4);
        const start = random.below(100);
        const target = Buffer.alloc(300, AROUND);
        copyUnmasked(source, start, target, alignment, count, mask.readInt32LE(0));
        assert.ok(
          target.subarray(alignment, alignment + count).equals(plain(source.subarray(start, start + count), mask)),
        );
        assert.ok(target.subarray(0, alignment).every((byte) => byte === AROUND));
        assert.ok(target.subarray(alignment + count).every((byte) => byte === AROUND));
      }
    }
    assert.deepEqual(source, untouched);
  });

  it('goes on in pieces of any length', () => {
    const random = new Random(2);
    const source = randomBytes(random, 3_000);
    for (let i = 0; i < 200; i++) {
      const mask = randomBytes(random, 4);
      const target = Buffer.alloc(source.length);
      let left = mask.readInt32LE(0);
      for (let at = 0; at < source.length; ) {
        const count = Math.min(source.length - at, random.below(random.once(2) ? 9 : 500));
        copyUnmasked(source, at, target, at, count, left);
        left = rotateMask(left, count);
        at += count;
      }
      assert.ok(target.equals(plain(source, mask)));
    }
  });

  it('reads a mask of zeros and of ones', () => {
    const source = Buffer.from('Hello');
    for (const byte of [0x00, 0xff]) {
      const target = Buffer.alloc(5);
      copyUnmasked(source, 0, target, 0, 5, Buffer.alloc(4, byte).readInt32LE(0));
      assert.ok(target.equals(plain(source, Buffer.alloc(4, byte))));
    }
  });
});

function plain(bytes: Buffer, mask: Buffer): Buffer {
  return Buffer.from(bytes.map((byte, i) => byte ^ (mask[i % 4] as number)));
}
