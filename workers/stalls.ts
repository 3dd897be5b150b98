// Stalls: the connections whose outbox is not empty, and which of them have stopped taking bytes.
//
// Only a connection that the kernel refused bytes for is in here; the rest of them, nearly all, cost nothing. Each second
// every one of them is asked how much of what it was given is out. One that has not moved for the stall deadline is a
// slow consumer, however small its outbox: a phone in a tunnel does not acknowledge, and its heartbeats pile up unseen.
//
// Cost: one Map entry and one object (about 100 bytes) a stalled connection; a sweep a second over those.

import type { CloseReason } from '../src/close-reason.ts';

/** What can stall: a connection. */
interface Stalling {
  readonly wire: { readonly outboxBytes: number };
  close(reason: CloseReason): void;
}

interface Stall {
  /** Bytes given to the wire since it is watched. */
  taken: number;
  /** Of those, out when last looked at. */
  out: number;
  movedAtMs: number;
}

export class Stalls {
  private readonly watched: Map<Stalling, Stall>;
  private readonly deadlineMs: number;
  private readonly clock: () => number;

  constructor(deadlineMs: number, clock: () => number = performance.now.bind(performance)) {
    this.watched = new Map();
    this.deadlineMs = deadlineMs;
    this.clock = clock;
  }

  get size(): number {
    return this.watched.size;
  }

  /** `length` bytes were given to a connection whose outbox is not empty. */
  watch(connection: Stalling, length: number): void {
    const stall = this.watched.get(connection);
    if (stall !== undefined) stall.taken += length;
    else {
      const taken = connection.wire.outboxBytes;
      this.watched.set(connection, { taken, out: 0, movedAtMs: this.clock() });
    }
  }

  forget(connection: Stalling): void {
    this.watched.delete(connection);
  }

  /** Looks at all of them; to be called about once a second. */
  sweep(): void {
    const now = this.clock();
    for (const [connection, stall] of this.watched) {
      const left = connection.wire.outboxBytes;
      const out = stall.taken - left;
      if (left === 0) this.watched.delete(connection);
      else if (out !== stall.out) {
        stall.out = out;
        stall.movedAtMs = now;
      } else if (now - stall.movedAtMs >= this.deadlineMs) {
        connection.close('slow-consumer');
      }
    }
  }
}
