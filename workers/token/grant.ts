// A grant as a worker holds it: what a client's token allows it, and for how long still.
//
// How long is counted by the clock that the timing wheel goes by, from the moment at which the worker has met the client: a deadline
// of the wheel that was set for the end never comes before it, whatever becomes of the time of day meanwhile.
//
// Cost: this object, 90 bytes with its numbers, and 60 more for two channels, beside what is known of the client
// (presence/identities.ts); nothing for clients without a token.

import type { Grant } from '../../src/presence.ts';

export class HeldGrant implements Grant {
  readonly expiresAtMs: number;
  readonly channels: readonly string[] | null;
  private readonly endsAtMs: number;

  constructor({ expiresAtMs, channels }: Grant) {
    this.expiresAtMs = expiresAtMs;
    this.channels = channels;
    this.endsAtMs = expiresAtMs === 0 ? Number.POSITIVE_INFINITY : performance.now() + expiresAtMs - Date.now();
  }

  /** Infinity where the token never expires. */
  get leftMs(): number {
    return Math.max(0, this.endsAtMs - performance.now());
  }

  /** Whether its time is over, but for less than the rounding of the two clocks. */
  get isOver(): boolean {
    return this.leftMs < 1;
  }
}

/** Whether all of these channels may be held. */
export function allows({ channels: allowed }: Grant, channels: string | readonly string[]): boolean {
  if (allowed === null) return true;
  return typeof channels === 'string'
    ? allowed.includes(channels)
    : channels.every((channel) => allowed.includes(channel));
}
