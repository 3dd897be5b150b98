// Who has clients' sockets open, as the kernel sees it: descriptors of a process that are connections from given ports.

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

const ESTABLISHED = '01';

/** How many connections from `clientPorts` to `port` the process holds descriptors of. */
export function clientSockets(pid: number, port: number, clientPorts: ReadonlySet<number>): number {
  const connections = inodesOf(port, clientPorts);
  const folder = `/proc/${pid}/fd`;
  return readdirSync(folder).filter((name) => {
    try {
      return connections.has(/^socket:\[(\d+)\]$/.exec(readlinkSync(`${folder}/${name}`))?.[1] ?? '');
    } catch {
      return false; // closed since it was listed
    }
  }).length;
}

/** Of the server's ends, IPv4 and IPv6. */
function inodesOf(port: number, clientPorts: ReadonlySet<number>): Set<string> {
  const lines = ['/proc/net/tcp', '/proc/net/tcp6'].flatMap((file) =>
    readFileSync(file, 'latin1').split('\n').slice(1),
  );
  return new Set(
    lines.flatMap((line) => {
      const [, local = '', remote = '', state, , , , , , inode = ''] = line.trim().split(/\s+/);
      const ours = portOf(local) === port && clientPorts.has(portOf(remote));
      return ours && state === ESTABLISHED ? [inode] : [];
    }),
  );
}

/** `0100007F:0BB8` ends in the port. */
function portOf(address: string): number {
  return Number.parseInt(address.slice(address.lastIndexOf(':') + 1), 16);
}
