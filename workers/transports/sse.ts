// `GET /sse/{channel}`: opens an event stream (WHATWG HTML §9.2).
//
// The answer has no Content-Length and no chunks: it ends with the connection, as HTTP/1.0 and 1.1 both allow (RFC 9112
// §6.3 rule 8; docs/adr/0001-event-streams-end-with-the-connection.md). It begins with the delay after which a reader that
// has lost the stream comes back.

import { holdStream } from './held-stream.ts';
import { SSE_JSON, SSE_RAW } from './sse-encoder.ts';

export const handleSse = holdStream({
  path: '/sse/',
  defaultFormat: 'raw',
  encodingFor: (format) => (format === 'json' ? SSE_JSON : SSE_RAW),
  fieldsFor: () => 'Content-Type: text/event-stream\r\n',
  // What readers send by themselves when they come back. Newer than what is in their URL, which stays the same.
  sinceOf: (head) => head.header('last-event-id') || null,
  preamble: ({ retryMilliseconds }) => `retry: ${retryMilliseconds}\n\n`,
});
