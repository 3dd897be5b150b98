// The backend's key: where a request gives it, and whether it is the right one.

import { createHash, timingSafeEqual } from 'node:crypto';
import type { RequestHead } from '../http/request-head.ts';

/** Whether the request gives the key that has this digest; in constant time, and not even its length shows. */
export function keyMatches(head: RequestHead, digest: Buffer): boolean {
  const given = givenKey(head);
  return given !== null && timingSafeEqual(digestKey(given), digest);
}

/** SHA-256: keys of any length are compared as 32 bytes. */
export function digestKey(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}

/** From `X-API-Key`, or as Centrifugo's clients also send it: `Authorization: apikey …`. */
function givenKey(head: RequestHead): string | null {
  const key = head.header('x-api-key');
  if (key !== null) return key;
  const authorization = head.header('authorization');
  return authorization !== null && /^apikey /i.test(authorization) ? authorization.slice('apikey '.length) : null;
}
