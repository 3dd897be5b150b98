// The load generator's readers of answers, all transports: whole, byte by byte and cut at random they must tell the same.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { acceptOf, encodePong } from '../../bench/load/frames.ts';
import { PollScanner, type PollSink } from '../../bench/load/poll-scanner.ts';
import { REST_LIMIT_BYTES, ResponseScanner } from '../../bench/load/scanner.ts';
import {
  type Expectation,
  POLL_ANSWER,
  SSE_ANSWER,
  STREAM_ANSWER,
  webSocketAnswer,
} from '../../bench/load/transports.ts';

/** RFC 6455 §1.3's own example. */
const KEY = { key: 'dGhlIHNhbXBsZSBub25jZQ==', accept: 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=' };
const WEBSOCKET_ANSWER = webSocketAnswer(KEY);

const HEAD = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\r\n';
const UPGRADE =
  'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
  `Sec-WebSocket-Accept: ${KEY.accept}\r\n\r\n`;
const STREAM_HEAD = 'HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n';
const CHUNKED_HEAD = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n';

class Recorder implements PollSink<string> {
  readonly told: string[] = [];
  onHead(owner: string, status: number): void {
    this.told.push(`${owner} head ${status}`);
  }
  onPayload(owner: string, bytes: Buffer, start: number, end: number): void {
    this.told.push(`${owner} payload ${bytes.toString('utf8', start, end)}`);
  }
  onPing(owner: string, bytes: Buffer, start: number, end: number): void {
    this.told.push(`${owner} ping ${bytes.toString('latin1', start, end)}`);
  }
  onClose(owner: string, code: number): void {
    this.told.push(`${owner} close ${code}`);
  }
  onAnswered(owner: string, tag: string): void {
    this.told.push(`${owner} answered ${tag}`);
  }
  onFault(owner: string, text: string): void {
    this.told.push(`${owner} fault ${text}`);
  }
}

/** What a scanner tells of these pieces, each read into one buffer that is dirty from the read before. */
function scan(expected: Expectation, pieces: readonly Buffer[]): string[] {
  const recorder = new Recorder();
  const scanner =
    expected === POLL_ANSWER ? new PollScanner('c', recorder) : new ResponseScanner('c', recorder, expected);
  const shared = Buffer.alloc(REST_LIMIT_BYTES * 2, '\n');
  for (const piece of pieces) {
    piece.copy(shared);
    scanner.feed(shared, piece.length);
    shared.fill('\n', 0, piece.length);
  }
  return recorder.told;
}

function bytewise(bytes: Buffer): Buffer[] {
  return [...bytes].map((byte) => Buffer.from([byte]));
}

function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const ends = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  return [...ends, bytes.length].map((end, i) => bytes.subarray(ends[i - 1] ?? 0, end));
}

