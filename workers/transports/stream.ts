// `GET /stream/{channel}`: opens an NDJSON stream, one JSON object a line, chunked (RFC 9112 §7.1).
//
// For `fetch` readers, scripts and devices that would rather read lines than event streams. An HTTP/1.0 client gets the
// same lines without chunks, up to the end of the connection. A stream begins with an empty line: proxies and readers that
// wait for the first byte of a body before they say anything then say that it is open.

import { holdStream } from './held-stream.ts';
import { STREAM_JSON, STREAM_JSON_BARE, STREAM_RAW, STREAM_RAW_BARE } from './stream-encoder.ts';

export const handleStream = holdStream({
  path: '/stream/',
  defaultFormat: 'json',
  encodingFor: (format, { minorVersion }) => {
    if (minorVersion === 0) return format === 'json' ? STREAM_JSON_BARE : STREAM_RAW_BARE;
    return format === 'json' ? STREAM_JSON : STREAM_RAW;
  },
  fieldsFor: ({ minorVersion }) =>
    `Content-Type: application/x-ndjson\r\n${minorVersion === 0 ? '' : 'Transfer-Encoding: chunked\r\n'}`,
  sinceOf: () => null,
  preamble: (_config, { minorVersion }) => (minorVersion === 0 ? '\n' : '1\r\n\n\r\n'),
});
