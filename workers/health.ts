// `GET /healthz`, for load balancers: 200 while this worker accepts, 503 from the moment it drains.
//
// It says nothing of the broker: a gateway whose Redis is away still holds its connections, and sending its clients to
// another with the same Redis would help nobody. That is what `/ready` on the admin port is for.

import type { Exchange } from './exchange.ts';
import type { RequestHead } from './http/request-head.ts';

export function handleHealth(exchange: Exchange, head: RequestHead): void {
  const { draining } = exchange.gateway;
  exchange.answer({
    status: draining ? 503 : 200,
    body: draining ? 'draining\n' : 'ok\n',
    fields: 'Cache-Control: no-store\r\n',
    // A body that nobody asked for is not read: the connection ends with the answer.
    keepAlive: head.keepAlive && head.bodyKind === 'none' && !draining,
    headOnly: head.method === 'HEAD',
  });
}
