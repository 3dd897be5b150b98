// The broker contract: pub/sub behind the gateway, as a worker sees it. Two implementations, memory and redis, pass one suite.
//
// What every broker promises:
//   1. One channel's publications reach `onPublication` of every worker in one order, the same for all workers.
//   2. Payloads arrive byte for byte, whatever the bytes.
//   3. `publish` settles when the broker has taken the publications or has not: a rejection with `unavailable` is never
//      followed by a retry behind the caller's back, and no call waits longer than `PUBLISH_DEADLINE_MS`.
//   4. When publications may have been missed, `onGap` says so before the first one that comes after.
//   5. A lost connection is the broker's own business: it comes back by itself; subscribers need do nothing.
//
// What it does not promise: that a publication reaches a worker that was not connected at that moment (that is history's).

import type { Publication } from '../publication.ts';
import type { BrokerState } from '../stats.ts';

/** A publish call that has had no answer from the broker for this long fails with `unavailable`. */
export const PUBLISH_DEADLINE_MS = 2_000;

export interface BrokerReceiver {
  /**
   * A publication has arrived. Called in order, synchronously from the read that brought it; the payload is a slice of
   * memory that the next read may overwrite, so that whoever keeps the publication calls `retain()`.
   */
  onPublication(publication: Publication): void;

  /** The broker went up or down. Called on changes only. */
  onState(state: BrokerState): void;

  /** Publications may have been missed, from `sinceMs` ago until now (milliseconds). */
  onGap(sinceMs: number): void;
}

export interface Broker {
  readonly name: 'memory' | 'redis';
  readonly state: BrokerState;
  /** The last measured round trip, in seconds; 0 before the first. */
  readonly roundTripSeconds: number;

  /**
   * Connects and subscribes. Resolves when the first subscription stands or when the broker is found to be away: a
   * gateway whose broker is down starts all the same, says so on `/ready`, and gets better by itself.
   */
  start(): Promise<void>;

  /**
   * Publishes in the order given.
   *
   * @throws LongwireError `unavailable` when the broker has not taken them. With several publications some may have
   * been taken before the failure.
   */
  publish(publications: readonly Publication[]): Promise<void>;

  /** Lets go of everything. Publications that arrive during the call are still delivered; none after it. */
  stop(): Promise<void>;
}
