// Recovering: stands in the hub in place of a client that has come back with a position, and keeps what is published live, until
// that client has what it missed.
//
//   reading ─▶ ready ─▶ (waiting for the line) ─▶ ready ─▶ feeding ─▶ over
//
// Bound: `keptLimitBytes` of live publications, beyond which its client has overrun. Cost: an object a client that recovers, none
// for one that has.

import { publicationBytes } from '../../src/broker/calls.ts';
import type { Position } from '../../src/position.ts';
import type { Publication } from '../../src/publication.ts';
import type { Farewell } from '../encoding.ts';
import type { Subscriber } from '../hub.ts';
import type { CachedHistory, ChannelCache, Reader } from './channel-cache.ts';
import type { Notice } from './notice.ts';

/** Who recovers. */
export interface Client extends Subscriber {
  /** To be given, before what was recovered, what waits for it in channels that are not being recovered. */
  settleOrder(): void;
  /** What its outbox has room for, beyond what is live; 0 or less for nothing. */
  readonly roomBytes: number;
  /** Gives it publications, whatever their order in the worker. */
  deliverRun(publications: readonly Publication[]): void;
  /** It has what there was, and is subscribed again. */
  onRecovered(notice: Notice): void;
  /** It was sent more than it may be while it waited. */
  onOverrun(): void;
}

/** Who drives it. */
export interface RecoveryDriver {
  readonly cache: ChannelCache;
  readonly keptLimitBytes: number;
  /** All its reads have been answered. */
  onAllRead(recovering: Recovering): void;
  /** One of its reads has failed, and none is under way. */
  onReadFailed(recovering: Recovering): void;
}

export class Recovering implements Subscriber, Reader {
  private readonly driver: RecoveryDriver;
  readonly client: Client;
  /** Null for a position that is none: a gap. */
  readonly since: Position | null;
  channels: string[];
  state: 'reading' | 'ready' | 'waiting' | 'feeding' | 'over';
  /** What was read of its channels; it holds them. */
  readonly histories: Map<string, CachedHistory>;
  /** Channels that there was no room to read: gaps. */
  readonly refused: Set<string>;
  /** Of the cache when its channels were asked for. */
  generation: number;
  /** Reads that have not answered, and those that have failed. */
  private reads: number;
  private failures: number;
  readonly startedAt: number;
  /** `Publication.order` of the last one before. */
  readonly startOrder: number;
  kept: Publication[];
  keptBytes: number;
  /** How far the line must come before this can be completed. */
  wanted: number;
  /** What it is to be given, in order, and how many of that it has. */
  feed: readonly Publication[];
  fed: number;
  /** The highest offset that it was given, and its epoch. */
  fedTo: number;
  fedEpoch: string;
  readonly taken: WeakSet<Publication>;
  recovered: readonly string[];
  gaps: ReadonlySet<string>;

  constructor(
    driver: RecoveryDriver,
    client: Client,
    channels: readonly string[],
    since: Position | null,
    startOrder: number,
  ) {
    this.driver = driver;
    this.client = client;
    this.since = since;
    this.channels = [...channels];
    this.state = 'reading';
    this.histories = new Map();
    this.refused = new Set();
    this.generation = 0;
    this.reads = 0;
    this.failures = 0;
    this.startedAt = performance.now();
    this.startOrder = startOrder;
    this.kept = [];
    this.keptBytes = 0;
    this.wanted = 0;
    this.feed = [];
    this.fed = 0;
    this.fedTo = 0;
    this.fedEpoch = '';
    this.taken = new WeakSet();
    this.recovered = [];
    this.gaps = new Set();
  }

  warm(): number {
    return 0;
  }

  deliver(publication: Publication): void {
    publication.retain();
    this.kept.push(publication);
    this.keptBytes += publicationBytes(publication.channel, publication.payload.length);
    if (this.keptBytes > this.driver.keptLimitBytes) this.client.onOverrun();
  }

  disconnect(farewell: Farewell): void {
    this.client.disconnect?.(farewell);
  }

  /** These have been given to its client. */
  onFed(run: readonly Publication[]): void {
    this.fed += run.length;
    for (const { epoch, offset } of run) {
      if (epoch === '') continue;
      this.fedTo = epoch === this.fedEpoch ? Math.max(this.fedTo, offset) : offset;
      this.fedEpoch = epoch;
    }
  }

  /** Asks for these channels; those that are known since `sinceMs` need no asking. */
  read(channels: readonly string[], sinceMs: number): void {
    const { cache } = this.driver;
    this.letGo();
    this.state = 'reading';
    this.generation = cache.generation;
    const unknown: string[] = [];
    for (const channel of channels) {
      const known = cache.find(channel, sinceMs);
      if (known === null) unknown.push(channel);
      else this.hold(channel, known);
    }
    this.reads = unknown.length;
    this.failures = 0;
    if (unknown.length === 0) this.driver.onAllRead(this);
    else for (const channel of unknown) cache.read(channel, this);
  }

  onRead(channel: string, history: CachedHistory): void {
    if (this.state === 'over') return;
    this.hold(channel, history);
    this.answered();
  }

  onReadRefused(channel: string): void {
    this.refused.add(channel);
    this.answered();
  }

  onReadFailed(): void {
    this.failures++;
    this.answered();
  }

  /** It needs no more of what was read. */
  letGo(): void {
    for (const history of this.histories.values()) this.driver.cache.letGo(history);
    this.histories.clear();
  }

  private hold(channel: string, history: CachedHistory): void {
    this.driver.cache.hold(history);
    this.histories.set(channel, history);
  }

  private answered(): void {
    this.reads--;
    if (this.reads > 0 || this.state !== 'reading') return;
    if (this.failures > 0) this.driver.onReadFailed(this);
    else this.driver.onAllRead(this);
  }
}
