// A slot: a worker's place, which outlives the process in it, as the supervisor keeps it; and which port its worker listens on.

import type { Config } from '../../config/config.ts';
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
  /** It has said hello and waits for the port that the first worker will find. */
  held: boolean;
  /** The port that its worker was told to listen on; null before its assignment. */
  port: number | null;
}

export function makeSlot(id: number): Slot {
  return { id, backoff: new Backoff(), worker: null, timer: null, tried: false, held: false, port: null };
}

/** Whatever the slot was waiting for, it waits no more. */
export function clearTimer(slot: Slot): void {
  if (slot.timer !== null) clearTimeout(slot.timer);
  slot.timer = null;
}

/**
 * The port to listen on; null for "wait for the first worker".
 *
 * Only port 0 needs thought. Sharing workers must all ask for port 0, because node:cluster hands out one socket to
 * those that ask for the same; with `reuseport` the first one finds a port for the others. Once nobody listens, a
 * replacement takes the port that clients know.
 *
 * @param foundPort Where the gateway was found to listen; null before.
 */
export function portFor(slot: Slot, slots: readonly Slot[], config: Config, foundPort: number | null): number | null {
  const { accept, port } = config;
  if (port !== 0) return port;
  const others = slots.filter((other) => other !== slot && other.port !== null);
  if (accept === 'reuseport') return foundPort ?? (others.length === 0 ? 0 : null);
  return others[0]?.port ?? foundPort ?? 0;
}
