// Disconnects: the backend asks that somebody be closed, and says why and whether to come back: everybody who holds a channel, one
// client by its id, or all who say that they are one user.
//
// The order goes through the broker, on COMMAND_CHANNEL, to all workers of all machines, each of which obeys it for its own
// connections and poll sessions. One that is on its way to another worker cannot be closed just then and is looked for again, here
// and there.
//
// Bound: RETRIES looks for those that move. Cost: nothing until one comes; of a user, a look at all who are known.

import type { Farewell } from './encoding.ts';
import type { Hub, Subscriber } from './hub.ts';
import type { Identities } from './presence/identities.ts';

/** Whom to close: whoever holds `channel`; or whoever meets all that is given of `client` and `user` and is not in `except`. */
export interface Wanted {
  readonly channel?: string | undefined;
  readonly client?: string | undefined;
  readonly user?: string | undefined;
  /** Client ids. */
  readonly except?: readonly string[] | undefined;
}

export type DisconnectOrder = Farewell & Wanted;

/** Where they are looked for. */
export interface Holders {
  readonly hub: Hub;
  readonly presence: { readonly identities: Identities };
}

const RETRIES = 5;
const RETRY_MS = 500;

export function encodeOrder(order: DisconnectOrder): Buffer {
  return Buffer.from(JSON.stringify({ disconnect: order }));
}

/** Does what a publication on COMMAND_CHANNEL says; false where it says nothing that is known here. */
export function obey(holders: Holders, payload: Buffer): boolean {
  const order = readOrder(payload);
  if (order === null) return false;
  closeAll(holders, order, RETRIES);
  return true;
}

function closeAll(holders: Holders, order: DisconnectOrder, retries: number): void {
  const left = find(holders, order).filter((subscriber) => subscriber.disconnect?.(order) === false);
  if (left.length > 0 && retries > 0) setTimeout(() => closeAll(holders, order, retries - 1), RETRY_MS).unref();
}

function find({ hub, presence }: Holders, { channel, client, user, except = [] }: DisconnectOrder): Subscriber[] {
  if (channel !== undefined) return hub.subscribersOf(channel);
  const { identities } = presence;
  const holder = client === undefined ? null : identities.holderOf(client);
  const candidates = client === undefined ? identities.all() : holder === null ? [] : [holder];
  return candidates.filter((candidate) => {
    const known = identities.of(candidate);
    return known !== null && (user === undefined || known.user === user) && !except.includes(known.client);
  });
}

/** What other versions of the gateway, or nobody that we know, have said is passed over. */
function readOrder(payload: Buffer): DisconnectOrder | null {
  try {
    const { channel, client, user, except = [], reason, reconnect } = JSON.parse(payload.toString()).disconnect;
    const given: unknown[] = [channel, client, user].filter((each) => each !== undefined);
    const sound = given.length > 0 && [...given, ...except].every((each) => typeof each === 'string');
    return sound && typeof reason === 'string' && typeof reconnect === 'boolean'
      ? { channel, client, user, except, reason, reconnect }
      : null;
  } catch {
    return null;
  }
}
