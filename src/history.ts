// A channel's history as a broker tells it, and what a position in it is worth.
//
// The one question that must never be answered wrongly is whether a client has missed something that is gone. A broker
// keeps, beyond the publications themselves, `top`, the offset of the channel's last publication, and `floor`, that of the
// last one that is no longer there. Whoever has come as far as `floor` can be given all the rest; whoever has not, has a
// gap. Where a broker no longer knows the channel, both are the highest that they may have been: a gap too many is an
// annoyance, a gap too few is a loss that nobody hears of.

import type { Position } from './position.ts';
import type { Publication } from './publication.ts';

/** Where a broker's counter stands, and which former epochs it can still vouch for. */
export interface HistoryState {
  readonly epoch: string;
  /** Of the last publication with history, whichever its channel. */
  readonly offset: number;
  /** Former epochs whose publications up to this offset are those of the present one. */
  readonly past: ReadonlyMap<string, number>;
}

export interface ChannelHistory {
  readonly state: HistoryState;
  readonly top: number;
  readonly floor: number;
  /** In the order of their offsets; all above `floor`, unless fewer were asked for. */
  readonly publications: readonly Publication[];
}

/** Whether what is at this position now is what was there when somebody was told of it. */
export function isKnownPosition({ epoch, offset, past }: HistoryState, position: Position): boolean {
  if (position.epoch === epoch) return position.offset <= offset;
  return position.offset <= (past.get(position.epoch) ?? -1);
}

/** What somebody at this position has missed, nothing perhaps; null for a gap. */
export function missedSince(history: ChannelHistory, position: Position): readonly Publication[] | null {
  if (!isKnownPosition(history.state, position)) return null;
  if (position.offset >= history.top) return NOTHING;
  if (position.offset < history.floor) return null;
  return history.publications.filter(({ offset }) => offset > position.offset);
}

const NOTHING: readonly Publication[] = [];
