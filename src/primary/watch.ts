// The watch: looks at all workers once a second, and has what is wrong with one put right.
//
//   no numbers for LONGWIRE_HANG_SECONDS         it hangs: killed, and so replaced
//   above LONGWIRE_WORKER_MEMORY_LIMIT_BYTES     replaced by moving its connections to a new one
//   largest and smallest LONGWIRE_REBALANCE_PERCENT apart    the largest gives some away, a few at a time
//
// A busy worker is not a hanging one: numbers are pushed between two turns of its loop, so that a worker that comes round at
// all is heard of, late. And a primary that was itself held up (a suspended machine, a stopped process) has numbers lying
// unread: after a late look nobody is judged until the next one.
//
// Bounds: one replacement of a slot in `REPLACED_ANEW_MS` for its memory, so that a limit that is too low costs a move now and
// then and not all the time; one step of rebalancing at a time.

import { readFileSync } from 'node:fs';
import type { Config } from '../../config/config.ts';
import type { Log } from '../log.ts';
import type { WorkerRow } from './worker-table.ts';

/** Between two looks. */
export const LOOK_MS = 1_000;
/** A look that comes later than this after the last one says that the primary was held up. */
const LATE_MS = 2_500;
/** Looks in a row in which something must be so: numbers are a second old, and crowds come and go. */
const LOOKS = 3;
const REPLACED_ANEW_MS = 300_000;
/** Below this a difference between workers is none. */
const LEAST_DIFFERENCE = 64;

export interface WatchActions {
  /** Ends a worker that hangs. */
  kill(row: WorkerRow): void;
  /** Replaces a slot's worker by moving its connections. */
  replace(id: number): void;
  /** Gives some of what the largest holds to the smallest, unless something is under way. */
  rebalance(): void;
}

export type WatchLimits = Pick<Config, 'hangSeconds' | 'workerMemoryLimitBytes' | 'rebalancePercent'>;

export class Watch {
  readonly #config: () => WatchLimits;
  readonly #actions: WatchActions;
  readonly #log: Log;
  readonly #killed = new WeakSet<WorkerRow>();
  /** Looks in a row in which a worker was over its memory limit. */
  readonly #over = new WeakMap<WorkerRow, number>();
  readonly #replacedAtMs = new Map<number, number>();
  #lastLookMs: number | null = null;
  #uneven = 0;

  /** @param config What is in force: it changes when workers are replaced. */
  constructor(config: () => WatchLimits, actions: WatchActions, log: Log) {
    this.#config = config;
    this.#actions = actions;
    this.#log = log;
  }

  /** To be called each `LOOK_MS`. @param rows The slots' present workers. @param nowMs On the table's clock. */
  look(rows: readonly WorkerRow[], nowMs: number): void {
    const late = this.#lastLookMs !== null && nowMs - this.#lastLookMs > LATE_MS;
    this.#lastLookMs = nowMs;
    if (late) return;
    const ready = rows.filter(({ state }) => state === 'ready');
    for (const row of ready) this.#lookForHang(row, nowMs);
    for (const row of ready) this.#lookAtMemory(row, nowMs);
    this.#lookAtBalance(ready);
  }

  #lookForHang(row: WorkerRow, nowMs: number): void {
    const { hangSeconds } = this.#config();
    const silentMs = nowMs - Math.max(row.snapshotAtMs ?? 0, row.readyAtMs ?? 0);
    if (hangSeconds === 0 || silentMs < hangSeconds * 1000 || this.#killed.has(row)) return;
    this.#killed.add(row);
    const facts = { worker: row.id, pid: row.pid, silentSeconds: Math.round(silentMs / 1000), ...stateOf(row.pid) };
    this.#log.error('a worker hangs and is killed: no turn of its event loop has ended', facts);
    this.#actions.kill(row);
  }

  #lookAtMemory(row: WorkerRow, nowMs: number): void {
    const { workerMemoryLimitBytes: limit } = this.#config();
    const { rssBytes } = row.gauges;
    const looks = limit > 0 && rssBytes > limit ? (this.#over.get(row) ?? 0) + 1 : 0;
    this.#over.set(row, looks);
    const lastMs = this.#replacedAtMs.get(row.id);
    if (looks < LOOKS || (lastMs !== undefined && nowMs - lastMs < REPLACED_ANEW_MS)) return;
    this.#replacedAtMs.set(row.id, nowMs);
    this.#log.warn('a worker is over its memory limit and is replaced', { worker: row.id, rssBytes, limit });
    this.#actions.replace(row.id);
  }

  #lookAtBalance(ready: readonly WorkerRow[]): void {
    const { rebalancePercent } = this.#config();
    if (rebalancePercent === 0 || ready.length < 2) return;
    const held = ready.map(heldBy);
    const mean = held.reduce((sum, count) => sum + count, 0) / held.length;
    const apart = Math.max(...held) - Math.min(...held);
    this.#uneven = apart > LEAST_DIFFERENCE && apart > (mean * rebalancePercent) / 100 ? this.#uneven + 1 : 0;
    if (this.#uneven < LOOKS) return;
    this.#uneven = 0;
    this.#actions.rebalance();
  }
}

/** Held connections, those between two requests not counted. */
export function heldBy({ gauges }: WorkerRow): number {
  return gauges.connections.slice(1).reduce((sum, count) => sum + count, 0);
}

/** What the kernel says of a process, for the log: R runs in one long turn, S waits, T is stopped, D waits for a device. */
function stateOf(pid: number | null): { kernelState: string } {
  try {
    const line = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return { kernelState: line.slice(line.lastIndexOf(')') + 2, line.lastIndexOf(')') + 3) };
  } catch {
    return { kernelState: 'unknown' };
  }
}
