// The frame parser rule by rule, and what it keeps of a connection: nothing at a frame boundary, never more than a limit
// else. Every case of a fault is read whole, byte by byte, cut at random and by the reference (every-way.ts). The cases are
// keyed by fault, so that one without cases does not compile; each ends with the byte that is at fault.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FAULT, INCOMPLETE } from '../../../workers/http/head-parser.ts';
import { FRAME_FAULTS } from '../../../workers/websocket/faults.ts';
import { FrameParser } from '../../../workers/websocket/frame-parser.ts';
import type { PendingMessage } from '../../../workers/websocket/pending-message.ts';
import {
  BINARY,
  CLOSE,
  CONTINUE,
  clientFrame,
  closePayload,
  fragments,
  fragmentsOf,
  PING,
  PONG,
  TEXT,
} from './client-frames.ts';
import { readEveryWay } from './every-way.ts';
import { LIMITS, LOW_LIMITS } from './frame-readings.ts';

const OPEN = clientFrame(TEXT, 'a', { fin: false });
const { frameLimitBytes, messageLimitBytes } = LOW_LIMITS;

const FAULT_CASES: { readonly [Name in keyof typeof FRAME_FAULTS]: Readonly<Record<string, Buffer>> } = {
  reserved: {
    RSV1: Buffer.of(0xc1),
    RSV2: Buffer.of(0xa1),
    RSV3: Buffer.of(0x91),
    'RSV1 of a ping': Buffer.of(0xc9),
    'RSV1 of a continuation': Buffer.concat([OPEN, Buffer.of(0xc0)]),
  },
  opcode: {
    'a reserved one for data': Buffer.of(0x83),
    'a reserved one for control': Buffer.of(0x8b),
    'a reserved one inside a message': Buffer.concat([OPEN, Buffer.of(0x87)]),
  },
  controlCut: { ping: Buffer.of(0x09), pong: Buffer.of(0x0a), close: Buffer.of(0x08) },
  nothingToContinue: {
    'at first': Buffer.of(0x00),
    'a last one at first': Buffer.of(0x80),
    'behind a whole message': Buffer.concat([clientFrame(TEXT, 'a'), Buffer.of(0x80)]),
    'behind a ping': Buffer.concat([clientFrame(PING, 'a'), Buffer.of(0x00)]),
  },
  notContinued: {
    'text in text': Buffer.concat([OPEN, Buffer.of(0x81)]),
    'binary in text': Buffer.concat([OPEN, Buffer.of(0x82)]),
    'text behind an empty beginning': Buffer.concat([clientFrame(BINARY, '', { fin: false }), Buffer.of(0x81)]),
    'behind a ping inside': Buffer.concat([OPEN, clientFrame(PING), Buffer.of(0x01)]),
  },
  unmasked: {
    text: Buffer.of(0x81, 0x05),
    ping: Buffer.of(0x89, 0x00),
    'a length of two bytes': Buffer.of(0x82, 0x7e),
    'a control frame that is too long as well': Buffer.of(0x89, 0x7e),
  },
  controlLength: {
    '126 bytes': Buffer.of(0x89, 0xfe),
    '64 bits of length': Buffer.of(0x8a, 0xff),
    'a close': Buffer.of(0x88, 0xfe),
  },
  length: {
    'two bytes for 125': clientFrame(TEXT, '', { length: 125n, lengthBytes: 2 }).subarray(0, 4),
    'two bytes for 0': clientFrame(TEXT, '', { length: 0n, lengthBytes: 2 }).subarray(0, 4),
    'eight bytes for 125': clientFrame(TEXT, '', { length: 125n, lengthBytes: 8 }).subarray(0, 10),
    'eight bytes for 65,535': clientFrame(TEXT, '', { length: 65_535n, lengthBytes: 8 }).subarray(0, 10),
    'the top bit': Buffer.of(0x82, 0xff, 0x80),
    'all bits': Buffer.of(0x82, 0xff, 0xff),
  },
  frameLimit: {
    'one byte too many': clientFrame(BINARY, '', { length: BigInt(frameLimitBytes + 1) }).subarray(0, 4),
    'the most that two bytes say': clientFrame(BINARY, '', { length: 65_535n }).subarray(0, 4),
    '2^32': clientFrame(BINARY, '', { length: 1n << 32n }).subarray(0, 10),
    '2^53 + 1': clientFrame(BINARY, '', { length: (1n << 53n) + 1n }).subarray(0, 10),
    'the most there is': clientFrame(BINARY, '', { length: (1n << 63n) - 1n }).subarray(0, 10),
  },
  messageLimit: {
    'the second frame passes it': beginning(frameLimitBytes, BigInt(messageLimitBytes - frameLimitBytes + 1), 2),
    'one more byte': beginning(frameLimitBytes, 100n, 6, clientFrame(CONTINUE, '', { length: 1n }).subarray(0, 2)),
  },
  text: {
    'a stray byte': cutOff(TEXT, 'ff61', 1),
    'an overlong form': cutOff(TEXT, '61c0af', 2),
    'a surrogate': cutOff(TEXT, 'eda080', 2),
    'beyond the last code point': cutOff(TEXT, 'f4908080', 2),
    'a character that does not go on': cutOff(TEXT, 'e28261', 3),
    'cut at the end': clientFrame(TEXT, Buffer.from('61c3', 'hex')),
    'cut, and an empty end': Buffer.concat(fragments(TEXT, Buffer.of(0xc3), '')),
    'cut, and the rest of another': Buffer.concat([
      clientFrame(TEXT, Buffer.of(0xe2), { fin: false }),
      clientFrame(CONTINUE, Buffer.of(0xc3)),
    ]),
    'in a long stretch': clientFrame(TEXT, Buffer.concat([Buffer.alloc(298, 'a'), Buffer.of(0xff)])),
  },
  closeLength: { 'one byte': Buffer.of(0x88, 0x81) },
  closeCode: Object.fromEntries(
    [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535].map((code) => [
      `${code}`,
      clientFrame(CLOSE, closePayload(code)),
    ]),
  ),
  closeReason: {
    'a stray byte': clientFrame(CLOSE, closePayload(1000, Buffer.of(0x61, 0xff))),
    'cut at the end': clientFrame(CLOSE, closePayload(1000, Buffer.of(0xc3))),
  },
};

