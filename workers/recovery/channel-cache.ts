// Histories of channels that somebody recovers, read once for all who come back at about the same time.
//
// A channel is asked for once, however many wait for it. What was read is kept until nobody has come for it for some seconds, and
// kept up to date by the live publications, of which a worker sees all, so that a crowd asks no more than its first.
// Whoever recovers holds what it was given until it is done with it, also when that is forgotten here.
//
// Invariant: a history that is handed out holds everything above its floor up to the line's `seen`, or was read after that.
// Bounds: READS_AT_ONCE questions; ROOM_BYTES of what is known or held, beyond which no more is asked: what nobody holds is
// forgotten, and who has waited ROOM_WAIT_MS for room is refused; UNUSED_MS and LIFETIME_MS.

import type { HistoryStore } from '../../src/broker/broker.ts';
import { publicationBytes } from '../../src/broker/calls.ts';
import { LongwireError } from '../../src/errors.ts';
import type { ChannelHistory, HistoryState } from '../../src/history.ts';
import type { Publication } from '../../src/publication.ts';

/** A worker's whole memory without it is about as much. */
const ROOM_BYTES = 64 * 1024 * 1024;
/** Longer than a crowd that reads well holds what it was given; less than a client waits for a sign of life. */
const ROOM_WAIT_MS = 10_000;
/** Enough that Redis always has the next question; what one comes to may be large (CHANNEL_BYTES in redis-reading.ts). */
export const READS_AT_ONCE = 8;
const UNUSED_MS = 5_000;
/** What expires in the broker meanwhile is given for so much longer at most. */
const LIFETIME_MS = 30_000;

/** Generation of what is to be read again whatever comes. */
const STALE = -1;

/** Whoever waits for a channel, and is told one of these. */
export interface Reader {
  onRead(channel: string, history: CachedHistory): void;
  /** The broker has not answered. */
  onReadFailed(): void;
  /** There was no room for it for too long. */
  onReadRefused(channel: string): void;
}

export class CachedHistory implements ChannelHistory {
  readonly askedAt: number;
  usedAt: number;
  state: HistoryState;
  top: number;
  floor: number;
  publications: Publication[];
  bytes: number;
  /** Who holds it. */
  holders: number;
  /** Whether it is still kept up to date. */
  known: boolean;

  constructor({ state, top, floor, publications }: ChannelHistory, askedAt: number) {
    this.askedAt = askedAt;
    this.usedAt = askedAt;
    this.state = state;
    this.top = top;
    this.floor = floor;
    this.publications = [...publications];
    this.bytes = publications.reduce((sum, each) => sum + publicationBytes(each.channel, each.payload.length), 0);
    this.holders = 0;
    this.known = false;
  }

  add(publication: Publication, size: number): void {
    if (publication.offset <= this.top) return;
    publication.retain();
    this.publications.push(publication);
    this.top = publication.offset;
    this.bytes += publicationBytes(publication.channel, publication.payload.length);
    if (this.publications.length <= size) return;
    const [dropped] = this.publications.splice(0, 1) as [Publication];
    this.floor = dropped.offset;
    this.bytes -= publicationBytes(dropped.channel, dropped.payload.length);
  }
}

interface Asked {
  readonly readers: Reader[];
  /** `performance.now()` when the first of them came. */
  readonly queuedAt: number;
  /** Of the cache when it was asked. */
  generation: number;
  /** Live ones that came since it was asked. */
  live: Publication[];
}

export class ChannelCache {
  readonly #store: () => HistoryStore | null;
  readonly #sizeOf: (channel: string) => number;
  readonly #roomBytes: number;
  readonly #known = new Map<string, CachedHistory>();
  /** To be asked, in the order in which they came. */
  readonly #queued = new Map<string, Asked>();
  readonly #asked = new Map<string, Asked>();
  /** Of what is known or held. */
  #bytes = 0;
  #generation = 0;

  constructor(store: () => HistoryStore | null, sizeOf: (channel: string) => number, roomBytes: number = ROOM_BYTES) {
    this.#store = store;
    this.#sizeOf = sizeOf;
    this.#roomBytes = roomBytes;
  }

