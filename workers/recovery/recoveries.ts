// Recoveries: clients that come back with a position, until they have what they missed, or know that it is gone.
//
// A `Recovering` (recovering.ts) stands in the hub in place of its client and keeps what is published live. Once its channels have
// been read (channel-cache.ts) and the line has come as far as what was read, it gives its client what is missing and what it
// kept (feeds.ts), in one order of offsets and nothing twice, says how it went, and puts the client in its own place. So a held
// connection pays nothing for having been recovered.
//
// Invariant: at that moment everything of its channels up to `line.seen` is in what was read, in what was kept, or waits in
// the hub, from where it is taken too; everything later finds the client subscribed.
// Bound: `keptLimitBytes` a client; who is sent more while it waits is closed as a slow consumer. Crowds are served in slices.

import { isKnownPosition, missedSince } from '../../src/history.ts';
import { formatPosition, type Position } from '../../src/position.ts';
import type { Publication } from '../../src/publication.ts';
import type { Hub } from '../hub.ts';
import type { CachedHistory, ChannelCache } from './channel-cache.ts';
import { Feeds, SLICE_MS } from './feeds.ts';
import type { Line } from './line.ts';
import { type Client, Recovering } from './recovering.ts';

/** After a read that failed, and for a line that stands still. */
const RETRY_MS = 250;

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

export class Recoveries {
  readonly cache: ChannelCache;
  readonly keptLimitBytes: number;
  readonly #options: RecoveriesOptions;
  readonly #active = new Map<Client, Recovering[]>();
  readonly #feeds = new Feeds(this);
  /** To be tried in the next slices. */
  #ready: Recovering[] = [];
  /** For the line to move, or the broker to come back. */
  #waiting: Recovering[] = [];
  #scheduled = false;
  #retryTimer: NodeJS.Timeout | null = null;

  constructor(options: RecoveriesOptions) {
    this.cache = options.cache;
    this.keptLimitBytes = options.keptLimitBytes;
    this.#options = options;
  }

  /** Recovers these channels, those without history too, which then only keep their order among the others. */
  begin(client: Client, channels: readonly string[], since: Position | null): void {
    const recovering = new Recovering(this, client, channels, since, this.#options.lastOrder());
    for (const channel of channels) this.#options.hub.subscribe(channel, recovering);
    const others = this.#active.get(client);
    if (others === undefined) this.#active.set(client, [recovering]);
    else others.push(recovering);
    this.#read(recovering);
  }

  has(client: Client): boolean {
    return this.#active.has(client);
  }

  /** Where a client that recovers has come back from; null for a position that is none. */
  sinceOf(client: Client): Position | null {
    return this.#active.get(client)?.[0]?.since ?? null;
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
      for (const channel of channels ?? recovering.channels) this.#options.hub.unsubscribe(channel, recovering);
      recovering.channels = channels === null ? [] : recovering.channels.filter((each) => !channels.includes(each));
      if (recovering.channels.length === 0) this.#end(recovering);
    }
  }

  /** The line has moved, or the broker is back: who waits is tried again. */
  retry(): void {
    if (this.#waiting.length === 0) return;
    const { seen } = this.#options.line;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const recovering of waiting) {
      if (recovering.state !== 'waiting') continue;
      if (recovering.wanted <= seen) this.#enqueue(recovering);
      else this.#waiting.push(recovering);
    }
  }

  onAllRead(recovering: Recovering): void {
    this.#enqueue(recovering);
  }

  onReadFailed(recovering: Recovering): void {
    recovering.wanted = 0;
    this.#wait(recovering);
  }

  #enqueue(recovering: Recovering): void {
    recovering.state = 'ready';
    this.#ready.push(recovering);
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(this.#runSlice);
  }

