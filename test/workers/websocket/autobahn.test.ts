// What cases 1 to 7 of the Autobahn test suite check, on the parser and encoders alone: framing, pings and pongs, reserved
// bits, opcodes, fragmentation, UTF-8, close handling. Each goes through every-way.ts: whole, byte by byte (the suite's
// "octet-wise chops"), cut at random, and by the reference. Echoes, timing and the closing of sockets are the connection's.
//
// Numbers in brackets are the suite's. Where it allows more than one outcome, ours is the strict one.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeClose, encodeFrame, PONG as PONG_FRAME } from '../../../workers/websocket/frame.ts';
import { FrameParser } from '../../../workers/websocket/frame-parser.ts';
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
import { LIMITS } from './frame-readings.ts';

const NOT_UTF8 = '1007 text must be UTF-8';
const NOT_FINAL = { fin: false } as const;

/** `frames` come to `events` and then to `fault`, or to none. */
function reads(what: string, frames: Buffer[], events: string[], fault: string | null = null): void {
  it(what, () => {
    const reading = readEveryWay(Buffer.concat(frames));
    assert.deepEqual(reading.events, events);
    assert.equal(reading.fault, fault);
    assert.equal(reading.pending, false);
  });
}

function said(kind: string, payload: Buffer | string): string {
  return `${kind} ${Buffer.from(payload).toString('latin1')}`;
}

describe('1: framing', () => {
  for (const length of [0, 125, 126, 127, 128, 65_535, 65_536]) {
    const text = Buffer.alloc(length, '*');
    reads(`text of ${length} bytes [1.1]`, [clientFrame(TEXT, text)], [said('text', text)]);
    const bytes = Buffer.alloc(length, 0xfe);
    reads(`binary of ${length} bytes [1.2]`, [clientFrame(BINARY, bytes)], [said('binary', bytes)]);
  }
});

describe('2: pings and pongs', () => {
  const binary = Buffer.of(0x00, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0x00, 0xff);
  reads('a ping without payload [2.1]', [clientFrame(PING)], ['ping ']);
  reads('a ping with text [2.2]', [clientFrame(PING, 'Hello, world!')], ['ping Hello, world!']);
  reads('a ping that is not UTF-8 [2.3]', [clientFrame(PING, binary)], [said('ping', binary)]);
  const full = Buffer.alloc(125, 0xfe);
  reads('a ping of 125 bytes [2.4, 2.6]', [clientFrame(PING, full)], [said('ping', full)]);
  const long = clientFrame(PING, Buffer.alloc(126, 0xfe));
  reads('a ping of 126 bytes [2.5]', [long], [], '1002 a control frame is too long');
  reads('a pong without payload that nobody asked for [2.7]', [clientFrame(PONG)], ['pong ']);
  reads('a pong with payload that nobody asked for [2.8]', [clientFrame(PONG, 'unasked')], ['pong unasked']);
  reads('a pong, then a ping [2.9]', [clientFrame(PONG, 'a'), clientFrame(PING, 'b')], ['pong a', 'ping b']);
  const ten = Array.from({ length: 10 }, (_, i) => `payload-${i}`);
  const pings = ten.map((payload) => clientFrame(PING, payload));
  reads(
    'ten pings in a row [2.10, 2.11]',
    pings,
    ten.map((payload) => `ping ${payload}`),
  );

  it('a ping is answered by a pong of the same payload', () => {
    const parser = new FrameParser(LIMITS);
    for (const payload of [Buffer.alloc(0), binary, full]) {
      const frame = clientFrame(PING, payload);
      assert.equal(parser.read(null, frame, 0, frame.length), PING);
      assert.deepEqual(
        encodeFrame(PONG_FRAME, parser.payload),
        Buffer.concat([Buffer.of(0x8a, payload.length), payload]),
      );
    }
  });
});

describe('3: reserved bits', () => {
  for (let reserved = 1; reserved < 8; reserved++) {
    for (const [what, opcode] of Object.entries({ text: TEXT, binary: BINARY, ping: PING, close: CLOSE })) {
      reads(
        `reserved bits ${reserved} on ${what}, behind a message [3.1 to 3.7]`,
        [clientFrame(TEXT, 'Hello'), clientFrame(opcode, '', { reserved }), clientFrame(PING)],
        ['text Hello'],
        '1002 reserved bits are set',
      );
    }
  }
});

