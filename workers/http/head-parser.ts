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
import { type Fault, HEAD_FAULTS } from './faults.ts';
import { HeaderRules } from './header-rules.ts';
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
  private readonly rules: HeaderRules;

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
    this.rules = new HeaderRules();
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
    this.rules.reset();
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
    this.head.end = end;
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
      if (buffer[pos] !== LF) return this.fault(HEAD_FAULTS.lineEnd);
      pos++;
      this.mark = pos - start;
      state = METHOD;
    }
    if (state === METHOD) {
      while (pos < bound && TOKEN[buffer[pos] as number] === 1) pos++;
      if (pos < bound) {
        const method = start + this.mark;
        if (buffer[pos] !== SP || pos === method) {
          return this.fault(buffer[pos] === SP || pos === method ? HEAD_FAULTS.requestLine : HEAD_FAULTS.method);
        }
        const known = methodOf(buffer, method, pos);
        if (known === null) return this.fault(HEAD_FAULTS.unknownMethod);
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
        if (buffer[pos] !== SP || !this.setTarget(buffer, start, pos - start)) return this.fault(HEAD_FAULTS.target);
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
          if (byte !== CR) return this.fault(HEAD_FAULTS.version);
          const version = pos - VERSION_LENGTH;
          if (buffer[version + 5] !== ZERO + 1) return this.fault(HEAD_FAULTS.unknownVersion);
          const minor = (buffer[version + 7] as number) - ZERO;
          if (minor > 1) return this.fault(HEAD_FAULTS.unknownVersion);
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
        if (!fits) return this.fault(HEAD_FAULTS.version);
        pos++;
      }
    }
    if (state === LINE_LF && pos < bound) {
      if (buffer[pos] !== LF) return this.fault(HEAD_FAULTS.lineEnd);
      this.state = HEADER_START;
      this.scanned = pos + 1 - start;
      return pos + 1;
    }

    if (pos === limit) return this.fault(HEAD_FAULTS.targetLimit);
    this.state = state;
    this.scanned = pos - start;
    return INCOMPLETE;
  }

  /** `*( field-name ":" OWS field-value OWS CRLF ) CRLF` (RFC 9112 §5). The hot loop: everything it needs is local. */
  private parseHeaders(buffer: Buffer, start: number, end: number): number {
    const head = this.head;
    // Imports are looked up at each use; locals are not: 6 % of the whole parse on Node 20.
    const tokens = TOKEN;
    const values = VALUE;
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
          if (byte === SP || byte === HTAB) return this.fault(HEAD_FAULTS.folded);
          if (head.headerCount === this.limits.headerLimit) return this.fault(HEAD_FAULTS.headerLimit);
          mark = pos;
          state = NAME;
        }
      }
      if (state === NAME) {
        while (pos < bound && tokens[buffer[pos] as number] === 1) pos++;
        if (pos === bound) break;
        // §5.1: no white space between name and colon.
        if (buffer[pos] !== COLON || pos === mark) return this.fault(HEAD_FAULTS.name);
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
        while (pos < bound && values[buffer[pos] as number] === 1) pos++;
        if (pos === bound) break;
        if (buffer[pos] !== CR) return this.fault(buffer[pos] === LF ? HEAD_FAULTS.lineEnd : HEAD_FAULTS.value);
        pos++;
        state = HEADER_LF;
      }
      if (state === HEADER_LF) {
        if (pos === bound) break;
        if (buffer[pos] !== LF) return this.fault(HEAD_FAULTS.lineEnd);
        let valueEnd = pos - 1;
        while (valueEnd > mark && (buffer[valueEnd - 1] === SP || buffer[valueEnd - 1] === HTAB)) valueEnd--;
        const at = head.headerCount * OFFSETS_A_HEADER;
        head.offsets[at + 2] = mark - start;
        head.offsets[at + 3] = valueEnd - start;
        head.headerCount++;
        const nameStart = start + (head.offsets[at] as number);
        const fault = this.rules.look(head, nameStart, nameEnd, mark, valueEnd);
        if (fault !== null) return this.fault(fault);
        pos++;
        state = HEADER_START;
        continue;
      }
      if (pos === bound) break;
      if (buffer[pos] !== LF) return this.fault(HEAD_FAULTS.lineEnd);
      pos++;
      const fault = this.rules.finish(head);
      if (fault !== null) return this.fault(fault);
      this.state = DONE;
      this.scanned = pos - start;
      return pos;
    }

    if (pos === limit) return this.fault(HEAD_FAULTS.headLimit);
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

  private fault(fault: Fault): typeof FAULT {
    this.state = FAULTED;
    this.faultStatus = fault.status;
    this.faultText = fault.text;
    return FAULT;
  }
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
