// The few WebSocket bytes that a load client must know: opcodes, its keys with the answers they call for, and its pongs.
//
// Written apart from the gateway's own frame code, which these clients are to check (RFC 6455 §4, §5.2). Keys are random, as
// they must be, and made before the connecting begins: `KEYS` of them a process, each with its Sec-WebSocket-Accept, so that
// a connect costs the client no SHA-1 while the server's is measured. The mask of pongs is fixed: masking guards
// proxies against pages of strangers, and there are neither here.

import { createHash, randomBytes } from 'node:crypto';

export const FIN = 0x80;
export const MASKED = 0x80;
export const TEXT = 0x1;
export const BINARY = 0x2;
export const CLOSE = 0x8;
export const PING = 0x9;
export const PONG = 0xa;

export const KEYS = 256;

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const MASK = [0x37, 0xfa, 0x21, 0x3d] as const;
const EMPTY_PONG = pongOf('');

export interface Key {
  key: string;
  /** What the server must answer with in Sec-WebSocket-Accept. */
  accept: string;
}

export function randomKey(): Key {
  const key = randomBytes(16).toString('base64');
  return { key, accept: acceptOf(key) };
}

/** RFC 6455 §4.2.2. */
export function acceptOf(key: string): string {
  return createHash('sha1')
    .update(key + GUID)
    .digest('base64');
}

/** The masked pong to a ping with the payload `bytes[start, end)`, a character a byte. */
export function encodePong(bytes: Buffer, start: number, end: number): string {
  return start === end ? EMPTY_PONG : pongOf(bytes.toString('latin1', start, end));
}

function pongOf(payload: string): string {
  let text = String.fromCharCode(FIN | PONG, MASKED | payload.length, ...MASK);
  for (let i = 0; i < payload.length; i++) text += String.fromCharCode(payload.charCodeAt(i) ^ (MASK[i & 3] as number));
  return text;
}
