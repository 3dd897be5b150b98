// Kept back: publications for connections that move, on both sides, until one of the two serves them again.
//
// Whoever is set out at a fence is still delivered what came before it, which may be under way in slices, and gets kept what
// comes after. So each entry knows the fence's place in the order. Publications are shared, not copied. When the backend asks that one of
// them be closed, that is kept back too: whichever side serves it again closes it then, and nobody else.
//
// Bound: `KEPT_LIMIT_BYTES` of payload for all connections of the worker together, and `ENTRY_BYTES` a place in a list. A connection
// that the bound is passed for loses what was kept for it, and is closed with its transport's hint when it is served again.
//
// Cost: an entry and an array a moving connection; nothing for all others.

import type { Publication } from '../../src/publication.ts';
import type { Farewell } from '../encoding.ts';
import type { Subscriber } from '../hub.ts';

/** What 16 subscribers may have in their outboxes; a batch of 64 waits for 20 to 100 ms. */
const KEPT_LIMIT_BYTES = 16 * 1024 * 1024;
const ENTRY_BYTES = 16;

interface Kept {
  /** The fence's place in the order. */
  readonly order: number;
  /** Null once there were too many. */
  publications: Publication[] | null;
  /** With which it is to be closed; null for not at all. */
  farewell: Farewell | null;
}

export class KeptBack {
  private readonly kept = new Map<Subscriber, Kept>();
  /** How many lists each publication is in. */
  private readonly shares = new Map<Publication, number>();
  private bytes = 0;

  /** Connections that something may be kept for. */
  get size(): number {
    return this.kept.size;
  }

  begin(subscriber: Subscriber, order: number): void {
    this.kept.set(subscriber, { order, publications: [], farewell: null });
  }

  /** The backend has asked that it be closed: nothing more is kept for it. */
  dismiss(subscriber: Subscriber, farewell: Farewell): void {
    const kept = this.kept.get(subscriber);
    if (kept !== undefined) kept.farewell = farewell;
  }

  /** Keeps it, or says false: it came before the fence, and is to be delivered. */
  keep(subscriber: Subscriber, publication: Publication): boolean {
    const kept = this.kept.get(subscriber);
    if (kept === undefined || publication.order <= kept.order) return false;
    if (kept.publications === null || kept.farewell !== null) return true;
    const shares = this.shares.get(publication) ?? 0;
    const bytes = ENTRY_BYTES + (shares === 0 ? publication.payload.length : 0);
    if (this.bytes + bytes > KEPT_LIMIT_BYTES) {
      this.letGo(kept.publications);
      kept.publications = null;
      return true;
    }
    publication.retain();
    this.bytes += bytes;
    this.shares.set(publication, shares + 1);
    kept.publications.push(publication);
    return true;
  }

  /** Ends keeping: what was kept. */
  end(subscriber: Subscriber): Readonly<Kept> {
    const kept = this.kept.get(subscriber);
    if (kept === undefined) return NONE;
    this.kept.delete(subscriber);
    if (kept.publications !== null) this.letGo(kept.publications);
    return kept;
  }

  private letGo(publications: readonly Publication[]): void {
    for (const publication of publications) {
      const shares = (this.shares.get(publication) ?? 1) - 1;
      this.bytes -= ENTRY_BYTES;
      if (shares > 0) {
        this.shares.set(publication, shares);
      } else {
        this.shares.delete(publication);
        this.bytes -= publication.payload.length;
      }
    }
  }
}

const NONE: Readonly<Kept> = { order: 0, publications: [], farewell: null };
