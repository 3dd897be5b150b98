// `/api/disconnect`: closes everybody who holds a channel, one client, or all who say that they are one user, on all workers and
// machines, poll sessions included.
//
// `{"channel":"alice","reason":"logged out","reconnect":false}`, or in place of the channel `"client"` or `"user"`, or both, with a
// `"whitelist"` of clients that are spared. As in Centrifugo's API, `"disconnect":{"code","reason"}` says the same as the last two: codes
// 3500 to 3999 and 4500 to 4999 are not to come back. The answer comes when the broker has taken the order.

import { COMMAND_CHANNEL } from '../../src/channel.ts';
import { LongwireError } from '../../src/errors.ts';
import { Publication } from '../../src/publication.ts';
import { encodeOrder, type Wanted } from '../disconnects.ts';
import type { Gateway } from '../gateway.ts';
import { checkedChannel, type Params } from './params.ts';

/** What fits into a close frame beside its code (RFC 6455 §5.5). */
const REASON_LIMIT_BYTES = 123;
/** What a connection can be; and far more than a backend should want to name. */
const NAME_LIMIT_BYTES = 255;
const WHITELIST_LIMIT = 1_000;

export async function disconnect(gateway: Gateway, params: Params): Promise<object> {
  const wanted = readWanted(params);
  const { code, reason: inner } = (params.disconnect ?? {}) as Params;
  const reason = params.reason ?? inner ?? '';
  if (typeof reason !== 'string' || !reason.isWellFormed() || Buffer.byteLength(reason) > REASON_LIMIT_BYTES) {
    throw new LongwireError('bad-request', `reason must be a string of at most ${REASON_LIMIT_BYTES} bytes`);
  }
  const reconnect = params.reconnect ?? !isFinal(code);
  if (typeof reconnect !== 'boolean') throw new LongwireError('bad-request', 'reconnect must be true or false');
  await gateway.broker.publish([new Publication(COMMAND_CHANNEL, encodeOrder({ ...wanted, reason, reconnect }))]);
  return {};
}

/** An empty `client` or `user` is none: Centrifugo's libraries send what is not given so. */
function readWanted(params: Params): Wanted {
  const client = readName(params, 'client');
  const user = readName(params, 'user');
  if (client === undefined && user === undefined) return { channel: checkedChannel(params.channel) };
  if (params.channel !== undefined) {
    throw new LongwireError('bad-request', 'give a channel, or a client or user, not both');
  }
  const { whitelist = [] } = params;
  if (
    !Array.isArray(whitelist) ||
    whitelist.length > WHITELIST_LIMIT ||
    !whitelist.every((each) => typeof each === 'string' && each.length <= NAME_LIMIT_BYTES)
  ) {
    throw new LongwireError('bad-request', `whitelist must be an array of at most ${WHITELIST_LIMIT} client ids`);
  }
  return { client, user, except: whitelist };
}

function readName(params: Params, name: 'client' | 'user'): string | undefined {
  const given = params[name] ?? '';
  if (typeof given !== 'string' || !given.isWellFormed() || Buffer.byteLength(given) > NAME_LIMIT_BYTES) {
    throw new LongwireError('bad-request', `${name} must be a string of at most ${NAME_LIMIT_BYTES} bytes`);
  }
  return given === '' ? undefined : given;
}

function isFinal(code: unknown): boolean {
  return typeof code === 'number' && ((code >= 3500 && code < 4000) || (code >= 4500 && code < 5000));
}
