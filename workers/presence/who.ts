// Who a client is: what its token says (token/claims.ts), or, where there are no tokens, `?user=` and `?info=` of the request that
// opens it, on every transport.
//
// The latter is the client's own word and nothing vouches for it: a backend that shows it to others, or acts on it, must know that.

import type { Identity } from '../../src/presence.ts';
import type { QueryValue } from '../http/target.ts';

/** '' as the user where there is no name. */
export type Who = Omit<Identity, 'client'>;

export const USER_LIMIT_BYTES = 255;
/** Told to everybody on the channel, and kept with each entry. */
export const INFO_LIMIT_BYTES = 1_024;

/**
 * Null where the query says nothing of it; a text where that makes no sense. Each may be there once: which of two it is would hang on
 * whether a proxy that puts one into the request writes before the client's or behind it.
 */
export function readWho(values: readonly QueryValue[]): Who | string | null {
  let user: string | null = null;
  let info: string | null = null;
  for (const { name, value } of values) {
    if (name === 'user') {
      if (user !== null) return 'user must be given once';
      user = value;
    } else if (name === 'info') {
      if (info !== null) return 'info must be given once';
      info = value;
    }
  }
  if (user === null && info === null) return null;
  const who = { user: user ?? '', info: info ?? '' };
  return userFault(who.user) ?? infoFault(who.info) ?? who;
}

/** @param name What the client knows it by. */
export function userFault(user: string, name = 'user'): string | null {
  if (Buffer.byteLength(user) > USER_LIMIT_BYTES) return `${name} must not be longer than ${USER_LIMIT_BYTES} bytes`;
  return CONTROL_CHARACTER.test(user) ? `${name} must not hold control characters` : null;
}

/** @param info JSON, or '' for none. */
export function infoFault(info: string): string | null {
  if (Buffer.byteLength(info) > INFO_LIMIT_BYTES) return `info must not be longer than ${INFO_LIMIT_BYTES} bytes`;
  return info !== '' && (CONTROL_CHARACTER.test(info) || !isJson(info)) ? 'info must be JSON on one line' : null;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: a line break would end a frame early
const CONTROL_CHARACTER = /[\u0000-\u001f\u007f-\u009f]/;

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
