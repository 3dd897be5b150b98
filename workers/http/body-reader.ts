// Takes a request's body out of the bytes behind its head: by Content-Length or chunked (RFC 9112 §6, §7.1).
//
// As strict as the head's parser: a chunk's size is hexadecimal digits and nothing else, lines end with CRLF, extensions
// are checked and bounded, trailers are checked, bounded and thrown away. Invariants: each byte is looked at once by one
// explicit state, so the verdict does not depend on cuts; no byte beyond the body is taken; memory grows with what has
// arrived (twice that at most), never with what was announced, and never past the limit.
//
// Cost: one a request with a body, gone with it. A body that is here at once is copied once into memory of its size.

import {
  BACKSLASH,
  COLON,
  CR,
  DOUBLE_QUOTE,
  EQUALS,
  HEX_VALUE,
  HTAB,
  LF,
  QUOTED,
  SEMICOLON,
  SP,
  TOKEN,
  VALUE,
} from './characters.ts';
import { BODY_FAULTS, type Fault } from './faults.ts';
import { FAULT } from './head-parser.ts';
import type { RequestHead } from './request-head.ts';

// Where in the body the next byte stands; numbers in the order of the grammar.
const DATA = 0;
const DATA_CR = 1;
const DATA_LF = 2;
const SIZE_START = 3;
const SIZE = 4;
const EXTENSION_NAME_START = 5;
const EXTENSION_NAME = 6;
const EXTENSION_VALUE_START = 7;
const EXTENSION_VALUE = 8;
const EXTENSION_QUOTED = 9;
const EXTENSION_ESCAPE = 10;
const EXTENSION_END = 11;
const SIZE_LF = 12;
const TRAILER_START = 13;
const TRAILER_NAME = 14;
const TRAILER_VALUE = 15;
const TRAILER_LF = 16;
const END_LF = 17;
const DONE = 18;
const FAULTED = 19;

/** 2^64 in hexadecimal has 17 digits; leading zeros are legal but nobody needs more of them. */
const SIZE_DIGIT_LIMIT = 16;

/** All extensions of one body together. Nobody uses them; Node's limit is 16 KiB. */
const EXTENSION_LIMIT_BYTES = 4096;

/** The whole trailer section. */
const TRAILER_LIMIT_BYTES = 4096;

/** Headers that decide where a message ends or who gets it are no trailers (RFC 9110 §6.5.1). */
const FORBIDDEN_TRAILERS: ReadonlySet<string> = new Set(['content-length', 'transfer-encoding', 'host', 'trailer']);

const NOTHING = Buffer.alloc(0);

export class BodyReader {
  /** The status to answer with once `push` returned FAULT: 400, 413 or 431. Set from the start when too much was announced. */
  faultStatus: number;
  /** Why, in a few words: one constant a fault. '' before. */
  faultText: string;
  /** The body is whole. */
  done: boolean;

  private state: number;
  private readonly chunked: boolean;
  /** Most bytes that the body can have: what was announced, else the limit. */
  private readonly mostBytes: number;
  private bytes: Buffer;
  private length: number;
  /** Bytes of data still to come in this chunk, or in the body without chunks. */
  private remaining: number;
  private sizeDigits: number;
  private extensionBytes: number;
  private trailerBytes: number;
  private trailerName: string;

  /**
   * @param head Read here only, never kept.
   * @param limitBytes Most bytes of the decoded body: 413 beyond. A Content-Length beyond it is a fault at once, so look at
   *   `faultStatus` before you let the client send its body.
   */
  constructor(head: Pick<RequestHead, 'bodyKind' | 'contentLength'>, limitBytes: number) {
    const chunked = head.bodyKind === 'chunked';
    const empty = !chunked && head.contentLength === 0;
    this.faultStatus = 0;
    this.faultText = '';
    this.done = empty;
    this.state = empty ? DONE : chunked ? SIZE_START : DATA;
    this.chunked = chunked;
    this.mostBytes = chunked ? limitBytes : head.contentLength;
    this.bytes = NOTHING;
    this.length = 0;
    this.remaining = head.contentLength;
    this.sizeDigits = 0;
    this.extensionBytes = 0;
    this.trailerBytes = 0;
    this.trailerName = '';
    if (head.contentLength > limitBytes) this.fault(BODY_FAULTS.bodyLimit);
  }

