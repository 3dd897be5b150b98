// A slot: a worker's place, which outlives the process in it, as the supervisor keeps it.

import { Backoff } from './backoff.ts';
import type { WorkerProcess } from './worker-process.ts';

export interface Slot {
  readonly id: number;
  readonly backoff: Backoff;
  /** The process in it; null between a death and the replacement. */
  worker: WorkerProcess | null;
  /** The deadline for becoming ready, or the wait before the replacement. */
  timer: NodeJS.Timeout | null;
  /** Its first worker has become ready or died. */
  tried: boolean;
  /** Its worker has been told what to run on. */
  assigned: boolean;
}

export function makeSlot(id: number): Slot {
  return { id, backoff: new Backoff(), worker: null, timer: null, tried: false, assigned: false };
}

/** Whatever the slot was waiting for, it waits no more. */
export function clearTimer(slot: Slot): void {
  if (slot.timer !== null) clearTimeout(slot.timer);
  slot.timer = null;
}