  /** Until the line moves, or for a while: the broker may be away or only busy, and what would move the line may have been missed. */
  #wait(recovering: Recovering): void {
    recovering.state = 'waiting';
    this.#waiting.push(recovering);
    this.#retryTimer ??= setTimeout(this.#retryLater, RETRY_MS);
  }

  readonly #retryLater = (): void => {
    const { line } = this.#options;
    this.#retryTimer = null;
    this.retry();
    if (this.#waiting.length === 0) return;
    // Who is left waits for the line, which may stand where it does because nobody publishes: a mark shows what it lacks.
    if (line.live) line.mark();
    this.#retryTimer ??= setTimeout(this.#retryLater, RETRY_MS);
  };

  #read(recovering: Recovering, sinceMs = 0): void {
    const { refused } = recovering;
    const wanted = recovering.channels.filter((each) => this.#options.hasHistory(each) && !refused.has(each));
    recovering.read(wanted, sinceMs);
  }

  readonly #runSlice = (): void => {
    this.#scheduled = false;
    const deadline = performance.now() + SLICE_MS;
    let tried = 0;
    const ready = this.#ready;
    while (tried < ready.length && performance.now() < deadline) this.#try(ready[tried++] as Recovering, deadline);
    this.#ready = ready.slice(tried);
    if (this.#ready.length === 0 || this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(this.#runSlice);
  };

  #try(recovering: Recovering, deadline: number): void {
    if (recovering.state !== 'ready') return;
    const { line, cache, hasHistory } = this.#options;
    const { since, histories, refused } = recovering;
    let wanted = 0;
    for (const channel of recovering.channels) {
      if (!hasHistory(channel) || refused.has(channel)) continue;
      const history = histories.get(channel);
      if (history === undefined || recovering.generation !== cache.generation) {
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
        recovering.letGo();
        recovering.wanted = 0;
        this.#wait(recovering);
        return;
      }
      wanted = Math.max(wanted, history.top, this.#holds(history, since) ? (since?.offset ?? 0) : 0);
    }
    recovering.wanted = wanted;
    if (line.seen >= wanted) this.#complete(recovering, deadline);
    else this.#wait(recovering);
  }

  /** Whether the position is good; the counter has gone on since it was read, as far as the line at least. */
  #holds({ state }: CachedHistory, since: Position | null): boolean {
    const offset = Math.max(state.offset, this.#options.line.seen);
    return since !== null && isKnownPosition({ ...state, offset }, since);
  }

  #complete(recovering: Recovering, deadline: number): void {
    const { line } = this.#options;
    const { client, since, histories } = recovering;
    const recovered: string[] = [];
    const gap = [...recovering.refused];
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
    recovering.fedEpoch = line.epoch;
    recovering.feed = merged(found, this.#takeKept(recovering), recovering);
    recovering.state = 'feeding';
    this.#feeds.begin(recovering, deadline);
  }

  moreFor(recovering: Recovering): readonly Publication[] | null {
    return this.#options.line.live ? merged([], this.#takeKept(recovering), recovering) : null;
  }

  onFed(recovering: Recovering): void {
    const { hub, line, count } = this.#options;
    const { client, channels, recovered, gaps } = recovering;
    // The feeding may have taken many turns: the position that is told now is one of all its channels.
    client.settleOrder();
    if (recovering.state === 'over') return;
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
      this.#options.hub.forEachWaiting(channel, (publication) => {
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
    recovering.letGo();
    recovering.feed = [];
    const others = this.#active.get(recovering.client)?.filter((each) => each !== recovering) ?? [];
    if (others.length === 0) this.#active.delete(recovering.client);
    else this.#active.set(recovering.client, others);
  }
}

/**
 * What was found and what was kept, by offset, each once, epoch after epoch: in another one offsets may begin anew. Plain ones
 * have no offset: they follow the one that they were kept behind. Kept ones up to `fedTo` are left out: the client has them.
 */
function merged(
  found: readonly Publication[],
  kept: readonly Publication[],
  { fedEpoch, fedTo }: { readonly fedEpoch: string; readonly fedTo: number },
): Publication[] {
  const all = found.map((publication) => ({ epochs: 0, behind: publication.offset, publication }));
  const present = new Set(found.map(({ offset }) => offset));
  let current = fedEpoch;
  let epochs = 0;
  let behind = 0;
  for (const publication of [...kept].sort((a, b) => a.order - b.order)) {
    const { epoch, offset, isGap } = publication;
    if (epoch !== '' && epoch !== current) {
      current = epoch;
      epochs++;
      behind = 0;
    }
    if (epoch !== '' && !isGap) {
      if (epochs === 0 && (offset <= fedTo || present.has(offset))) continue;
      behind = Math.max(behind, offset);
    }
    all.push({ epochs, behind, publication });
  }
  return all.sort((a, b) => a.epochs - b.epochs || a.behind - b.behind).map(({ publication }) => publication);
}
