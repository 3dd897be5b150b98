// Finds what was published in the body of each transport: server-sent events, lines of NDJSON, WebSocket frames.
//
// Made for the load generator: readers take what benchmarks publish (one `data:` line an event, one line, one frame) and hold
// the server to its framing, but are no general clients. A reader is given bytes that begin at the beginning of an event,
// line or frame, tells all that are whole, and says where the first that is not begins: it keeps nothing itself, so one
// function serves all connections. Cost a delivery: one pass over its bytes; no string, no copy.

import { BINARY, CLOSE, FIN, MASKED, PING, PONG, TEXT } from './frames.ts';

/** What is told. One sink for all connections; `owner` is what the scanner was made with. */
export interface BodySink<Owner> {
  /** What was published: `bytes[start, end)`, valid during the call only. */
  onPayload(owner: Owner, bytes: Buffer, start: number, end: number): void;
  /** A WebSocket's ping with its payload, valid during the call only. It wants to be answered. */
  onPing(owner: Owner, bytes: Buffer, start: number, end: number): void;
  /** A WebSocket's close frame; nothing more is told after it. */
  onClose(owner: Owner, code: number): void;
}

/**
 * Reads `bytes[start, end)`.
 *
 * @returns Where the first incomplete piece begins (`end` when there is none); `CLOSED` after a close frame; or, as a string,
 *   what is wrong with the bytes.
 */
export type BodyReader = <Owner>(
  bytes: Buffer,
  start: number,
  end: number,
  owner: Owner,
  sink: BodySink<Owner>,
) => number | string;

export const CLOSED = -1;

const CR = 0x0d;
const LF = 0x0a;
const COLON = 0x3a;
const SPACE = 0x20;
const DATA = Buffer.from('data');
const NO_CODE = 1005;

/** WHATWG HTML, §9.2.5. Comments and fields other than `data` are passed over. */
export const readEvents: BodyReader = (bytes, start, end, owner, sink) => {
  let at = start;
  let eventAt = start;
  let dataStart = -1;
  let dataEnd = -1;
  while (at < end) {
    const feedAt = lineEnd(bytes, at, end);
    if (feedAt === end) break;
    const textEnd = feedAt > at && bytes[feedAt - 1] === CR ? feedAt - 1 : feedAt;
    if (textEnd === at) {
      if (dataStart >= 0) sink.onPayload(owner, bytes, dataStart, dataEnd);
      dataStart = -1;
      eventAt = feedAt + 1;
    } else if (isData(bytes, at, textEnd)) {
      if (dataStart >= 0) return 'an event with two data lines';
      dataStart = at + DATA.length + 1;
      if (bytes[dataStart] === SPACE && dataStart < textEnd) dataStart++;
      dataEnd = textEnd;
    }
    at = feedAt + 1;
  }
  return eventAt;
};

/** Lines that end with LF; empty ones are heartbeats. */
export const readLines: BodyReader = (bytes, start, end, owner, sink) => {
  let at = start;
  while (at < end) {
    const feedAt = lineEnd(bytes, at, end);
    if (feedAt === end) break;
    if (feedAt > at) sink.onPayload(owner, bytes, at, feedAt);
    at = feedAt + 1;
  }
  return at;
};

/** RFC 6455 §5.2, as servers send: unmasked, no extension. What was published must come in one frame. */
export const readFrames: BodyReader = (bytes, start, end, owner, sink) => {
  let at = start;
  while (end - at >= 2) {
    const first = bytes[at] as number;
    const second = bytes[at + 1] as number;
    if ((second & MASKED) !== 0) return 'a masked frame from a server';
    let length = second;
    let dataAt = at + 2;
    if (second === 126) {
      if (end - at < 4) break;
      length = bytes.readUInt16BE(at + 2);
      dataAt += 2;
    } else if (second === 127) {
      if (end - at < 10) break;
      length = bytes.readUInt32BE(at + 2) * 2 ** 32 + bytes.readUInt32BE(at + 6);
      dataAt += 8;
    }
    const next = dataAt + length;
    if (next > end) break;
    if (first === (FIN | TEXT) || first === (FIN | BINARY)) {
      sink.onPayload(owner, bytes, dataAt, next);
    } else if (first === (FIN | PING) && length < 126) {
      sink.onPing(owner, bytes, dataAt, next);
    } else if (first === (FIN | CLOSE) && length < 126) {
      sink.onClose(owner, length >= 2 ? bytes.readUInt16BE(dataAt) : NO_CODE);
      return CLOSED;
    } else if (first !== (FIN | PONG) || length > 125) {
      return `a frame that a push server has no use for: 0x${first.toString(16)}, ${length} bytes`;
    }
    at = next;
  }
  return at;
};

/** Index of the line feed, or `end`. A loop, as `indexOf` would read on into what an earlier read left in the buffer. */
export function lineEnd(bytes: Uint8Array, start: number, end: number): number {
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
