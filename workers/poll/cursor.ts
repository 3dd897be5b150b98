// The cursor: which session a poll belongs to, and up to where its client has everything. The one place that reads and writes it.
//
// Two forms say the same. `?sid=…&since=…`, both from the last answer; or, for clients that only know how to send an answer's
// ETag back in If-None-Match (RFC 9110 §13.1.2), an entity tag that holds both: "sid=…;since=…". In the tag too the sid stands
// behind `sid=`, so that @socket.io/sticky finds it there. A query that has either of the two wins over the header.
//
// A position within a session is a count, decimal digits. Where a channel of the session has history, what stands before it is
// the place in that, `epoch.offset.count`: with it whoever has lost the session recovers (docs/adr/0026). One word for both,
// opaque to clients. A place alone comes from another transport, or from the API, and begins a session.

import type { RequestHead } from '../http/request-head.ts';
import type { QueryValue } from '../http/target.ts';
import { isSid } from './sid.ts';

export interface Cursor {
  /** Null: a new session. */
  sid: string | null;
  /** The count; null: not said. */
  since: number | null;
  /** The place in the history as it was given; null: none. */
  place: string | null;
}

/** As we write it, or weakened by a proxy that has compressed the answer. */
const ENTITY_TAG = /^(?:W\/)?"sid=([\w-]{20});since=([\w.-]{1,64})"$/;
const POSITION = /^(?:([\w-]{1,32}\.\d{1,16})\.)?(\d{1,15})$/;

const FAULT = 'since must be the position of an answer';

/** Reads a request's cursor: it, or a text that says what is wrong with it. */
export function readCursor(head: RequestHead, values: readonly QueryValue[]): Cursor | string {
  const sid = firstOf(values, 'sid');
  const since = firstOf(values, 'since');
  if (sid === null && since === null) {
    const tag = head.header('if-none-match');
    // curl sends an empty one while it has none.
    if (tag === null || tag === '""') return { sid: null, since: null, place: null };
    const [, named, position] = ENTITY_TAG.exec(tag) ?? [];
    if (named === undefined || position === undefined || !POSITION.test(position)) {
      return 'If-None-Match must be the ETag of the last answer, and no other';
    }
    return { sid: named, ...readPosition(position) };
  }
  if (sid === null) {
    const { since: count, place } = readPosition(since as string);
    if (count !== null && place === null) return 'since is a position in a session: give its sid too';
    return { sid, since: null, place: place ?? since };
  }
  if (!isSid(sid)) return 'sid must be the 20 characters of an answer';
  if (since === null) return { sid, since: null, place: null };
  return POSITION.test(since) ? { sid, ...readPosition(since) } : FAULT;
}

/** What a client is to come back with. */
export function writePosition(place: string | null, count: number): string {
  return place === null ? String(count) : `${place}.${count}`;
}

export function entityTag(sid: string, since: string): string {
  return `"sid=${sid};since=${since}"`;
}

function readPosition(text: string): { since: number | null; place: string | null } {
  const [, place = null, count] = POSITION.exec(text) ?? [];
  return { since: count === undefined ? null : Number(count), place };
}

function firstOf(values: readonly QueryValue[], name: string): string | null {
  return values.find((each) => each.name === name)?.value ?? null;
}
