// The opening handshake of a WebSocket (RFC 6455 §4.2): whether a request may become one, and the 101 that makes it one.
//
// Strict where two readers could differ: the key and the version exactly once each. Extensions and subprotocols are
// ignored, which declines them (§4.2.2): no compression, for it would cost each connection a window of its own. Who may
// come (Origin, keys, limits) is not judged here.
//
// Cost: once a connection, a SHA-1 of 60 bytes and one Buffer.

import { hash } from 'node:crypto';
import { COMMA, equalsIgnoringCase, HTAB, SP } from '../http/characters.ts';
import type { Fault } from '../http/faults.ts';
import { OFFSETS_A_HEADER, type RequestHead } from '../http/request-head.ts';

/** `fields` are field lines that the answer must have, each with its CRLF. */
export interface HandshakeFault extends Fault {
  readonly fields: string;
}

/** §4.2.2: what a server proves with that it knows the protocol. */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** 16 bytes of base64. What the unused bits of the last character are is nobody's business: decoders ignore them. */
const KEY = /^[A-Za-z0-9+/]{22}==$/;

/** RFC 9110 §15.5.22 and §7.8 want Upgrade with a 426, and Connection with Upgrade; RFC 6455 §4.4 the versions known. */
const UPGRADE_FIELDS = 'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n';

export const HANDSHAKE_FAULTS = {
  method: { status: 405, text: 'a WebSocket is opened by GET', fields: 'Allow: GET\r\n' },
  httpVersion: { status: 426, text: 'a WebSocket needs HTTP/1.1', fields: UPGRADE_FIELDS },
  upgrade: { status: 426, text: 'not a request for an upgrade to websocket', fields: UPGRADE_FIELDS },
  body: { status: 400, text: 'a WebSocket handshake has no body', fields: '' },
  versions: { status: 400, text: 'more than one Sec-WebSocket-Version', fields: '' },
  version: { status: 426, text: 'WebSocket version not supported', fields: UPGRADE_FIELDS },
  noKey: { status: 400, text: 'no Sec-WebSocket-Key', fields: '' },
  keys: { status: 400, text: 'more than one Sec-WebSocket-Key', fields: '' },
  key: { status: 400, text: 'malformed Sec-WebSocket-Key', fields: '' },
} as const satisfies Readonly<Record<string, HandshakeFault>>;

/** The 101 to answer with, behind which frames begin; or what is wrong with the request. */
export function answerHandshake(head: RequestHead): Buffer | HandshakeFault {
  if (head.method !== 'GET') return HANDSHAKE_FAULTS.method;
  if (head.minorVersion === 0) return HANDSHAKE_FAULTS.httpVersion;
  // `upgrade` stands for Connection, and for an Upgrade to anything.
  if (!head.upgrade || !asksForWebSocket(head)) return HANDSHAKE_FAULTS.upgrade;
  // A length of zero is no body either.
  if (head.bodyKind === 'chunked' || head.contentLength > 0) return HANDSHAKE_FAULTS.body;
  if (countOf(head, 'sec-websocket-version') > 1) return HANDSHAKE_FAULTS.versions;
  if (head.header('sec-websocket-version') !== '13') return HANDSHAKE_FAULTS.version;
  if (countOf(head, 'sec-websocket-key') > 1) return HANDSHAKE_FAULTS.keys;
  const key = head.header('sec-websocket-key');
  if (key === null) return HANDSHAKE_FAULTS.noKey;
  if (!KEY.test(key)) return HANDSHAKE_FAULTS.key;
  return Buffer.from(
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
      `Sec-WebSocket-Accept: ${acceptOf(key)}\r\n\r\n`,
    'latin1',
  );
}

/** Sec-WebSocket-Accept for that key. */
export function acceptOf(key: string): string {
  return hash('sha1', key + GUID, 'base64');
}

/** Whether any Upgrade lists websocket, in any case (§4.2.1; RFC 9110 §7.8). */
function asksForWebSocket(head: RequestHead): boolean {
  for (let i = 0; i < head.headerCount; i++) {
    if (isNamed(head, i, 'upgrade') && lists(head, i, 'websocket')) return true;
  }
  return false;
}

function countOf(head: RequestHead, lowerCaseName: string): number {
  let count = 0;
  for (let i = 0; i < head.headerCount; i++) if (isNamed(head, i, lowerCaseName)) count++;
  return count;
}

function isNamed(head: RequestHead, i: number, lowerCaseName: string): boolean {
  const start = head.offsets[i * OFFSETS_A_HEADER] as number;
  const end = head.offsets[i * OFFSETS_A_HEADER + 1] as number;
  return end - start === lowerCaseName.length && equalsIgnoringCase(head.buffer, head.start + start, lowerCaseName);
}

/** Whether header `i` is a list with that element. */
function lists(head: RequestHead, i: number, lowerCaseElement: string): boolean {
  const { buffer } = head;
  const valueEnd = head.start + (head.offsets[i * OFFSETS_A_HEADER + 3] as number);
  let pos = head.start + (head.offsets[i * OFFSETS_A_HEADER + 2] as number);
  while (pos < valueEnd) {
    let comma = pos;
    while (comma < valueEnd && buffer[comma] !== COMMA) comma++;
    let start = pos;
    let end = comma;
    while (start < end && (buffer[start] === SP || buffer[start] === HTAB)) start++;
    while (end > start && (buffer[end - 1] === SP || buffer[end - 1] === HTAB)) end--;
    if (end - start === lowerCaseElement.length && equalsIgnoringCase(buffer, start, lowerCaseElement)) return true;
    pos = comma + 1;
  }
  return false;
}
