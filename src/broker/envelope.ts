// The envelope: how a publication with an event name or an id travels through Redis, whose messages are bytes alone.
//
//   PUBLISH {prefix}:publication {"channel":"news","event":"headline","id":"42"}\n<payload, byte for byte>
//
// The first line is JSON in UTF-8; what follows its LF is the payload as it is, which may hold LFs of its own or nothing
// at all. `channel` must be there, `event` and `id` may be, as strings or null; other members are ignored. Any backend may
// publish so. It arrives by the same pattern subscription as everything else, and so in the same order.
//
// Cost: a copy of the payload on the way out, a JSON.parse of the first line on the way in.

import { isUtf8 } from 'node:buffer';
import { channelFault, RESERVED_PREFIX } from '../channel.ts';
import { NOTICE_EVENT, Publication } from '../publication.ts';

/** What comes after the prefix in the name of the Redis channel that envelopes travel on. */
export const ENVELOPE_CHANNEL = `${RESERVED_PREFIX}publication`;

/** Longest first line: a channel of 255 bytes, event and id of some kilobytes, and the worst of JSON's escaping. */
const HEAD_LIMIT_BYTES = 16 * 1024;

const LF = 0x0a;

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what would end a field of an event stream early
const FIELD_BREAK = /[\u0000\r\n]/;

export function encodeEnvelope({ channel, event, id, payload }: Publication): Buffer {
  const head = { channel, ...(event === null ? {} : { event }), ...(id === null ? {} : { id }) };
  return Buffer.concat([Buffer.from(`${JSON.stringify(head)}\n`), payload]);
}

/** The publication in an envelope, its payload a slice of `bytes`; or, as a string, what is wrong with the envelope. */
export function decodeEnvelope(bytes: Buffer): Publication | string {
  const end = bytes.subarray(0, HEAD_LIMIT_BYTES).indexOf(LF);
  if (end < 0) return `it must begin with a line of JSON of at most ${HEAD_LIMIT_BYTES} bytes`;
  const line = bytes.subarray(0, end);
  if (!isUtf8(line)) return 'its first line must be UTF-8';
  const head = parseObject(line.toString());
  if (head === null) return 'its first line must be a JSON object';

  const { channel, event = null, id = null } = head;
  if (typeof channel !== 'string') return 'channel must be a string';
  const fault = channelFault(channel);
  if (fault !== null) return fault;
  if (!isField(event)) return 'event must be a string without CR, LF and NUL, or null';
  if (!isField(id)) return 'id must be a string without CR, LF and NUL, or null';
  if (event === NOTICE_EVENT) return `event must not be ${NOTICE_EVENT}, which is the gateway's own`;
  return new Publication(channel, bytes.subarray(end + 1), event, id);
}

function parseObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

function isField(value: unknown): value is string | null {
  return value === null || (typeof value === 'string' && !FIELD_BREAK.test(value));
}
