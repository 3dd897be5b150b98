// Disconnects: the backend asks that everybody who holds a channel be closed, and says why and whether to come back.
//
// The order goes through the broker, on COMMAND_CHANNEL, to all workers of all machines, each of which obeys it for its own
// connections. One that is on its way to another worker cannot be closed just then and is looked for again, here and there.
//
// Bound: RETRIES looks for those that move. Cost: nothing until one comes.

import type { Farewell } from './encoding.ts';
import type { Hub } from './hub.ts';

export interface DisconnectOrder extends Farewell {
  readonly channel: string;
}

const RETRIES = 5;
const RETRY_MS = 500;

export function encodeOrder(order: DisconnectOrder): Buffer {
  return Buffer.from(JSON.stringify({ disconnect: order }));
}

/** Does what a publication on COMMAND_CHANNEL says; false where it says nothing that is known here. */
export function obey(hub: Hub, payload: Buffer): boolean {
  const order = readOrder(payload);
  if (order === null) return false;
  closeHolders(hub, order, RETRIES);
  return true;
}

function closeHolders(hub: Hub, order: DisconnectOrder, retries: number): void {
  const left = hub.subscribersOf(order.channel).filter((subscriber) => subscriber.disconnect?.(order) === false);
  if (left.length > 0 && retries > 0) setTimeout(() => closeHolders(hub, order, retries - 1), RETRY_MS).unref();
}

/** What other versions of the gateway, or nobody that we know, have said is passed over. */
function readOrder(payload: Buffer): DisconnectOrder | null {
  try {
    const { channel, reason, reconnect } = JSON.parse(payload.toString()).disconnect;
    return typeof channel === 'string' && typeof reason === 'string' && typeof reconnect === 'boolean'
      ? { channel, reason, reconnect }
      : null;
  } catch {
    return null;
  }
}
