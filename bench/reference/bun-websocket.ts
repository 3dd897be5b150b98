// Reference: Bun's WebSocket server, which is uWebSockets (C++), as Bun's documentation has it. Runs on Bun, one process.
//
// Speaks the part of Longwire's surface that the benchmarks use: GET /ws/{channel}, POST /api/publish and /api/broadcast,
// GET /healthz. Bun's own publish/subscribe does the delivery, in C++. No limits, no authentication, no message from clients
// is looked at: it does less than Longwire. Nothing but the types that are used is declared here: Bun's own types would
// be one more package for one file.

interface Socket {
  readonly data: { channel: string };
  subscribe(channel: string): void;
}

interface Server {
  upgrade(request: Request, options: { data: { channel: string } }): boolean;
  publish(channel: string, data: string): number;
}

declare const Bun: {
  serve(options: {
    port: number;
    hostname: string;
    development: boolean;
    fetch(request: Request, server: Server): Response | undefined | Promise<Response>;
    websocket: { open(socket: Socket): void; message(socket: Socket): void };
  }): Server;
};

interface Call {
  channel?: string;
  channels?: string[];
  data: string;
}

async function call(request: Request, server: Server): Promise<Response> {
  const { channel, channels, data } = (await request.json()) as Call;
  for (const name of channels ?? [channel ?? '']) server.publish(name, data);
  return new Response('{"result":{}}', { headers: { 'Content-Type': 'application/json' } });
}

Bun.serve({
  port: Number(process.env.PORT),
  hostname: '127.0.0.1',
  development: false,
  fetch(request, server) {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith('/ws/') && server.upgrade(request, { data: { channel: pathname.slice(4) } })) {
      return undefined;
    }
    if (request.method === 'POST' && pathname.startsWith('/api/')) return call(request, server);
    return new Response(null, { status: pathname === '/healthz' ? 200 : 404 });
  },
  websocket: {
    open: (socket) => socket.subscribe(socket.data.channel),
    message: () => undefined,
  },
});
