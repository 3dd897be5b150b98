// The broker contract: pub/sub behind the gateway, as a worker sees it. Two implementations, memory and redis, pass one suite.
//
// What every broker promises:
//   1. One channel's publications reach `onPublication` of every worker in one order, the same for all workers.
//   2. Payloads arrive byte for byte, whatever the bytes.
//   3. `publish` settles when the broker has taken the publications or has not: a rejection with `unavailable` is never
//      followed by a retry behind the caller's back, and no call waits longer than `PUBLISH_DEADLINE_MS`.
//   4. When publications may have been missed, `onGap` says so before the first one that comes after.
//      Fences (FENCE_CHANNEL) are publications like others and have their place in that order, across all channels.
//   5. A lost connection is the broker's own business: it comes back by itself; subscribers need do nothing.
//   6. Publications of channels with history come with consecutive offsets (src/position.ts): who sees a hole, or another
//      epoch, has missed something. They can be read again from `history`, as long as it keeps them.
//
// What it does not promise: that a publication reaches a worker that was not connected at that moment (that is history's).

import { LongwireError } from '../errors.ts';
import type { ChannelHistory, HistoryState } from '../history.ts';
import type { Position } from '../position.ts';
import { MEMBERS_LIMIT, type PresenceChange, type PresenceCount } from '../presence.ts';
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

  /** Where the history stands; told at each connection, before the first publication that comes by it. */
  onHistory(state: HistoryState): void;
}

/** Of each publication published, in order: its place in the history, or null where its channel has none. */
export type Taken = readonly (Position | null)[];

export interface HistoryQuery {
  /** Publications behind this offset; reversed, before it. 0 for all. */
  since: number;
  /**
   * Infinity for all. Where those do not fit into an answer, the newest are told, with a floor that says so; of fewer that were
   * asked for, and reversed, those that come first.
   */
  limit: number;
  /** Newest first. */
  reverse: boolean;
}

/** What channels have behind an offset; those that have nothing are left out. */
export interface Missed {
  state: HistoryState;
  channels: readonly { channel: string; floor: number; publications: readonly Publication[] }[];
}

/** All of them @throws LongwireError `unavailable`. */
export interface HistoryStore {
  read(channel: string, query: HistoryQuery): Promise<ChannelHistory>;
  missed(offset: number, channels: readonly string[]): Promise<Missed>;
  /** Publishes a mark: it takes an offset, reaches every worker in its place, and nobody else. */
  mark(): Promise<void>;
  /** Forgets a channel's publications; whoever has not seen them all has a gap from then on. */
  remove(channel: string): Promise<void>;
}

/**
 * Who holds which channel, of all workers and machines. A member that is told of comes as a publication of kind `join` or
 * `leave`, in the order of its channel. All of them @throws LongwireError `unavailable`.
 */
export interface PresenceStore {
  /**
   * Makes changes, at most CHANGES_A_CALL, in their order. Joining again, and leaving again, changes nothing and tells nobody. A call
   * that is made before the one before has been answered may overtake it.
   *
   * @returns the places in `changes` of members that are not kept: there was nothing to renew, or there is no room.
   */
  change(changes: readonly PresenceChange[]): Promise<readonly number[]>;

  /** Entries of a channel's members, in no order. @throws LongwireError `limit-exceeded` beyond MEMBERS_LIMIT. */
  read(channel: string): Promise<readonly string[]>;
  count(channel: string): Promise<PresenceCount>;
}

export function tooManyMembers(count: number): LongwireError {
  const text = `the channel has ${count} clients; ${MEMBERS_LIMIT} can be told, more can be counted: presence_stats`;
  return new LongwireError('limit-exceeded', text);
}

export interface Broker {
  readonly name: 'memory' | 'redis';
  readonly state: BrokerState;
  /** The last measured round trip, in seconds; 0 before the first. */
  readonly roundTripSeconds: number;
  /** Null where no namespace has history. */
  readonly history: HistoryStore | null;
  /** Null where no namespace has presence. */
  readonly presence: PresenceStore | null;

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
  publish(publications: readonly Publication[]): Promise<Taken>;

  /**
   * Takes in no more publications, or goes on: for a receiver that is behind. A few that were read already still come.
   * What is published meanwhile waits behind the broker, bounded there; what does not fit is a gap like any other.
   */
  setPaused(paused: boolean): void;

  /** Lets go of everything. Publications that arrive during the call are still delivered; none after it. */
  stop(): Promise<void>;
}