  /**
   * Copies what belongs to the body out of `buffer[start, end)`, which may be cut anywhere.
   *
   * @returns the absolute offset up to which it took, which is `end` unless the body is whole; or FAULT, and from then on.
   */
  push(buffer: Buffer, start: number, end: number): number {
    let pos = start;
    while (pos < end && this.state !== DONE) {
      if (this.state === DATA) {
        const take = Math.min(this.remaining, end - pos);
        this.append(buffer, pos, take);
        pos += take;
        this.remaining -= take;
        if (this.remaining > 0) break;
        if (this.chunked) this.state = DATA_CR;
        else this.finish();
      } else {
        if (!this.step(buffer[pos] as number)) return FAULT;
        pos++;
      }
    }
    return this.state === FAULTED ? FAULT : pos;
  }

  /** The body, once `done`; nobody else writes to it. */
  body(): Buffer {
    return this.bytes.length === this.length ? this.bytes : this.bytes.subarray(0, this.length);
  }

  /** One byte of the framing of chunks. False once it has set the fault. */
  private step(byte: number): boolean {
    switch (this.state) {
      case SIZE_START:
      case SIZE:
        return this.stepSize(byte);
      case SIZE_LF:
        if (byte !== LF) return this.fault(BODY_FAULTS.lineEnd);
        this.state = this.remaining > 0 ? DATA : TRAILER_START;
        return true;
      case DATA_CR:
        if (byte !== CR) return this.fault(BODY_FAULTS.chunkEnd);
        this.state = DATA_LF;
        return true;
      case DATA_LF:
        if (byte !== LF) return this.fault(BODY_FAULTS.lineEnd);
        this.state = SIZE_START;
        return true;
      case TRAILER_START:
      case TRAILER_NAME:
      case TRAILER_VALUE:
      case TRAILER_LF:
        return this.stepTrailer(byte);
      case END_LF:
        if (byte !== LF) return this.fault(BODY_FAULTS.lineEnd);
        this.finish();
        return true;
      case FAULTED:
        return false;
      default:
        return this.stepExtension(byte);
    }
  }

  /** chunk-size = 1*HEXDIG, with nothing before or behind it. */
  private stepSize(byte: number): boolean {
    const digit = HEX_VALUE[byte] as number;
    if (digit !== 255) {
      if (this.state === SIZE_START) {
        this.state = SIZE;
        this.remaining = 0;
        this.sizeDigits = 0;
      }
      if (++this.sizeDigits > SIZE_DIGIT_LIMIT) return this.fault(BODY_FAULTS.chunkSize);
      // Stays far below 2^53: 16 times what the limit left, and the limit is a number of bytes of memory.
      this.remaining = this.remaining * 16 + digit;
      if (this.remaining > this.mostBytes - this.length) return this.fault(BODY_FAULTS.bodyLimit);
      return true;
    }
    if (this.state === SIZE_START) return this.fault(BODY_FAULTS.chunkSize);
    if (byte === CR) this.state = SIZE_LF;
    else if (byte === SEMICOLON) this.state = EXTENSION_NAME_START;
    else return this.fault(BODY_FAULTS.chunkSize);
    return true;
  }

