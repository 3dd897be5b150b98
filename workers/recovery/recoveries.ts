// Recoveries: clients that come back with a position, until they have what they missed, or know that it is gone.
//
// A `Recovering` stands in the hub in place of its client and keeps what is published live. Once its channels have been read
// (channel-cache.ts) and the line has come as far as what was read, it gives its client what is missing and what it kept, in
// one order of offsets and nothing twice, says how it went, and puts the client in its own place. So a held connection pays
// nothing for having been recovered.
//
// What is missing is given as the client's outbox has room for it: whoever reads well gets a history of any size.
//
// Invariant: at that moment everything of its channels up to `line.seen` is in what was read, in what was kept, or waits in
// the hub, from where it is taken too; everything later finds the client subscribed.
// Bound: `keptLimitBytes` a client; who is sent more while it waits is closed as a slow consumer. Crowds are served in slices.

import { publicationBytes } from '../../src/broker/calls.ts';
import { isKnownPosition, missedSince } from '../../src/history.ts';
import { formatPosition, type Position } from '../../src/position.ts';
import type { Publication } from '../../src/publication.ts';
import type { Farewell } from '../encoding.ts';
import type { Hub, Subscriber } from '../hub.ts';
import type { CachedHistory, ChannelCache } from './channel-cache.ts';
import type { Line } from './line.ts';
import type { Notice } from './notice.ts';

const SLICE_MS = 2;
const RETRY_MS = 250;
/** Outboxes are looked at again after this. */
const FEED_MS = 10;

/** Who recovers. */
export interface Client extends Subscriber {
  /** To be given, before what was recovered, what waits for it in channels that are not being recovered. */
  settleOrder(): void;
  /** Whether its outbox has room for more than what is live. */
  readonly hasRoom: boolean;
  /** Gives it a publication, whatever its order. */
  deliverNow(publication: Publication): void;
  /** It has what there was, and is subscribed again. */
  onRecovered(notice: Notice): void;
  /** It was sent more than it may be while it waited. */
  onOverrun(): void;
}

export interface RecoveriesOptions {
  hub: Hub;
  line: Line;
  cache: ChannelCache;
  hasHistory: (channel: string) => boolean;
  /** `Publication.order` of the last one that was broadcast. */
  lastOrder: () => number;
  keptLimitBytes: number;
  /** Counts the outcome of each channel. */
  count: (outcome: 'recovered' | 'gap', channels: number) => void;
}

class Recovering implements Subscriber {
  readonly recoveries: Recoveries;
  readonly client: Client;
  /** Null for a position that is none: a gap. */
  readonly since: Position | null;
  channels: string[];
  state: 'reading' | 'ready' | 'waiting' | 'feeding' | 'over';
  /** Reads that have not answered. */
  reads: number;
  readonly startedAt: number;
  /** `Publication.order` of the last one before. */
  readonly startOrder: number;
  kept: Publication[];
  keptBytes: number;
  /** How far the line must come before this can be completed. */
  wanted: number;
  /** What it is to be given, in order, how many of that it has, and the highest offset that it was given. */
  feed: readonly Publication[];
  fed: number;
  fedTo: number;
  readonly taken: WeakSet<Publication>;
  recovered: readonly string[];
  gaps: ReadonlySet<string>;

  constructor(recoveries: Recoveries, client: Client, channels: readonly string[], since: Position | null) {
    this.recoveries = recoveries;
    this.client = client;
    this.since = since;
    this.channels = [...channels];
    this.state = 'reading';
    this.reads = 0;
    this.startedAt = performance.now();
    this.startOrder = recoveries.options.lastOrder();
    this.kept = [];
    this.keptBytes = 0;
    this.wanted = 0;
    this.feed = [];
    this.fed = 0;
    this.fedTo = 0;
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
    if (this.keptBytes > this.recoveries.options.keptLimitBytes) this.client.onOverrun();
  }

  disconnect(farewell: Farewell): boolean {
    return this.client.disconnect?.(farewell) ?? true;
  }

  onRead(): void {
    this.reads--;
    if (this.reads === 0 && this.state === 'reading') this.recoveries.enqueue(this);
  }

  onReadFailed(): void {
    this.reads--;
    if (this.reads > 0 || this.state !== 'reading') return;
    this.recoveries.wait(this);
    this.recoveries.retryLater();
  }
}

export class Recoveries {
  readonly options: RecoveriesOptions;
  readonly #active = new Map<Client, Recovering[]>();
  /** To be tried in the next slices. */
  #ready: Recovering[] = [];
  /** For the line to move, or the broker to come back. */
  #waiting: Recovering[] = [];
  #scheduled = false;
  #retryTimer: NodeJS.Timeout | null = null;
  /** Who has more to be given than there was room for in their outboxes. */
  #feeding: Recovering[] = [];
  #feedTimer: NodeJS.Timeout | null = null;

