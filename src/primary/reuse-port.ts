// Whether SO_REUSEPORT works here: found out by using it, since Node below 22.12 ignores `reusePort` without a word, and
// the kernel has a say as well. Two sockets on one free loopback port: the second is refused where it does not work.

import { createServer, type ListenOptions, type Server } from 'node:net';
import { errorText } from '../errors.ts';

/** @types/node of the oldest supported Node does not know the option. */
export type ReusePortListenOptions = ListenOptions & { reusePort: boolean };

/** Null when several workers can listen on one port of their own, else what to tell the operator. */
export async function reusePortFault(): Promise<string | null> {
  const servers: Server[] = [];
  try {
    const first = await listen(0, servers);
    const address = first.address();
    if (address === null || typeof address === 'string') return 'no port to try it on';
    await listen(address.port, servers);
    return null;
  } catch (error) {
    return `LONGWIRE_ACCEPT=reuseport needs Node 22.12 or later and a kernel with SO_REUSEPORT; this is Node ${process.versions.node} on ${process.platform} (${errorText(error)}). Use LONGWIRE_ACCEPT=shared, the default.`;
  } finally {
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  }
}

function listen(port: number, servers: Server[]): Promise<Server> {
  const server = createServer();
  const options: ReusePortListenOptions = { host: '127.0.0.1', port, exclusive: true, reusePort: true };
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(options, () => {
      servers.push(server);
      resolve(server);
    });
  });
}
