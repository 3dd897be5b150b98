// Whether a token is signed by the backend: JWS compact serialization (RFC 7515 §3.1), verified by fast-jwt (docs/adr/0037).
//
// One key and one algorithm, whatever a token's head says of it (RFC 8725 §3.1). Its times are not looked at here: fast-jwt takes a token
// at the very moment at which it expires, and says so in words that hold a date (claims.ts does it instead).
//
// Loaded only where tokens have a key: a worker without pays nothing for it. `require`, as for ioredis (src/broker/redis-link.ts).

import { createRequire } from 'node:module';
import type { TokenKey } from '../../config/config.ts';

const { createVerifier }: typeof import('fast-jwt') = createRequire(import.meta.url)('fast-jwt');

/** @returns what gives a token's claims, and throws for one that is not the backend's. Synchronous: 5 µs for HS256. */
export function verifierFor({ algorithm, key }: TokenKey): (token: string) => Record<string, unknown> {
  return createVerifier({ key, algorithms: [algorithm], cache: false, ignoreExpiration: true, ignoreNotBefore: true });
}