  constructor(options: RecoveriesOptions) {
    this.options = options;
  }

  /** Recovers these channels, those without history too, which then only keep their order among the others. */
  begin(client: Client, channels: readonly string[], since: Position | null): void {
    const recovering = new Recovering(this, client, channels, since);
    for (const channel of channels) this.options.hub.subscribe(channel, recovering);
    const others = this.#active.get(client);
    if (others === undefined) this.#active.set(client, [recovering]);
    else others.push(recovering);
    this.#read(recovering);
  }

  has(client: Client): boolean {
    return this.#active.has(client);
  }

  /** Whether the client is not subscribed to that channel itself, because it still recovers it. */
  recovers(client: Client, channel: string): boolean {
    return this.#active.get(client)?.some(({ channels }) => channels.includes(channel)) ?? false;
  }

  /** The client has gone, or gives up these channels. */
  forget(client: Client, channels: readonly string[] | null = null): void {
    const all = this.#active.get(client);
    if (all === undefined) return;
    for (const recovering of [...all]) {
      for (const channel of channels ?? recovering.channels) this.options.hub.unsubscribe(channel, recovering);
      recovering.channels = channels === null ? [] : recovering.channels.filter((each) => !channels.includes(each));
      if (recovering.channels.length === 0) this.#end(recovering);
    }
  }

  /** The line has moved, or the broker is back: who waits is tried again. */
  retry(): void {
    if (this.#waiting.length === 0) return;
    const { seen } = this.options.line;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const recovering of waiting) {
      if (recovering.state !== 'waiting') continue;
      if (recovering.wanted <= seen) this.enqueue(recovering);
      else this.#waiting.push(recovering);
    }
  }

