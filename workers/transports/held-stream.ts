// Opening a held stream: the steps that event streams and NDJSON streams share, from request to held connection.
//
// preflight → channels and format → no body → not draining → who it is → HEAD → open. Each transport adds what is its own: where its
// path begins, its usual format, its answer's head, and which encoding serves the request.

import type { Config } from '../../config/config.ts';
import type { Encoding, Format } from '../encoding.ts';
import type { Exchange, Handler } from '../exchange.ts';
import { dateHeader } from '../http/answers.ts';
import type { RequestHead } from '../http/request-head.ts';
import { authorize, REFUSED } from '../token/authorize.ts';
import { readSubscriptionRequest } from './subscription-request.ts';

export interface HeldStream {
  /** What the path begins with: '/sse/'. */
  path: string;
  defaultFormat: Format;
  encodingFor(format: Format, head: RequestHead): Encoding;
  /** Header fields of the answer that are this transport's own. */
  fieldsFor(head: RequestHead): string;
  /** The position that the client gives in a header of this transport's own, which wins over the query; null for none. */
  sinceOf(head: RequestHead): string | null;
  /** Bytes that stand before the first publication. */
  preamble(config: Config, head: RequestHead): string;
}

export function holdStream(stream: HeldStream): Handler {
  const openingFor = openings();
  return (exchange, head) => {
    const { config, cors, draining } = exchange.gateway;
    const origin = head.header('origin');
    if (head.method === 'OPTIONS') {
      answerPreflight(exchange, head, cors.preflightFields(origin));
      return;
    }
    const corsFields = cors.fields(origin);
    const headOnly = head.method === 'HEAD';
    const asked = readSubscriptionRequest(head, stream.path.length, stream.defaultFormat, config.channelLimit);
    if (typeof asked === 'string') {
      exchange.reject(400, asked, 'malformed', corsFields, headOnly);
    } else if (head.bodyKind !== 'none') {
      exchange.reject(400, 'a request for a stream has no body', 'malformed', corsFields, headOnly);
    } else if (draining) {
      exchange.reject(503, 'this worker is draining; try again', 'draining', corsFields, headOnly);
    } else {
      const who = authorize(exchange, head, asked, corsFields);
      if (who === REFUSED) return;
      if (headOnly) {
        exchange.answerLast(openingFor(stream.fieldsFor(head), corsFields, ''));
        return;
      }
      const opening = openingFor(stream.fieldsFor(head), corsFields, stream.preamble(config, head));
      const since = stream.sinceOf(head) ?? asked.since;
      const encoding = stream.encodingFor(asked.format, head);
      if (since !== null && encoding.notice === null) {
        exchange.reject(400, 'the raw format has no place for how a recovery went; take json', 'malformed', corsFields);
      } else {
        exchange.open(encoding, asked.channels, opening, { session: null, since, who });
      }
    }
  };
}

export function answerPreflight(exchange: Exchange, head: RequestHead, corsFields: string): void {
  exchange.answer({
    status: 204,
    fields: `${corsFields}Allow: GET, HEAD, OPTIONS\r\n`,
    keepAlive: head.keepAlive && head.bodyKind === 'none',
  });
}

/** Answer heads, made once a second for all who ask alike: nearly everybody does. */
function openings(): (fields: string, corsFields: string, preamble: string) => Buffer {
  let madeFor = '';
  let made = Buffer.alloc(0);
  return (fields, corsFields, preamble) => {
    const date = dateHeader();
    const key = `${date}${fields}${corsFields}${preamble}`;
    if (key !== madeFor) {
      madeFor = key;
      made = Buffer.from(
        `HTTP/1.1 200 OK\r\nDate: ${date}\r\n${fields}Cache-Control: no-store\r\nX-Accel-Buffering: no\r\n` +
          `${corsFields}Connection: close\r\n\r\n${preamble}`,
        'latin1',
      );
    }
    return made;
  };
}