describe('frames at fault', () => {
  for (const [name, cases] of Object.entries(FAULT_CASES)) {
    const { code, text } = FRAME_FAULTS[name as keyof typeof FRAME_FAULTS];
    for (const [what, bytes] of Object.entries(cases)) {
      it(`${code} ${text}: ${what}`, () => {
        const more = Buffer.concat([bytes, clientFrame(TEXT, 'behind it')]);
        for (const sample of [bytes, more]) {
          const reading = readEveryWay(sample, LOW_LIMITS);
          assert.equal(reading.fault, `${code} ${text}`);
          assert.equal(reading.given, bytes.length, 'met at another byte');
        }
      });
    }
  }
});

describe('limits', () => {
  it('take what just fits', () => {
    const frame = Buffer.alloc(frameLimitBytes, 'x');
    assert.deepEqual(readEveryWay(clientFrame(BINARY, frame), LOW_LIMITS).events, [`binary ${frame}`]);
    const rest = Buffer.alloc(messageLimitBytes - frameLimitBytes, 'y');
    const message = Buffer.concat([...fragments(TEXT, frame, rest), clientFrame(TEXT, frame)]);
    assert.deepEqual(readEveryWay(message, LOW_LIMITS).events, [`text ${frame}${rest}`, `text ${frame}`]);
  });

  it('let any number of empty frames be a message, and keep nothing for them', () => {
    const empties = Array.from({ length: 1_000 }, () => clientFrame(CONTINUE, '', { fin: false }));
    const bytes = Buffer.concat([clientFrame(TEXT, '', { fin: false }), ...empties]);
    const parser = new FrameParser(LOW_LIMITS);
    assert.equal(parser.read(null, bytes, 0, bytes.length), INCOMPLETE);
    assert.equal(parser.pending?.bytes.length, 0);
    const end = clientFrame(CONTINUE, '');
    assert.equal(parser.read(parser.pending, end, 0, end.length), TEXT);
    assert.equal(parser.payload.length, 0);
  });
});

