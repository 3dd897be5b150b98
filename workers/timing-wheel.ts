// One timer for all connections of a worker: heartbeats, head deadlines, idle limits, lingering closes.
//
// A hashed timing wheel (Varghese and Lauck, SOSP 1987, scheme 6): slot = deadline modulo slots; a slot is a circular list
// threaded through the connections themselves. Scheduling, rescheduling and cancelling are O(1) and allocate nothing; a
// connection pays three fields (24 bytes), where `setTimeout` would take 250 to 450 (docs/budgets.md).
//
// Every connection always has a deadline of some kind, so the wheel is also the list of all connections (`forEach`).
// A deadline is kept to within one tick; it is never early.

export interface Timed {
  timerPrevious: Timed | null;
  timerNext: Timed | null;
  /** The tick at which it is due. */
  timerTick: number;
  onTimer(): void;
}

export const TICK_MS = 100;
/** 51.2 s a turn: the usual heartbeat (25 s) and head deadline (10 s) come round once, idle limits at most a few times. */
const SLOTS = 512;

class Sentinel implements Timed {
  timerPrevious: Timed | null = this;
  timerNext: Timed | null = this;
  timerTick = -1;
  onTimer(): void {}
}

export class TimingWheel {
  private readonly slots: Sentinel[];
  private readonly due: Sentinel;
  private readonly clock: () => number;
  private readonly startedAtMs: number;
  /** The last tick whose slot was emptied; behind the clock while the event loop was busy. */
  private tick: number;

  /** @param clock A monotonic clock in milliseconds. */
  constructor(clock: () => number = performance.now.bind(performance)) {
    this.slots = Array.from({ length: SLOTS }, () => new Sentinel());
    this.due = new Sentinel();
    this.clock = clock;
    this.startedAtMs = clock();
    this.tick = 0;
  }

  /** Calls `timed.onTimer()` once, `delayMs` from now or up to a tick later. Replaces an earlier deadline. */
  schedule(timed: Timed, delayMs: number): void {
    this.cancel(timed);
    timed.timerTick = Math.max(this.tick + 1, Math.ceil((this.clock() - this.startedAtMs + delayMs) / TICK_MS));
    append(this.slots[timed.timerTick % SLOTS] as Sentinel, timed);
  }

  /** Time until it is due; 0 when it is due now or not at all. */
  remainingMs(timed: Timed): number {
    if (timed.timerNext === null) return 0;
    return Math.max(0, timed.timerTick * TICK_MS - (this.clock() - this.startedAtMs));
  }

  cancel(timed: Timed): void {
    const { timerPrevious: previous, timerNext: next } = timed;
    if (previous === null || next === null) return;
    previous.timerNext = next;
    next.timerPrevious = previous;
    timed.timerPrevious = null;
    timed.timerNext = null;
  }

  /** Fires what has come due; to be called about each tick. Whatever `onTimer` does, a deadline fires at most once. */
  advance(): void {
    const target = Math.floor((this.clock() - this.startedAtMs) / TICK_MS);
    while (this.tick < target) {
      this.tick++;
      this.collectDue(this.slots[this.tick % SLOTS] as Sentinel);
      // From a list of their own: a callback may cancel or reschedule any of those that still wait in it.
      for (let timed = this.due.timerNext; timed !== this.due && timed !== null; timed = this.due.timerNext) {
        this.cancel(timed);
        timed.onTimer();
      }
    }
  }

  /** All that have a deadline. `visit` must not schedule or cancel. */
  forEach(visit: (timed: Timed) => void): void {
    for (const slot of this.slots) {
      for (let timed = slot.timerNext; timed !== slot && timed !== null; timed = timed.timerNext) visit(timed);
    }
  }

  private collectDue(slot: Sentinel): void {
    let timed = slot.timerNext;
    while (timed !== slot && timed !== null) {
      const next = timed.timerNext;
      if (timed.timerTick <= this.tick) {
        this.cancel(timed);
        append(this.due, timed);
      }
      timed = next;
    }
  }
}

function append(sentinel: Sentinel, timed: Timed): void {
  const last = sentinel.timerPrevious;
  timed.timerPrevious = last;
  timed.timerNext = sentinel;
  if (last !== null) last.timerNext = timed;
  sentinel.timerPrevious = timed;
}
