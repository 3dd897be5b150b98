// Every encoding by its index: how a worker names one to another. A worker of another version may know others; what it does
// not know it does not take.

import type { Encoding } from '../encoding.ts';
import { SSE_JSON, SSE_RAW } from '../transports/sse-encoder.ts';
import { STREAM_JSON, STREAM_JSON_BARE, STREAM_RAW, STREAM_RAW_BARE } from '../transports/stream-encoder.ts';
import { WEBSOCKET_JSON, WEBSOCKET_RAW } from '../transports/websocket-encoder.ts';

const ENCODINGS = new Map<number, Encoding>(
  [SSE_RAW, SSE_JSON, STREAM_JSON, STREAM_RAW, STREAM_JSON_BARE, STREAM_RAW_BARE, WEBSOCKET_JSON, WEBSOCKET_RAW].map(
    (encoding) => [encoding.index, encoding],
  ),
);

export function encodingOf(index: number): Encoding | null {
  return ENCODINGS.get(index) ?? null;
}
