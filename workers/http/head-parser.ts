// Reads the head of an HTTP/1.1 request (RFC 9112 §2 to §7) out of bytes that arrive whole or cut anywhere.
//
// Strict: what two parsers could read differently is a fault, so that nothing can be smuggled past a proxy in front.
// Invariants: each byte is looked at once, in order, by one explicit state, so the verdict depends on the bytes alone and
// never on how they were cut, and n bytes cost O(n) even one by one; a fault is met at the byte that makes it one, at the
// latest with the line it is in; no byte past a limit is looked at. What only the whole head can tell (a missing Host) is
// judged at its last byte.
//
// Cost: a head that is here at once takes one pass and no allocation; strings are made when `RequestHead` is asked. A
// parser is about 2 KB, most of it offsets: share one among connections, and give one of its own only to a connection
// whose head is not yet whole.

import {
  ASTERISK,
  COLON,
  COMMA,
  CR,
  equalsExactly,
  equalsIgnoringCase,
  HTAB,
  LF,
  NINE,
  QUESTION_MARK,
  SLASH,
  SP,
  TARGET,
  TOKEN,
  VALUE,
  ZERO,
} from './characters.ts';
import { type Method, OFFSETS_A_HEADER, RequestHead } from './request-head.ts';
import { isAuthority } from './target.ts';

/** The head is not whole yet. */
export const INCOMPLETE = -1;
/** The bytes are not a head that the gateway takes: see `faultStatus` and `faultText`. */
export const FAULT = -2;

export interface HeadLimits {
  /** Most bytes of the request line, its CRLF not counted: 414 beyond. RFC 9112 §3 recommends 8,000 at least. */
  targetLimitBytes: number;
  /** Most bytes of the whole head, its last empty line included: 431 beyond. */
  headLimitBytes: number;
  /** Most header lines: 431 beyond. */
  headerLimit: number;
}

// Where in the head the next byte stands; numbers in the order of the grammar.
const START = 0;
const START_LF = 1;
const METHOD = 2;
const TARGET_BYTES = 3;
const VERSION = 4;
const LINE_LF = 5;
const HEADER_START = 6;
const NAME = 7;
const WHITE_SPACE = 8;
const VALUE_BYTES = 9;
const HEADER_LF = 10;
const END_LF = 11;
const DONE = 12;
const FAULTED = 13;

/** HTTP-version up to its digits; RFC 9112 §2.3. */
const VERSION_PREFIX = 'HTTP/';
const VERSION_LENGTH = 'HTTP/1.1'.length;

/** `faultText`s: what is wrong, for logs and the answer's body. */
const TEXT = {
  startLine: 'malformed request line',
  method: 'malformed method',
  unknownMethod: 'unknown method',
  target: 'malformed request target',
  targetLimit: 'request line too long',
  version: 'malformed HTTP version',
  unknownVersion: 'HTTP version not supported',
  headLimit: 'request head too large',
  headerLimit: 'too many headers',
  name: 'malformed header name',
  folded: 'folded header line',
  value: 'forbidden character in a header value',
  lineEnd: 'line not ended by CR LF',
  host: 'malformed Host',
  hosts: 'more than one Host',
  noHost: 'no Host',
  length: 'malformed Content-Length',
  lengths: 'more than one Content-Length',
  codings: 'more than one Transfer-Encoding',
  coding: 'malformed Transfer-Encoding',
  unknownCoding: 'unknown transfer coding',
  codingOnOld: 'Transfer-Encoding on HTTP/1.0',
  lengthAndCoding: 'both Content-Length and Transfer-Encoding',
  expectation: 'unknown expectation',
} as const;

export class HeadParser {
  /** Filled by `parse`; valid until the next `reset`, and while the buffer's bytes stay as they are. */
  readonly head: RequestHead;
  /** The status to answer with once `parse` returned FAULT: 400, 414, 417, 431, 501 or 505. 0 before. */
  faultStatus: number;
  /** Why, in a few words: one constant a fault. '' before. */
  faultText: string;

  private readonly limits: HeadLimits;
  private state: number;
  /** How many bytes of the head have been looked at. */
  private scanned: number;
  /** Where what is being read (method, target, version, name or value) begins, from the head's beginning. */
  private mark: number;
  /** The target's first '?', from the head's beginning; -1 without one. */
  private questionMark: number;
  private nameEnd: number;
  private hosts: number;
  private lengthSeen: boolean;
  private codingSeen: boolean;
  private closeListed: boolean;
  private keepAliveListed: boolean;
  private upgradeListed: boolean;
  private upgradeSeen: boolean;
  private expectSeen: boolean;
  private expectUnknown: boolean;

