// What a parser made of the bytes of a connection, in one shape for ours and for Node's own, so that they can be compared.
//
// `readByLongwire` feeds HeadParser and BodyReader as a connection would, cut where it is told, and moves the bytes to
// another buffer and another offset before each call, since a connection may. `readByNode` is the reference: llhttp through
// the same binding that `node:http` uses, with no leniency.

import { createRequire } from 'node:module';
import { BodyReader } from '../../../workers/http/body-reader.ts';
import { FAULT, type HeadLimits, HeadParser, INCOMPLETE } from '../../../workers/http/head-parser.ts';
import type { Random } from './random.ts';

export const LIMITS: HeadLimits = { targetLimitBytes: 4096, headLimitBytes: 8192, headerLimit: 64 };
export const BODY_LIMIT_BYTES = 65536;

export interface MessageReading {
  method: string;
  path: string;
  query: string;
  minorVersion: number;
  /** Names and values, alternating. */
  headers: string[];
  keepAlive: boolean;
  upgrade: boolean;
  /** latin1; null while it is not whole. */
  body: string | null;
}

export interface Reading {
  /** Every message whose head was whole and taken. */
  messages: MessageReading[];
  /** '400 malformed Host', 'HPE_INVALID_METHOD'; null without one. */
  fault: string | null;
  /** Bytes up to which whole messages reached, by ours; -1 where it is not known. */
  taken: number;
}

/** Where the next cut is, past `end`; beyond the bytes is all of them. */
export type Cuts = (end: number) => number;

export const WHOLE: Cuts = () => Number.MAX_SAFE_INTEGER;
export const BYTE_BY_BYTE: Cuts = (end) => end + 1;
export function randomCuts(random: Random): Cuts {
  return (end) => end + 1 + random.below(random.once(3) ? 80 : 6);
}

export function readByLongwire(bytes: Buffer, cuts: Cuts, limits = LIMITS, bodyLimitBytes = BODY_LIMIT_BYTES): Reading {
  const parser = new HeadParser(limits);
  const { head } = parser;
  const messages: MessageReading[] = [];
  let at = 0;
  let end = Math.min(bytes.length, cuts(0));
  for (;;) {
    const shift = end % 5;
    const moved = Buffer.alloc(shift + end - at + 3, '\r\n');
    bytes.copy(moved, shift, at, end);
    const past = parser.parse(moved, shift, shift + end - at);
    if (past === FAULT) return { messages, fault: `${parser.faultStatus} ${parser.faultText}`, taken: at };
    if (past === INCOMPLETE) {
      if (end === bytes.length) return { messages, fault: null, taken: at };
      end = Math.min(bytes.length, cuts(end));
      continue;
    }
    const headers: string[] = [];
    for (let i = 0; i < head.headerCount; i++) headers.push(head.headerName(i), head.headerValue(i));
    const message: MessageReading = {
      method: head.method,
      path: head.path(),
      query: head.query(),
      minorVersion: head.minorVersion,
      headers,
      keepAlive: head.keepAlive,
      upgrade: head.upgrade,
      body: head.bodyKind === 'none' ? '' : null,
    };
    messages.push(message);
    let bodyAt = at + past - shift;
    if (head.bodyKind !== 'none') {
      const body = new BodyReader(head, bodyLimitBytes);
      for (;;) {
        bodyAt = body.push(bytes, bodyAt, end);
        if (bodyAt === FAULT) return { messages, fault: `${body.faultStatus} ${body.faultText}`, taken: at };
        if (body.done) break;
        if (end === bytes.length) return { messages, fault: null, taken: at };
        end = Math.min(bytes.length, cuts(end));
      }
      message.body = body.body().toString('latin1');
    }
    at = bodyAt;
    if (!message.keepAlive || message.upgrade) return { messages, fault: null, taken: at };
    parser.reset();
  }
}

interface NodeParser {
  [callback: number]: (...values: never[]) => number | undefined;
  initialize(kind: number, resource: object, headLimitBytes: number, leniency: number): void;
  execute(bytes: Buffer): number | (Error & { code: string });
}

interface NodeParserClass {
  new (): NodeParser;
  REQUEST: number;
  kOnHeaders: number;
  kOnHeadersComplete: number;
  kOnBody: number;
  kOnMessageComplete: number;
  kLenientNone: number;
}

// Internal and deprecated, and still what every supported Node's `http` is built on: fine for a test, never for the gateway.
const node = createRequire(import.meta.url)('_http_common') as { HTTPParser: NodeParserClass; methods: string[] };
const { HTTPParser } = node;

let reading: Reading = { messages: [], fault: null, taken: -1 };
let bodyChunks: Buffer[] = [];
let headersSoFar: string[] = [];
let urlSoFar = '';