  /** Another one once publications may have passed by what is known or held. */
  get generation(): number {
    return this.#generation;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** What is known of the channel, if it was asked for at `sinceMs` or later. */
  find(channel: string, sinceMs = 0): CachedHistory | null {
    const known = this.#known.get(channel);
    return known === undefined || known.askedAt < sinceMs ? null : known;
  }

  /** Tells the reader once the channel was read anew. */
  read(channel: string, reader: Reader): void {
    const entry = this.#asked.get(channel) ?? this.#queued.get(channel);
    if (entry !== undefined) {
      entry.readers.push(reader);
      return;
    }
    this.#queued.set(channel, { readers: [reader], queuedAt: performance.now(), generation: 0, live: [] });
    this.#askNext();
  }

  hold(history: CachedHistory): void {
    history.holders++;
    history.usedAt = performance.now();
  }

  letGo(history: CachedHistory): void {
    history.holders--;
    if (history.holders > 0 || history.known) return;
    this.#bytes -= history.bytes;
    this.#askNext();
  }

  onPublication(publication: Publication): void {
    if (this.#asked.size > 0) {
      const asked = this.#asked.get(publication.channel);
      if (asked !== undefined) {
        publication.retain();
        asked.live.push(publication);
      }
    }
    if (this.#known.size === 0) return;
    const known = this.#known.get(publication.channel);
    if (known === undefined) return;
    const before = known.bytes;
    known.add(publication, this.#sizeOf(publication.channel));
    this.#bytes += known.bytes - before;
    if (this.#bytes > this.#roomBytes) this.#trim();
  }

  /** Forgets what is too old, and refuses those for whom there was no room. */
  sweep(): void {
    const now = performance.now();
    for (const [channel, { askedAt, usedAt }] of this.#known) {
      if (usedAt < now - UNUSED_MS || askedAt < now - LIFETIME_MS) this.forget(channel);
    }
    this.#askNext();
    if (this.#bytes < this.#roomBytes) return;
    for (const [channel, { queuedAt, readers }] of [...this.#queued]) {
      if (queuedAt > now - ROOM_WAIT_MS) return;
      this.#queued.delete(channel);
      for (const each of readers) each.onReadRefused(channel);
    }
  }

  /** Some publications have not come by here: what was read before, or is being read, may lack them. */
  invalidate(): void {
    this.#generation++;
    for (const channel of this.#known.keys()) this.forget(channel);
  }

  /** The broker has forgotten the channel: what is being read may be from before. */
  removed(channel: string): void {
    this.forget(channel);
    const asked = this.#asked.get(channel);
    if (asked !== undefined) asked.generation = STALE;
  }

  forget(channel: string): void {
    const known = this.#known.get(channel);
    if (known === undefined) return;
    this.#known.delete(channel);
    known.known = false;
    if (known.holders === 0) this.#bytes -= known.bytes;
  }

  #askNext(): void {
    for (const [channel, entry] of this.#queued) {
      if (this.#asked.size >= READS_AT_ONCE) return;
      if (this.#bytes >= this.#roomBytes) this.#trim();
      if (this.#bytes >= this.#roomBytes) return;
      this.#queued.delete(channel);
      this.#ask(channel, entry);
    }
  }

  #ask(channel: string, entry: Asked): void {
    entry.generation = this.#generation;
    this.#asked.set(channel, entry);
    const askedAt = performance.now();
    const size = this.#sizeOf(channel);
    const store = this.#store();
    const reading =
      store === null
        ? Promise.reject(new LongwireError('unavailable', 'there is no history'))
        : store.read(channel, { since: 0, limit: Number.POSITIVE_INFINITY, reverse: false });
    reading.then(
      (history) => {
        this.#asked.delete(channel);
        if (entry.generation === this.#generation)
          this.#keep(channel, entry, new CachedHistory(history, askedAt), size);
        else for (const each of entry.readers) this.read(channel, each);
        this.#askNext();
      },
      () => {
        this.#asked.delete(channel);
        for (const each of entry.readers) each.onReadFailed();
        this.#askNext();
      },
    );
  }

  #keep(channel: string, { readers, live }: Asked, known: CachedHistory, size: number): void {
    for (const publication of live) if (publication.epoch === known.state.epoch) known.add(publication, size);
    this.forget(channel);
    known.known = true;
    this.#known.set(channel, known);
    this.#bytes += known.bytes;
    for (const each of readers) each.onRead(channel, known);
    this.#trim();
  }

  /** Forgets what nobody holds, the oldest first, until there is room. */
  #trim(): void {
    for (const [channel, { holders }] of this.#known) {
      if (this.#bytes < this.#roomBytes) return;
      if (holders === 0) this.forget(channel);
    }
  }
}