  constructor(limits: HeadLimits) {
    this.head = new RequestHead(limits.headerLimit);
    this.faultStatus = 0;
    this.faultText = '';
    this.limits = limits;
    this.state = START;
    this.scanned = 0;
    this.mark = 0;
    this.questionMark = -1;
    this.nameEnd = 0;
    this.hosts = 0;
    this.lengthSeen = false;
    this.codingSeen = false;
    this.closeListed = false;
    this.keepAliveListed = false;
    this.upgradeListed = false;
    this.upgradeSeen = false;
    this.expectSeen = false;
    this.expectUnknown = false;
  }

  /** Makes it ready for the next head and lets go of the buffer. */
  reset(): void {
    this.head.reset();
    this.faultStatus = 0;
    this.faultText = '';
    this.state = START;
    this.scanned = 0;
    this.mark = 0;
    this.questionMark = -1;
    this.nameEnd = 0;
    this.hosts = 0;
    this.lengthSeen = false;
    this.codingSeen = false;
    this.closeListed = false;
    this.keepAliveListed = false;
    this.upgradeListed = false;
    this.upgradeSeen = false;
    this.expectSeen = false;
    this.expectUnknown = false;
  }

  /**
   * Reads on in `buffer[start, end)`, which holds all bytes of the head so far.
   *
   * After INCOMPLETE call again with the same bytes and more behind them, in this or another buffer and at this or another
   * `start`; what was looked at is not looked at again. After FAULT it stays FAULT until `reset`.
   *
   * @returns the absolute offset just past the head, where a body or the next head begins; or INCOMPLETE, or FAULT. A
   *   head that reaches `headLimitBytes` without being whole is a FAULT, so no more than that ever needs to be kept.
   */
  parse(buffer: Buffer, start: number, end: number): number {
    this.head.buffer = buffer;
    this.head.start = start;
    if (this.state < HEADER_START) {
      const past = this.parseRequestLine(buffer, start, end);
      if (past < 0) return past;
    }
    if (this.state === FAULTED) return FAULT;
    if (this.state === DONE) return start + this.scanned;
    return this.parseHeaders(buffer, start, end);
  }

  /** `method SP request-target SP HTTP-version CRLF`, and an empty line before it (RFC 9112 §2.2, §3). */
  private parseRequestLine(buffer: Buffer, start: number, end: number): number {
    const { headLimitBytes, targetLimitBytes } = this.limits;
    const limit = start + Math.min(headLimitBytes, targetLimitBytes + 2);
    const bound = Math.min(end, limit);
    let pos = start + this.scanned;
    let state = this.state;

    if (state === START && pos < bound) {
      if (buffer[pos] === CR) {
        pos++;
        state = START_LF;
      } else {
        state = METHOD;
      }
    }
    if (state === START_LF && pos < bound) {
      // One empty line is passed over: some clients end a body with a CRLF too many. It counts towards the limits.
      if (buffer[pos] !== LF) return this.fault(400, TEXT.lineEnd);
      pos++;
      this.mark = pos - start;
      state = METHOD;
    }
    if (state === METHOD) {
      while (pos < bound && TOKEN[buffer[pos] as number] === 1) pos++;
      if (pos < bound) {
        const method = start + this.mark;
        if (buffer[pos] !== SP || pos === method) {
          return this.fault(400, buffer[pos] === SP || pos === method ? TEXT.startLine : TEXT.method);
        }
        const known = methodOf(buffer, method, pos);
        if (known === null) return this.fault(501, TEXT.unknownMethod);
        this.head.method = known;
        pos++;
        this.mark = pos - start;
        state = TARGET_BYTES;
      }
    }
    if (state === TARGET_BYTES) {
      for (;;) {
        while (pos < bound && TARGET[buffer[pos] as number] === 1) pos++;
        if (pos >= bound || buffer[pos] !== QUESTION_MARK) break;
        if (this.questionMark < 0) this.questionMark = pos - start;
        pos++;
      }
      if (pos < bound) {
        if (buffer[pos] !== SP || !this.setTarget(buffer, start, pos - start)) return this.fault(400, TEXT.target);
        pos++;
        this.mark = pos - start;
        state = VERSION;
      }
    }
    if (state === VERSION) {
      while (pos < bound) {
        const at = pos - start - this.mark;
        const byte = buffer[pos] as number;
        if (at === VERSION_LENGTH) {
          if (byte !== CR) return this.fault(400, TEXT.version);
          const version = pos - VERSION_LENGTH;
          if (buffer[version + 5] !== ZERO + 1) return this.fault(505, TEXT.unknownVersion);
          const minor = (buffer[version + 7] as number) - ZERO;
          if (minor > 1) return this.fault(505, TEXT.unknownVersion);
          this.head.minorVersion = minor === 1 ? 1 : 0;
          pos++;
          state = LINE_LF;
          break;
        }
        const fits =
          at < VERSION_PREFIX.length
            ? byte === VERSION_PREFIX.charCodeAt(at)
            : at === VERSION_PREFIX.length + 1
              ? byte === 0x2e
              : byte >= ZERO && byte <= NINE;
        if (!fits) return this.fault(400, TEXT.version);
        pos++;
      }
    }
    if (state === LINE_LF && pos < bound) {
      if (buffer[pos] !== LF) return this.fault(400, TEXT.lineEnd);
      this.state = HEADER_START;
      this.scanned = pos + 1 - start;
      return pos + 1;
    }

    if (pos === limit) return this.fault(414, TEXT.targetLimit);
    this.state = state;
    this.scanned = pos - start;
    return INCOMPLETE;
  }

