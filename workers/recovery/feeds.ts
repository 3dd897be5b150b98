// Feeds: gives those who recover what they missed, as their outboxes have room for it and in slices of the worker's time, so that
// whoever reads well gets a history of any size, and nobody else waits for it.
//
// What one client is given at once goes out in runs, whose small frames share a write. Who has everything is handed back.
//
// Bounds: SLICE_MS a turn; RUN_BYTES, and RUN_LENGTH publications, between two looks at the clock and at the outbox.

import { publicationBytes } from '../../src/broker/calls.ts';
import type { Publication } from '../../src/publication.ts';
import type { Recovering } from './recovering.ts';

/** Twice that of a fan-out (hub.ts): both may come in one turn, and accepting, heartbeats and all else must go on. */
export const SLICE_MS = 2;
/** Outboxes without room are looked at again after this. */
const LOOK_AGAIN_MS = 10;
const RUN_BYTES = 16 * 1024;
const RUN_LENGTH = 64;

export interface FeedsOwner {
  /** What was published for it since it was last asked, in order; null while that cannot be said. */
  moreFor(recovering: Recovering): readonly Publication[] | null;
  /** It has everything. */
  onFed(recovering: Recovering): void;
}

export class Feeds {
  readonly #owner: FeedsOwner;
  /** Who has more to be given than there was room or time for. */
  #feeding: Recovering[] = [];
  #scheduled: 'no' | 'soon' | 'later' = 'no';

  constructor(owner: FeedsOwner) {
    this.#owner = owner;
  }

  /** Begins with one whose `feed` is there, until `deadline` (`performance.now()`). */
  begin(recovering: Recovering, deadline: number): void {
    if (this.#feed(recovering, deadline)) return;
    this.#feeding.push(recovering);
    this.#schedule(performance.now() >= deadline);
  }

  #schedule(soon: boolean): void {
    if (this.#scheduled === 'soon' || (this.#scheduled === 'later' && !soon)) return;
    this.#scheduled = soon ? 'soon' : 'later';
    if (soon) setImmediate(this.#runSlice);
    else setTimeout(this.#runSlice, LOOK_AGAIN_MS);
  }

  readonly #runSlice = (): void => {
    this.#scheduled = 'no';
    const deadline = performance.now() + SLICE_MS;
    const feeding = this.#feeding;
    this.#feeding = [];
    let looked = 0;
    while (looked < feeding.length && performance.now() < deadline) {
      const recovering = feeding[looked++] as Recovering;
      if (!this.#feed(recovering, deadline)) this.#feeding.push(recovering);
    }
    // Who was not looked at is the first of the next slice.
    if (looked < feeding.length) this.#feeding = [...feeding.slice(looked), ...this.#feeding];
    if (this.#feeding.length > 0) this.#schedule(performance.now() >= deadline);
  };

  /** False while there is more to give than there was room or time for. */
  #feed(recovering: Recovering, deadline: number): boolean {
    const { client } = recovering;
    while (recovering.state === 'feeding') {
      if (recovering.fed === recovering.feed.length) {
        const more = this.#owner.moreFor(recovering);
        if (more === null) return false;
        if (more.length === 0) {
          this.#owner.onFed(recovering);
          return true;
        }
        recovering.feed = more;
        recovering.fed = 0;
      }
      const { roomBytes } = client;
      if (roomBytes <= 0 || performance.now() >= deadline) return false;
      const run = nextRun(recovering, Math.min(roomBytes, RUN_BYTES));
      recovering.onFed(run);
      client.deliverRun(run);
    }
    return true;
  }
}

/** What comes next: one publication at least. */
function nextRun({ feed, fed }: Recovering, limitBytes: number): readonly Publication[] {
  let bytes = 0;
  let end = fed;
  while (end < feed.length && end - fed < RUN_LENGTH) {
    const { channel, payload } = feed[end] as Publication;
    bytes += publicationBytes(channel, payload.length);
    if (bytes > limitBytes && end > fed) break;
    end++;
  }
  return feed.slice(fed, end);
}
