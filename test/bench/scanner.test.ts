// The load generator's reader of SSE answers: whole, byte by byte and cut at random it must tell the same.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { REST_LIMIT_BYTES, ResponseScanner, type ScannerSink } from '../../bench/load/scanner.ts';

const HEAD = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\r\n';
const CHUNKED_HEAD = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n';

class Recorder implements ScannerSink<string> {
  readonly told: string[] = [];
  onHead(owner: string, status: number): void {
    this.told.push(`${owner} head ${status}`);
  }
  onEvent(owner: string, bytes: Buffer, start: number, end: number): void {
    this.told.push(`${owner} event ${bytes.toString('utf8', start, end)}`);
  }
  onFault(owner: string, text: string): void {
    this.told.push(`${owner} fault ${text}`);
  }
}

/** What a scanner tells of these pieces, each read into one buffer that is dirty from the read before. */
function scan(pieces: readonly Buffer[]): string[] {
  const recorder = new Recorder();
  const scanner = new ResponseScanner('c', recorder);
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

const PLAIN = Buffer.from(
  `${HEAD}retry: 3000\n\n:hello\n\ndata: one\n\nevent: e\nid: 7\ndata: two\n\n:\n\ndata:three 🎈\n\n`,
);
const CHUNKED = Buffer.from(
  CHUNKED_HEAD +
    chunk('retry: 3000\n\n:hello\n\ndata: one\n\nevent: e\nid: 7\nda') +
    chunk('ta: two\n\n') +
    chunk(':\n\ndata:three 🎈\n\n'),
);
const TOLD = ['c head 200', 'c event one', 'c event two', 'c event three 🎈'];

for (const [name, answer] of [
  ['an answer that ends with its connection', PLAIN],
  ['a chunked answer', CHUNKED],
] as const) {
  describe(name, () => {
    it('is read whole', () => assert.deepEqual(scan([answer]), TOLD));

    it('is read byte by byte', () => assert.deepEqual(scan(bytewise(answer)), TOLD));

    it('is read however it is cut', () => {
      const places = fc.array(fc.nat(), { maxLength: 12 });
      fc.assert(fc.property(places, (at) => assert.deepEqual(scan(cut(answer, at)), TOLD)));
    });
  });
}

describe('a scanner', () => {
  it('tells events with CRLF line ends', () => {
    assert.deepEqual(scan([Buffer.from(`${HEAD}data: a\r\n\r\ndata: b\r\n\r\n`)]), [
      'c head 200',
      'c event a',
      'c event b',
    ]);
  });

  it('tells an empty payload', () => {
    assert.deepEqual(scan([Buffer.from(`${HEAD}data:\n\n`)]), ['c head 200', 'c event ']);
  });

  it('does not tell an event whose empty line has not come', () => {
    assert.deepEqual(scan([Buffer.from(`${HEAD}data: a\n`)]), ['c head 200']);
  });

  it('tells the status of an answer that is no stream', () => {
    assert.deepEqual(scan([Buffer.from('HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n')]), [
      'c head 503',
    ]);
  });

  for (const [what, text] of [
    ['what is not HTTP', 'SMTP 220 ready\r\n\r\n'],
    ['a 200 that is no event stream', 'HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n'],
    ['a chunk without a size', `${CHUNKED_HEAD}zz\r\ndata: a\n\n\r\n`],
    ['a chunk longer than its size', `${CHUNKED_HEAD}3\r\ndata: a\n\n\r\n`],
    ['two data lines', `${HEAD}data: a\ndata: b\n\n`],
    ['a line without an end', HEAD + 'x'.repeat(REST_LIMIT_BYTES + 1)],
  ] as const) {
    it(`faults ${what}, once`, () => {
      const told = scan([Buffer.from(text), Buffer.from('data: later\n\n')]);
      assert.equal(told.filter((line) => line.startsWith('c fault')).length, 1);
      assert.ok(!told.includes('c event later'));
    });
  }
});