  /** `*( field-name ":" OWS field-value OWS CRLF ) CRLF` (RFC 9112 §5). The hot loop: everything it needs is local. */
  private parseHeaders(buffer: Buffer, start: number, end: number): number {
    const head = this.head;
    const limit = start + this.limits.headLimitBytes;
    const bound = Math.min(end, limit);
    let pos = start + this.scanned;
    let state = this.state;
    let mark = start + this.mark;
    let nameEnd = start + this.nameEnd;

    // Each state falls into the next as long as there are bytes.
    while (pos < bound) {
      if (state === HEADER_START) {
        const byte = buffer[pos] as number;
        if (byte === CR) {
          pos++;
          state = END_LF;
        } else {
          // RFC 9112 §5.2: obs-fold; also white space before the first header (§2.2).
          if (byte === SP || byte === HTAB) return this.fault(400, TEXT.folded);
          if (head.headerCount === this.limits.headerLimit) return this.fault(431, TEXT.headerLimit);
          mark = pos;
          state = NAME;
        }
      }
      if (state === NAME) {
        while (pos < bound && TOKEN[buffer[pos] as number] === 1) pos++;
        if (pos === bound) break;
        // §5.1: no white space between name and colon.
        if (buffer[pos] !== COLON || pos === mark) return this.fault(400, TEXT.name);
        const at = head.headerCount * OFFSETS_A_HEADER;
        head.offsets[at] = mark - start;
        head.offsets[at + 1] = pos - start;
        nameEnd = pos;
        pos++;
        state = WHITE_SPACE;
      }
      if (state === WHITE_SPACE) {
        while (pos < bound && (buffer[pos] === SP || buffer[pos] === HTAB)) pos++;
        if (pos === bound) break;
        mark = pos;
        state = VALUE_BYTES;
      }
      if (state === VALUE_BYTES) {
        while (pos < bound && VALUE[buffer[pos] as number] === 1) pos++;
        if (pos === bound) break;
        if (buffer[pos] !== CR) return this.fault(400, buffer[pos] === LF ? TEXT.lineEnd : TEXT.value);
        pos++;
        state = HEADER_LF;
      }
      if (state === HEADER_LF) {
        if (pos === bound) break;
        if (buffer[pos] !== LF) return this.fault(400, TEXT.lineEnd);
        let valueEnd = pos - 1;
        while (valueEnd > mark && (buffer[valueEnd - 1] === SP || buffer[valueEnd - 1] === HTAB)) valueEnd--;
        const at = head.headerCount * OFFSETS_A_HEADER;
        head.offsets[at + 2] = mark - start;
        head.offsets[at + 3] = valueEnd - start;
        head.headerCount++;
        const nameStart = start + (head.offsets[at] as number);
        if (!this.judge(buffer, nameStart, nameEnd, mark, valueEnd)) return FAULT;
        pos++;
        state = HEADER_START;
        continue;
      }
      if (pos === bound) break;
      if (buffer[pos] !== LF) return this.fault(400, TEXT.lineEnd);
      pos++;
      if (!this.finish()) return FAULT;
      this.state = DONE;
      this.scanned = pos - start;
      return pos;
    }

    if (pos === limit) return this.fault(431, TEXT.headLimit);
    this.state = state;
    this.scanned = pos - start;
    this.mark = mark - start;
    this.nameEnd = nameEnd - start;
    return INCOMPLETE;
  }

