// `/api/info` and `/api/channels`: the workers of all gateways on the broker, and the channels that are held there, in Centrifugo's
// shapes. Both are whole or they fail: a worker that does not answer is named, and not left out.

import { LongwireError } from '../../src/errors.ts';
import type { Gateway } from '../gateway.ts';
import type { Params } from './params.ts';

const PATTERN_LIMIT_BYTES = 255;

export async function info(gateway: Gateway): Promise<object> {
  return { nodes: await gateway.nodes.all() };
}

/** `{"pattern":"chat:*"}` → `{"channels":{"chat:room1":{"num_clients":2}}}` */
export async function channels(gateway: Gateway, { pattern = '' }: Params): Promise<object> {
  if (typeof pattern !== 'string' || !pattern.isWellFormed() || Buffer.byteLength(pattern) > PATTERN_LIMIT_BYTES) {
    throw new LongwireError('bad-request', `pattern must be a string of at most ${PATTERN_LIMIT_BYTES} bytes`);
  }
  const counts = await gateway.nodes.count(pattern);
  // From pairs: a channel may be called as members of all objects are.
  return { channels: Object.fromEntries([...counts].map(([channel, count]) => [channel, { num_clients: count }])) };
}