describe('4: opcodes', () => {
  for (const opcode of [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]) {
    for (const payload of ['', 'reserved opcode payload']) {
      reads(
        `the reserved opcode ${opcode} with ${payload.length} bytes, behind a message [${opcode < 8 ? '4.1' : '4.2'}]`,
        [clientFrame(TEXT, 'Hello'), clientFrame(opcode, payload), clientFrame(PING)],
        ['text Hello'],
        '1002 unknown opcode',
      );
    }
  }
});

describe('5: fragmentation', () => {
  const controlCut = '1002 a control frame must not be fragmented';
  const nothing = '1002 there is no message to continue';
  reads('a ping in two frames [5.1]', fragments(PING, 'a', 'b'), [], controlCut);
  reads('a pong in two frames [5.2]', fragments(PONG, 'a', 'b'), [], controlCut);
  reads('text in two frames [5.3 to 5.5]', fragments(TEXT, 'fragment1', 'fragment2'), ['text fragment1fragment2']);
  const [first, second] = fragments(TEXT, 'fragment1', 'fragment2') as [Buffer, Buffer];
  const both = 'text fragment1fragment2';
  const ping = clientFrame(PING, 'ping');
  reads('a ping between two frames [5.6 to 5.8]', [first, ping, second], ['ping ping', both]);
  const none = clientFrame(CONTINUE, 'non-continuation');
  reads('a final continuation of nothing, then text [5.9 to 5.11]', [none, clientFrame(TEXT, 'Hello')], [], nothing);
  const noneYet = clientFrame(CONTINUE, 'non-continuation', NOT_FINAL);
  reads('a continuation of nothing, then text [5.12 to 5.14]', [noneYet, clientFrame(TEXT, 'Hello')], [], nothing);
  reads(
    'a continuation behind a whole message [5.15]',
    [first, second, clientFrame(CONTINUE, 'fragment3', NOT_FINAL), clientFrame(TEXT, 'fragment4')],
    [both],
    nothing,
  );
  reads('a continuation before a message in frames [5.16, 5.17]', [noneYet, first, second], [], nothing);
  reads('text within text [5.18]', [first, clientFrame(TEXT, 'fragment2')], [], '1002 the message before is not over');
  reads(
    'five frames with pings between them [5.19, 5.20]',
    [
      clientFrame(TEXT, 'fragment1', NOT_FINAL),
      clientFrame(CONTINUE, 'fragment2', NOT_FINAL),
      clientFrame(PING, 'pongme 1!'),
      clientFrame(CONTINUE, 'fragment3', NOT_FINAL),
      clientFrame(CONTINUE, 'fragment4', NOT_FINAL),
      clientFrame(PING, 'pongme 2!'),
      clientFrame(CONTINUE, 'fragment5'),
    ],
    ['ping pongme 1!', 'ping pongme 2!', 'text fragment1fragment2fragment3fragment4fragment5'],
  );
});

