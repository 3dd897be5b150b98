// The codes with which a WebSocket is closed (RFC 6455 §7.4, and what IANA has registered since), and which of them may
// stand in a close frame.

export const CLOSE_CODES = {
  /** The purpose is fulfilled. */
  normal: 1000,
  /** This worker is going away, or the client navigates on: come back. */
  goingAway: 1001,
  /** The bytes are not what RFC 6455 allows here. */
  protocolError: 1002,
  /** Sound, but of a kind that is not taken, such as binary where text is wanted. */
  unsupported: 1003,
  /** Text that is not UTF-8. */
  notUtf8: 1007,
  /** Not allowed here, where nothing more exact fits. */
  policyViolation: 1008,
  /** Beyond a limit. */
  tooBig: 1009,
  /** Our fault. */
  internalError: 1011,
  /** This worker is being replaced: come back, to any other. Registered since, as is the next. */
  serviceRestart: 1012,
  /** There is no room now: come back later. */
  tryAgainLater: 1013,
  /** Our own (§7.4.2 leaves 4000 to 4999 to applications): the backend does not want this client back. */
  doNotComeBack: 4000,
  /** The client's token has expired: come back with a new one. */
  tokenExpired: 4001,
} as const;

/** Stands for a close frame without a code, as in the APIs of browsers. Never sent (§7.4.1). */
export const NO_CODE = 1005;

/**
 * Whether the code may stand in a close frame: 1000 to 1003, 1007 to 1011, the registered 1012 to 1014, and 3000 to 4999
 * for libraries and applications. 1004 is reserved; 1005, 1006 and 1015 are what APIs say and never sent; the rest of 1016
 * to 2999 belongs to later versions of the protocol (§7.4.2).
 */
export function isSendableCloseCode(code: number): boolean {
  if (code >= 3000) return code <= 4999;
  return code >= 1000 && code <= 1014 && (code < 1004 || code > 1006);
}
