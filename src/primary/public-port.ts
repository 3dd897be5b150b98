// The public port, as workers are told of it and given it: with `shared` a socket of the primary's, of which they are sent copies;
// else a number.
//
// Opened once, before the first worker is forked, so that all workers and those that come in their place have the same: with
// PORT=0 the one that was found then. A primary that takes over has the former one's.

import type { Config } from '../../config/config.ts';
import { errorText, LongwireError } from '../errors.ts';
import { BoundSocket } from './bound-socket.ts';
import { findFreePort } from './free-port.ts';
import { startFault } from './start-fault.ts';

/** What another primary has left to this one. */
export interface InheritedPort {
  /** Null where each worker has its own. */
  socket: BoundSocket | null;
  port: number;
}

export class PublicPort {
  #socket: BoundSocket | null = null;
  #number = 0;

  /** Null where workers do not accept, or each from a socket of its own. */
  get socket(): BoundSocket | null {
    return this.#socket;
  }

  get number(): number {
    return this.#number;
  }

  /** @throws LongwireError `unavailable` when it cannot be had; the text is for the operator. */
  async open(config: Config, inherited: InheritedPort | null): Promise<void> {
    this.#number = config.port;
    if (inherited !== null) {
      this.#socket = inherited.socket;
      this.#number = inherited.port;
    } else if (config.accept === 'shared') {
      this.#socket = await bind(config);
      this.#number = this.#socket.port;
    } else if (config.accept === 'reuseport' && config.port === 0) {
      this.#number = await findFreePort(config.host);
    }
  }

  /** No worker is sent it any more: once the last of them has let go, those who come are refused. */
  close(): void {
    this.#socket?.close();
    this.#socket = null;
  }
}

async function bind(config: Config): Promise<BoundSocket> {
  try {
    return await BoundSocket.open(config.host, config.port);
  } catch (thrown) {
    const code = (thrown as NodeJS.ErrnoException).code ?? null;
    throw new LongwireError('unavailable', startFault(config, code, errorText(thrown)), { cause: thrown });
  }
}