  /** Takes the target that ends at `end` apart (RFC 9112 §3.2); offsets from the head's beginning. */
  private setTarget(buffer: Buffer, start: number, end: number): boolean {
    const head = this.head;
    const begin = this.mark;
    const pathEnd = this.questionMark < 0 ? end : this.questionMark;
    head.queryStart = this.questionMark < 0 ? end : pathEnd + 1;
    head.queryEnd = end;
    head.pathStart = begin;
    head.pathEnd = pathEnd;
    if (end === begin) return false;

    const first = buffer[start + begin];
    if (first === SLASH) return true;
    if (first === ASTERISK) return end === begin + 1 && head.method === 'OPTIONS';

    // absolute-form, as a proxy is sent it; §3.2.2 has every server accept it. The authority wins over Host, but since
    // nothing here depends on the host, it is only checked.
    const schemeLength = schemeLengthOf(buffer, start + begin, start + pathEnd);
    if (schemeLength === 0) return false;
    const authority = begin + schemeLength;
    let authorityEnd = authority;
    while (authorityEnd < pathEnd && buffer[start + authorityEnd] !== SLASH) authorityEnd++;
    // RFC 9110 §4.2.1: an http URI with an empty host is invalid.
    if (authorityEnd === authority || buffer[start + authority] === COLON) return false;
    head.pathStart = authorityEnd;
    return isAuthority(buffer, start + authority, start + authorityEnd);
  }

  /** Looks at one header that matters to framing or the connection; absolute offsets. False once it has set the fault. */
  private judge(buffer: Buffer, nameStart: number, nameEnd: number, valueStart: number, valueEnd: number): boolean {
    switch (nameEnd - nameStart) {
      case 4:
        if (!equalsIgnoringCase(buffer, nameStart, 'host')) return true;
        // RFC 9112 §3.2
        if (++this.hosts > 1) return this.faultIn(400, TEXT.hosts);
        return isAuthority(buffer, valueStart, valueEnd) || this.faultIn(400, TEXT.host);
      case 6:
        if (!equalsIgnoringCase(buffer, nameStart, 'expect')) return true;
        this.expectSeen = true;
        if (!is(buffer, valueStart, valueEnd, '100-continue')) this.expectUnknown = true;
        return true;
      case 7:
        // An empty list of protocols asks for none.
        if (valueEnd > valueStart && equalsIgnoringCase(buffer, nameStart, 'upgrade')) this.upgradeSeen = true;
        return true;
      case 10:
        if (equalsIgnoringCase(buffer, nameStart, 'connection')) this.readConnection(buffer, valueStart, valueEnd);
        return true;
      case 14:
        if (!equalsIgnoringCase(buffer, nameStart, 'content-length')) return true;
        return this.readContentLength(buffer, valueStart, valueEnd);
      case 17:
        if (!equalsIgnoringCase(buffer, nameStart, 'transfer-encoding')) return true;
        return this.readTransferEncoding(buffer, valueStart, valueEnd);
      default:
        return true;
    }
  }

  /** A list of options; unknown ones name headers that are none of our business (RFC 9110 §7.6.1). */
  private readConnection(buffer: Buffer, start: number, end: number): void {
    for (let pos = start; pos < end; ) {
      let comma = pos;
      while (comma < end && buffer[comma] !== COMMA) comma++;
      let optionStart = pos;
      let optionEnd = comma;
      while (optionStart < optionEnd && (buffer[optionStart] === SP || buffer[optionStart] === HTAB)) optionStart++;
      while (optionEnd > optionStart && (buffer[optionEnd - 1] === SP || buffer[optionEnd - 1] === HTAB)) optionEnd--;
      if (is(buffer, optionStart, optionEnd, 'keep-alive')) this.keepAliveListed = true;
      else if (is(buffer, optionStart, optionEnd, 'close')) this.closeListed = true;
      else if (is(buffer, optionStart, optionEnd, 'upgrade')) this.upgradeListed = true;
      pos = comma + 1;
    }
  }

