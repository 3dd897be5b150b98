// Disconnects: the backend asks that somebody be closed, and says why and whether to come back: everybody who holds a channel, one
// client by its id, or all who say that they are one user.
//
// The order goes through the broker, on COMMAND_CHANNEL, to all workers of all machines, each of which obeys it for its own
// connections and poll sessions: those that are there at its place in the broker's order, and nobody who comes later. One that is on its
// way from one worker to another is there in both, and is closed by the one that goes on with it (moving/kept-back.ts).
//
// Cost: nothing until one comes.

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

export function encodeOrder(order: DisconnectOrder): Buffer {
  return Buffer.from(JSON.stringify({ disconnect: order }));
}

export function obey(holders: Holders, order: DisconnectOrder): void {
  for (const subscriber of find(holders, order)) subscriber.disconnect?.(order);
}

function find({ hub, presence }: Holders, { channel, client, user, except = [] }: DisconnectOrder): Subscriber[] {
  if (channel !== undefined) return hub.subscribersOf(channel);
  const { identities } = presence;
  const holder = client === undefined ? null : identities.holderOf(client);
  const candidates = client === undefined ? identities.holdersOf(user ?? '') : holder === null ? [] : [holder];
  return candidates.filter((candidate) => {
    const known = identities.of(candidate);
    return known !== null && (user === undefined || known.user === user) && !except.includes(known.client);
  });
}

/** Null for what other versions of the gateway, or nobody that we know, have said. */
export function readOrder(said: unknown): DisconnectOrder | null {
  const { channel, client, user, except = [], reason, reconnect } = Object(said) as Record<string, unknown>;
  if (!isName(channel) || !isName(client) || !isName(user)) return null;
  if (channel === undefined && client === undefined && user === undefined) return null;
  if (!Array.isArray(except) || !except.every((each) => typeof each === 'string')) return null;
  if (typeof reason !== 'string' || typeof reconnect !== 'boolean') return null;
  return { channel, client, user, except, reason, reconnect };
}

function isName(value: unknown): value is string | undefined {
  return value === undefined || typeof value === 'string';
}
