// The step of every transport in which it becomes clear who asks, and whether it may: behind all that is cheaper to refuse, before
// anything is opened.
//
// Where there is a key for tokens nobody says by itself who it is: `user` and `info` are refused, with a token or without, so that no
// backend takes for vouched what is not.

import type { TokenRefusal } from '../../src/close-reason.ts';
import { tokenRefusalIndex } from '../../src/stats.ts';
import type { Exchange } from '../exchange.ts';
import type { Gateway } from '../gateway.ts';
import type { RequestHead } from '../http/request-head.ts';
import type { Who } from '../presence/who.ts';
import type { SubscriptionRequest } from '../transports/subscription-request.ts';
import { MISSING, NOT_ALLOWED, TokenFault } from './faults.ts';
import { allows } from './grant.ts';

/** The request has been answered. */
export const REFUSED = Symbol('refused');

/** Who asks; null for nobody that is known. */
export function authorize(
  exchange: Exchange,
  head: RequestHead,
  { channels, who }: SubscriptionRequest,
  corsFields = '',
): Who | null | typeof REFUSED {
  const { gateway } = exchange;
  const { tokens } = gateway;
  if (tokens === null) return who;
  const headOnly = head.method === 'HEAD';
  const refuse = (fault: TokenFault): typeof REFUSED => {
    countRefusal(gateway, fault.refusal);
    exchange.rejectWith(fault.error, 'not-allowed', corsFields + fault.challenge, headOnly);
    return REFUSED;
  };
  const shown = tokens.shownIn(head);
  const [token] = shown;
  if (who !== null || shown.length > 1) {
    const text =
      who === null ? 'a request shows one token' : 'user and info are what a token says here: leave them out';
    exchange.reject(400, text, 'malformed', corsFields, headOnly);
    return REFUSED;
  }
  if (token === undefined) return tokens.required ? refuse(MISSING) : null;
  const read = tokens.read(token);
  if (read instanceof TokenFault) return refuse(read);
  return allows(read.grant, channels) ? read : refuse(NOT_ALLOWED);
}

export function countRefusal({ counters: { tokensRefused } }: Pick<Gateway, 'counters'>, refusal: TokenRefusal): void {
  const index = tokenRefusalIndex[refusal];
  tokensRefused[index] = (tokensRefused[index] as number) + 1;
}
