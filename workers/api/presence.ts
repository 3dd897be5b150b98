// `/api/presence` and `/api/presence_stats`: who holds a channel, on all workers and machines, in Centrifugo's shapes.

import type { PresenceStore } from '../../src/broker/broker.ts';
import { LongwireError } from '../../src/errors.ts';
import type { Gateway } from '../gateway.ts';
import { checkedChannel, type Params } from './params.ts';

/** `{"presence":{"{client}":{"client":…,"user":…,"conn_info":…}}}` */
export async function presence(gateway: Gateway, params: Params): Promise<object> {
  const channel = checkedChannel(params.channel);
  const members: Record<string, object> = {};
  for (const entry of await storeOf(gateway, channel).read(channel)) {
    const member: { client: string } = JSON.parse(entry);
    members[member.client] = member;
  }
  return { presence: members };
}

export async function presenceStats(gateway: Gateway, params: Params): Promise<object> {
  const channel = checkedChannel(params.channel);
  const { clients, users } = await storeOf(gateway, channel).count(channel);
  return { num_clients: clients, num_users: users };
}

function storeOf(gateway: Gateway, channel: string): PresenceStore {
  const store = gateway.presence.has(channel) ? gateway.broker.presence : null;
  if (store !== null) return store;
  throw new LongwireError('not-available', 'this channel has no presence: its namespace says so');
}
