// The line: publications with history as they come to this worker, put right where some have not come.
//
//   unset ─ first word of the broker ─▶ live ─ a hole, or a subscription that was lost ─▶ holding ─ filled ─▶ live
//
// Offsets are consecutive over all channels, so a hole shows at the next publication. From then on everything of channels
// with history is held back until what lies in the hole was read again, for the channels that are held here; then it goes out
// in its order, and what was held after it. Of what is gone, its subscribers are told of a gap, at that place in the order.
// When a subscription was lost, a mark is published, so that the hole has an end although nobody else publishes. So is one when the
// broker has connected: what was published between its word and the first publication would be a hole that nothing shows yet, and a
// fence (workers/moving/) would stand before publications that it comes after everywhere else.
//
// Invariant: what is broadcast from here has rising offsets, and up to `seen` everything was broadcast or told to be a gap.
// Bound: HELD_LIMIT_BYTES are held back and read; beyond that, all channels with history have a gap.
// Cost: two comparisons a publication.

import type { HistoryStore, Missed } from '../../src/broker/broker.ts';
import { publicationBytes } from '../../src/broker/calls.ts';
import { MARK_CHANNEL } from '../../src/channel.ts';
import { isKnownPosition } from '../../src/history.ts';
import { formatPosition, type Position } from '../../src/position.ts';
import type { Publication } from '../../src/publication.ts';

/** What a worker may hold while it catches up: half a minute of 5,000 publications of 200 bytes a second. */
export const HELD_LIMIT_BYTES = 64 * 1024 * 1024;
/** Channels asked for in one call: Redis is busy with it for about a millisecond. */
const CHANNELS_A_CALL = 100;
/** Broadcast in one turn while it catches up: a quarter of an outbox. */
const TURN_BYTES = 256 * 1024;
/** After a call that failed although the broker is up. */
const RETRY_MS = 250;

export interface LineOwner {
  readonly store: HistoryStore | null;
  /** Channels with history that have a subscriber here. */
  heldChannels(): string[];
  broadcast(publication: Publication): void;
  tellGap(channels: readonly string[], position: Position): void;
  /** `seen` or the epoch has moved. */
  onMoved(epochChanged: boolean): void;
  /** What lay in a hole is about to be broadcast, but for channels that nobody holds here. */
  onHole(): void;
}

export class Line {
  readonly #owner: LineOwner;
  #state: 'unset' | 'live' | 'holding' = 'unset';
  #epoch = '';
  #seen = 0;
  /** Whether something has come with the place that was expected, or a hole was filled: see `sure`. */
  #confirmed = false;
  #held: Publication[] = [];
  #heldBytes = 0;
  #filling = false;
  /** The subscription was lost again since the filling began. */
  #gapAgain = false;

  constructor(owner: LineOwner) {
    this.#owner = owner;
  }

  get live(): boolean {
    return this.#state === 'live';
  }

  get holding(): boolean {
    return this.#state === 'holding';
  }

  /** Whether all that was published before what comes next has come, so that a fence would stand in its place. */
  get sure(): boolean {
    return this.#state === 'live' && this.#confirmed;
  }

  get epoch(): string {
    return this.#epoch;
  }

  /** Offset of the last publication that was broadcast, whichever its channel. */
  get seen(): number {
    return this.#seen;
  }

  /** Where somebody stands who subscribes now; null before the broker has said anything. */
  get position(): string | null {
    return this.#state === 'unset' ? null : formatPosition(this.#epoch, this.#seen);
  }

