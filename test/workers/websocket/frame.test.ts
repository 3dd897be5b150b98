// What the gateway sends, byte by byte: the three forms of length, close frames, and text of any kind.

import assert from 'node:assert/strict';
import { isUtf8 } from 'node:buffer';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { isSendableCloseCode, NO_CODE } from '../../../workers/websocket/close-codes.ts';
import { FRAME_FAULTS } from '../../../workers/websocket/faults.ts';
import {
  BINARY,
  CLOSE,
  encodeClose,
  encodeFrame,
  encodeText,
  PING,
  PONG,
  TEXT,
} from '../../../workers/websocket/frame.ts';
import { NASTY_PAYLOADS } from '../payloads.ts';

const SEED = 2026;
const REASON_LIMIT_BYTES = 123;

describe('a frame', () => {
  // RFC 6455 §5.7.
  it('is as the RFC has it', () => {
    assert.equal(encodeText('Hello').toString('hex'), '810548656c6c6f');
    assert.equal(encodeFrame(PING, Buffer.from('Hello')).toString('hex'), '890548656c6c6f');
    assert.equal(encodeFrame(BINARY, Buffer.alloc(256)).subarray(0, 4).toString('hex'), '827e0100');
    assert.equal(encodeFrame(BINARY, Buffer.alloc(65_536)).subarray(0, 10).toString('hex'), '827f0000000000010000');
  });

  it('has the shortest length that can say it', () => {
    for (const [length, head] of [
      [0, '8200'],
      [1, '8201'],
      [125, '827d'],
      [126, '827e007e'],
      [127, '827e007f'],
      [65_535, '827effff'],
      [65_536, '827f0000000000010000'],
      [1_000_000, '827f00000000000f4240'],
    ] as const) {
      const payload = Buffer.alloc(length, 'x');
      const frame = encodeFrame(BINARY, payload);
      assert.equal(frame.length, head.length / 2 + length);
      assert.equal(frame.subarray(0, head.length / 2).toString('hex'), head);
      assert.ok(frame.subarray(head.length / 2).equals(payload));
    }
  });

  it('carries its opcode, and is whole and not masked', () => {
    for (const opcode of [TEXT, BINARY, CLOSE, PING, PONG]) {
      assert.deepEqual([...encodeFrame(opcode, Buffer.from('a'))], [0x80 | opcode, 1, 0x61]);
    }
  });

  it('does not share memory with its payload', () => {
    const payload = Buffer.from('abc');
    const frame = encodeFrame(TEXT, payload);
    payload.fill(0);
    assert.equal(frame.toString('latin1', 2), 'abc');
  });

  it('of text is the frame of its bytes', () => {
    for (const payload of Object.values(NASTY_PAYLOADS)) {
      if (isUtf8(payload)) assert.ok(encodeText(payload.toString()).equals(encodeFrame(TEXT, payload)));
    }
  });

  it('of text is UTF-8 whatever the string', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary', maxLength: 300 }),
        fc.integer({ min: 0xd800, max: 0xdfff }),
        (text, half) => {
          const broken = text + String.fromCharCode(half);
          const payload = Buffer.from(broken);
          assert.ok(isUtf8(payload));
          assert.ok(encodeText(broken).equals(encodeFrame(TEXT, payload)));
        },
      ),
      { seed: SEED },
    );
  });
});

describe('a close frame', () => {
  it('holds nothing, a code, or a code and a reason', () => {
    assert.equal(encodeClose().toString('hex'), '8800');
    assert.equal(encodeClose(NO_CODE, 'unsaid').toString('hex'), '8800');
    assert.equal(encodeClose(1000).toString('hex'), '880203e8');
    assert.equal(encodeClose(4999, 'é').toString('hex'), '88041387c3a9');
  });

  it('has a reason of 123 bytes at most, cut behind a character', () => {
    for (const character of ['a', 'é', '日', '😀']) {
      const size = Buffer.byteLength(character);
      for (let before = 0; before < 5; before++) {
        const reason = 'a'.repeat(before) + character.repeat(200);
        const said = encodeClose(1000, reason).subarray(4);
        assert.ok(said.length <= REASON_LIMIT_BYTES && said.length > REASON_LIMIT_BYTES - size);
        assert.ok(reason.startsWith(said.toString()));
        assert.ok(isUtf8(said));
      }
    }
    const longest = 'x'.repeat(REASON_LIMIT_BYTES);
    assert.equal(encodeClose(1000, longest).toString('latin1', 4), longest);
  });

  it('is not made with a code that must not be sent', () => {
    for (const code of [0, 999, 1004, 1006, 1015, 2999, 5000]) assert.throws(() => encodeClose(code), RangeError);
  });

  it('has room for the text of every fault', () => {
    for (const { code, text } of Object.values(FRAME_FAULTS)) {
      assert.equal(encodeClose(code, text).toString('latin1', 4), text);
    }
  });
});

it('close codes: those that may be sent, out of all that two bytes can say', () => {
  const ranges: string[] = [];
  let from = -1;
  for (let code = 0; code <= 0x1_0000; code++) {
    const sendable = code <= 0xffff && isSendableCloseCode(code);
    if (sendable && from < 0) from = code;
    if (!sendable && from >= 0) {
      ranges.push(`${from}-${code - 1}`);
      from = -1;
    }
  }
  assert.deepEqual(ranges, ['1000-1003', '1007-1014', '3000-4999']);
});
