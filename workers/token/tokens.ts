// Tokens: JSON Web Tokens (RFC 7519) that the backend gives its clients, who show them to the gateway.
//
//   request ─▶ in the query or in a header ─▶ signature ─▶ claims ─▶ who it is, what it may hold and until when
//      missing, where one is required 401 · two of them 400 · any fault 401 · a channel that it does not allow 403
//
// Loaded where there is a key (workers/main.ts), with claims.ts and verifier.ts: to a worker without one they would be dead weight.
// Cost: nothing a connection; see grant.ts.

import type { Config } from '../../config/config.ts';
import type { RequestHead } from '../http/request-head.ts';
import { queryValues } from '../http/target.ts';
import { readClaims, type Vouched } from './claims.ts';
import { NOT_VALID, type TokenFault } from './faults.ts';

/** With names, an info of a kibibyte and some dozen channels; heads and targets have limits of their own. */
export const TOKEN_LIMIT_BYTES = 4_096;

type Verify = (token: string) => Record<string, unknown>;

export class Tokens {
  /** Whether a client without one is refused. */
  readonly required: boolean;
  private readonly audience: string;
  private readonly verify: Verify;

  constructor({ tokenRequired, tokenAudience }: Pick<Config, 'tokenRequired' | 'tokenAudience'>, verify: Verify) {
    this.required = tokenRequired !== 'off';
    this.audience = tokenAudience;
    this.verify = verify;
  }

  /**
   * The tokens that a request shows: `?token=` and `Authorization: Bearer …`. RFC 6750 §2 has it show one, and one place.
   * A field of another scheme is somebody else's, a proxy's perhaps.
   */
  shownIn(head: RequestHead): string[] {
    const shown = (queryValues(head.query()) ?? []).filter(({ name }) => name === 'token').map(({ value }) => value);
    const field = head.headerList('authorization');
    if (field !== null && BEARER.test(field)) shown.push(field.replace(BEARER, ''));
    return shown.filter((token) => token !== '');
  }

  /** Who shows this token, or what is wrong with it. */
  read(token: string): Vouched | TokenFault {
    if (token.length > TOKEN_LIMIT_BYTES) return NOT_VALID;
    let claims: Record<string, unknown>;
    try {
      claims = this.verify(token);
    } catch {
      return NOT_VALID;
    }
    return readClaims(claims, { audience: this.audience, nowMs: Date.now() });
  }
}

const BEARER = /^bearer(?: +|$)/i;
