// PORT=0 where each worker has a socket of its own: which free port the gateway takes. Found once, before the first worker is
// forked, so that all workers, and those that come in their place, are told the same one.
//
// Between here and the first worker's `listen` somebody else could take it; the start then fails and says so.

import { once } from 'node:events';
import { createServer } from 'node:net';

/**
 * A free port of that address; '' for all addresses.
 *
 * @returns 0 where there is none, because there is no such address for example: a worker that tries tells the operator why.
 */
export async function findFreePort(host: string): Promise<number> {
  const server = createServer();
  try {
    await once(server.listen({ port: 0, ...(host === '' ? {} : { host }) }), 'listening');
    const address = server.address();
    return address === null || typeof address === 'string' ? 0 : address.port;
  } catch {
    return 0;
  } finally {
    server.close();
  }
}
