// Histories of channels that somebody recovers, read once for all who come back at about the same time.
//
// A channel is asked for once, however many wait for it. What was read is kept for some seconds and kept up to date by the
// live publications, of which a worker sees all, so that a crowd that comes back over seconds asks no more than the first.
//
// Invariant: a history that is handed out holds everything above its floor up to the line's `seen`, or was read after that.
// Bound: CACHE_LIMIT_BYTES, beyond which the oldest are forgotten; LIFETIME_MS.

import type { HistoryStore } from '../../src/broker/broker.ts';
import { publicationBytes } from '../../src/broker/calls.ts';
import type { ChannelHistory, HistoryState } from '../../src/history.ts';
import type { Publication } from '../../src/publication.ts';

const CACHE_LIMIT_BYTES = 32 * 1024 * 1024;
const LIFETIME_MS = 5_000;

/** Whoever waits for a channel. `history` is null when it could not be read. */
export interface Reader {
  onRead(): void;
  onReadFailed(): void;
}

export class CachedHistory implements ChannelHistory {
  readonly askedAt: number;
  state: HistoryState;
  top: number;
  floor: number;
  publications: Publication[];
  bytes: number;

  constructor({ state, top, floor, publications }: ChannelHistory, askedAt: number) {
    this.askedAt = askedAt;
    this.state = state;
    this.top = top;
    this.floor = floor;
    this.publications = [...publications];
    this.bytes = publications.reduce((sum, each) => sum + publicationBytes(each.channel, each.payload.length), 0);
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
  /** Of the cache when it was asked. */
  readonly generation: number;
  readonly readers: Reader[];
  /** Live ones that came since it was asked. */
  readonly live: Publication[];
}

export class ChannelCache {
  readonly #store: () => HistoryStore | null;
  readonly #sizeOf: (channel: string) => number;
  readonly #known = new Map<string, CachedHistory>();
  readonly #asked = new Map<string, Asked>();
  #bytes = 0;
  #generation = 0;

  constructor(store: () => HistoryStore | null, sizeOf: (channel: string) => number) {
    this.#store = store;
    this.#sizeOf = sizeOf;
  }

  /** What is known of the channel, if it was asked for at `sinceMs` or later. */
  find(channel: string, sinceMs = 0): CachedHistory | null {
    const known = this.#known.get(channel);
    return known === undefined || known.askedAt < sinceMs ? null : known;
  }

  /** Tells the reader once the channel was read anew. */
  read(channel: string, reader: Reader): void {
    const asked = this.#asked.get(channel);
    if (asked !== undefined) {
      asked.readers.push(reader);
      return;
    }
    const entry: Asked = { generation: this.#generation, readers: [reader], live: [] };
    this.#asked.set(channel, entry);
    const askedAt = performance.now();
    const size = this.#sizeOf(channel);
    const store = this.#store();
    const reading =
      store === null
        ? Promise.reject(new Error('no history'))
        : store.read(channel, { since: 0, limit: size, reverse: false });
    reading.then(
      (history) => {
        this.#asked.delete(channel);
        if (entry.generation !== this.#generation) {
          for (const each of entry.readers) this.read(channel, each);
          return;
        }
        const known = new CachedHistory(history, askedAt);
        for (const publication of entry.live) {
          if (publication.epoch === history.state.epoch) known.add(publication, size);
        }
        this.forget(channel);
        this.#known.set(channel, known);
        this.#bytes += known.bytes;
        this.#trim();
        for (const each of entry.readers) each.onRead();
      },
      () => {
        this.#asked.delete(channel);
        for (const each of entry.readers) each.onReadFailed();
      },
    );
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
    if (this.#bytes > CACHE_LIMIT_BYTES) this.#trim();
  }

  /** Forgets what is too old. */
  sweep(): void {
    const oldest = performance.now() - LIFETIME_MS;
    for (const [channel, { askedAt }] of this.#known) if (askedAt < oldest) this.forget(channel);
  }

  /** Some publications have not come by here: what was read before, or is being read, may lack them. */
  invalidate(): void {
    this.#generation++;
    this.#known.clear();
    this.#bytes = 0;
  }

  #trim(): void {
    for (const channel of this.#known.keys()) {
      if (this.#bytes <= CACHE_LIMIT_BYTES || this.#known.size === 1) return;
      this.forget(channel);
    }
  }

  forget(channel: string): void {
    const known = this.#known.get(channel);
    if (known === undefined) return;
    this.#known.delete(channel);
    this.#bytes -= known.bytes;
  }
}
