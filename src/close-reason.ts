// Why connections end: the one table behind logs, metrics (`longwire_closed_total{reason}`) and docs/protocol.md.
//
// A reason is said of every accepted connection, once. Why it was turned away, where it was, is counted beside that
// (`REJECTIONS`). Order is the order in the snapshot that workers push; append, never insert.

export const CLOSE_REASONS = [
  /** The peer closed or vanished: FIN, RST, or an error on the socket. */
  'client-left',
  /** An exchange came to its ordinary end: an answer with `Connection: close`, HTTP/1.0, a HEAD. */
  'finished',
  /** The peer's bytes are not HTTP/1.1 as RFC 9112 has it, and it was sent a 4xx or 5xx; or they are not TLS. */
  'malformed',
  /** The head or body had not arrived in full by its deadline. */
  'head-timeout',
  /** Nothing was asked on a kept-alive connection for the idle limit. */
  'idle',
  /** The outbox passed its limit or did not move for the stall deadline. */
  'slow-consumer',
  /** Bytes came on a connection on which the client has nothing more to say. */
  'unexpected-input',
  /** The worker is giving up its connections. */
  'drained',
  /** Our fault: an exception while serving it. */
  'error',
  /** A WebSocket's client answered no ping for a whole heartbeat. */
  'unanswered',
  /** It was on its way to another worker, which died or did not answer. */
  'lost',
  /** The backend asked for it: /api/disconnect. */
  'disconnected',
  /** The token that its client came with has expired. */
  'token-expired',
] as const;

export type CloseReason = (typeof CLOSE_REASONS)[number];

/** Why a connection that was to move stayed, each time that it was tried: `longwire_not_moved_total{reason}`. */
export const NOT_MOVED = [
  /** Its batch was called off: the other worker refused or is gone, or the fence did not come by. */
  'called-off',
  /** It did not read what it was sent, in the time that a batch has. */
  'outbox',
  /** It has sent half a WebSocket message. */
  'half-message',
  /** It was still being given what it had missed. */
  'recovering',
  /** The other worker had no room for it. */
  'refused',
  /** Through TLS: counted once, when its worker gives everything else away. */
  'tls',
] as const;

export type NotMoved = (typeof NOT_MOVED)[number];

/** Why a connection or request was turned away: `longwire_rejected_total{reason}`. */
export const REJECTIONS = [
  /** Every worker is at its cap: 503. */
  'capacity',
  /** The worker is draining: 503. */
  'draining',
  /** 400, 411, 413, 414, 417, 431, 501, 505. */
  'malformed',
  /** 404, 405. */
  'unknown',
  /** 401, 403. */
  'not-allowed',
  /** A proxy's connection without the PROXY header that it ought to begin with: 400. */
  'proxy-header',
  /** A poll whose session has expired, or died with its worker: 410. */
  'session-gone',
  /** A poll whose session another worker holds, on a connection that cannot be handed over: 421. */
  'session-elsewhere',
  /** A poll that waited when the next one of its session came: 409. */
  'superseded',
  /** The client's address holds as many connections as one may: 429. */
  'too-many',
] as const;

export type Rejection = (typeof REJECTIONS)[number];

/** What was wrong with clients' tokens: `longwire_tokens_refused_total{reason}`. */
export const TOKEN_REFUSALS = [
  /** There is none, and LONGWIRE_TOKEN_REQUIRED is on. */
  'missing',
  /** It is no JWT, signed with another key or by another algorithm, or longer than one may be. */
  'invalid',
  'expired',
  /** Its time has not begun. */
  'early',
  /** Signed by the right key, but its claims are not what they must be. */
  'claims',
  /** It is made out to another service. */
  'audience',
  /** It does not allow one of the channels. */
  'channel',
  /** It is another user's than the one that the WebSocket was opened with. */
  'user',
] as const;

export type TokenRefusal = (typeof TOKEN_REFUSALS)[number];
