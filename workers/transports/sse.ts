// `GET /sse/{channel}`: opens an event stream (WHATWG HTML §9.2).
//
// The answer has no Content-Length and no chunks: it ends with the connection, as HTTP/1.0 and 1.1 both allow (RFC 9112
// §6.3 rule 8). So one frame serves both, no bytes are spent on chunk sizes, and an event that the end cuts in two is
// dropped by every reader, as the standard says. The head is the same for all who ask in one second, so it is made once.

import type { Exchange } from '../exchange.ts';
import { dateHeader } from '../http/answers.ts';
import type { RequestHead } from '../http/request-head.ts';
import { SSE_JSON, SSE_RAW } from './sse-encoder.ts';
import { readSubscriptionRequest } from './subscription-request.ts';

const PREFIX_LENGTH = '/sse/'.length;

export function handleSse(exchange: Exchange, head: RequestHead): void {
  const { gateway } = exchange;
  const { config, cors } = gateway;
  if (head.method === 'OPTIONS') {
    const fields = cors.preflightFields(head.header('origin'));
    exchange.answer({
      status: 204,
      fields: `${fields}Allow: GET, HEAD, OPTIONS\r\n`,
      keepAlive: head.keepAlive && head.bodyKind === 'none',
    });
    return;
  }
  const asked = readSubscriptionRequest(head, PREFIX_LENGTH, 'raw', config.channelLimit);
  const corsFields = cors.fields(head.header('origin'));
  const headOnly = head.method === 'HEAD';
  if (typeof asked === 'string') {
    exchange.reject(400, asked, 'malformed', corsFields, headOnly);
    return;
  }
  if (head.bodyKind !== 'none') {
    exchange.reject(400, 'a request for a stream has no body', 'malformed', corsFields);
    return;
  }
  if (gateway.draining) {
    exchange.reject(503, 'this worker is draining; try again', 'draining', corsFields, headOnly);
    return;
  }
  const opening = openingFor(corsFields, config.retryMilliseconds);
  if (headOnly) {
    exchange.answerLast(opening.subarray(0, opening.indexOf('\r\n\r\n') + 4));
    return;
  }
  exchange.open(asked.format === 'json' ? SSE_JSON : SSE_RAW, asked.channels, opening);
}

let cachedKey = '';
let cachedOpening = Buffer.alloc(0);

/** The answer's head, and the delay after which a reader that has lost the stream comes back. */
function openingFor(corsFields: string, retryMilliseconds: number): Buffer {
  const date = dateHeader();
  const key = `${date}${corsFields}`;
  if (key === cachedKey) return cachedOpening;
  cachedKey = key;
  cachedOpening = Buffer.from(
    `HTTP/1.1 200 OK\r\nDate: ${date}\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n` +
      `X-Accel-Buffering: no\r\n${corsFields}Connection: close\r\n\r\nretry: ${retryMilliseconds}\n\n`,
    'latin1',
  );
  return cachedOpening;
}
