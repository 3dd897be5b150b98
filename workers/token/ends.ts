// How many are ended for their tokens at a time: clients that came back together have tokens that end together, by the second, and
// ending thousands in one turn would keep everybody else waiting. It also spreads the coming back that follows.
//
// Bound: ENDS_A_TICK a tick of the wheel, 2,560 a second; 20,000 that end at one moment are gone after eight seconds. Cost: a worker's.

import { TICK_MS } from '../timing-wheel.ts';

/** 27 µs each, measured (docs/adr/0037): some 7 ms of work. */
export const ENDS_A_TICK = 256;

export class TokenEnds {
  private tick: number;
  private count: number;

  constructor() {
    this.tick = 0;
    this.count = 0;
  }

  /** Whether one more may end in this tick; else it is to ask again in the next. */
  mayEnd(): boolean {
    const tick = Math.floor(performance.now() / TICK_MS);
    if (tick !== this.tick) {
      this.tick = tick;
      this.count = 0;
    }
    return this.count++ < ENDS_A_TICK;
  }
}
