// Listener: this worker's `net` server on the shared port, which gives each accepted connection as a wire.
//
// It can stop listening and start again, which is how a worker at its connection cap leaves new connections to the others:
// the listening socket is shared (or the worker's own, with reuseport), so closing our copy of it closes nobody else's.
// Started again it asks for the very same address, or node:cluster would take it for another socket (port 0 in tests).

import { createServer, type ListenOptions, type Server } from 'node:net';
import { acceptHandles, type WireKind } from './probe.ts';
import { SOCKET_OPTIONS, SocketWire } from './socket-wire.ts';
import type { Wire } from './wire.ts';

/** As long a queue of unaccepted connections as the kernel allows (it takes the lower of this and net.core.somaxconn). */
const BACKLOG = 65_535;

export interface ListenerOptions {
  /** '' for all addresses, IPv6 and IPv4. */
  host: string;
  port: number;
  reusePort: boolean;
  kind: WireKind;
}

export interface ListeningAddress {
  address: string;
  port: number;
}

export class Listener {
  private readonly options: ListenerOptions;
  private readonly onWire: (wire: Wire) => void;
  private server: Server | null;

  constructor(options: ListenerOptions, onWire: (wire: Wire) => void) {
    this.options = options;
    this.onWire = onWire;
    this.server = null;
  }

  get listening(): boolean {
    return this.server !== null;
  }

  /**
   * Begins to accept.
   *
   * @throws the error of `net.Server.listen`: EADDRINUSE, EACCES, …
   */
  async listen(): Promise<ListeningAddress> {
    const { kind, host, port, reusePort } = this.options;
    const server = createServer(SOCKET_OPTIONS);
    this.server = server;
    if (kind === 'socket') server.on('connection', (socket) => this.onWire(new SocketWire(socket)));
    const options: ListenOptions & { reusePort?: boolean } = { port, backlog: BACKLOG };
    if (host !== '') options.host = host;
    if (reusePort) options.reusePort = true;
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => {
        if (this.server === server) this.server = null;
        reject(error);
      });
      server.listen(options, resolve);
    });
    if (this.server !== server) {
      // Closed while the primary was being asked for the socket.
      server.close();
      return { address: '', port: 0 };
    }
    if (kind === 'handle') {
      const fault = acceptHandles(server, this.onWire);
      if (fault !== null) throw new Error(fault);
    }
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('the server has no TCP address');
    return { address: address.address, port: address.port };
  }

  /** Stops accepting; accepted connections are not touched. */
  close(): void {
    const server = this.server;
    this.server = null;
    if (server?.listening) server.close();
  }
}
