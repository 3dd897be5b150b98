// Reads one SSE answer: head, then events, whole or cut anywhere, with or without chunked transfer coding (RFC 9112 §7.1).
//
// Made for the load generator: it takes what benchmarks publish (one `data:` line an event) and validates framing, but is no
// general EventSource. A read that holds whole events is scanned in place; only a cut tail is copied and kept, at most
// `REST_LIMIT_BYTES`. Cost a connection: one object; a delivery: one pass over its bytes.

/** What is told. One sink for all connections; `owner` is what the scanner was made with. */
export interface ScannerSink<Owner> {
  onHead(owner: Owner, status: number): void;
  /** An event with data: `bytes[start, end)`, valid during the call only. */
  onEvent(owner: Owner, bytes: Buffer, start: number, end: number): void;
  /** The bytes are not what an SSE answer may hold; nothing more is told after this. */
  onFault(owner: Owner, text: string): void;
}

export const REST_LIMIT_BYTES = 256 * 1024;

const CR = 0x0d;
const LF = 0x0a;
const COLON = 0x3a;
const SPACE = 0x20;
const EMPTY = Buffer.alloc(0);
const DATA = Buffer.from('data');
const CHUNKED = /\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n/i;
const EVENT_STREAM = /\r\ncontent-type:[ \t]*text\/event-stream/i;

export class ResponseScanner<Owner> {
  private readonly owner: Owner;
  private readonly sink: ScannerSink<Owner>;
  private phase: 'head' | 'plain' | 'chunked' | 'faulty';
  /** Bytes that came and are not yet a whole head or chunk. */
  private rest: Buffer;
  /** Decoded bytes that are not yet a whole event. */
  private event: Buffer;

  constructor(owner: Owner, sink: ScannerSink<Owner>) {
    this.owner = owner;
    this.sink = sink;
    this.phase = 'head';
    this.rest = EMPTY;
    this.event = EMPTY;
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
    if (this.phase === 'plain') this.events(bytes, at, end);
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
    } else if (status === 200 && !EVENT_STREAM.test(head)) {
      this.fault('the answer is not text/event-stream');
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
      const size = Number.parseInt(bytes.toString('latin1', at, sizeEnd), 16);
      const dataAt = sizeEnd + 1;
      const next = dataAt + size + 2;
      if (next > end) break;
      if (size >= 0 && bytes[next - 2] === CR && bytes[next - 1] === LF) this.events(bytes, dataAt, next - 2);
      else this.fault('a chunk whose size is none, or not its own');
      at = next;
    }
    if (at < end && this.phase === 'chunked') this.rest = this.kept(bytes, at, end);
  }

  private events(bytes: Buffer, start: number, end: number): void {
    if (this.event.length > 0) {
      const whole = Buffer.concat([this.event, bytes.subarray(start, end)]);
      this.event = EMPTY;
      this.wholeEvents(whole, 0, whole.length);
    } else {
      this.wholeEvents(bytes, start, end);
    }
  }

  private wholeEvents(bytes: Buffer, start: number, end: number): void {
    let at = start;
    let eventAt = start;
    let dataStart = -1;
    let dataEnd = -1;
    while (at < end) {
      const feedAt = lineEnd(bytes, at, end);
      if (feedAt === end) break;
      const textEnd = feedAt > at && bytes[feedAt - 1] === CR ? feedAt - 1 : feedAt;
      if (textEnd === at) {
        if (dataStart >= 0) this.sink.onEvent(this.owner, bytes, dataStart, dataEnd);
        dataStart = -1;
        eventAt = feedAt + 1;
      } else if (isData(bytes, at, textEnd)) {
        if (dataStart >= 0) {
          this.fault('an event with two data lines');
          return;
        }
        dataStart = at + DATA.length + 1;
        if (bytes[dataStart] === SPACE && dataStart < textEnd) dataStart++;
        dataEnd = textEnd;
      }
      at = feedAt + 1;
    }
    if (eventAt < end) this.event = this.kept(bytes, eventAt, end);
  }

  private kept(bytes: Buffer, start: number, end: number): Buffer {
    if (end - start <= REST_LIMIT_BYTES) return Buffer.from(bytes.subarray(start, end));
    this.fault(`more than ${REST_LIMIT_BYTES} bytes without an end`);
    return EMPTY;
  }

  private fault(text: string): void {
    this.phase = 'faulty';
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

/** Index of the line feed, or `end`. A loop, as `indexOf` would read on into what an earlier read left in the buffer. */
function lineEnd(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end && bytes[at] !== LF) at++;
  return at;
}

function isData(bytes: Uint8Array, start: number, end: number): boolean {
  return (
    end - start > DATA.length &&
    bytes[start + DATA.length] === COLON &&
    bytes[start] === DATA[0] &&
    bytes[start + 1] === DATA[1] &&
    bytes[start + 2] === DATA[2] &&
    bytes[start + 3] === DATA[3]
  );
}
