// Reads one answer: head, then body, whole or cut anywhere, with or without chunked transfer coding (RFC 9112 §7.1).
//
// What the body is made of is its reader's business (bodies.ts). A read that holds whole pieces is scanned in place; only a
// cut tail is copied and kept, at most `REST_LIMIT_BYTES`. Cost a connection: one object.

import { type BodySink, CLOSED, lineEnd } from './bodies.ts';
import type { Expectation } from './transports.ts';

export interface ScannerSink<Owner> extends BodySink<Owner> {
  onHead(owner: Owner, status: number): void;
  /** The bytes are not what the answer may hold; nothing more is told after this. */
  onFault(owner: Owner, text: string): void;
}

export const REST_LIMIT_BYTES = 256 * 1024;

const CR = 0x0d;
const LF = 0x0a;
const EMPTY = Buffer.alloc(0);
const CHUNKED = /\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n/i;

export class ResponseScanner<Owner> {
  private readonly owner: Owner;
  private readonly sink: ScannerSink<Owner>;
  private readonly expected: Expectation;
  private phase: 'head' | 'plain' | 'chunked' | 'over';
  /** Bytes that came and are not yet a whole head or chunk. */
  private rest: Buffer;
  /** Decoded bytes that are not yet a whole event, line or frame. */
  private piece: Buffer;

  constructor(owner: Owner, sink: ScannerSink<Owner>, expected: Expectation) {
    this.owner = owner;
    this.sink = sink;
    this.expected = expected;
    this.phase = 'head';
    this.rest = EMPTY;
    this.piece = EMPTY;
  }

  /** Takes the first `length` bytes of `buffer`, which may be used again after the call. */
  feed(buffer: Buffer, length: number): void {
    let bytes = buffer;
    let end = length;
    if (this.rest.length > 0) {
      bytes = Buffer.concat([this.rest, buffer.subarray(0, length)]);
      end = bytes.length;
      this.rest = EMPTY;
    }
    let at = 0;
    if (this.phase === 'head') {
      at = this.head(bytes, end);
      if (at === 0) {
        this.rest = this.kept(bytes, 0, end);
        return;
      }
    }
    if (this.phase === 'plain') this.body(bytes, at, end);
    else if (this.phase === 'chunked') this.chunks(bytes, at, end);
  }

  /** Where the body begins, or 0 while the head is not whole. */
  private head(bytes: Buffer, end: number): number {
    const bodyAt = endOfHead(bytes, end);
    if (bodyAt === 0) return 0;
    const head = bytes.toString('latin1', 0, bodyAt);
    const status = head.startsWith('HTTP/1.1 ') ? Number(head.slice(9, 12)) : Number.NaN;
    if (!(status >= 100 && status <= 599)) {
      this.fault('the answer does not begin with an HTTP/1.1 status line');
    } else if (status !== this.expected.status) {
      this.phase = 'over';
      this.sink.onHead(this.owner, status);
    } else if (!this.expected.fits(head)) {
      this.fault(this.expected.otherwise);
    } else {
      this.phase = CHUNKED.test(head) ? 'chunked' : 'plain';
      this.sink.onHead(this.owner, status);
    }
    return bodyAt;
  }

  private chunks(bytes: Buffer, start: number, end: number): void {
    let at = start;
    while (at < end && this.phase === 'chunked') {
      const sizeEnd = lineEnd(bytes, at, end);
      if (sizeEnd === end) break;
      const size = hexNumber(bytes, at, sizeEnd - 1);
      const dataAt = sizeEnd + 1;
      const next = dataAt + size + 2;
      if (size >= 0 && next > end) break;
      if (size < 0 || bytes[next - 2] !== CR || bytes[next - 1] !== LF) {
        this.fault('a chunk whose size is none, or not its own');
      } else if (size === 0) {
        // The last chunk; the connection's end follows and is told by whoever reads from it.
        this.phase = 'over';
      } else {
        this.body(bytes, dataAt, next - 2);
      }
      at = next;
    }
    if (at < end && this.phase === 'chunked') this.rest = this.kept(bytes, at, end);
  }

  private body(bytes: Buffer, start: number, end: number): void {
    if (this.piece.length > 0) {
      const whole = Buffer.concat([this.piece, bytes.subarray(start, end)]);
      this.piece = EMPTY;
      this.pieces(whole, 0, whole.length);
    } else {
      this.pieces(bytes, start, end);
    }
  }

  private pieces(bytes: Buffer, start: number, end: number): void {
    const outcome = this.expected.read(bytes, start, end, this.owner, this.sink);
    if (typeof outcome === 'string') this.fault(outcome);
    else if (outcome === CLOSED) this.phase = 'over';
    else if (outcome < end) this.piece = this.kept(bytes, outcome, end);
  }

  private kept(bytes: Buffer, start: number, end: number): Buffer {
    if (end - start <= REST_LIMIT_BYTES) return Buffer.from(bytes.subarray(start, end));
    this.fault(`more than ${REST_LIMIT_BYTES} bytes without an end`);
    return EMPTY;
  }

  private fault(text: string): void {
    this.phase = 'over';
    this.sink.onFault(this.owner, text);
  }
}

/** Index after the empty line that ends a head, or 0. */
function endOfHead(bytes: Uint8Array, end: number): number {
  for (let at = 3; at < end; at++) {
    if (bytes[at] === LF && bytes[at - 1] === CR && bytes[at - 2] === LF && bytes[at - 3] === CR) return at + 1;
  }
  return 0;
}

/** The hexadecimal number `bytes[start, end)`; -1 where there is none, or no CR at its end. */
function hexNumber(bytes: Uint8Array, start: number, end: number): number {
  if (end <= start || end - start > 8 || bytes[end] !== CR) return -1;
  let value = 0;
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number;
    // '0' to '9', then 'A' to 'F' or 'a' to 'f': bit 0x20 is what tells the cases apart.
    const digit = byte <= 0x39 ? byte - 0x30 : (byte | 0x20) - 0x57;
    if (digit < 0 || digit > 15 || (byte > 0x39 && digit < 10)) return -1;
    value = value * 16 + digit;
  }
  return value;
}
