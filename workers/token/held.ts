// Tokens of clients that are held: the end of one, and a channel that one does not allow. Hooks of workers/connection.ts.

import type { LongwireError } from '../../src/errors.ts';
import type { Farewell, PollEncoding } from '../encoding.ts';
import type { Gateway } from '../gateway.ts';
import type { Holder } from '../presence/identities.ts';
import { encodePollFault } from '../transports/poll-encoder.ts';
import { CLOSE_CODES } from '../websocket/close-codes.ts';
import { countRefusal } from './authorize.ts';
import { EXPIRED, NOT_ALLOWED } from './faults.ts';
import { allows } from './grant.ts';

/** What a stream ends with. */
export const TOKEN_EXPIRED: Farewell = { reason: 'token-expired', reconnect: true, code: CLOSE_CODES.tokenExpired };

/** What a poll that waits is answered. Its session stays for the next one, which shows a new token. */
export function encodeExpired(gateway: Gateway, encoding: PollEncoding, keepAlive: boolean): Buffer {
  countRefusal(gateway, EXPIRED.refusal);
  gateway.countRejected('not-allowed');
  return encodePollFault(EXPIRED.error, encoding, keepAlive, {}, EXPIRED.challenge);
}

/** Why the holder may not take up these channels; null where it may. */
export function channelRefusal(
  gateway: Gateway,
  holder: Holder,
  channels: string | readonly string[],
): LongwireError | null {
  const grant = gateway.presence.identities.grantOf(holder);
  if (grant === null || allows(grant, channels)) return null;
  countRefusal(gateway, NOT_ALLOWED.refusal);
  return NOT_ALLOWED.error;
}