describe('what is kept of a connection', () => {
  it('is nothing at a frame boundary with no message begun', () => {
    const parser = new FrameParser(LIMITS);
    const bytes = Buffer.concat([clientFrame(PING, 'a'), ...fragments(TEXT, 'b', 'c'), clientFrame(PONG)]);
    assert.equal(parser.read(null, bytes, 0, bytes.length), PING);
    assert.equal(parser.pending, null);
    assert.equal(parser.read(null, bytes, parser.position, bytes.length), TEXT);
    assert.equal(parser.pending, null);
    assert.equal(parser.read(null, bytes, parser.position, bytes.length), PONG);
    assert.equal(parser.pending, null);
    assert.equal(parser.read(null, bytes, parser.position, bytes.length), INCOMPLETE);
    assert.equal(parser.pending, null);
    assert.equal(parser.position, bytes.length);
  });

  it('is one object from the first byte of a frame to the last of a message', () => {
    const parser = new FrameParser(LIMITS);
    const bytes = Buffer.concat(fragments(TEXT, 'ab', 'c'));
    let kept: PendingMessage | null = null;
    for (let at = 0; at < 15; at++) {
      assert.equal(parser.read(kept, bytes, at, at + 1), at === 14 ? TEXT : INCOMPLETE);
      if (kept !== null && at < 14) assert.equal(parser.pending, kept);
      kept = parser.pending;
      assert.equal(kept === null, at === 14);
    }
  });

  it('goes on across a control frame', () => {
    const parser = new FrameParser(LIMITS);
    const bytes = Buffer.concat([
      clientFrame(BINARY, 'a', { fin: false }),
      clientFrame(PING, 'b'),
      clientFrame(CONTINUE, 'c'),
    ]);
    assert.equal(parser.read(null, bytes, 0, bytes.length), PING);
    const kept = parser.pending;
    assert.ok(kept !== null);
    assert.equal(parser.read(kept, bytes, parser.position, bytes.length), BINARY);
    assert.equal(parser.payload.toString(), 'ac');
    assert.equal(parser.pending, null);
  });

  it('is no memory for what is only announced, and at most twice what has come', () => {
    const parser = new FrameParser({ frameLimitBytes: 1_000_000, messageLimitBytes: 1_000_000 });
    const frame = clientFrame(BINARY, Buffer.alloc(1_000_000, 'x'));
    const head = frame.length - 1_000_000;
    assert.equal(parser.read(null, frame, 0, head), INCOMPLETE);
    let kept = parser.pending;
    assert.equal(kept?.bytes.length, 0);
    for (let at = head; at < frame.length - 1; ) {
      const end = Math.min(frame.length - 1, at + 777);
      assert.equal(parser.read(kept, frame, at, end), INCOMPLETE);
      kept = parser.pending;
      assert.ok(pinnedBytes(kept) <= Math.max(64, 2 * (end - head)));
      at = end;
    }
    assert.equal(parser.read(kept, frame, frame.length - 1, frame.length), BINARY);
    assert.equal(parser.payload.length, 1_000_000);
    assert.equal(parser.payload.buffer.byteLength, 1_000_000);
  });

  it('never passes the message limit: a million bytes in frames of one byte', () => {
    const limits = { frameLimitBytes: 1_000_000, messageLimitBytes: 1_000_000 };
    const parser = new FrameParser(limits);
    const fragment = clientFrame(CONTINUE, 'x', { fin: false });
    const chunk = Buffer.concat(Array.from({ length: 8_000 }, () => fragment));
    const first = clientFrame(TEXT, '', { fin: false });
    assert.equal(parser.read(null, first, 0, first.length), INCOMPLETE);
    let kept = parser.pending;
    for (let count = 0; count < 1_000_000; count += 8_000) {
      assert.equal(parser.read(kept, chunk, 0, chunk.length), INCOMPLETE);
      kept = parser.pending;
      assert.ok(pinnedBytes(kept) <= limits.messageLimitBytes);
    }
    assert.equal(kept?.length, 1_000_000);
    assert.equal(parser.read(kept, fragment, 0, fragment.length), FAULT);
    assert.equal(parser.code, 1009);
    assert.equal(parser.pending, null);
  });

  it('is of its own memory, not a slice that holds a pool back', () => {
    const parser = new FrameParser(LIMITS);
    const cut = clientFrame(PING, 'abc').subarray(0, -1);
    parser.read(null, cut, 0, cut.length);
    assert.equal(parser.pending?.control?.buffer.byteLength, 3);
    const open = clientFrame(TEXT, 'abc', { fin: false });
    parser.read(null, open, 0, open.length);
    assert.equal(parser.pending?.bytes.buffer.byteLength, 64);
  });
});

