// A request's head as `HeadParser` read it: facts that every request is judged by, and offsets for the rest.
//
// Nothing is turned into a string before somebody asks: names and values stay offsets into the buffer that was parsed,
// four Int32 a header, relative to where the head begins, so that the bytes may move between two reads. All that a head
// answers is therefore valid only until the parser's next `reset()` or `parse()`, and only while the buffer's bytes stay
// as they are: take what you keep.
//
// Cost: about 1.8 KB with room for 100 headers, once a parser; a parsed head allocates nothing.

import { ASTERISK, equalsExactly, equalsIgnoringCase, PERCENT } from './characters.ts';
import { percentDecode } from './target.ts';

export type BodyKind = 'none' | 'length' | 'chunked';

/** The methods that a head can have; any other token is answered 501 (RFC 9110 §9.1). */
export type Method = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE' | 'OPTIONS' | 'PATCH';

const NOTHING = Buffer.alloc(0);

/** Int32 a header in `offsets`: where its name begins and ends, where its value begins and ends. */
export const OFFSETS_A_HEADER = 4;

export class RequestHead {
  method: Method;
  minorVersion: 0 | 1;
  /** Whether the connection may carry another request after this one (RFC 9112 §9.3). `close` wins over `keep-alive`. */
  keepAlive: boolean;
  /** Connection lists `upgrade` and there is an Upgrade header; never on HTTP/1.0 (RFC 9110 §7.8). */
  upgrade: boolean;
  bodyKind: BodyKind;
  /** 0 unless `bodyKind` is 'length'. */
  contentLength: number;
  /** The client waits for `CONTINUE` before it sends its body; false without a body and on HTTP/1.0 (RFC 9110 §10.1.1). */
  expectsContinue: boolean;
  headerCount: number;

  // The parser's side: where things lie, relative to `start` unless said otherwise.
  buffer: Buffer;
  /** Absolute offset in `buffer` at which the head begins. */
  start: number;
  /** Absolute offset behind all that was read: the head, and what has come behind it. */
  end: number;
  offsets: Int32Array;
  pathStart: number;
  /** Equal to `pathStart` for an absolute-form without a path, which stands for '/'. */
  pathEnd: number;
  /** Past the '?'; equal to `queryEnd` when there is no query. */
  queryStart: number;
  queryEnd: number;

  constructor(headerLimit: number) {
    this.method = 'GET';
    this.minorVersion = 1;
    this.keepAlive = false;
    this.upgrade = false;
    this.bodyKind = 'none';
    this.contentLength = 0;
    this.expectsContinue = false;
    this.headerCount = 0;
    this.buffer = NOTHING;
    this.start = 0;
    this.end = 0;
    this.offsets = new Int32Array(headerLimit * OFFSETS_A_HEADER);
    this.pathStart = 0;
    this.pathEnd = 0;
    this.queryStart = 0;
    this.queryEnd = 0;
  }

  /** Makes it blank and lets go of the buffer. */
  reset(): void {
    this.method = 'GET';
    this.minorVersion = 1;
    this.keepAlive = false;
    this.upgrade = false;
    this.bodyKind = 'none';
    this.contentLength = 0;
    this.expectsContinue = false;
    this.headerCount = 0;
    this.buffer = NOTHING;
    this.start = 0;
    this.end = 0;
    this.pathStart = 0;
    this.pathEnd = 0;
    this.queryStart = 0;
    this.queryEnd = 0;
  }

  /** All bytes that were read, from the head's first on: for whoever reads them again elsewhere. */
  received(): Buffer {
    return this.buffer.subarray(this.start, this.end);
  }

  /** The name of header `i`, as it was sent. `i` is 0 to `headerCount - 1`. */
  headerName(i: number): string {
    return this.slice(this.offset(i, 0), this.offset(i, 1));
  }

  /** The value of header `i`: latin1, without the white space around it. */
  headerValue(i: number): string {
    return this.slice(this.offset(i, 2), this.offset(i, 3));
  }

  /** The value of the first header of that name (give it in lower case), or null. Allocates the answer alone. */
  header(lowerCaseName: string): string | null {
    for (let i = 0; i < this.headerCount; i++) {
      const nameStart = this.offset(i, 0);
      if (this.offset(i, 1) - nameStart !== lowerCaseName.length) continue;
      if (equalsIgnoringCase(this.buffer, this.start + nameStart, lowerCaseName)) return this.headerValue(i);
    }
    return null;
  }

  /** The values of all headers of that name (give it in lower case) as one list (RFC 9110 §5.3), or null without any. */
  headerList(lowerCaseName: string): string | null {
    let list: string | null = null;
    for (let i = 0; i < this.headerCount; i++) {
      const nameStart = this.offset(i, 0);
      if (this.offset(i, 1) - nameStart !== lowerCaseName.length) continue;
      if (!equalsIgnoringCase(this.buffer, this.start + nameStart, lowerCaseName)) continue;
      list = list === null ? this.headerValue(i) : `${list}, ${this.headerValue(i)}`;
    }
    return list;
  }

  /** The target's path, raw: '/' where an absolute-form has none, '*' for `OPTIONS *`. */
  path(): string {
    return this.pathEnd === this.pathStart ? '/' : this.slice(this.pathStart, this.pathEnd);
  }

  /** The target's query, raw and without its '?'; '' when there is none. */
  query(): string {
    return this.slice(this.queryStart, this.queryEnd);
  }

  /** Whether the raw path is `text`. Allocates nothing. */
  pathEquals(text: string): boolean {
    const length = this.pathEnd - this.pathStart;
    if (length === 0) return text === '/';
    return length === text.length && equalsExactly(this.buffer, this.start + this.pathStart, text);
  }

  /** Whether the raw path begins with `text`. Allocates nothing. */
  pathStartsWith(text: string): boolean {
    const length = this.pathEnd - this.pathStart;
    if (length === 0) return text === '/' || text === '';
    return length >= text.length && equalsExactly(this.buffer, this.start + this.pathStart, text);
  }

  /**
   * The path from character `from` on, percent-decoded; '' when the path is not longer than that, null when an escape is
   * malformed or the bytes are not UTF-8. Decode last, after routing: '%2F' becomes a '/' that separates nothing.
   */
  pathSlice(from: number): string | null {
    const begin = this.pathStart + from;
    if (begin >= this.pathEnd) return '';
    const text = this.slice(begin, this.pathEnd);
    for (let i = this.start + begin; i < this.start + this.pathEnd; i++) {
      if (this.buffer[i] === PERCENT) return percentDecode(text);
    }
    return text;
  }

  /** Whether the target is `*`: `OPTIONS *`, a question about the server as a whole (RFC 9110 §9.3.7). */
  get asteriskForm(): boolean {
    return this.buffer[this.start + this.pathStart] === ASTERISK;
  }

  private offset(i: number, which: number): number {
    return this.offsets[i * OFFSETS_A_HEADER + which] as number;
  }

  private slice(from: number, to: number): string {
    return this.buffer.toString('latin1', this.start + from, this.start + to);
  }
}