  /** chunk-ext = *( ";" name [ "=" ( token / quoted-string ) ] ), RFC 9112 §7.1.1, without the white space of old. */
  private stepExtension(byte: number): boolean {
    if (++this.extensionBytes > EXTENSION_LIMIT_BYTES) return this.fault(BODY_FAULTS.extensionLimit);
    switch (this.state) {
      case EXTENSION_NAME_START:
      case EXTENSION_VALUE_START:
        if (TOKEN[byte] === 1) this.state = this.state === EXTENSION_NAME_START ? EXTENSION_NAME : EXTENSION_VALUE;
        else if (this.state === EXTENSION_VALUE_START && byte === DOUBLE_QUOTE) this.state = EXTENSION_QUOTED;
        else return this.fault(BODY_FAULTS.extension);
        return true;
      case EXTENSION_QUOTED:
        if (byte === DOUBLE_QUOTE) this.state = EXTENSION_END;
        else if (byte === BACKSLASH) this.state = EXTENSION_ESCAPE;
        else if (QUOTED[byte] !== 1) return this.fault(BODY_FAULTS.extension);
        return true;
      case EXTENSION_ESCAPE:
        if (VALUE[byte] !== 1) return this.fault(BODY_FAULTS.extension);
        this.state = EXTENSION_QUOTED;
        return true;
      default:
        // EXTENSION_NAME, EXTENSION_VALUE, EXTENSION_END
        if (byte === CR) this.state = SIZE_LF;
        else if (byte === SEMICOLON) this.state = EXTENSION_NAME_START;
        else if (byte === EQUALS && this.state === EXTENSION_NAME) this.state = EXTENSION_VALUE_START;
        else if (TOKEN[byte] !== 1 || this.state === EXTENSION_END) return this.fault(BODY_FAULTS.extension);
        return true;
    }
  }

  /** trailer-section = *( field-line CRLF ), RFC 9112 §7.1.2, by the rules for headers. */
  private stepTrailer(byte: number): boolean {
    if (++this.trailerBytes > TRAILER_LIMIT_BYTES) return this.fault(BODY_FAULTS.trailerLimit);
    switch (this.state) {
      case TRAILER_START:
        this.trailerName = '';
        if (byte === CR) {
          this.state = END_LF;
          return true;
        }
        this.state = TRAILER_NAME;
        return this.stepTrailerName(byte);
      case TRAILER_NAME:
        return this.stepTrailerName(byte);
      case TRAILER_VALUE:
        if (byte === CR) this.state = TRAILER_LF;
        else if (VALUE[byte] !== 1) return this.fault(BODY_FAULTS.trailer);
        return true;
      default:
        if (byte !== LF) return this.fault(BODY_FAULTS.lineEnd);
        this.state = TRAILER_START;
        return true;
    }
  }

  private stepTrailerName(byte: number): boolean {
    if (byte === COLON && this.trailerName !== '') {
      if (FORBIDDEN_TRAILERS.has(this.trailerName)) return this.fault(BODY_FAULTS.trailerForbidden);
      this.state = TRAILER_VALUE;
      return true;
    }
    // SP and HTAB too: no obs-fold, no white space before the colon.
    if (byte === SP || byte === HTAB || TOKEN[byte] !== 1) return this.fault(BODY_FAULTS.trailer);
    this.trailerName += String.fromCharCode(byte).toLowerCase();
    return true;
  }

  /** Keeps `count` bytes from `from` on; the caller has seen to it that they do not pass `mostBytes`. */
  /** Memory that it has taken for the body so far. */
  get heldBytes(): number {
    return this.bytes.length;
  }

  private append(buffer: Buffer, from: number, count: number): void {
    const needed = this.length + count;
    if (needed > this.bytes.length) {
      const grown = Buffer.allocUnsafe(Math.min(this.mostBytes, Math.max(needed, 2 * this.bytes.length)));
      this.bytes.copy(grown, 0, 0, this.length);
      this.bytes = grown;
    }
    buffer.copy(this.bytes, this.length, from, from + count);
    this.length = needed;
  }

  private finish(): void {
    this.state = DONE;
    this.done = true;
  }

  private fault(fault: Fault): false {
    this.state = FAULTED;
    this.faultStatus = fault.status;
    this.faultText = fault.text;
    this.bytes = NOTHING;
    this.length = 0;
    return false;
  }
}