describe('one parser for all', () => {
  it('reads connections in turns', () => {
    const parser = new FrameParser(LIMITS);
    const texts = ['aé', 'b日', 'c😀', 'd'];
    const all = texts.map((text) => Buffer.concat(fragmentsOf(TEXT, Buffer.from(text), 1)));
    const kept: (PendingMessage | null)[] = texts.map(() => null);
    const got: string[] = texts.map(() => '');
    for (let at = 0; at < Math.max(...all.map((bytes) => bytes.length)); at++) {
      all.forEach((bytes, i) => {
        if (at >= bytes.length) return;
        const event = parser.read(kept[i] ?? null, bytes, at, at + 1);
        kept[i] = parser.pending;
        if (event === TEXT) got[i] = parser.payload.toString();
        else assert.equal(event, INCOMPLETE);
      });
    }
    assert.deepEqual(got, texts);
  });

  it('hands out payloads that it never touches again', () => {
    const parser = new FrameParser(LIMITS);
    const bytes = Buffer.concat(
      ['one', 'two', 'three'].flatMap((text) => [clientFrame(TEXT, text), clientFrame(PING, text)]),
    );
    const payloads: Buffer[] = [];
    for (let at = 0; at < bytes.length; at = parser.position) {
      parser.read(null, bytes, at, bytes.length);
      payloads.push(parser.payload);
    }
    bytes.fill(0);
    assert.deepEqual(payloads.map(String), ['one', 'one', 'two', 'two', 'three', 'three']);
  });

  it('leaves the bytes as they are', () => {
    const parser = new FrameParser(LIMITS);
    const bytes = clientFrame(BINARY, Buffer.alloc(5_000, 'x'));
    const before = Buffer.from(bytes);
    parser.read(null, bytes, 0, bytes.length);
    assert.ok(bytes.equals(before));
  });

  it('is sound for the next after a fault in the middle of a message', () => {
    const parser = new FrameParser(LIMITS);
    const wrong = Buffer.concat([OPEN, Buffer.of(0x83)]);
    const right = clientFrame(TEXT, 'right');
    for (const cut of [0, 3, OPEN.length]) {
      let kept: PendingMessage | null = null;
      if (cut > 0) {
        assert.equal(parser.read(null, wrong, 0, cut), INCOMPLETE);
        kept = parser.pending;
      }
      assert.equal(parser.read(kept, wrong, cut, wrong.length), FAULT);
      assert.equal(parser.read(null, right, 0, right.length), TEXT);
      assert.equal(parser.payload.toString(), 'right');
    }
  });

  it('is sound for the next after an exception in the middle of a message', () => {
    const parser = new FrameParser(LIMITS);
    const secret = clientFrame(TEXT, 'secret', { fin: false });
    const failing = new Proxy(secret, {
      get: (bytes, key) => {
        if (key === '9') throw new RangeError('no memory');
        return Reflect.get(bytes, key, bytes);
      },
    });
    assert.throws(() => parser.read(null, failing, 0, secret.length), /no memory/);
    const next = clientFrame(TEXT, 'next');
    assert.equal(parser.read(null, next, 0, next.length), TEXT);
    assert.equal(parser.payload.toString(), 'next');
    assert.equal(parser.pending, null);
  });

  it('says nothing of the event before', () => {
    const parser = new FrameParser(LIMITS);
    const close = clientFrame(CLOSE, closePayload(1001, 'bye'));
    assert.equal(parser.read(null, close, 0, close.length), CLOSE);
    assert.deepEqual([parser.code, parser.reason, parser.payload.length], [1001, 'bye', 0]);
    const ping = clientFrame(PING, 'a');
    assert.equal(parser.read(null, ping, 0, ping.length), PING);
    assert.deepEqual([parser.code, parser.reason, parser.payload.toString()], [0, '', 'a']);
    assert.equal(parser.read(null, ping, 0, 0), INCOMPLETE);
    assert.deepEqual([parser.code, parser.reason, parser.payload.length, parser.pending], [0, '', 0, null]);
  });
});

/** All memory that a message's buffer keeps from being collected. */
function pinnedBytes(kept: PendingMessage | null): number {
  return kept === null ? 0 : kept.bytes.buffer.byteLength;
}

/** A message's first frame, of `length` bytes, and as much of a second one as it takes to know its length. */
function beginning(length: number, second: bigint, headBytes: number, more?: Buffer): Buffer {
  const first = clientFrame(BINARY, Buffer.alloc(length, 'x'), { fin: false });
  if (more === undefined)
    return Buffer.concat([first, clientFrame(CONTINUE, '', { length: second }).subarray(0, headBytes)]);
  return Buffer.concat([first, clientFrame(CONTINUE, Buffer.alloc(Number(second), 'x'), { fin: false }), more]);
}

/** A frame, and of its payload only the first `count` bytes. */
function cutOff(opcode: number, hex: string, count: number): Buffer {
  return clientFrame(opcode, Buffer.from(hex, 'hex')).subarray(0, 6 + count);
}
