// A listening socket that is the primary's. The public one workers are sent, and accept from it, and it outlives all of them; both
// that one and the admin port's can be given to another primary.
//
// So nobody who comes is refused while there is no worker, because one has died or the only one is full: they wait in the
// kernel's queue for the next. A worker that stops accepting closes its own copy and asks for another when it starts again.
//
// The primary binds the public socket and never listens on it, for then it would accept; the first worker's `listen` is the
// kernel's for all copies. Node offers that to node:cluster alone, as `net._createServerHandle`, which is not documented: it is the
// same on Node 20, 22, 24 and 26.

import { lookup } from 'node:dns/promises';
import net from 'node:net';
import { getSystemErrorName } from 'node:util';
import type { Descriptor } from '../ipc.ts';

interface BoundHandle extends Descriptor {
  /** 0, or a negative errno; binding to an address that is taken is told here first. */
  getsockname(out: { address?: string; port?: number }): number;
}

type Bind = (address: string | null, port: number, family: 4 | 6, fd: undefined, flags: number) => BoundHandle | number;

export class BoundSocket {
  readonly port: number;
  readonly #handle: BoundHandle;

  /**
   * @param handle A bound one: that of `open`, or another primary's.
   * @throws the errno as an Error, when it could not be bound after all.
   */
  constructor(handle: Descriptor) {
    this.#handle = handle as BoundHandle;
    const found: { port?: number } = {};
    const status = this.#handle.getsockname(found);
    if (status !== 0) throw errnoError(status);
    this.port = found.port ?? 0;
  }

  /**
   * Binds to an address, '' for all; port 0 takes a free one.
   *
   * @throws the errno as an Error: EADDRINUSE, EACCES, …
   */
  static async open(host: string, port: number): Promise<BoundSocket> {
    const { _createServerHandle: bind } = net as unknown as { _createServerHandle?: Bind };
    if (bind === undefined) throw new Error('this Node binds no sockets for others: it has no net._createServerHandle');
    // Without an address Node takes all, IPv6 and IPv4, or IPv4 alone where there is no IPv6.
    const { address, family } = host === '' ? { address: null, family: 6 } : await lookup(host);
    const handle = bind(address, port, family === 6 ? 6 : 4, undefined, 0);
    if (typeof handle === 'number') throw errnoError(handle);
    return new BoundSocket(handle);
  }

  /** To be sent along, to another process that then has a copy of its own; or to be listened on, by one server here. */
  get descriptor(): Descriptor {
    return this.#handle;
  }

  /** No worker is sent it any more; once the last of them has let go, those who come are refused. */
  close(): void {
    this.#handle.close();
  }
}

function errnoError(status: number): NodeJS.ErrnoException {
  const code = getSystemErrorName(status);
  return Object.assign(new Error(code), { code });
}
