// Telling: the former primary's part of following (relay-following.ts). It tells one that is to take over what its history keeps, and
// behind `yield` who holds which channel, in `kept` frames; what is published and removed meanwhile the relay tells in its place.
//
// Channels go in pieces, each of what the log has at that moment, so that a history takes as little room on its way whatever it
// holds, and publications pass between the pieces.
//
// Bounds: `PIECE_BYTES` a frame, or one publication; `BACKLOG_BYTES` that wait for the other primary, far below what publications
// are refused for; `TURN_BYTES` at a stretch, for what else this primary has to do.

import { FrameWriter, GATHER_BYTES, LENGTH_OF_HEAD_BYTES } from '../broker/relay-frames.ts';
import type { RelayLink } from '../broker/relay-link.ts';
import type { ChannelHead, HistoryLog, KeyState, LogState } from './history-log.ts';
import type { MemberState, PresenceTable } from './presence-table.ts';

const BACKLOG_BYTES = 1024 * 1024;
const PIECE_BYTES = GATHER_BYTES / 2;
const TURN_BYTES = 1024 * 1024;
const KEYS_A_FRAME = 1_000;
const MEMBERS_A_FRAME = 1_000;

/** The head of a `kept` frame: a piece of a channel, some keys or members, or, last, what else the log knows. */
export type Kept =
  | ({ what: 'channel' } & ChannelHead)
  | { what: 'keys'; keys: readonly KeyState[] }
  | { what: 'members'; members: readonly MemberState[] }
  | ({ what: 'log' } & LogState);

/** The end of the link to one that follows. */
export type TellingLink = Pick<RelayLink, 'backlogBytes' | 'send' | 'drained'>;

export interface TellingOptions {
  /** Called now and then while it goes on: a long history takes its time. */
  onTurn?: () => void;
  /** For tests; the defaults are those of production. */
  pieceBytes?: number;
  turnBytes?: number;
}

/** Tells one that follows what the history keeps. */
export async function tellHistory(
  history: HistoryLog,
  link: TellingLink,
  { onTurn, pieceBytes = PIECE_BYTES, turnBytes }: TellingOptions = {},
): Promise<void> {
  const teller = new Teller(link, onTurn, turnBytes);
  for (const channel of history.channelNames) {
    const until = history.topOf(channel);
    for (let told = 0; told < until; ) {
      const { head, packed, last } = history.pieceOf(channel, told, until, pieceBytes);
      teller.add({ what: 'channel', ...head }, packed);
      told = last;
      if (teller.isDue) await teller.rest();
    }
  }
  const keys = history.keyStates;
  for (let at = 0; at < keys.length; at += KEYS_A_FRAME) {
    teller.add({ what: 'keys', keys: keys.slice(at, at + KEYS_A_FRAME) });
    if (teller.isDue) await teller.rest();
  }
  teller.add({ what: 'log', ...history.state });
  teller.flush();
}

/** And, behind `yield`, who holds which channel. */
export async function tellMembers(presence: PresenceTable, link: TellingLink): Promise<void> {
  const teller = new Teller(link);
  // A copy: what is said meanwhile would otherwise change what is being told.
  const members = [...presence.states()];
  for (let at = 0; at < members.length; at += MEMBERS_A_FRAME) {
    teller.add({ what: 'members', members: members.slice(at, at + MEMBERS_A_FRAME) });
    if (teller.isDue) await teller.rest();
  }
  teller.flush();
}

/** Tells one that follows that nothing is kept of a channel any more. */
export function tellRemoved(history: HistoryLog, channel: string, link: TellingLink): void {
  const top = history.topOf(channel);
  if (top === 0) return;
  const teller = new Teller(link);
  teller.add({ what: 'channel', ...history.pieceOf(channel, top, top, PIECE_BYTES).head });
  teller.flush();
}

/** Gathers frames, but only for as long as nobody else can send: their places on the link are those in which they were added. */
class Teller {
  readonly #link: TellingLink;
  readonly #frames = new FrameWriter();
  readonly #onTurn: () => void;
  readonly #turnBytes: number;
  #sentBytes = 0;

  constructor(link: TellingLink, onTurn: () => void = () => {}, turnBytes: number = TURN_BYTES) {
    this.#link = link;
    this.#onTurn = onTurn;
    this.#turnBytes = turnBytes;
  }

  add(head: Kept, packed: readonly Buffer[] = []): void {
    const headBytes = Buffer.from(JSON.stringify(head));
    const bytes = packed.reduce((sum, { length }) => sum + length, LENGTH_OF_HEAD_BYTES + headBytes.length);
    if (!this.#frames.fits(bytes)) this.flush();
    const body = this.#frames.add('kept', 0, bytes);
    body.writeUInt32LE(headBytes.length);
    let at = LENGTH_OF_HEAD_BYTES + headBytes.copy(body, LENGTH_OF_HEAD_BYTES);
    for (const each of packed) at += each.copy(body, at);
  }

  /** Whether others have waited for long enough. */
  get isDue(): boolean {
    return this.#sentBytes + this.#frames.bytes > this.#turnBytes || this.#link.backlogBytes > BACKLOG_BYTES;
  }

  /** Lets others have their turn, and the other primary read. */
  async rest(): Promise<void> {
    this.flush();
    this.#sentBytes = 0;
    await new Promise((resolve) => setImmediate(resolve));
    if (this.#link.backlogBytes > BACKLOG_BYTES) await this.#link.drained();
    this.#onTurn();
  }

  flush(): void {
    const frames = this.#frames.take();
    if (frames.length === 0) return;
    this.#sentBytes += frames.length;
    if (!this.#link.send(frames)) this.#frames.leave();
  }
}