function chunk(text: string): string {
  return `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;
}

function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(' ', ''), 'hex');
}

const PLAIN = Buffer.from(
  `${HEAD}retry: 3000\n\n:hello\n\ndata: one\n\nevent: e\nid: 7\ndata: two\n\n:\n\ndata:three 🎈\n\n`,
);
const CHUNKED = Buffer.from(
  CHUNKED_HEAD +
    chunk('retry: 3000\n\n:hello\n\ndata: one\n\nevent: e\nid: 7\nda') +
    chunk('ta: two\n\n') +
    chunk(':\n\ndata:three 🎈\n\n'),
);
const LINES = Buffer.from(
  `${STREAM_HEAD}${chunk('\n')}${chunk('one\ntw')}${chunk('o\n\n')}${chunk('three 🎈\n')}0\r\n\r\n`,
);
const BARE_LINES = Buffer.from(
  'HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n\none\ntwo\nthree 🎈\n',
);
/** Text, an empty ping, text, a ping with a payload, an unasked pong, binary, close 1012 and bytes behind it. */
const FRAMES = Buffer.concat([
  Buffer.from(UPGRADE),
  hex('81 03 6f 6e 65  89 00  81 03 74 77 6f  89 02 68 69  8a 00'),
  hex('82 0a 74 68 72 65 65 20 f0 9f 8e 88  88 04 03 f4 62 79  81 01 78'),
]);
const POLLS = Buffer.from(
  'HTTP/1.1 204 No Content\r\n\r\n' +
    'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nETag: "a"\r\n\r\none' +
    'HTTP/1.1 204 No Content\r\netag: "b"\r\n\r\n' +
    'HTTP/1.1 200 OK\r\nETag: "c"\r\ncontent-length: 10\r\n\r\nthree 🎈',
);
const POLLS_TOLD = [
  'c head 204',
  ...['c payload one', 'c answered "a"', 'c answered "b"', 'c payload three 🎈', 'c answered "c"'],
];
const TOLD = ['c head 200', 'c payload one', 'c payload two', 'c payload three 🎈'];
const FRAMES_TOLD = [
  ...['c head 101', 'c payload one', 'c ping ', 'c payload two', 'c ping hi', 'c payload three 🎈'],
  'c close 1012',
];

for (const [name, expected, answer, told] of [
  ['an answer that ends with its connection', SSE_ANSWER, PLAIN, TOLD],
  ['a chunked answer', SSE_ANSWER, CHUNKED, TOLD],
  ['an NDJSON stream in chunks', STREAM_ANSWER, LINES, TOLD],
  ['an NDJSON stream without chunks', STREAM_ANSWER, BARE_LINES, TOLD],
  ['polls', POLL_ANSWER, POLLS, POLLS_TOLD],
  ['a WebSocket', WEBSOCKET_ANSWER, FRAMES, FRAMES_TOLD],
] as const) {
  describe(name, () => {
    it('is read whole', () => assert.deepEqual(scan(expected, [answer]), told));

    it('is read byte by byte', () => assert.deepEqual(scan(expected, bytewise(answer)), told));

    it('is read cut in two at every place', () => {
      for (let at = 0; at <= answer.length; at++) assert.deepEqual(scan(expected, cut(answer, [at])), told);
    });

    it('is read however it is cut', () => {
      const places = fc.array(fc.nat(), { maxLength: 12 });
      fc.assert(fc.property(places, (at) => assert.deepEqual(scan(expected, cut(answer, at)), told)));
    });
  });
}

describe('frames', () => {
  for (const length of [0, 125, 126, 127, 65_535, 65_536]) {
    it(`of ${length} bytes are read, whichever length field they have`, () => {
      const field =
        length < 126
          ? [length]
          : length < 65_536
            ? [126, length >> 8, length & 255]
            : [127, 0, 0, 0, 0, ...[24, 16, 8, 0].map((shift) => (length >> shift) & 255)];
      const frame = Buffer.concat([Buffer.from([0x81, ...field]), Buffer.alloc(length, 'x')]);
      const answer = Buffer.concat([Buffer.from(UPGRADE), frame, hex('81 01 79')]);
      const told = ['c head 101', `c payload ${'x'.repeat(length)}`, 'c payload y'];
      for (const at of [0, 1, 2, 3, 5, 9, 10, 11, 60, 130].map((byte) => UPGRADE.length + byte)) {
        assert.deepEqual(scan(WEBSOCKET_ANSWER, cut(answer, [at])), told);
      }
    });
  }

  it('of close without a code are 1005', () => {
    assert.deepEqual(scan(WEBSOCKET_ANSWER, [Buffer.from(UPGRADE), hex('88 00')]), ['c head 101', 'c close 1005']);
  });

  it('of pong are masked and carry what the ping did', () => {
    const ping = Buffer.from('\0\xffhello', 'latin1');
    const pong = Buffer.from(encodePong(ping, 0, ping.length), 'latin1');
    assert.deepEqual([pong[0], pong[1]], [0x8a, 0x80 | ping.length]);
    const mask = pong.subarray(2, 6);
    assert.notDeepEqual([...mask], [0, 0, 0, 0]);
    const payload = pong.subarray(6).map((byte, i) => byte ^ (mask[i % 4] ?? 0));
    assert.deepEqual(Buffer.from(payload), ping);
    assert.equal(encodePong(ping, 3, 3).length, 6);
  });

  it('follow a key that is answered as RFC 6455 says', () => assert.equal(acceptOf(KEY.key), KEY.accept));
});

describe('a scanner', () => {
  it('tells events with CRLF line ends', () => {
    assert.deepEqual(scan(SSE_ANSWER, [Buffer.from(`${HEAD}data: a\r\n\r\ndata: b\r\n\r\n`)]), [
      'c head 200',
      'c payload a',
      'c payload b',
    ]);
  });

  it('tells an empty payload', () => {
    assert.deepEqual(scan(SSE_ANSWER, [Buffer.from(`${HEAD}data:\n\n`)]), ['c head 200', 'c payload ']);
  });

  it('does not tell an event whose empty line has not come', () => {
    assert.deepEqual(scan(SSE_ANSWER, [Buffer.from(`${HEAD}data: a\n`)]), ['c head 200']);
  });

  it('tells the status of an answer that is no stream', () => {
    assert.deepEqual(scan(SSE_ANSWER, [Buffer.from('HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n')]), [
      'c head 503',
    ]);
  });

  for (const [what, expected, text] of [
    ['what is not HTTP', SSE_ANSWER, 'SMTP 220 ready\r\n\r\n'],
    ['a 200 that is no event stream', SSE_ANSWER, 'HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n'],
    ['a stream where NDJSON was asked for', STREAM_ANSWER, HEAD],
    ['a chunk without a size', SSE_ANSWER, `${CHUNKED_HEAD}zz\r\ndata: a\n\n\r\n`],
    ['a chunk with an empty size', STREAM_ANSWER, `${STREAM_HEAD}\r\na\n\r\n`],
    ['a chunk longer than its size', SSE_ANSWER, `${CHUNKED_HEAD}3\r\ndata: a\n\n\r\n`],
    ['two data lines', SSE_ANSWER, `${HEAD}data: a\ndata: b\n\n`],
    ['a line without an end', SSE_ANSWER, HEAD + 'x'.repeat(REST_LIMIT_BYTES + 1)],
    ['a poll that was refused', POLL_ANSWER, `${POLLS}HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n`],
    ['a poll’s answer without an ETag', POLL_ANSWER, `${POLLS}HTTP/1.1 204 No Content\r\n\r\n`],
    ['a WebSocket that accepts another key', WEBSOCKET_ANSWER, UPGRADE.replace(KEY.accept, acceptOf('other'))],
    [
      'an extension that was not asked for',
      WEBSOCKET_ANSWER,
      UPGRADE.replace('Sec-', 'Sec-WebSocket-Extensions: x\r\nSec-'),
    ],
    ['a masked frame', WEBSOCKET_ANSWER, `${UPGRADE}\x81\x81\0\0\0\0x`],
    ['a fragment', WEBSOCKET_ANSWER, `${UPGRADE}\x01\x01x\x80\x01y`],
    ['a compressed frame', WEBSOCKET_ANSWER, `${UPGRADE}\xc1\x01x`],
    ['a long ping', WEBSOCKET_ANSWER, `${UPGRADE}\x89\x7e\0\x7e${'x'.repeat(126)}`],
    ['a frame without an end', WEBSOCKET_ANSWER, `${UPGRADE}\x81\x7f\0\0\0\0\0\x10\0\0${'x'.repeat(REST_LIMIT_BYTES)}`],
  ] as const) {
    it(`faults ${what}, once`, () => {
      const told = scan(expected, [Buffer.from(text, 'latin1'), Buffer.from('data: later\n\n')]);
      assert.equal(told.filter((line) => line.startsWith('c fault')).length, 1);
      assert.ok(!told.includes('c payload later'));
    });
  }
});
