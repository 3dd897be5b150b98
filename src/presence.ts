// Presence: who holds a channel, in namespaces that ask for it. What workers tell a broker and what they ask it.
//
// A member is a connection, or a poll session, by its client id; its entry is JSON in Centrifugo's shape, made once by the worker
// that serves it and passed on as text. An entry lasts as long as somebody renews it: whoever dies without a word is gone from
// the channel some time later. A worker that takes a connection over says again that its member is there, which is news
// to nobody.

/** What a client's token allows it. */
export interface Grant {
  /** When the token expires, in milliseconds since the Unix epoch; 0 for never. */
  readonly expiresAtMs: number;
  /** The only channels that it may hold; null for any. */
  readonly channels: readonly string[] | null;
}

/** What a client is known by, in every channel that it holds. */
export interface Identity {
  /** The client id: unguessable, the same for all of the connection's life, moves included. */
  readonly client: string;
  /** What the client, or its token, says that it is; '' where it says nothing. */
  readonly user: string;
  /** What that says of it: JSON as it was given, or ''. */
  readonly info: string;
  /** Not there without a token. */
  readonly grant?: Grant | null;
}

export interface PresenceChange {
  /** `renew` has no entry: it is for members that the broker should have. */
  readonly kind: 'join' | 'renew' | 'leave';
  readonly channel: string;
  readonly client: string;
  readonly user: string;
  /** Of a `join`, else ''. */
  readonly entry: string;
  /** Whether the channel's subscribers are told of who comes and goes. */
  readonly told: boolean;
}

export interface PresenceCount {
  readonly clients: number;
  readonly users: number;
}

/** Most changes in one call. */
export const CHANGES_A_CALL = 256;

/** Most members that are told in one answer; how many there are is told of any number. */
export const MEMBERS_LIMIT = 10_000;

/** The member as it is shown: `{"client":"…","user":"…","conn_info":…}`. */
export function entryOf({ client, user, info }: Identity): string {
  const named = JSON.stringify({ client, user });
  return info === '' ? named : `${named.slice(0, -1)},"conn_info":${info}}`;
}
