// Packed publications: what one turn published, as one run of bytes for the embedded broker's frames.
//
// Structured clone would make of each publication an array, strings and a Buffer, in the primary and again in each worker,
// all alive until the last of the message is delivered: garbage that outlives the young generation. Packed, the primary
// passes bytes on without looking at them, and a worker makes one publication at a time and forgets it.
//
// A publication: u8 flags (1: event, 2: id) · u8 channel length · u32 payload length · [u8 event length] · [u8 id length] ·
// channel · event · id (UTF-8) · payload. Little-endian. Lengths fit: channels, events and ids have at most 255 bytes.

import { Publication } from '../publication.ts';

const HAS_EVENT = 1;
const HAS_ID = 2;
const FIXED_BYTES = 6;

/** Bytes that these take when they are packed. */
export function packedBytes(publications: readonly Publication[]): number {
  let bytes = 0;
  for (const publication of publications) bytes += packedBytesOfOne(publication);
  return bytes;
}

/** Packs publications in their order into the first `packedBytes(publications)` of `packed`; returns how many that were. */
export function packPublications(packed: Buffer, publications: readonly Publication[]): number {
  let at = 0;
  for (const publication of publications) at = packOne(packed, at, publication);
  return at;
}

/** Visits them in their order. Payloads are slices of `packed`: see `Publication.retain`. */
export function unpackPublications(packed: Buffer, visit: (publication: Publication) => void): void {
  let at = 0;
  const take = (length: number): string => {
    const text = packed.toString('utf8', at, at + length);
    at += length;
    return text;
  };
  while (at < packed.length) {
    const flags = packed.readUInt8(at);
    const channelBytes = packed.readUInt8(at + 1);
    const payloadBytes = packed.readUInt32LE(at + 2);
    at += FIXED_BYTES;
    const eventBytes = (flags & HAS_EVENT) === 0 ? -1 : packed.readUInt8(at++);
    const idBytes = (flags & HAS_ID) === 0 ? -1 : packed.readUInt8(at++);
    const channel = take(channelBytes);
    const event = eventBytes < 0 ? null : take(eventBytes);
    const id = idBytes < 0 ? null : take(idBytes);
    const payload = packed.subarray(at, at + payloadBytes);
    at += payloadBytes;
    visit(new Publication(channel, payload, event, id));
  }
}

function packedBytesOfOne({ channel, payload, event, id }: Publication): number {
  let bytes = FIXED_BYTES + Buffer.byteLength(channel) + payload.length;
  if (event !== null) bytes += 1 + Buffer.byteLength(event);
  if (id !== null) bytes += 1 + Buffer.byteLength(id);
  return bytes;
}

function packOne(packed: Buffer, start: number, { channel, payload, event, id }: Publication): number {
  packed[start] = (event === null ? 0 : HAS_EVENT) | (id === null ? 0 : HAS_ID);
  packed.writeUInt32LE(payload.length, start + 2);
  let at = start + FIXED_BYTES;
  if (event !== null) packed[at++] = Buffer.byteLength(event);
  if (id !== null) packed[at++] = Buffer.byteLength(id);
  const channelBytes = packed.write(channel, at, 'utf8');
  packed[start + 1] = channelBytes;
  at += channelBytes;
  if (event !== null) at += packed.write(event, at, 'utf8');
  if (id !== null) at += packed.write(id, at, 'utf8');
  return at + payload.copy(packed, at);
}