  /** The broker has connected, and its counter stands there. Nothing behind it has come yet, or ever was missed. */
  onConnected({ epoch, offset }: Position): void {
    if (this.#state === 'unset') {
      this.#go(epoch, offset);
      this.#confirmed = false;
    } else if (this.#state === 'holding') this.#fill();
  }

  /** The subscription was lost, and stands again. */
  onGap(): void {
    if (this.#state === 'unset') return;
    this.#state = 'holding';
    this.#gapAgain = true;
    this.#fill();
  }

  /** Takes a publication of a channel with history: with an offset, or a plain one, which keeps its place between others. */
  take(publication: Publication): void {
    const { epoch, offset } = publication;
    if (this.#state === 'holding') this.#hold(publication);
    else if (offset === 0) this.#owner.broadcast(publication);
    else if (this.#state === 'unset' || (epoch === this.#epoch && offset === this.#seen + 1)) this.#pass(publication);
    else if (epoch !== this.#epoch || offset > this.#seen) {
      this.#state = 'holding';
      this.#hold(publication);
    }
  }

  /** The subscription stands, or has stood for a while: a mark shows whether anything is missing before it. */
  confirm(): void {
    if (this.#state === 'live' && !this.#confirmed) this.mark();
  }

  /** Publishes a mark, so that the line moves on, or shows where it is broken. */
  mark(): void {
    this.#owner.store?.mark().catch(ignore);
  }

  #pass(publication: Publication): void {
    this.#go(publication.epoch, publication.offset, publication);
  }

  #go(epoch: string, offset: number, publication: Publication | null = null): void {
    const changed = epoch !== this.#epoch;
    this.#state = 'live';
    this.#epoch = epoch;
    this.#seen = offset;
    this.#confirmed = true;
    if (publication !== null && publication.channel !== MARK_CHANNEL) this.#owner.broadcast(publication);
    this.#owner.onMoved(changed);
  }

  #hold(publication: Publication): void {
    publication.retain();
    this.#held.push(publication);
    this.#heldBytes += heldBytesOf(publication);
    if (this.#heldBytes > HELD_LIMIT_BYTES) this.#giveUp();
    else this.#fill();
  }

  /** More has come than can be held: the hole ends at the newest, and everything before it is lost here. */
  #giveUp(): void {
    const last = this.#held.findLast(({ offset }) => offset > 0);
    this.#held = [];
    this.#heldBytes = 0;
    if (last === undefined) return;
    this.#owner.onHole();
    this.#owner.tellGap(this.#owner.heldChannels(), last);
    this.#go(last.epoch, last.offset);
  }

  #fill(): void {
    if (this.#filling) return;
    const first = this.#held.find(({ offset }) => offset > 0);
    if (first === undefined) {
      this.mark();
      return;
    }
    this.#filling = true;
    this.#gapAgain = false;
    this.#read(first).then(
      () => this.#filled(),
      () => {
        // The broker is away again, and says when it is back; or it was only busy.
        setTimeout(() => this.#filled(), RETRY_MS).unref();
      },
    );
  }

  #filled(): void {
    this.#filling = false;
    if (this.#state === 'holding') this.#fill();
  }

  /** Reads what lies between `seen` and `first`, and goes on from there. */
  async #read(first: Publication): Promise<void> {
    const from: Position = { epoch: this.#epoch, offset: this.#seen };
    const channels = this.#owner.heldChannels();
    const found: Publication[] = [];
    const gaps: string[] = [];
    let bytes = 0;
    for (let i = 0; i < channels.length; i += CHANNELS_A_CALL) {
      const asked = channels.slice(i, i + CHANNELS_A_CALL);
      const { store } = this.#owner;
      if (bytes > HELD_LIMIT_BYTES || store === null) {
        gaps.push(...asked);
        continue;
      }
      const missed = await store.missed(from.offset, asked);
      for (const publication of between(missed, from, first, asked, gaps)) {
        bytes += heldBytesOf(publication);
        found.push(publication);
      }
    }
    // Given up meanwhile, or begun anew.
    if (this.#state !== 'holding' || this.#held.find(({ offset }) => offset > 0) !== first) return;
    await this.#drain(first, found, gaps);
  }

  /** Broadcasts what was found, then what was held, in turns: a burst would fill the outboxes of those who read well. */
  async #drain(first: Publication, found: Publication[], gaps: readonly string[]): Promise<void> {
    this.#owner.onHole();
    let bytes = 0;
    const broadcast = async (publication: Publication): Promise<void> => {
      this.#owner.broadcast(publication);
      bytes += publication.payload.length;
      if (bytes < TURN_BYTES) return;
      bytes = 0;
      await nextTurn();
    };
    for (const publication of found.sort((a, b) => a.offset - b.offset)) {
      await broadcast(publication);
      if (this.#state !== 'holding') return;
    }
    const end: Position = { epoch: first.epoch, offset: first.offset - 1 };
    if (gaps.length > 0) this.#owner.tellGap(gaps, end);
    const changed = end.epoch !== this.#epoch;
    this.#epoch = end.epoch;
    this.#seen = end.offset;
    if (changed) this.#owner.onMoved(true);
    // What is held grows at its end meanwhile.
    for (let at = 0; this.#state === 'holding'; at++) {
      const publication = this.#held[at];
      const { offset = 0, epoch } = publication ?? {};
      const isHole = offset > 0 && (epoch !== this.#epoch || offset !== this.#seen + 1);
      if (publication === undefined || isHole) {
        this.#held.splice(0, at);
        this.#heldBytes = this.#held.reduce((sum, each) => sum + heldBytesOf(each), 0);
        if (publication === undefined && !this.#gapAgain) this.#go(this.#epoch, this.#seen);
        return;
      }
      if (offset > 0) this.#seen = offset;
      if (publication.channel !== MARK_CHANNEL) await broadcast(publication);
    }
  }
}

/** At the next turn of the loop, when the kernel has been given what was written. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function heldBytesOf({ channel, payload }: Publication): number {
  return publicationBytes(channel, payload.length);
}

/** What of it lies in the hole; channels of which something there is gone are added to `gaps`. */
function between(
  { state, channels }: Missed,
  from: Position,
  first: Publication,
  asked: readonly string[],
  gaps: string[],
): Publication[] {
  if (!isKnownPosition(state, from) || !isKnownPosition(state, first)) {
    gaps.push(...asked);
    return [];
  }
  return channels.flatMap(({ channel, floor, publications }) => {
    if (floor <= from.offset) return publications.filter(({ offset }) => offset > from.offset && offset < first.offset);
    gaps.push(channel);
    return [];
  });
}

function ignore(): void {}