describe('6: UTF-8', () => {
  const sample = Buffer.from('Hello-µ@ßöäüàá-UTF-8!!');
  const greek = Buffer.from('κόσμε');
  reads('three empty frames [6.1.2]', fragments(TEXT, '', '', ''), ['text ']);
  reads('one frame that is not empty between two [6.1.3]', fragments(TEXT, '', 'middle', ''), ['text middle']);
  reads('text in one frame [6.2.1]', [clientFrame(TEXT, sample)], [said('text', sample)]);
  reads('text in two frames, cut in a character [6.2.2]', fragmentsOf(TEXT, sample, 7), [said('text', sample)]);
  reads('text in frames of one byte [6.2.3, 6.2.4]', fragmentsOf(TEXT, sample, 1), [said('text', sample)]);

  it('is rejected at the first byte that cannot be [6.4]', () => {
    const wrong = Buffer.from('f490', 'hex');
    const rest = Buffer.from('8080656469746564', 'hex');
    // In the frame that it is in, with the rest of the frame still to come, and across frames.
    for (const [frames, behind] of [
      [[clientFrame(TEXT, Buffer.concat([greek, wrong, rest]))], rest.length],
      [fragments(TEXT, greek, Buffer.concat([wrong, rest])), rest.length],
      [fragments(TEXT, Buffer.concat([greek, wrong.subarray(0, 1)]), wrong.subarray(1), rest), 6 + rest.length],
    ] as const) {
      const bytes = Buffer.concat(frames);
      const reading = readEveryWay(bytes);
      assert.equal(reading.fault, NOT_UTF8);
      assert.equal(reading.given, bytes.length - behind);
    }
  });

  for (const [what, hexes] of Object.entries({
    'a text that grows by characters [6.5]': ['ce ba', 'ce ba e1 bd b9', 'ce ba e1 bd b9 cf 83 ce bc ce b5'],
    'first sequences of each length [6.7]': ['00', 'c2 80', 'e0 a0 80', 'f0 90 80 80'],
    'last sequences of each length [6.9]': ['7f', 'df bf', 'ef bf bf', 'f4 8f bf bf'],
    'other edges [6.11]': ['ed 9f bf', 'ee 80 80', 'ef bf bd', 'f4 8f bf bf'],
    'code points that are no characters [6.22]': [
      'ef bf be',
      'f0 9f bf be',
      'f0 9f bf bf',
      'f0 af bf be',
      'f3 bf bf bf',
      'f4 8f bf be',
      'ef b7 90',
    ],
    'specials [6.23]': ['ef bf b9', 'ef bf ba', 'ef bf bb', 'ef bf bc', 'ef bb bf'],
  })) {
    for (const text of hexes.map(bytesOf)) {
      reads(
        `${what}: ${text.toString('hex')}`,
        [clientFrame(TEXT, text), ...fragmentsOf(TEXT, text, 1)],
        [said('text', text), said('text', text)],
      );
    }
  }

  for (const [what, hexes] of Object.entries({
    'a surrogate in a text [6.3]': ['ce ba e1 bd b9 cf 83 ce bc ce b5 ed a0 80 65 64 69 74 65 64'],
    'a text cut inside its characters [6.6]': [
      'ce',
      'ce ba e1',
      'ce ba e1 bd',
      'ce ba e1 bd b9 cf',
      'ce ba e1 bd b9 cf 83 ce',
    ],
    'first sequences of five and six [6.8]': ['f8 88 80 80 80', 'fc 84 80 80 80 80'],
    'last sequences beyond [6.10]': ['f7 bf bf bf', 'fb bf bf bf bf', 'fd bf bf bf bf bf'],
    'past the last code point [6.11.5]': ['f4 90 80 80'],
    'continuation bytes alone [6.12]': ['80', 'bf', '80 bf', '80 bf 80', '80 bf 80 bf 80 bf', '80 81 82 be bf'],
    'first bytes alone [6.13]': ['c0 20 c1 20', 'c2 20', 'e0 20 ef 20', 'f0 20 f7 20', 'f8 20 fb 20', 'fc 20 fd 20'],
    'sequences without their last byte [6.14]': [
      'c0',
      'e0 80',
      'f0 80 80',
      'df',
      'ef bf',
      'f4 8f bf',
      'f7 bf bf',
      'fd bf bf bf bf',
    ],
    'several of those [6.15]': ['c0 e0 80 f0 80 80 f8 80 80 80 df ef bf f7 bf bf'],
    'bytes that are never used [6.16]': ['fe', 'ff', 'fe fe ff ff'],
    'overlong forms of a slash [6.17]': ['c0 af', 'e0 80 af', 'f0 80 80 af', 'f8 80 80 80 af', 'fc 80 80 80 80 af'],
    'the greatest overlong forms [6.18]': ['c1 bf', 'e0 9f bf', 'f0 8f bf bf', 'f8 87 bf bf bf', 'fc 83 bf bf bf bf'],
    'overlong forms of NUL [6.19]': ['c0 80', 'e0 80 80', 'f0 80 80 80', 'f8 80 80 80 80', 'fc 80 80 80 80 80'],
    'single surrogates [6.20]': ['ed a0 80', 'ed ad bf', 'ed ae 80', 'ed af bf', 'ed b0 80', 'ed be 80', 'ed bf bf'],
    'paired surrogates [6.21]': ['ed a0 80 ed b0 80', 'ed ad bf ed b0 80', 'ed af bf ed bf bf'],
  })) {
    for (const text of hexes.map(bytesOf)) {
      reads(`${what}: ${text.toString('hex')}`, [clientFrame(TEXT, text)], [], NOT_UTF8);
      reads(`${what}: ${text.toString('hex')} in frames of one byte`, fragmentsOf(TEXT, text, 1), [], NOT_UTF8);
    }
  }

  reads('binary is not text', [clientFrame(BINARY, Buffer.of(0xff, 0xc0))], ['binary \u00ff\u00c0']);
});

