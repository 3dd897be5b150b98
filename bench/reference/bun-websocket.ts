// Reference: Bun's WebSocket server, which is uWebSockets (C++), as Bun's documentation has it. Runs on Bun, one process.
//
// Speaks the part of Longwire's surface that the benchmarks use: GET /ws/{channel}, POST /api/publish and /api/broadcast,
// GET /healthz. With TOPICS=1 Bun's own topics do the delivery, in C++, which takes the least time; without, a table of
// channels and a send to each socket, which takes rather less memory. No limits, no authentication, no message from clients
// is looked at: it does less than Longwire.
//
// It is ready once it has served `WARM_UP_CONNECTIONS` of its own. The clients share Node's binary with Longwire, so that its
// pages are mapped before memory is read first; nobody shares Bun's, and what it maps of its 105 MB while the first
// connections come would count as theirs.
//
// Nothing but the types that are used is declared here: Bun's own types would be one more package for one file.

interface Socket {
  readonly data: { channel: string };
  subscribe(topic: string): void;
  send(data: string): void;
}

interface Server {
  upgrade(request: Request, options: { data: { channel: string } }): boolean;
  publish(topic: string, data: string): number;
}

declare const Bun: {
  serve(options: {
    port: number;
    hostname: string;
    development: boolean;
    fetch(request: Request, server: Server): Response | undefined | Promise<Response>;
    websocket: { open(socket: Socket): void; message(socket: Socket): void; close(socket: Socket): void };
  }): Server;
};

interface ClientSocket {
  onmessage: () => void;
  onopen: () => void;
  onclose: () => void;
  close(): void;
}

declare const WebSocket: new (url: string) => ClientSocket;

interface Call {
  channel?: string;
  channels?: string[];
  data: string;
}

const WARM_UP_CONNECTIONS = 400;
const WARM_UP_CHANNEL = 'warm-up';

/** Null: topics are used. */
const table: Map<string, Set<Socket>> | null = process.env.TOPICS === '1' ? null : new Map();
let ready = false;

function open(socket: Socket): void {
  const { channel } = socket.data;
  if (table === null) {
    socket.subscribe(channel);
    return;
  }
  const sockets = table.get(channel);
  if (sockets === undefined) table.set(channel, new Set([socket]));
  else sockets.add(socket);
}

function close(socket: Socket): void {
  const { channel } = socket.data;
  const sockets = table?.get(channel);
  sockets?.delete(socket);
  if (sockets?.size === 0) table?.delete(channel);
}

function publish(channel: string, data: string): void {
  if (table === null) server.publish(channel, data);
  else for (const socket of table.get(channel) ?? []) socket.send(data);
}

async function call(request: Request): Promise<Response> {
  const { channel, channels, data } = (await request.json()) as Call;
  for (const name of channels ?? [channel ?? '']) publish(name, data);
  return new Response('{"result":{}}', { headers: { 'Content-Type': 'application/json' } });
}

const server = Bun.serve({
  port: Number(process.env.PORT),
  hostname: '127.0.0.1',
  development: false,
  fetch(request, server) {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith('/ws/') && server.upgrade(request, { data: { channel: pathname.slice(4) } })) {
      return undefined;
    }
    if (request.method === 'POST' && pathname.startsWith('/api/')) return call(request);
    return new Response(null, { status: pathname !== '/healthz' ? 404 : ready ? 200 : 503 });
  },
  websocket: { open, message: () => undefined, close },
});

async function warmUp(): Promise<void> {
  const url = `ws://127.0.0.1:${process.env.PORT}/ws/${WARM_UP_CHANNEL}`;
  const sockets = Array.from({ length: WARM_UP_CONNECTIONS }, () => new WebSocket(url));
  const each = (event: 'onopen' | 'onmessage' | 'onclose', begin: () => void) => {
    const all = sockets.map(
      (socket) =>
        new Promise<void>((resolve) => {
          socket[event] = resolve;
        }),
    );
    begin();
    return Promise.all(all);
  };
  await each('onopen', () => undefined);
  await each('onmessage', () => publish(WARM_UP_CHANNEL, 'warm'));
  await each('onclose', () => {
    for (const socket of sockets) socket.close();
  });
  ready = true;
}

await warmUp();
