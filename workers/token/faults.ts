// What can be wrong with a token, and what its client is told of it: nothing that would help to make a better one. Only whoever has
// signed one rightly is told what of its claims is wrong.

import type { TokenRefusal } from '../../src/close-reason.ts';
import { type ErrorName, LongwireError } from '../../src/errors.ts';

export class TokenFault {
  readonly refusal: TokenRefusal;
  readonly error: LongwireError;

  constructor(refusal: TokenRefusal, text: string, kind: ErrorName = 'unauthorized') {
    this.refusal = refusal;
    this.error = new LongwireError(kind, text);
  }

  /** RFC 6750 §3: the field that a 401 must have, and a 403 may. */
  get challenge(): string {
    const error = this.error.kind === 'not-allowed' ? 'insufficient_scope' : 'invalid_token';
    return `WWW-Authenticate: Bearer realm="longwire"${this.refusal === 'missing' ? '' : `, error="${error}"`}\r\n`;
  }
}

export const MISSING = new TokenFault('missing', 'this needs a token: ?token=… or Authorization: Bearer …');
export const NOT_VALID = new TokenFault('invalid', 'the token is not valid');
export const EXPIRED = new TokenFault('expired', 'the token has expired', 'token-expired');
export const EARLY = new TokenFault('early', 'the token is not valid yet');
export const ELSEWHERE = new TokenFault('audience', 'the token is made out to another service');
export const NOT_ALLOWED = new TokenFault('channel', 'the token does not allow one of these channels', 'not-allowed');
export const ANOTHERS = new TokenFault(
  'user',
  "the token is another user's than that of this connection",
  'not-allowed',
);
