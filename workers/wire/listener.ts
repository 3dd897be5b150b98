// Listener: this worker's `net` server, which gives each accepted connection as a wire.
//
// It listens on a copy of the primary's socket (src/primary/public-socket.ts), asked for anew each time, or on one of its own,
// with reuseport. It can be closed and started again, which is how a worker at its connection cap leaves new connections to
// the others: those who come meanwhile wait in the queue of the primary's socket. A socket of its own has a queue of its
// own, and what waits there is reset each time that it is closed.

import { createServer, type ListenOptions, type Server } from 'node:net';
import type { Descriptor } from '../../src/ipc.ts';
import { acceptHandles, type WireKind } from './probe.ts';
import { SOCKET_OPTIONS, SocketWire } from './socket-wire.ts';
import type { Tls } from './tls.ts';
import type { Wire } from './wire.ts';

/** As long a queue of unaccepted connections as the kernel allows (it takes the lower of this and net.core.somaxconn). */
const BACKLOG = 65_535;

export interface ListenerOptions {
  /** Asks for a copy of a socket that is bound already; null, or none, for a socket of its own. */
  ask?: (() => Promise<Descriptor>) | null;
  /** Of its own socket: '' for all addresses, IPv6 and IPv4. */
  host: string;
  port: number;
  reusePort: boolean;
  kind: WireKind;
  /** What ends TLS on every connection, which must then be of the kind 'socket'; null, or none, for no TLS. */
  tls?: Tls | null;
  /** Whether TLS begins when the wire is told so (`Wire.secure`), behind a PROXY header, and not with the accept. */
  secureLater?: boolean;
}

export interface ListeningAddress {
  address: string;
  port: number;
}

export class Listener {
  private readonly options: ListenerOptions;
  private readonly onWire: (wire: Wire) => void;
  private readonly onFault: (text: string) => void;
  /** What was last asked for; `opening` catches up with it. */
  private wanted: 'listening' | 'closed';
  private server: Server | null;
  /** Where it first listened, which is what clients know; 0 before. */
  private foundPort: number;
  /** While the socket is being got. */
  private opening: Promise<ListeningAddress> | null;

  /** @param onFault Told of connections that the kernel had and could not give us: ENFILE, for example. */
  constructor(options: ListenerOptions, onWire: (wire: Wire) => void, onFault: (text: string) => void = () => {}) {
    this.options = options;
    this.onWire = onWire;
    this.onFault = onFault;
    this.wanted = 'closed';
    this.server = null;
    this.foundPort = 0;
    this.opening = null;
  }

  /** Whether it accepts or is about to. */
  get listening(): boolean {
    return this.wanted === 'listening' && (this.opening !== null || this.server !== null);
  }

  /**
   * Begins to accept. Resolves with an empty address when that was called off meanwhile.
   *
   * @throws the error of `net.Server.listen`: EADDRINUSE, EACCES, …
   */
  listen(): Promise<ListeningAddress> {
    this.wanted = 'listening';
    this.opening ??= this.open().finally(() => {
      this.opening = null;
    });
    return this.opening;
  }

  /** Stops accepting until `listen` is called again; accepted connections are not touched. */
  close(): void {
    this.wanted = 'closed';
    if (this.opening === null) this.release();
  }

  private async open(): Promise<ListeningAddress> {
    this.release();
    const server = await this.bind();
    const address = addressOf(server);
    this.foundPort = address.port;
    // From now on an error is one of accepting: it costs that connection, and must not cost the worker.
    server.on('error', (error) => this.onFault(`accepting failed: ${error.message}`));
    this.server = server;
    if (this.wanted !== 'listening') {
      this.release();
      return { address: '', port: 0 };
    }
    if (this.options.kind === 'handle') {
      const fault = acceptHandles(server, this.onWire, this.onFault);
      if (fault !== null) throw new Error(fault);
    }
    return address;
  }

  private async bind(): Promise<Server> {
    const { ask = null, kind, tls = null, secureLater = false } = this.options;
    const server = createServer(SOCKET_OPTIONS);
    if (kind === 'socket') {
      server.on('connection', (socket) => {
        if (tls === null || secureLater) this.onWire(new SocketWire(socket, tls));
        else this.onWire(new SocketWire(tls.secure(socket)));
      });
    }
    const given = ask === null ? null : await ask();
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      if (given === null) server.listen(this.ownSocket(), resolve);
      else server.listen(given, BACKLOG, resolve);
    });
    return server;
  }

  private ownSocket(): ListenOptions {
    const { host, port, reusePort } = this.options;
    const options: ListenOptions & { reusePort?: boolean } = { port: this.foundPort || port, backlog: BACKLOG };
    // `exclusive`: node:cluster would otherwise ask the primary for one.
    options.exclusive = true;
    if (host !== '') options.host = host;
    if (reusePort) options.reusePort = true;
    return options;
  }

  private release(): void {
    this.server?.close();
    this.server = null;
  }
}

function addressOf(server: Server): ListeningAddress {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no TCP address');
  return { address: address.address, port: address.port };
}
