// `/api/disconnect`: closes everybody who holds a channel, on all workers and machines.
//
// `{"channel":"alice","reason":"logged out","reconnect":false}`. As in Centrifugo's API, `"disconnect":{"code","reason"}` says
// the same: codes 3500 to 3999 and 4500 to 4999 are not to come back. The answer comes when the broker has taken the order.

import { COMMAND_CHANNEL } from '../../src/channel.ts';
import { LongwireError } from '../../src/errors.ts';
import { Publication } from '../../src/publication.ts';
import { encodeOrder } from '../disconnects.ts';
import type { Gateway } from '../gateway.ts';
import { checkedChannel, type Params } from './params.ts';

/** What fits into a close frame beside its code (RFC 6455 §5.5). */
const REASON_LIMIT_BYTES = 123;

export async function disconnect(gateway: Gateway, params: Params): Promise<object> {
  if (params.channel === undefined && (params.user !== undefined || params.client !== undefined)) {
    throw new LongwireError('not-available', 'connections have no user and no id here: give a channel');
  }
  const channel = checkedChannel(params.channel);
  const { code, reason: inner } = (params.disconnect ?? {}) as Params;
  const reason = params.reason ?? inner ?? '';
  if (typeof reason !== 'string' || !reason.isWellFormed() || Buffer.byteLength(reason) > REASON_LIMIT_BYTES) {
    throw new LongwireError('bad-request', `reason must be a string of at most ${REASON_LIMIT_BYTES} bytes`);
  }
  const reconnect = params.reconnect ?? !isFinal(code);
  if (typeof reconnect !== 'boolean') throw new LongwireError('bad-request', 'reconnect must be true or false');
  await gateway.broker.publish([new Publication(COMMAND_CHANNEL, encodeOrder({ channel, reason, reconnect }))]);
  return {};
}

function isFinal(code: unknown): boolean {
  return typeof code === 'number' && ((code >= 3500 && code < 4000) || (code >= 4500 && code < 5000));
}
