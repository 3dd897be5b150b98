// Which processes run in a folder: those that were started there and all that came of them, whoever's children they are by now.

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { isAlive } from './alive.ts';

/** Those that are alive; none where there is no /proc. @param argument What they must have been started with, if anything. */
export function processesIn(folder: string, argument = ''): number[] {
  return pids().filter((pid) => {
    try {
      // A folder that is gone has ' (deleted)' behind its name.
      const [cwd] = readlinkSync(`/proc/${pid}/cwd`).split(' (deleted)');
      return cwd === folder && readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(argument) && isAlive(pid);
    } catch {
      return false;
    }
  });
}

/** Ends them all, and those that they start meanwhile. */
export async function killIn(folder: string, argument = ''): Promise<void> {
  for (let found = processesIn(folder, argument); found.length > 0; found = processesIn(folder, argument)) {
    for (const pid of found) kill(pid);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function pids(): number[] {
  try {
    return readdirSync('/proc').map(Number).filter(Number.isInteger);
  } catch {
    return [];
  }
}
