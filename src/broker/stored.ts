// A publication of a channel with history on its live way through Redis: a message on `{prefix}:stored`, from longwire.lua.
//
//   {epoch} {offset} {previous} {channel bytes} {event bytes} {id bytes}\n{channel}{event}{id}{payload}
//
// Numbers in decimal; -1 for no event and no id. The lengths are in front, so that nothing is searched for and nothing is
// parsed as JSON on the way of every publication.
//
// Cost: one look at the first line, and the strings; the payload is a slice.

import { isUtf8 } from 'node:buffer';
import { channelFault, MARK_CHANNEL, RESERVED_PREFIX } from '../channel.ts';
import { Publication } from '../publication.ts';

/** What comes after the prefix in the name of the Redis channel that they travel on. */
export const STORED_CHANNEL = `${RESERVED_PREFIX}stored`;

const LF = 0x0a;
/** An epoch of 32 characters, three offsets and three lengths. */
const HEAD_LIMIT_BYTES = 128;
const HEAD = /^([A-Za-z0-9_-]{1,32}) (\d{1,15}) (\d{1,15}) (\d{1,3}) (-1|\d{1,3}) (-1|\d{1,3})$/;

/** The publication in its place, its payload a slice of `bytes`; or, as a string, what is wrong with the message. */
export function decodeStored(bytes: Buffer): Publication | string {
  const end = bytes.subarray(0, HEAD_LIMIT_BYTES).indexOf(LF);
  const head = end < 0 ? null : HEAD.exec(bytes.toString('latin1', 0, end));
  if (head === null) return 'it must begin with a line of epoch, offsets and lengths';
  const [, epoch = ''] = head;
  const [offset, previous, channelBytes, eventBytes, idBytes] = head.slice(2).map(Number) as [
    number,
    number,
    number,
    number,
    number,
  ];
  let at = end + 1;
  const take = (length: number): string | null => {
    if (length < 0) return null;
    const text = bytes.toString('utf8', at, at + length);
    at += length;
    return text;
  };
  const fieldBytes = channelBytes + Math.max(0, eventBytes) + Math.max(0, idBytes);
  if (at + fieldBytes > bytes.length) return 'it is shorter than it says';
  if (!isUtf8(bytes.subarray(at, at + fieldBytes))) return 'its channel, event and id must be UTF-8';
  const channel = take(channelBytes) ?? '';
  const event = take(eventBytes);
  const id = take(idBytes);
  const fault = channel === MARK_CHANNEL ? null : channelFault(channel);
  if (fault !== null) return fault;
  return new Publication(channel, bytes.subarray(at), event, id).place(epoch, offset, previous);
}