  /** A read has failed: the broker is away, and says when it is back, or it was only busy. */
  retryLater(): void {
    this.#retryTimer ??= setTimeout(() => {
      this.#retryTimer = null;
      this.retry();
    }, RETRY_MS).unref();
  }

  enqueue(recovering: Recovering): void {
    recovering.state = 'ready';
    this.#ready.push(recovering);
    this.#schedule();
  }

  wait(recovering: Recovering): void {
    recovering.state = 'waiting';
    this.#waiting.push(recovering);
  }

  /** Asks for its channels; those that are known already need no asking. */
  #read(recovering: Recovering, sinceMs = 0): void {
    const { cache, hasHistory } = this.options;
    const unknown = recovering.channels.filter((each) => hasHistory(each) && cache.find(each, sinceMs) === null);
    if (unknown.length === 0) {
      this.enqueue(recovering);
      return;
    }
    recovering.state = 'reading';
    recovering.reads = unknown.length;
    for (const channel of unknown) cache.read(channel, recovering);
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(this.#runSlice);
  }

  readonly #runSlice = (): void => {
    this.#scheduled = false;
    const deadline = performance.now() + SLICE_MS;
    let tried = 0;
    while (tried < this.#ready.length && performance.now() < deadline) this.#try(this.#ready[tried++] as Recovering);
    this.#ready = this.#ready.slice(tried);
    if (this.#ready.length > 0) this.#schedule();
  };

  #try(recovering: Recovering): void {
    if (recovering.state !== 'ready') return;
    const { line, cache, hasHistory } = this.options;
    const { since } = recovering;
    const histories = new Map<string, CachedHistory>();
    let wanted = 0;
    for (const channel of recovering.channels) {
      if (!hasHistory(channel)) continue;
      const history = cache.find(channel);
      if (history === null) {
        this.#read(recovering);
        return;
      }
      // What it stands on was read before the client went on elsewhere, or before the epoch ended.
      const stale =
        history.state.epoch !== line.epoch ||
        (since !== null && since.offset > Math.max(history.state.offset, line.seen));
      if (stale && history.askedAt < recovering.startedAt) {
        this.#read(recovering, recovering.startedAt);
        return;
      }
      if (history.state.epoch !== line.epoch || !line.live) {
        // The mark brings the line into the epoch that was read, or this channel is read again.
        if (line.live) line.mark();
        cache.forget(channel);
        recovering.wanted = 0;
        this.wait(recovering);
        return;
      }
      histories.set(channel, history);
      wanted = Math.max(wanted, history.top, this.#holds(history, since) ? (since?.offset ?? 0) : 0);
    }
    recovering.wanted = wanted;
    if (line.seen >= wanted) this.#complete(recovering, histories);
    else this.wait(recovering);
  }

  /** Whether the position is good; the counter has gone on since it was read, as far as the line at least. */
  #holds({ state }: CachedHistory, since: Position | null): boolean {
    const offset = Math.max(state.offset, this.options.line.seen);
    return since !== null && isKnownPosition({ ...state, offset }, since);
  }

  #complete(recovering: Recovering, histories: Map<string, CachedHistory>): void {
    const { line } = this.options;
    const { client, since } = recovering;
    const recovered: string[] = [];
    const gap: string[] = [];
    const found: Publication[] = [];
    for (const [channel, history] of histories) {
      const state = { ...history.state, offset: Math.max(history.state.offset, line.seen) };
      const missed = since === null ? null : missedSince({ ...history, state }, since);
      if (missed === null) gap.push(channel);
      else {
        recovered.push(channel);
        found.push(...missed);
      }
    }
    client.settleOrder();
    // That may have closed it.
    if ((recovering.state as string) === 'over') return;
    recovering.gaps = new Set(gap);
    recovering.recovered = recovered;
    recovering.fedTo = since?.offset ?? 0;
    recovering.feed = merged(found, this.#takeKept(recovering), recovering.fedTo);
    recovering.state = 'feeding';
    this.#feeding.push(recovering);
    this.#feedAll();
  }

  /** Gives everybody who is being fed what their outboxes have room for; who has everything takes the place. */
  #feedAll(): void {
    const feeding = this.#feeding;
    this.#feeding = [];
    for (const recovering of feeding) if (!this.#feed(recovering)) this.#feeding.push(recovering);
    if (this.#feeding.length === 0 || this.#feedTimer !== null) return;
    this.#feedTimer = setTimeout(() => {
      this.#feedTimer = null;
      this.#feedAll();
    }, FEED_MS);
  }

  /** False while there is more to give than there is room for. */
  #feed(recovering: Recovering): boolean {
    const { line } = this.options;
    const { client } = recovering;
    while (recovering.state === 'feeding') {
      const publication = recovering.feed[recovering.fed];
      if (publication === undefined) {
        // Meanwhile more may have come.
        if (!line.live) return false;
        const more = merged([], this.#takeKept(recovering), recovering.fedTo);
        if (more.length === 0) {
          this.#finish(recovering);
          return true;
        }
        recovering.feed = more;
        recovering.fed = 0;
        continue;
      }
      if (!client.hasRoom) return false;
      recovering.fed++;
      recovering.fedTo = Math.max(recovering.fedTo, publication.offset);
      client.deliverNow(publication);
    }
    return true;
  }

  #finish(recovering: Recovering): void {
    const { hub, line, count } = this.options;
    const { client, channels, recovered, gaps } = recovering;
    for (const channel of channels) {
      hub.subscribe(channel, client);
      hub.unsubscribe(channel, recovering);
    }
    this.#end(recovering);
    const gap = [...gaps];
    count('recovered', recovered.length);
    count('gap', gap.length);
    client.onRecovered({
      ...(recovered.length > 0 ? { recovered } : {}),
      ...(gap.length > 0 ? { gap } : {}),
      position: formatPosition(line.epoch, line.seen),
    });
  }

  /**
   * What it was given since it was last asked, and what still waits in the hub for it. Of a channel with a gap nothing up to the
   * position of the outcome is given: it would come before the word of the gap.
   */
  #takeKept(recovering: Recovering): Publication[] {
    const { taken, gaps, startOrder } = recovering;
    const all = new Set(recovering.kept);
    for (const channel of recovering.channels) {
      this.options.hub.forEachWaiting(channel, (publication) => {
        if (publication.order > startOrder) all.add(publication);
      });
    }
    recovering.kept = [];
    recovering.keptBytes = 0;
    // What waited in the hub is given to it later all the same.
    const fresh = [...all].filter((publication) => !taken.has(publication));
    for (const publication of fresh) taken.add(publication);
    return fresh.filter(({ channel }) => !gaps.has(channel));
  }

  #end(recovering: Recovering): void {
    recovering.state = 'over';
    const others = this.#active.get(recovering.client)?.filter((each) => each !== recovering) ?? [];
    if (others.length === 0) this.#active.delete(recovering.client);
    else this.#active.set(recovering.client, others);
  }
}

/**
 * What was found and what was kept, by offset, each once. Plain ones have no offset: they follow the one that they were kept
 * behind. Kept ones up to `since` are left out: the client has them.
 */
function merged(found: readonly Publication[], kept: readonly Publication[], since: number): Publication[] {
  const placed = new Map<number, Publication>();
  for (const publication of found) placed.set(publication.offset, publication);
  const plain: { behind: number; publication: Publication }[] = [];
  let behind = 0;
  for (const publication of kept) {
    if (publication.offset === 0 || publication.isGap) plain.push({ behind, publication });
    else if (publication.offset > since) {
      behind = Math.max(behind, publication.offset);
      placed.set(publication.offset, publication);
    }
  }
  const all = [...placed.values()].map((publication) => ({ behind: publication.offset, publication }));
  return [...all, ...plain].sort((a, b) => a.behind - b.behind).map(({ publication }) => publication);
}
