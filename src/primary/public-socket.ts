// The public listening socket, which is the primary's: workers are sent it and accept from it, and it outlives all of them.
//
// So nobody who comes is refused while there is no worker, because one has died or the only one is full: they wait in the
// kernel's queue for the next. A worker that stops accepting closes its own copy and asks for another when it starts again.
//
// The primary binds the socket and never listens on it, for then it would accept; the first worker's `listen` is the
// kernel's for all copies. Node offers that to node:cluster alone, as `net._createServerHandle`, which is not documented: the one
// thing beside worker-link.ts and outside workers/wire that is not. It is the same on Node 20, 22, 24 and 26.

import { lookup } from 'node:dns/promises';
import net from 'node:net';
import { getSystemErrorName } from 'node:util';
import type { Config } from '../../config/config.ts';
import { errorText, LongwireError } from '../errors.ts';
import type { Descriptor } from '../ipc.ts';
import { startFault } from './start-fault.ts';

interface BoundHandle extends Descriptor {
  /** 0, or a negative errno; binding to an address that is taken is told here first. */
  getsockname(out: { address?: string; port?: number }): number;
}

type Bind = (address: string | null, port: number, family: 4 | 6, fd: undefined, flags: number) => BoundHandle | number;

export class PublicSocket {
  readonly port: number;
  readonly #handle: BoundHandle;

  /** @param handle A bound one: that of `open`, or another primary's. */
  constructor(handle: Descriptor) {
    this.#handle = handle as BoundHandle;
    const found: { port?: number } = {};
    const error = this.#handle.getsockname(found);
    if (error !== 0) throw Object.assign(new Error(getSystemErrorName(error)), { code: getSystemErrorName(error) });
    this.port = found.port ?? 0;
  }

  /**
   * Binds to the configuration's address; port 0 takes a free one, the same for all workers.
   *
   * @throws LongwireError `unavailable` when the address cannot be had; the text is for the operator.
   */
  static async open(config: Pick<Config, 'host' | 'port'>): Promise<PublicSocket> {
    const { host, port } = config;
    try {
      const { _createServerHandle: bind } = net as unknown as { _createServerHandle?: Bind };
      if (bind === undefined) throw new Error('this Node does not bind sockets for others: net._createServerHandle');
      // Without an address Node takes all, IPv6 and IPv4, or IPv4 alone where there is no IPv6.
      const { address, family } = host === '' ? { address: null, family: 6 } : await lookup(host);
      const handle = bind(address, port, family === 6 ? 6 : 4, undefined, 0);
      if (typeof handle === 'number') {
        throw Object.assign(new Error(getSystemErrorName(handle)), { code: getSystemErrorName(handle) });
      }
      return new PublicSocket(handle);
    } catch (thrown) {
      const code = (thrown as NodeJS.ErrnoException).code ?? null;
      throw new LongwireError('unavailable', startFault(config, code, errorText(thrown)), { cause: thrown });
    }
  }

  /** To be sent along; whoever is sent it has a copy of its own. */
  get descriptor(): Descriptor {
    return this.#handle;
  }

  /** No worker is sent it any more; once the last of them has let go, those who come are refused. */
  close(): void {
    this.#handle.close();
  }
}