  /** RFC 9110 §8.6, RFC 9112 §6.3. A list of equal values, which a recipient may accept, is a fault here. */
  private readContentLength(buffer: Buffer, start: number, end: number): boolean {
    if (this.lengthSeen) return this.faultIn(400, TEXT.lengths);
    this.lengthSeen = true;
    if (this.codingSeen) return this.faultIn(400, TEXT.lengthAndCoding);
    if (start === end) return this.faultIn(400, TEXT.length);
    // OWS may be HTAB, yet llhttp rejects one behind the digits: whoever writes it is probing, so do we.
    for (let pos = end; buffer[pos] !== CR; pos++) if (buffer[pos] === HTAB) return this.faultIn(400, TEXT.length);
    let length = 0;
    for (let pos = start; pos < end; pos++) {
      const digit = (buffer[pos] as number) - ZERO;
      if (digit < 0 || digit > 9 || length > (Number.MAX_SAFE_INTEGER - digit) / 10) {
        return this.faultIn(400, TEXT.length);
      }
      length = length * 10 + digit;
    }
    this.head.bodyKind = 'length';
    this.head.contentLength = length;
    return true;
  }

  /** RFC 9112 §6.1: chunked is the one coding that the gateway knows. */
  private readTransferEncoding(buffer: Buffer, start: number, end: number): boolean {
    if (this.codingSeen) return this.faultIn(400, TEXT.codings);
    this.codingSeen = true;
    if (this.lengthSeen) return this.faultIn(400, TEXT.lengthAndCoding);
    if (this.head.minorVersion === 0) return this.faultIn(400, TEXT.codingOnOld);
    if (!is(buffer, start, end, 'chunked')) {
      // §6.3: 400 where chunked is not last, for the body's end cannot be known; §6.1: 501 for a coding beneath it.
      const codings = buffer.toString('latin1', start, end).toLowerCase().split(',');
      const names = codings.map((coding) => coding.trim());
      const beneath = names.slice(0, -1);
      const unknown = names.at(-1) === 'chunked' && !beneath.includes('chunked') && !beneath.includes('');
      return unknown ? this.faultIn(501, TEXT.unknownCoding) : this.faultIn(400, TEXT.coding);
    }
    this.head.bodyKind = 'chunked';
    return true;
  }

  /** What only the whole head can tell. */
  private finish(): boolean {
    const head = this.head;
    if (head.minorVersion === 1) {
      if (this.hosts === 0) return this.faultIn(400, TEXT.noHost);
      // RFC 9110 §10.1.1; an HTTP/1.0 client cannot mean it.
      if (this.expectUnknown) return this.faultIn(417, TEXT.expectation);
      head.keepAlive = !this.closeListed;
      head.upgrade = this.upgradeListed && this.upgradeSeen;
      head.expectsContinue =
        this.expectSeen && (head.bodyKind === 'chunked' || (head.bodyKind === 'length' && head.contentLength > 0));
    } else {
      head.keepAlive = this.keepAliveListed && !this.closeListed;
    }
    return true;
  }

  private faultIn(status: number, text: string): false {
    this.fault(status, text);
    return false;
  }

  private fault(status: number, text: string): typeof FAULT {
    this.state = FAULTED;
    this.faultStatus = status;
    this.faultText = text;
    return FAULT;
  }
}

/** Whether the bytes are `lowerCaseText` in any case, no more and no less. */
function is(buffer: Buffer, start: number, end: number, lowerCaseText: string): boolean {
  return end - start === lowerCaseText.length && equalsIgnoringCase(buffer, start, lowerCaseText);
}

/** The interned method, or null. Methods are case-sensitive (RFC 9110 §9.1). */
function methodOf(buffer: Buffer, start: number, end: number): Method | null {
  switch (end - start) {
    case 3:
      if (equalsExactly(buffer, start, 'GET')) return 'GET';
      return equalsExactly(buffer, start, 'PUT') ? 'PUT' : null;
    case 4:
      if (equalsExactly(buffer, start, 'POST')) return 'POST';
      return equalsExactly(buffer, start, 'HEAD') ? 'HEAD' : null;
    case 5:
      return equalsExactly(buffer, start, 'PATCH') ? 'PATCH' : null;
    case 6:
      return equalsExactly(buffer, start, 'DELETE') ? 'DELETE' : null;
    case 7:
      return equalsExactly(buffer, start, 'OPTIONS') ? 'OPTIONS' : null;
    default:
      return null;
  }
}

/** How long 'http://' or 'https://' at the beginning is, in any case; 0 for anything else. */
function schemeLengthOf(buffer: Buffer, start: number, end: number): number {
  for (const scheme of SCHEMES) {
    if (end - start >= scheme.length && equalsIgnoringCase(buffer, start, scheme)) return scheme.length;
  }
  return 0;
}

const SCHEMES = ['http://', 'https://'] as const;
