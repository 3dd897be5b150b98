// `/api/history` and `/api/history_remove`: what a channel's history holds, for the backend, in Centrifugo's shapes.
//
// `{"channel":"chat:a","limit":10,"since":{"offset":7,"epoch":"…"},"reverse":false}`. Without `limit`, or with 0, only where
// the history stands; -1 for all. With `since`, what comes behind it, or before it when reversed; where something of that is
// gone, or the epoch is another one, the answer is the error `gap`, never silently less.

import type { HistoryStore } from '../../src/broker/broker.ts';
import { COMMAND_CHANNEL } from '../../src/channel.ts';
import { LongwireError } from '../../src/errors.ts';
import { isKnownPosition, missedSince } from '../../src/history.ts';
import type { Position } from '../../src/position.ts';
import { Publication } from '../../src/publication.ts';
import type { Gateway } from '../gateway.ts';
import { textOf } from '../json-format.ts';
import { checkedChannel, type Params } from './params.ts';

export async function history(gateway: Gateway, params: Params): Promise<object> {
  const channel = checkedChannel(params.channel);
  const { limit, reverse, since } = readQuery(params);
  const store = storeOf(gateway, channel);
  // Whether a position is still good depends on the offsets alone, so the publications need not all be read for it.
  const read = await store.read(channel, {
    since: since?.offset ?? 0,
    limit: limit < 0 ? Number.POSITIVE_INFINITY : limit,
    reverse,
  });
  if (since !== null && (reverse ? !isKnownPosition(read.state, since) : missedSince(read, since) === null)) {
    throw new LongwireError('gap', 'publications behind that position are no longer in the history');
  }
  return { publications: read.publications.map(shown), offset: read.state.offset, epoch: read.state.epoch };
}

export async function historyRemove(gateway: Gateway, params: Params): Promise<object> {
  const channel = checkedChannel(params.channel);
  await storeOf(gateway, channel).remove(channel);
  // Workers that have read it lately would go on giving it to those who come back.
  await gateway.broker.publish([new Publication(COMMAND_CHANNEL, Buffer.from(JSON.stringify({ removed: channel })))]);
  return {};
}

function storeOf(gateway: Gateway, channel: string): HistoryStore {
  const store = gateway.namespaces.of(channel).historySize > 0 ? gateway.broker.history : null;
  if (store !== null) return store;
  throw new LongwireError('not-available', 'this channel has no history: its namespace says so');
}

function readQuery(params: Params): { limit: number; reverse: boolean; since: Position | null } {
  const { limit = 0, reverse = false, since = null } = params;
  if (!Number.isSafeInteger(limit) || (limit as number) < -1) {
    throw new LongwireError('bad-request', 'limit must be a whole number, -1 for all');
  }
  if (typeof reverse !== 'boolean') throw new LongwireError('bad-request', 'reverse must be true or false');
  return { limit: limit as number, reverse, since: readSince(since) };
}

function readSince(since: unknown): Position | null {
  if (since === null) return null;
  const { offset = 0, epoch } = (typeof since === 'object' ? since : {}) as Record<string, unknown>;
  if (!Number.isSafeInteger(offset) || (offset as number) < 0 || typeof epoch !== 'string') {
    throw new LongwireError('bad-request', 'since must have an epoch and an offset');
  }
  return { epoch, offset: offset as number };
}

function shown({ payload, event, id, offset }: Publication): object {
  return { ...textOf(payload), offset, ...(event === null ? {} : { event }), ...(id === null ? {} : { id }) };
}
