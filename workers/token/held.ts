// Tokens of clients that are held: the end of one, another in its place, a channel that one does not allow. Hooks of
// workers/connection.ts.

import { LongwireError } from '../../src/errors.ts';
import type { Grant } from '../../src/presence.ts';
import type { Farewell, PollEncoding } from '../encoding.ts';
import type { Gateway } from '../gateway.ts';
import type { Holder } from '../presence/identities.ts';
import { encodePollFault } from '../transports/poll-encoder.ts';
import { CLOSE_CODES } from '../websocket/close-codes.ts';
import { countRefusal } from './authorize.ts';
import { ANOTHERS, EXPIRED, NOT_ALLOWED, TokenFault } from './faults.ts';
import { allows } from './grant.ts';

/** Whether the holder's token has ended, and it with it: now, or in the next tick if too many do. */
export function tokenEnd({ presence, tokenEnds }: Gateway, holder: Holder): 'none' | 'now' | 'soon' {
  if (presence.identities.grantOf(holder)?.isOver !== true) return 'none';
  return tokenEnds.mayEnd() ? 'now' : 'soon';
}

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
  return grant === null || allows(grant, channels) ? null : refused(gateway, NOT_ALLOWED);
}

const WITHOUT = new LongwireError('bad-request', 'this connection has no token that another could take the place of');

/**
 * The client of an open WebSocket shows another token, of the same user, for these channels that it holds.
 *
 * @returns what it allows from now on; or what is wrong with it, and then nothing has changed.
 */
export function renewGrant(
  gateway: Gateway,
  holder: Holder,
  channels: string | readonly string[],
  token: string,
): LongwireError | Grant {
  const { tokens, presence } = gateway;
  const known = presence.identities.of(holder);
  if (tokens === null || !known?.grant) return WITHOUT;
  const read = tokens.read(token);
  if (read instanceof TokenFault) return refused(gateway, read);
  if (read.user !== known.user) return refused(gateway, ANOTHERS);
  if (!allows(read.grant, channels)) return refused(gateway, NOT_ALLOWED);
  presence.identities.regrant(holder, read.grant);
  return read.grant;
}

function refused(gateway: Gateway, { refusal, error }: TokenFault): LongwireError {
  countRefusal(gateway, refusal);
  return error;
}
