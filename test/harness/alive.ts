// Whether a process still runs, for tests that nobody is left behind.

import { readFileSync } from 'node:fs';

/**
 * False for a process that has ended, reaped or not: in a container whose first process does not reap, an orphan stays a
 * zombie for good, and a signal 0 to it succeeds.
 */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  try {
    // `pid (name) state …`; the name may hold anything, so the state is looked for behind its last bracket.
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.charAt(stat.lastIndexOf(')') + 2) !== 'Z';
  } catch (error) {
    // Gone in between, or a system without /proc.
    return (error as NodeJS.ErrnoException).code !== 'ESRCH' && process.platform !== 'linux';
  }
}
