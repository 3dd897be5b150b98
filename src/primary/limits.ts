// How many connections a worker may hold: its share of LONGWIRE_MAX_CONNECTIONS, and never more than its descriptors carry.
//
// On EMFILE libuv closes *all* pending connections (docs/budgets.md), so the cap must be reached before RLIMIT_NOFILE is. The
// limit is the soft one, per process; Node raises its soft limit to the hard one when it starts, in the primary and in
// the workers alike, so the primary's own figure is the workers'. Read once at start: from /proc where there is one
// (microseconds), else from `process.report`, whose network look-ups, which can take seconds, are left out.

import { readFileSync } from 'node:fs';

/**
 * Descriptors of a worker that are not connections. With nothing connected it has 21 (stdio, channel to the primary, event
 * loops, listening socket), a few more with Redis; up to 128 are connections above the cap that are told 503
 * (workers/admission.ts). The rest is for sockets that are closed but not yet reaped in this turn of the loop.
 */
export const DESCRIPTOR_RESERVE = 256;

/** The most that any limit is taken to be: 2^23 entries fill a Map on some Node 24 (docs/budgets.md). */
export const CONNECTION_CEILING = 2 ** 23;

export interface ConnectionShare {
  /** Most connections of one worker. */
  perWorker: number;
  /** Most connections of all workers. */
  total: number;
  /** What the operator should know: the configured maximum cannot be held. Else null. */
  warning: string | null;
}

/**
 * Shares connections out among workers.
 *
 * @param maxConnections Of all workers together; 0 for as many as the descriptors allow.
 * @param descriptorLimit RLIMIT_NOFILE (soft) of one process; Infinity when there is none.
 */
export function shareConnections(maxConnections: number, workers: number, descriptorLimit: number): ConnectionShare {
  const reserve = Math.min(DESCRIPTOR_RESERVE, Math.floor(descriptorLimit / 2));
  const allowed = Math.max(1, Math.min(CONNECTION_CEILING, descriptorLimit - reserve));
  if (maxConnections === 0) return { perWorker: allowed, total: allowed * workers, warning: null };
  const share = Math.ceil(maxConnections / workers);
  if (share <= allowed) return { perWorker: share, total: share * workers, warning: null };
  return {
    perWorker: allowed,
    total: allowed * workers,
    warning:
      `LONGWIRE_MAX_CONNECTIONS is ${maxConnections}, but ${workers} workers with RLIMIT_NOFILE ${descriptorLimit} ` +
      `(less ${reserve} in reserve) can hold ${allowed * workers}: raise the limit or start more workers`,
  };
}

/** RLIMIT_NOFILE (soft) of this process; Infinity when there is none or it cannot be found out. */
export function readDescriptorLimit(): number {
  return fromProc() ?? fromReport() ?? Number.POSITIVE_INFINITY;
}

/** `Max open files   1024   524288   files` in /proc/self/limits: soft, hard. */
export function parseProcLimits(text: string): number | null {
  const soft = /^Max open files\s+(\S+)/m.exec(text)?.[1];
  return soft === undefined ? null : toLimit(soft);
}

function fromProc(): number | null {
  try {
    return parseProcLimits(readFileSync('/proc/self/limits', 'utf8'));
  } catch {
    return null;
  }
}

function fromReport(): number | null {
  // The types of the oldest supported Node do not know `excludeNetwork` (Node 20.13).
  const reporter: (NodeJS.ProcessReport & { excludeNetwork?: boolean }) | undefined = process.report;
  if (reporter === undefined) return null;
  const former = reporter.excludeNetwork ?? false;
  reporter.excludeNetwork = true;
  const report: { userLimits?: { open_files?: { soft?: number | string } } } = reporter.getReport();
  reporter.excludeNetwork = former;
  const soft = report.userLimits?.open_files?.soft;
  return soft === undefined ? null : toLimit(String(soft));
}

function toLimit(text: string): number | null {
  if (text === 'unlimited') return Number.POSITIVE_INFINITY;
  const limit = Number(text);
  return Number.isInteger(limit) && limit > 0 ? limit : null;
}
