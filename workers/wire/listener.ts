// Listener: this worker's `net` server on the shared port, which gives each accepted connection as a wire.
//
// It can be suspended and started again, which is how a worker at its connection cap leaves new connections to the others.
// Suspended, it has closed its own copy of the shared socket but kept its place there, so that the primary keeps the socket:
// should all workers be suspended at once, those who come wait in the kernel's queue and are neither refused nor lost.
// Started again it gives its place up and asks for the very same address, which is the one socket as long as some other
// worker has a place there. Should all have given theirs up in the same moment, the socket is made anew on the same port,
// and what waited in it is reset. With reuseport the socket is the worker's own, and suspending it does that every time.

import { createServer, type ListenOptions, type Server } from 'node:net';
import { acceptHandles, stopAccepting, type WireKind } from './probe.ts';
import { SOCKET_OPTIONS, SocketWire } from './socket-wire.ts';
import type { Tls } from './tls.ts';
import type { Wire } from './wire.ts';

/** As long a queue of unaccepted connections as the kernel allows (it takes the lower of this and net.core.somaxconn). */
const BACKLOG = 65_535;

export interface ListenerOptions {
  /** '' for all addresses, IPv6 and IPv4. */
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
  private wanted: 'listening' | 'suspended' | 'closed';
  private server: Server | null;
  /** Where it first listened, which is what clients know; 0 before. */
  private foundPort: number;
  /** While the primary is being asked for the socket. */
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
  suspend(): void {
    this.wanted = 'suspended';
    if (this.opening === null && this.server !== null) stopAccepting(this.server);
  }

  /** Stops accepting for good; accepted connections are not touched. */
  close(): void {
    this.wanted = 'closed';
    if (this.opening === null) this.release();
  }

  private async open(): Promise<ListeningAddress> {
    const { kind, port } = this.options;
    this.release();
    let server = await this.bind(port);
    let address = addressOf(server);
    if (this.foundPort !== 0 && address.port !== this.foundPort) {
      server.close();
      server = await this.bind(this.foundPort);
      address = addressOf(server);
    }
    this.foundPort = address.port;
    // From now on an error is one of accepting: it costs that connection, and must not cost the worker.
    server.on('error', (error) => this.onFault(`accepting failed: ${error.message}`));
    this.server = server;
    if (this.wanted !== 'listening') {
      if (this.wanted === 'suspended') stopAccepting(server);
      else this.release();
      return { address: '', port: 0 };
    }
    if (kind === 'handle') {
      const fault = acceptHandles(server, this.onWire, this.onFault);
      if (fault !== null) throw new Error(fault);
    }
    return address;
  }

  private async bind(port: number): Promise<Server> {
    const { kind, host, reusePort, tls = null, secureLater = false } = this.options;
    const server = createServer(SOCKET_OPTIONS);
    if (kind === 'socket') {
      server.on('connection', (socket) => {
        if (tls === null || secureLater) this.onWire(new SocketWire(socket, tls));
        else this.onWire(new SocketWire(tls.secure(socket)));
      });
    }
    const options: ListenOptions & { reusePort?: boolean } = { port, backlog: BACKLOG };
    if (host !== '') options.host = host;
    if (reusePort) options.reusePort = true;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(options, resolve);
    });
    return server;
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
