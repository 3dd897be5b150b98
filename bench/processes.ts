// What /proc tells about processes: who descends from whom, and the CPU time they have used.
//
// utime and stime come in ticks of 10 ms (USER_HZ is 100 on every Linux that Node runs on); the kernel splits exact run time
// between them by sampling, so a figure for one delivery needs some hundred thousand of them.

import { readdirSync, readFileSync } from 'node:fs';

const TICK_MS = 10;

export interface CpuMs {
  user: number;
  system: number;
}

export interface ProcessStat {
  parent: number;
  cpu: CpuMs;
}

/** Reads a line of /proc/PID/stat; the command's name, in parentheses, may hold anything. */
export function parseStat(line: string): ProcessStat {
  const fields = line.slice(line.lastIndexOf(')') + 2).split(' ');
  return {
    parent: Number(fields[1]),
    cpu: { user: Number(fields[11]) * TICK_MS, system: Number(fields[12]) * TICK_MS },
  };
}

function statOf(pid: number): ProcessStat | null {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return null;
  }
}

/** Whose child it is; 0 where it is gone. */
export function parentOf(pid: number): number {
  return statOf(pid)?.parent ?? 0;
}

/** The process and all that descend from it, parents first. */
export function processTree(root: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const stat = statOf(pid);
    if (stat !== null) parents.set(pid, stat.parent);
  }
  const tree = [root];
  for (let i = 0; i < tree.length; i++) {
    for (const [pid, parent] of parents) if (parent === tree[i]) tree.push(pid);
  }
  return tree;
}

/** CPU time used so far by all of them; those that are gone count as nothing. */
export function cpuOf(pids: readonly number[]): CpuMs {
  const total: CpuMs = { user: 0, system: 0 };
  for (const pid of pids) {
    const stat = statOf(pid);
    if (stat === null) continue;
    total.user += stat.cpu.user;
    total.system += stat.cpu.system;
  }
  return total;
}

/** Ticks of all CPUs together since boot: busy with anything, and idle. */
export function machineCpu(): { busyMs: number; idleMs: number } {
  const line = readFileSync('/proc/stat', 'latin1').split('\n')[0] ?? '';
  const fields = line
    .trim()
    .split(/\s+/)
    .slice(1, 9)
    .map((field) => Number(field) * TICK_MS);
  const idleMs = (fields[3] ?? 0) + (fields[4] ?? 0);
  return { busyMs: fields.reduce((total, field) => total + field, 0) - idleMs, idleMs };
}
