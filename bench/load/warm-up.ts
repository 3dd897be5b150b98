// What the warm-up server answers: the head that the transport wants and one payload, by hand, in the fewest bytes.

import { nowMs } from '../clock.ts';
import { acceptOf, FIN, PING, TEXT } from './frames.ts';
import { makePayload } from './payload.ts';
import type { Transport } from './transports.ts';

const PING_FRAME = String.fromCharCode(FIN | PING, 0);

/** The answer to this request, a character a byte. WebSockets get a ping as well. */
export function answerTo(transport: Transport, request: string): string {
  const payload = makePayload(1, nowMs(), 0);
  switch (transport) {
    case 'sse':
      return `HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: ${payload}\n\n`;
    case 'stream': {
      const size = (payload.length + 1).toString(16);
      const head = 'HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n';
      return `${head}${size}\r\n${payload}\n\r\n`;
    }
    case 'poll': {
      const fields = `Content-Length: ${payload.length}\r\nETag: "warm"\r\n`;
      return `HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n${fields}\r\n${payload}`;
    }
    case 'websocket': {
      const key = /\r\nSec-WebSocket-Key: (\S+)/.exec(request)?.[1] ?? '';
      const head =
        'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
        `Sec-WebSocket-Accept: ${acceptOf(key)}\r\n\r\n`;
      return `${head}${PING_FRAME}${String.fromCharCode(FIN | TEXT, payload.length)}${payload}`;
    }
  }
}
