// What a client asks for when it opens a stream: its channels and its format. The same for every transport.
//
// `/{transport}/{channel}?channel=…&channel=…&format=raw|json&since=…&user=…&info=…`: the channel of the path first, those of the
// query after it, each once. Query names that mean nothing here are passed over (clients add cache-busters).

import { channelFault } from '../../src/channel.ts';
import { FORMATS, type Format } from '../encoding.ts';
import type { RequestHead } from '../http/request-head.ts';
import { queryValues } from '../http/target.ts';
import { readWho, type Who } from '../presence/who.ts';

export interface SubscriptionRequest {
  /** One channel, the usual case, or several, each once. */
  channels: string | readonly string[];
  format: Format;
  /** The position up to which the client says that it has everything, as it was given; null for none. */
  since: string | null;
  /** Who the client says that it is; null where it does not say. */
  who: Who | null;
}

/**
 * Reads the request's target.
 *
 * @param prefixLength Where the channel begins in the path: 5 for '/sse/'.
 * @returns the request, or a text that says what is wrong with it.
 */
export function readSubscriptionRequest(
  head: RequestHead,
  prefixLength: number,
  defaultFormat: Format,
  channelLimit: number,
): SubscriptionRequest | string {
  const named = head.pathSlice(prefixLength);
  if (named === null) return 'the path has a malformed percent-encoding';
  const query = head.query();
  if (query === '') return channelFault(named) ?? { channels: named, format: defaultFormat, since: null, who: null };

  const values = queryValues(query);
  if (values === null) return 'the query has a malformed percent-encoding';
  const channels = new Set(named === '' ? [] : [named]);
  let format: Format = defaultFormat;
  let since: string | null = null;
  for (const { name, value } of values) {
    if (name === 'channel') channels.add(value);
    else if (name === 'since') since = value;
    else if (name === 'format') {
      const known = FORMATS.find((each) => each === value);
      if (known === undefined) return `format must be one of: ${FORMATS.join(', ')}`;
      format = known;
    }
  }
  if (channels.size === 0) return 'a channel name must not be empty';
  if (channels.size > channelLimit) return `a connection may hold at most ${channelLimit} channels`;
  for (const channel of channels) {
    const fault = channelFault(channel);
    if (fault !== null) return fault;
  }
  const who = readWho(values);
  if (typeof who === 'string') return who;
  const list = [...channels];
  return { channels: list.length === 1 ? (list[0] as string) : list, format, since, who };
}
