// The table of contents of the public port: which path is whose, and which methods it takes.
//
// Paths are compared as raw bytes, before any decoding, in the order below; there are few, and the first is the one that
// nearly every connection asks for. A miss is answered 404, another method 405 with Allow, `OPTIONS *` 204.

import { handleApi } from './api/handler.ts';
import type { Exchange, Handler } from './exchange.ts';
import { handleHealth } from './health.ts';
import { field } from './http/answers.ts';
import type { Method, RequestHead } from './http/request-head.ts';
import { handlePoll } from './transports/poll.ts';
import { handleSse } from './transports/sse.ts';
import { handleStream } from './transports/stream.ts';
import { handleWebSocket } from './transports/websocket.ts';

interface Route {
  /** The raw path, or what it begins with when it ends in '/'. */
  path: string;
  methods: readonly Method[];
  handle: Handler;
}

const ROUTES: readonly Route[] = [
  { path: '/sse/', methods: ['GET', 'HEAD', 'OPTIONS'], handle: handleSse },
  { path: '/sse', methods: ['GET', 'HEAD', 'OPTIONS'], handle: handleSse },
  { path: '/stream/', methods: ['GET', 'HEAD', 'OPTIONS'], handle: handleStream },
  { path: '/stream', methods: ['GET', 'HEAD', 'OPTIONS'], handle: handleStream },
  { path: '/poll/', methods: ['GET', 'HEAD', 'OPTIONS'], handle: handlePoll },
  { path: '/poll', methods: ['GET', 'HEAD', 'OPTIONS'], handle: handlePoll },
  { path: '/ws/', methods: ['GET'], handle: handleWebSocket },
  { path: '/ws', methods: ['GET'], handle: handleWebSocket },
  { path: '/api/', methods: ['POST'], handle: handleApi },
  { path: '/api', methods: ['POST'], handle: handleApi },
  { path: '/healthz', methods: ['GET', 'HEAD'], handle: handleHealth },
];

export function route(exchange: Exchange, head: RequestHead): void {
  for (const { path, methods, handle } of ROUTES) {
    if (path.endsWith('/') ? !head.pathStartsWith(path) : !head.pathEquals(path)) continue;
    if (methods.includes(head.method)) handle(exchange, head);
    else {
      exchange.reject(
        405,
        `${path} takes ${methods.join(', ')}`,
        'unknown',
        field('Allow', methods.join(', ')),
        head.method === 'HEAD',
      );
    }
    return;
  }
  if (head.method === 'OPTIONS' && head.asteriskForm && head.bodyKind === 'none') {
    exchange.answer({ status: 204, keepAlive: head.keepAlive });
    return;
  }
  exchange.reject(
    404,
    'there is nothing here; see /sse/{channel}, /stream/{channel}, /poll/{channel}, /ws/{channel} and /api/publish',
    'unknown',
    '',
    head.method === 'HEAD',
  );
}