describe('7: closing', () => {
  const normal = clientFrame(CLOSE, closePayload(1000));
  reads('a message, then a close [7.1.1]', [clientFrame(TEXT, 'Hello'), normal], ['text Hello', 'close 1000 ']);
  reads('two closes [7.1.2]', [normal, clientFrame(CLOSE, closePayload(1001))], ['close 1000 ']);
  reads('a ping behind a close [7.1.3]', [normal, clientFrame(PING)], ['close 1000 ']);
  reads('text behind a close [7.1.4]', [normal, clientFrame(TEXT, 'late')], ['close 1000 ']);
  reads(
    'a close inside a message [7.1.5]',
    [clientFrame(TEXT, 'a', NOT_FINAL), normal, clientFrame(CONTINUE, 'b')],
    ['close 1000 '],
  );
  const long = Buffer.alloc(65_536, 'BAsd7&jh23');
  reads(
    'a long message, a close, a ping [7.1.6]',
    [clientFrame(TEXT, long), normal, clientFrame(PING)],
    [said('text', long), 'close 1000 '],
  );
  reads('bytes that are no frame behind a close', [normal, Buffer.of(0xff, 0xff)], ['close 1000 ']);

  reads('without payload [7.3.1]', [clientFrame(CLOSE)], ['close 1005 ']);
  reads('with one byte [7.3.2]', [clientFrame(CLOSE, 'a')], [], '1002 half a close code');
  reads('with a code [7.3.3]', [normal], ['close 1000 ']);
  const hello = closePayload(1000, 'Hello World!');
  reads('with a code and a reason [7.3.4]', [clientFrame(CLOSE, hello)], ['close 1000 Hello World!']);
  const longest = '*'.repeat(123);
  reads(
    'with the longest reason [7.3.5]',
    [clientFrame(CLOSE, closePayload(1000, longest))],
    [`close 1000 ${longest}`],
  );
  const tooLong = clientFrame(CLOSE, closePayload(1000, '*'.repeat(124)));
  reads('with a reason too long [7.3.6]', [tooLong], [], '1002 a control frame is too long');
  const reason = bytesOf('ce ba e1 bd b9 cf 83 ce bc ce b5 ed a0 80 65 64 69 74 65 64');
  const notUtf8 = clientFrame(CLOSE, closePayload(1000, reason));
  reads('with a reason that is not UTF-8 [7.5.1]', [notUtf8], [], '1007 a close reason must be UTF-8');
  const umlauts = Buffer.from('Tschüß 👋');
  reads('with a reason beyond ASCII', [clientFrame(CLOSE, closePayload(3000, umlauts))], [said('close 3000', umlauts)]);

  const SOUND = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999];
  for (const code of SOUND) {
    reads(`with the code ${code} [7.7]`, [clientFrame(CLOSE, closePayload(code))], [`close ${code} `]);
  }
  for (const code of [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535]) {
    const wrong = clientFrame(CLOSE, closePayload(code));
    reads(`with the code ${code} [7.9, 7.13]`, [wrong], [], '1002 a close code that must not be sent');
  }

  it('is echoed with its code, whatever was read', () => {
    const parser = new FrameParser(LIMITS);
    for (const payload of [Buffer.alloc(0), ...SOUND.map((code) => closePayload(code))]) {
      const frame = clientFrame(CLOSE, Buffer.concat([payload, Buffer.alloc(payload.length && 9, 'x')]));
      assert.equal(parser.read(null, frame, 0, frame.length), CLOSE);
      assert.deepEqual(encodeClose(parser.code), Buffer.concat([Buffer.of(0x88, payload.length), payload]));
    }
  });
});

function bytesOf(hex: string): Buffer {
  return Buffer.from(hex.replaceAll(' ', ''), 'hex');
}
