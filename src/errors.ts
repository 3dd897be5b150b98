// Outcomes that are not success, each with a code from one table.
//
// `LongwireError` is thrown off the hot paths only (start-up, API calls, broker calls); parsers and the delivery path
// return results. The numbers up to 399 are those of Centrifugo's server API, so that its client libraries read ours. What it has no
// number for has its HTTP status as number, from the range that it leaves to applications (400 to 1999). `status` is the HTTP status that carries the error, so that whoever looks at the status alone never takes a failure for a success
// (docs/adr/0002-api-errors-carry-http-status.md).

export const ERRORS = {
  internal: { code: 100, status: 500 },
  unauthorized: { code: 101, status: 401 },
  /** The token does not allow it. */
  'not-allowed': { code: 103, status: 403 },
  'method-not-found': { code: 104, status: 404 },
  'limit-exceeded': { code: 106, status: 413 },
  'bad-request': { code: 107, status: 400 },
  /** What the call asks for is not switched on for that channel. */
  'not-available': { code: 108, status: 400 },
  /** The client's token has expired: come back with a new one. */
  'token-expired': { code: 109, status: 401 },
  /** A poll's session has expired, or died with its worker: begin a new one. */
  'session-gone': { code: 110, status: 410 },
  /** What lies behind the position is no longer all there: Centrifugo's "unrecoverable position". */
  gap: { code: 112, status: 409 },
  /** A newer poll of the same session has come. */
  superseded: { code: 409, status: 409 },
  /** The backend has ended the poll's session. */
  disconnected: { code: 410, status: 410 },
  /** Another worker holds the poll's session, and this connection cannot be handed to it: come on a new one. */
  'session-elsewhere': { code: 421, status: 421 },
  /** The broker cannot take publications now; nothing was published unless the message says otherwise. Try again. */
  unavailable: { code: 503, status: 503 },
} as const;

export type ErrorName = keyof typeof ERRORS;

export class LongwireError extends Error {
  override readonly name = 'LongwireError';
  /** A key of `ERRORS`, stable for programs; `message` is for people. */
  readonly kind: ErrorName;

  constructor(kind: ErrorName, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }

  /** The body of an API answer that failed: `{"error":{"code":107,"message":"…"}}`. */
  toBody(): { error: { code: number; message: string } } {
    return { error: { code: ERRORS[this.kind].code, message: this.message } };
  }

  get status(): number {
    return ERRORS[this.kind].status;
  }
}

/** What to show for a value that was thrown, whatever it is. */
export function errorText(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
