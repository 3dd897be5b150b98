// Origins: which sites' pages may read the streams (CORS, the Fetch standard, §3.2) and open WebSockets (RFC 6455 §10.2).
//
// An allow-list of exact origins, or '*' for any. An origin that is not on it gets the stream's bytes all the same (it is
// the browser that keeps them from the page) but no header that would let the page read them. Credentials are never
// allowed: a channel is not opened by a cookie.

import { field } from './http/answers.ts';

export class Cors {
  private readonly any: boolean;
  private readonly origins: ReadonlySet<string>;

  constructor(origins: readonly string[]) {
    this.any = origins.includes('*');
    this.origins = new Set(origins);
  }

  /** Header fields for an answer to a request with this Origin (null: none was sent). */
  fields(origin: string | null): string {
    if (this.any) return 'Access-Control-Allow-Origin: *\r\n';
    if (this.origins.size === 0) return '';
    // The answer depends on Origin also where there was none, or a cache would give one site's answer to another.
    if (origin === null || !this.origins.has(origin)) return 'Vary: Origin\r\n';
    return `${field('Access-Control-Allow-Origin', origin)}Vary: Origin\r\n`;
  }

  /** Whether a page of this origin may open a WebSocket to this host; null, no page at all, may. */
  mayConnect(origin: string | null, host: string | null): boolean {
    if (origin === null || this.any || this.origins.has(origin)) return true;
    return host !== null && (origin === `http://${host}` || origin === `https://${host}`);
  }

  /** Fields for the answer to a preflight: what a page may send beyond a plain GET. */
  preflightFields(origin: string | null): string {
    const allowed = this.fields(origin);
    if (!allowed.includes('Allow-Origin')) return allowed;
    return `${allowed}Access-Control-Allow-Methods: GET, HEAD\r\nAccess-Control-Allow-Headers: Authorization, Last-Event-ID, If-None-Match, Cache-Control\r\nAccess-Control-Max-Age: 86400\r\n`;
  }
}