const nodeParser = new HTTPParser();
// Past 32 headers, and behind a message with trailers, the binding hands headers and target over in parts. The trailers
// themselves come this way too, and are no concern of ours.
nodeParser[HTTPParser.kOnHeaders] = (headers: string[], url: string) => {
  headersSoFar.push(...headers);
  urlSoFar += url;
  return undefined;
};
nodeParser[HTTPParser.kOnHeadersComplete] = (
  _major: number,
  minorVersion: number,
  headers: string[] | undefined,
  method: number,
  url: string | undefined,
  _status: undefined,
  _reason: undefined,
  upgrade: boolean,
  keepAlive: boolean,
) => {
  const target = /^(?:[a-z]+:\/\/[^/?]*)?([^?]*)\??(.*)$/i.exec(urlSoFar + (url ?? ''));
  reading.messages.push({
    method: node.methods[method] ?? 'of later Nodes',
    path: target?.[1] || '/',
    query: target?.[2] ?? '',
    minorVersion,
    headers: headersSoFar.concat(headers ?? []),
    keepAlive,
    upgrade,
    body: null,
  });
  headersSoFar = [];
  urlSoFar = '';
  bodyChunks = [];
  return 0;
};
nodeParser[HTTPParser.kOnBody] = (chunk: Buffer) => {
  bodyChunks.push(Buffer.from(chunk));
  return undefined;
};
nodeParser[HTTPParser.kOnMessageComplete] = () => {
  const message = reading.messages.at(-1);
  if (message !== undefined) message.body = Buffer.concat(bodyChunks).toString('latin1');
  headersSoFar = [];
  urlSoFar = '';
  return undefined;
};

const TABS_ARE_OPTIONS = /^([0-8]|9\.[0-3])\./.test(process.versions.llhttp ?? '0.');

/** Fed whole: how llhttp takes cuts is not our concern. */
export function readByNode(bytes: Buffer): Reading {
  reading = { messages: [], fault: null, taken: -1 };
  headersSoFar = [];
  urlSoFar = '';
  nodeParser.initialize(HTTPParser.REQUEST, {}, 0, HTTPParser.kLenientNone);
  const outcome = nodeParser.execute(bytes);
  if (typeof outcome !== 'number') reading.fault = outcome.code;
  return reading;
}

/**
 * What is wrong between the two readings of the same bytes, or null: whatever Node rejects ours must not have taken, and
 * what both take they must read the same. Four times RFC 9110 and 9112 say otherwise than llhttp, and ours follows them:
 * HTTP/1.0 has no upgrade; `close` beside `keep-alive` on HTTP/1.0 closes; Proxy-Connection is not Connection; a HTAB
 * behind an option of Connection is white space like any other (llhttp before 9.4 takes it as part of the option).
 */
export function difference(ours: Reading, nodes: Reading, bytes: Buffer): string | null {
  const tabbed = TABS_ARE_OPTIONS && /connection:.*\t/i.test(bytes.toString('latin1'));
  for (let i = 0; i < ours.messages.length; i++) {
    const mine = ours.messages[i] as MessageReading;
    const theirs = nodes.messages[i];
    if (theirs === undefined) return `message ${i}: ours took a head that Node did not (${nodes.fault})`;
    if (mine.body !== null && theirs.body === null && !theirs.upgrade) {
      return `message ${i}: ours took a body that Node did not (${nodes.fault})`;
    }
    for (const fact of ['method', 'path', 'query', 'minorVersion'] as const) {
      if (mine[fact] !== theirs[fact]) return `message ${i}: ${fact} is ${mine[fact]} by ours, ${theirs[fact]} by Node`;
    }
    if (mine.headers.join('\n') !== theirs.headers.join('\n')) {
      return `message ${i}: headers ${JSON.stringify(mine.headers)} by ours, ${JSON.stringify(theirs.headers)} by Node`;
    }
    if (mine.body !== null && theirs.body !== null && mine.body !== theirs.body)
      return `message ${i}: the bodies differ`;
    if (mine.body === null && theirs.body !== null && ours.fault === null)
      return `message ${i}: only Node ends the body`;

    const onOld = mine.minorVersion === 0;
    const options = optionsIn(mine.headers, 'connection');
    if (!tabbed && optionsIn(mine.headers, 'proxy-connection') === '') {
      if (mine.upgrade !== (theirs.upgrade && !onOld)) return `message ${i}: upgrade is ${mine.upgrade} by ours`;
      const keepAlive = theirs.keepAlive && !(onOld && /(^|,)[ \t]*close[ \t]*(,|$)/i.test(options));
      if (mine.keepAlive !== keepAlive) return `message ${i}: keepAlive is ${mine.keepAlive} by ours`;
    }
    // Node reads no further than here: behind an upgrade, or where it says that the connection ends.
    if (theirs.upgrade || !theirs.keepAlive) return null;
  }
  return null;
}

/** The values of all headers of that name as one list. */
function optionsIn(headers: string[], lowerCaseName: string): string {
  return headers.filter((_, i) => i % 2 === 1 && headers[i - 1]?.toLowerCase() === lowerCaseName).join(',');
}
