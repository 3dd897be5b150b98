// The sid: a poll session's name, 20 characters of [A-Za-z0-9_-], as `@socket.io/sticky` looks for it: /sid=([\w\-]{20})/.
//
// 15 bytes in base64url. The first 12 bits are the slot of the worker that holds the session (4,096, four times the most
// workers), so that any worker can tell whose it is. The other 108 are random: nobody finds a session by trying, and looking
// one up in a Map instead of comparing in constant time gives nothing away that helps to.

import { randomBytes } from 'node:crypto';

const SID_BYTES = 15;
const PATTERN = /^[\w-]{20}$/;

/** A new sid of the worker in that slot, 1 to 4,095. */
export function makeSid(slot: number): string {
  const bytes = randomBytes(SID_BYTES);
  bytes[0] = slot >> 4;
  bytes[1] = ((slot & 0x0f) << 4) | ((bytes[1] as number) & 0x0f);
  return bytes.toString('base64url');
}

export function isSid(text: string): boolean {
  return PATTERN.test(text);
}

/** The slot of the worker that made this sid. */
export function slotOf(sid: string): number {
  const bytes = Buffer.from(sid.slice(0, 4), 'base64url');
  return ((bytes[0] as number) << 4) | ((bytes[1] as number) >> 4);
}
