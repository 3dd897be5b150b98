// What a worker has of history, where a namespace asks for it: the line, the channels read lately, and who recovers.

import type { NamespaceTable } from '../../config/namespaces.ts';
import type { HistoryStore } from '../../src/broker/broker.ts';
import type { HistoryState } from '../../src/history.ts';
import type { Position } from '../../src/position.ts';
import { Publication } from '../../src/publication.ts';
import type { Counters } from '../../src/stats.ts';
import type { Hub } from '../hub.ts';
import { ChannelCache } from './channel-cache.ts';
import { Line, type LineOwner } from './line.ts';
import { Recoveries } from './recoveries.ts';

export interface HistoryParts {
  readonly hub: Hub;
  readonly namespaces: NamespaceTable;
  readonly counters: Counters;
  readonly outboxLimitBytes: number;
  readonly broker: { readonly history: HistoryStore | null };
  /** `Publication.order` of the last one that was broadcast. */
  readonly order: number;
  broadcast(publication: Publication): void;
  tellGap(gap: Publication): void;
}

export class WorkerHistory implements LineOwner {
  readonly line: Line;
  readonly cache: ChannelCache;
  readonly recoveries: Recoveries;
  private readonly parts: HistoryParts;

  constructor(parts: HistoryParts) {
    this.parts = parts;
    const { hub, counters, outboxLimitBytes: keptLimitBytes } = parts;
    this.line = new Line(this);
    this.cache = new ChannelCache(
      () => this.store,
      (channel) => parts.namespaces.of(channel).historySize,
    );
    this.recoveries = new Recoveries({
      hub,
      line: this.line,
      cache: this.cache,
      hasHistory: (channel) => this.has(channel),
      lastOrder: () => parts.order,
      keptLimitBytes,
      count: (outcome, channels) => {
        if (outcome === 'recovered') counters.recovered += channels;
        else counters.recoveryGaps += channels;
      },
    });
  }

  get store(): HistoryStore | null {
    return this.parts.broker.history;
  }

  has(channel: string): boolean {
    return this.parts.namespaces.of(channel).historySize > 0;
  }

  /** Whether any of a connection's channels has history. */
  hasAny(channels: string | readonly string[]): boolean {
    return typeof channels === 'string' ? this.has(channels) : channels.some((channel) => this.has(channel));
  }

  onConnected(state: HistoryState): void {
    this.line.onConnected(state);
    this.recoveries.retry();
  }

  /** The broker is up: all that is published from now on comes here. */
  onUp(): void {
    this.line.confirm();
  }

  /** Once a second. */
  sweep(): void {
    this.cache.sweep();
    this.line.confirm();
  }

  // What the line says.

  heldChannels(): string[] {
    return this.parts.hub.channelNames().filter((channel) => this.has(channel));
  }

  broadcast(publication: Publication): void {
    if (publication.offset > 0) this.cache.onPublication(publication);
    this.parts.broadcast(publication);
  }

  tellGap(channels: readonly string[], { epoch, offset }: Position): void {
    this.parts.counters.channelGaps += channels.length;
    for (const channel of channels) this.parts.tellGap(Publication.gap(channel).place(epoch, offset, 0));
  }

  onMoved(epochChanged: boolean): void {
    if (epochChanged) this.cache.invalidate();
    this.recoveries.retry();
  }

  onHole(): void {
    this.cache.invalidate();
  }
}
