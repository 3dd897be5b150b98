// The cursor: which session a poll belongs to, and up to where its client has everything. The one place that reads and writes it.
//
// Two forms say the same. `?sid=…&since=…`, both from the last answer; or, for clients that only know how to send an answer's
// ETag back in If-None-Match (RFC 9110 §13.1.2), an entity tag that holds both: "sid=…;since=…". In the tag too the sid stands
// behind `sid=`, so that @socket.io/sticky finds it there. A query that has either of the two wins over the header.
//
// A position within a session is a count, decimal digits and nothing else.

import type { RequestHead } from '../http/request-head.ts';
import type { QueryValue } from '../http/target.ts';
import { isSid } from './sid.ts';

export interface Cursor {
  /** Null: a new session. */
  sid: string | null;
  /** Null: not said. */
  since: number | null;
}

/** As we write it, or weakened by a proxy that has compressed the answer. */
const ENTITY_TAG = /^(?:W\/)?"sid=([\w-]{20});since=(\d{1,15})"$/;
const POSITION = /^\d{1,15}$/;

/** Reads a request's cursor: it, or a text that says what is wrong with it. */
export function readCursor(head: RequestHead, values: readonly QueryValue[]): Cursor | string {
  const sid = firstOf(values, 'sid');
  const since = firstOf(values, 'since');
  if (sid === null && since === null) {
    const tag = head.header('if-none-match');
    // curl sends an empty one while it has none.
    if (tag === null || tag === '""') return { sid: null, since: null };
    const [, named, position] = ENTITY_TAG.exec(tag) ?? [];
    if (named === undefined) return 'If-None-Match must be the ETag of the last answer, and no other';
    return { sid: named, since: Number(position) };
  }
  if (sid === null) return 'since is a position in a session: give its sid too';
  if (!isSid(sid)) return 'sid must be the 20 characters of an answer';
  if (since === null) return { sid, since: null };
  return POSITION.test(since) ? { sid, since: Number(since) } : 'since must be the position of an answer';
}

export function entityTag(sid: string, since: number): string {
  return `"sid=${sid};since=${since}"`;
}

function firstOf(values: readonly QueryValue[], name: string): string | null {
  return values.find((each) => each.name === name)?.value ?? null;
}
