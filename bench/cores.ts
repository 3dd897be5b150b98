// Cores during a fan-out: each serving process's main thread has one to itself, everything else shares those that are left.
//
// Why, for every subject alike: the clients are on the same machine, where a gateway's own run on others. Left to itself the
// scheduler of two cores puts the client, now and then, behind the server that it reads from, and there it stays for the
// round, as it is woken by that server's writes: some 2,000 times it takes the core from it, 8 to 24 ms of 97. Whether that
// happens hangs on who else was awake on the other core when the round began: with Longwire its primary, with the C loop
// nobody. docs/adr/0030 has the figures. `--shared-cores` measures without this.
//
// Needs `taskset` (util-linux) and more cores than serving processes; a note says so where it cannot be.

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { errorText } from '../src/errors.ts';

/** Numbers of the cores that this process may use, from the kernel's list: `0-3,8`. */
export function parseCores(list: string): number[] {
  return list
    .trim()
    .split(',')
    .flatMap((range) => {
      const [first = Number.NaN, last = first] = range.split('-').map(Number);
      return Array.from({ length: last - first + 1 }, (_, i) => first + i);
    });
}

/** The cores that this process may use; asked before any are taken from it. */
function allowedCores(): number[] {
  const status = readFileSync('/proc/self/status', 'latin1');
  return parseCores(/^Cpus_allowed_list:\s*(.+)$/m.exec(status)?.[1] ?? '');
}

/**
 * Gives each process of `serving` a core for its main thread, and the rest to `others` and to this process, while `measure`
 * runs. `note` says why that could not be, null when it could.
 */
export async function withCoresApart<Result>(
  serving: readonly number[],
  others: readonly number[],
  measure: () => Promise<Result>,
): Promise<{ result: Result; note: string | null }> {
  const cores = allowedCores();
  if (cores.length <= serving.length) {
    const note = `${serving.length} serving processes and ${cores.length} cores: none was set apart`;
    return { result: await measure(), note };
  }
  const rest = cores.slice(serving.length);
  let note: string | null = null;
  try {
    for (const pid of [...others, process.pid]) taskset('-acp', rest, pid);
    for (const [i, pid] of serving.entries()) taskset('-cp', cores.slice(i, i + 1), pid);
  } catch (error) {
    note = `no core was set apart: ${errorText(error)}`;
  }
  try {
    return { result: await measure(), note };
  } finally {
    // What is started next is to have them all again.
    if (note === null) taskset('-acp', cores, process.pid);
  }
}

function taskset(how: string, cores: readonly number[], pid: number): void {
  execFileSync('taskset', [how, cores.join(','), String(pid)], { stdio: ['ignore', 'ignore', 'pipe'] });
}

/** Milliseconds that the threads of all these processes have been ready to run, and waited for a core. */
export function waitedForCoreMs(pids: readonly number[]): number {
  let waitedNs = 0;
  for (const pid of pids) {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      // Time on a core, time waiting for one (nanoseconds), and how often.
      waitedNs += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ')[1]);
    }
  }
  return waitedNs / 1e6;
}
