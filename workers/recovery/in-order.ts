// One order for all channels of a subscriber: that in which the worker was brought publications with history.
//
// One position stands for all channels of a connection or poll session. If it were given 7 of one channel while 6 of another still
// waits in that one's crowd, its position would be 7, and 6 would be passed over when it comes back. So whoever holds several
// channels is first brought what waits for it in the others (docs/adr/0017).
//
// What is compared is the place in the worker's own order (`Publication.order`), which goes on when an epoch ends and offsets
// begin anew. Cost: a number a subscriber; two comparisons a delivery, and a look into its channels where something waits.

import type { Publication } from '../../src/publication.ts';
import type { Hub } from '../hub.ts';
import type { Client } from './recovering.ts';

/** Who is delivered in order. */
export interface Ordered extends Client {
  /** Held channels; a string for the usual case of one. */
  readonly channels: string | readonly string[] | null;
  /** `Publication.order` up to which it was given what its channels with history had. */
  lastOrder: number;
  deliverNow(publication: Publication): void;
}

/** What a worker's subscribers have in common. */
export interface OrderParts {
  readonly hub: Hub;
  /** `Publication.order` of the last publication that was broadcast. */
  readonly order: number;
  /** Who is not subscribed itself to a channel that it still recovers. */
  readonly history: { readonly recoveries: { recovers(client: Client, channel: string): boolean } } | null;
}

/** Whether to deliver a publication with a place now; false where that was done before, out of the turn of its crowd. */
export function takeInOrder(subscriber: Ordered, { order }: Publication, parts: OrderParts): boolean {
  if (parts.hub.waitingCount > 0) bringForward(subscriber, order, parts);
  if (order <= subscriber.lastOrder) return false;
  subscriber.lastOrder = order;
  return true;
}

/** Delivers all that waits for it in the hub, so that it stands where the worker does. */
export function settleOrder(subscriber: Ordered, parts: OrderParts): void {
  bringForward(subscriber, Number.POSITIVE_INFINITY, parts);
  subscriber.lastOrder = parts.order;
}

function bringForward(subscriber: Ordered, before: number, { hub, history }: OrderParts): void {
  const { channels } = subscriber;
  // A single channel overtakes nobody; what it has waiting matters only when another comes to it.
  if (channels === null || (typeof channels === 'string' && before !== Number.POSITIVE_INFINITY)) return;
  const earlier: Publication[] = [];
  for (const channel of typeof channels === 'string' ? [channels] : channels) {
    if (history?.recoveries.recovers(subscriber, channel) === true) continue;
    hub.forEachWaiting(channel, (publication) => {
      const { epoch, order } = publication;
      if (epoch !== '' && order > subscriber.lastOrder && order < before) earlier.push(publication);
    });
  }
  for (const publication of earlier.sort((a, b) => a.order - b.order)) {
    subscriber.lastOrder = publication.order;
    subscriber.deliverNow(publication);
  }
}
