// The first process of a container, with which the container ends; and an init that was put in front, which ends as soon as the process
// that it has started does. In neither case can a primary leave to another one: what it has handed over would end with it.
//
// A primary that nobody waits for any more has process 1 as its parent as well, on any machine: so an init is known by its name, and
// a primary that has taken over is not asked. systemd is another matter: it is told which process is the main one.

import { readFileSync } from 'node:fs';

/** `docker run --init`, and what else is used for the same in images: /proc/1/comm, of which the kernel keeps 15 characters. */
const CONTAINER_INITS = ['docker-init', 'tini', 'tini-static', 'dumb-init', 'catatonit', 'podman-init', 's6-svscan'];

/** Why this process cannot leave to another one; null when it can. @param takenOver Whether it was started by another primary. */
export function staysForContainer(
  { pid, ppid }: Pick<NodeJS.Process, 'pid' | 'ppid'>,
  takenOver: boolean,
  readName: () => string = readNameOfFirst,
): string | null {
  if (pid === 1) return 'the primary is the first process of its container, which would end with it';
  if (ppid !== 1 || takenOver) return null;
  const name = readName();
  if (!CONTAINER_INITS.includes(name)) return null;
  return `the primary was started by ${name}, which ends with it, and the container too`;
}

/** '' where there is no /proc. */
function readNameOfFirst(): string {
  try {
    return readFileSync('/proc/1/comm', 'latin1').trim();
  } catch {
    return '';
  }
}
