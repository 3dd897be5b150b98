// Conflation: channels whose namespace says `latest_only`. Their publications say how something stands, so that whoever reads too
// slowly is not closed for it but skips to the newest.
//
// While a connection's outbox is filled beyond a share of its limit, of each such channel one publication is kept for it, the
// newest; it is written once the outbox has emptied that far. What was skipped is counted.
//
// Bound: one publication a channel and slow connection, shared by all that keep it. A connection whose outbox does not move at
// all is still closed at the stall deadline. Cost: nothing a held connection; a look at the outbox a delivery in such channels.

import type { NamespaceTable } from '../config/namespaces.ts';
import type { Publication } from '../src/publication.ts';
import type { Counters } from '../src/stats.ts';

const LOOK_AGAIN_MS = 20;

/** A connection, as far as conflation goes. */
export interface Conflated {
  readonly wire: { readonly outboxBytes: number };
  deliverNow(publication: Publication): void;
}

export class Conflation {
  private readonly namespaces: NamespaceTable;
  private readonly counters: Counters;
  /** From here on an outbox counts as full. */
  private readonly fullBytes: number;
  /** Newest publications by channel, of connections that have no room for them. */
  private readonly kept: Map<Conflated, Map<string, Publication>>;
  private timer: NodeJS.Timeout | null;

  constructor(namespaces: NamespaceTable, outboxLimitBytes: number, counters: Counters) {
    this.namespaces = namespaces;
    this.counters = counters;
    this.fullBytes = outboxLimitBytes / 4;
    this.kept = new Map();
    this.timer = null;
  }

  /** Connections that something is kept for. */
  get size(): number {
    return this.kept.size;
  }

  /** Whether something is kept for it. */
  has(connection: Conflated): boolean {
    return this.kept.has(connection);
  }

  /** Keeps the publication for later, or says false: it is to be delivered now. */
  keep(connection: Conflated, publication: Publication): boolean {
    // Words of a gap, and of who comes and goes, do not say how things stand: they must not take the place of what does.
    if (publication.kind !== 'published') return false;
    if (connection.wire.outboxBytes < this.fullBytes && this.kept.get(connection)?.has(publication.channel) !== true) {
      return false;
    }
    if (!this.namespaces.of(publication.channel).latestOnly) return false;
    let newest = this.kept.get(connection);
    if (newest === undefined) {
      newest = new Map();
      this.kept.set(connection, newest);
    }
    publication.retain();
    if (newest.has(publication.channel)) this.counters.conflated++;
    newest.set(publication.channel, publication);
    this.timer ??= setTimeout(() => this.lookAgain(), LOOK_AGAIN_MS);
    return true;
  }

  /** The connection is gone, or gives up these channels. */
  forget(connection: Conflated, channels: readonly string[] | null = null): void {
    if (channels === null) this.kept.delete(connection);
    else for (const channel of channels) this.kept.get(connection)?.delete(channel);
  }

  private lookAgain(): void {
    this.timer = null;
    for (const [connection, newest] of [...this.kept]) {
      for (const [channel, publication] of newest) {
        if (connection.wire.outboxBytes >= this.fullBytes) break;
        newest.delete(channel);
        connection.deliverNow(publication);
      }
      if (newest.size === 0) this.kept.delete(connection);
    }
    if (this.kept.size > 0) this.timer ??= setTimeout(() => this.lookAgain(), LOOK_AGAIN_MS);
  }
}
