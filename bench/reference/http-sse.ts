// Reference: a push server as most people write it, on `node:http`, one process.
//
// Speaks the part of Longwire's surface that the benchmarks use: GET /sse/{channel}, POST /api/publish and /api/broadcast,
// GET /healthz. No heartbeats, no limits, no authentication: it does less than Longwire, so that what Longwire costs more
// would show. Each publication is encoded once and its Buffer written to each subscriber's response.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';

interface Call {
  channel?: string;
  channels?: string[];
  data: string;
}

const subscribers = new Map<string, Set<ServerResponse>>();

function subscribe(channel: string, response: ServerResponse): void {
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
  response.flushHeaders();
  let set = subscribers.get(channel);
  if (set === undefined) {
    set = new Set();
    subscribers.set(channel, set);
  }
  set.add(response);
  response.on('close', () => {
    set.delete(response);
    if (set.size === 0) subscribers.delete(channel);
  });
}

function publish(channel: string, frame: Buffer): void {
  for (const response of subscribers.get(channel) ?? []) response.write(frame);
}

function call(request: IncomingMessage, response: ServerResponse): void {
  const parts: Buffer[] = [];
  request.on('data', (part: Buffer) => parts.push(part));
  request.on('end', () => {
    const { channel, channels, data } = JSON.parse(Buffer.concat(parts).toString()) as Call;
    const frame = Buffer.from(`data: ${data}\n\n`);
    for (const name of channels ?? [channel ?? '']) publish(name, frame);
    response.writeHead(200, { 'Content-Type': 'application/json' });
    response.end('{"result":{}}');
  });
}

const server = createServer((request, response) => {
  const target = request.url ?? '';
  if (request.method === 'GET' && target.startsWith('/sse/')) subscribe(target.slice(5), response);
  else if (request.method === 'POST' && target.startsWith('/api/')) call(request, response);
  else response.writeHead(target === '/healthz' ? 200 : 404).end();
});
server.listen(Number(process.env.PORT), '127.0.0.1', 4096);
