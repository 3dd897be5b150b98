// Who a client says that it is: `?user=` and `?info=` of the request that opens it, on every transport.
//
// It is the client's own word and nothing vouches for it: a backend that shows it to others, or acts on it, must know that.

import type { QueryValue } from '../http/target.ts';

export interface Who {
  /** '' where only `info` was given. */
  readonly user: string;
  /** JSON as it was given, or ''. */
  readonly info: string;
}

export const USER_LIMIT_BYTES = 255;
/** Told to everybody on the channel, and kept with each entry. */
export const INFO_LIMIT_BYTES = 1_024;

/** Null where the query says nothing of it; a text where that makes no sense. */
export function readWho(values: readonly QueryValue[]): Who | string | null {
  let user: string | null = null;
  let info: string | null = null;
  for (const { name, value } of values) {
    if (name === 'user') user = value;
    else if (name === 'info') info = value;
  }
  if (user === null && info === null) return null;
  if (user !== null) {
    if (Buffer.byteLength(user) > USER_LIMIT_BYTES) return `user must not be longer than ${USER_LIMIT_BYTES} bytes`;
    if (CONTROL_CHARACTER.test(user)) return 'user must not hold control characters';
  }
  if (info !== null && info !== '') {
    if (Buffer.byteLength(info) > INFO_LIMIT_BYTES) return `info must not be longer than ${INFO_LIMIT_BYTES} bytes`;
    if (CONTROL_CHARACTER.test(info) || !isJson(info)) return 'info must be JSON on one line';
  }
  return { user: user ?? '', info: info ?? '' };
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
