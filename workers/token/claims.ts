// What a token says, once its signature has been found right: RFC 7519 §4.1 for its times and its audience; `sub`, `info` in the
// habit of Centrifugo's connection tokens; and `channels`, which here bounds what its client may hold.
//
// A claim of another type than it must have is a fault, never taken for one that is not there. Times have no leeway: `exp` is the first
// moment at which the token is refused, `nbf` the first at which it is taken.

import { channelFault } from '../../src/channel.ts';
import type { Grant } from '../../src/presence.ts';
import { infoFault, userFault, type Who } from '../presence/who.ts';
import { EARLY, ELSEWHERE, EXPIRED, TokenFault } from './faults.ts';

/** Who a client is by its token. */
export interface Vouched extends Who {
  readonly grant: Grant;
}

export interface Expected {
  /** LONGWIRE_TOKEN_AUDIENCE: '' for tokens that name none. */
  readonly audience: string;
  /** Since the Unix epoch. */
  readonly nowMs: number;
}

/** Who the token says that its client is, and what it allows it. */
export function readClaims(
  claims: Readonly<Record<string, unknown>>,
  { audience, nowMs }: Expected,
): Vouched | TokenFault {
  const { sub = '', info, exp, nbf, iat, aud, channel, channels } = claims;
  for (const [name, value] of Object.entries({ exp, nbf, iat })) {
    if (value !== undefined && !isDate(value)) return wrong(`${name} must be a number of seconds since the Unix epoch`);
  }
  if (isDate(exp) && nowMs >= exp * 1_000) return EXPIRED;
  if (isDate(nbf) && nowMs < nbf * 1_000) return EARLY;

  const named = aud === undefined ? [] : Array.isArray(aud) ? aud : [aud];
  if (!named.every((each) => typeof each === 'string')) return wrong('aud must be a string or a list of strings');
  if (audience === '' ? aud !== undefined : !named.includes(audience)) return ELSEWHERE;

  if (typeof sub !== 'string' || !sub.isWellFormed()) return wrong('sub must be a string');
  if (info !== undefined && (typeof info !== 'object' || info === null || Array.isArray(info))) {
    return wrong('info must be an object');
  }
  const text = info === undefined ? '' : JSON.stringify(info);
  // Centrifugo's subscription tokens have it, and are good for that channel alone; often they have the same key.
  if (channel !== undefined) return wrong('channel makes it a token of another kind');
  const fault = userFault(sub, 'sub') ?? infoFault(text) ?? (channels === undefined ? null : channelsFault(channels));
  if (fault !== null) return wrong(fault);
  // A number that can be told to other workers and to clients.
  const expiresAtMs = isDate(exp) ? Math.min(exp * 1_000, Number.MAX_SAFE_INTEGER) : 0;
  return { user: sub, info: text, grant: { expiresAtMs, channels: (channels as string[] | undefined) ?? null } };
}

function channelsFault(channels: unknown): string | null {
  const sound = Array.isArray(channels) && channels.every((each) => typeof each === 'string' && each.isWellFormed());
  if (!sound) return 'channels must be a list of strings';
  return channels.some((channel) => channelFault(channel) !== null) ? 'channels must be names of channels' : null;
}

function isDate(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}

function wrong(text: string): TokenFault {
  return new TokenFault('claims', `the token is not valid: its ${text}`);
}
