// Who has clients' sockets open, as the kernel sees it: descriptors of a process that are connections from given ports.

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

const ESTABLISHED = '01';

/** How many connections from `clientPorts` to `port` the process holds descriptors of. */
export function clientSockets(pid: number, port: number, clientPorts: ReadonlySet<number>): number {
  let count = 0;
  for (const each of portsHeld(pid, port)) if (clientPorts.has(each)) count++;
  return count;
}

/** From which ports the connections to `port` are that the process holds descriptors of. */
export function clientPorts(pid: number, port: number): Set<number> {
  return new Set(portsHeld(pid, port));
}

/** One for each descriptor. */
function portsHeld(pid: number, port: number): number[] {
  const connections = connectionsTo(port);
  const folder = `/proc/${pid}/fd`;
  return readdirSync(folder).flatMap((name) => {
    try {
      return connections.get(/^socket:\[(\d+)\]$/.exec(readlinkSync(`${folder}/${name}`))?.[1] ?? '') ?? [];
    } catch {
      return []; // closed since it was listed
    }
  });
}

/** The clients' ports by the inode of the server's end, IPv4 and IPv6. */
function connectionsTo(port: number): Map<string, number> {
  const lines = ['/proc/net/tcp', '/proc/net/tcp6'].flatMap((file) =>
    readFileSync(file, 'latin1').split('\n').slice(1),
  );
  return new Map(
    lines.flatMap((line) => {
      const [, local = '', remote = '', state, , , , , , inode = ''] = line.trim().split(/\s+/);
      return portOf(local) === port && state === ESTABLISHED ? [[inode, portOf(remote)] as const] : [];
    }),
  );
}

/** `0100007F:0BB8` ends in the port. */
function portOf(address: string): number {
  return Number.parseInt(address.slice(address.lastIndexOf(':') + 1), 16);
}
