// Packed publications: what one turn published, as one run of bytes for the embedded broker's frames.
//
// Structured clone would make of each publication an array, strings and a Buffer, in the primary and again in each worker,
// all alive until the last of the message is delivered: garbage that outlives the young generation. Packed, the primary
// passes bytes on without looking at them, and a worker makes one publication at a time and forgets it.
//
// A publication: u8 flags · u8 channel length · u32 payload length · [place] · [u8 event length] · [u8 id length] · [u8 key
// length] · channel · event · id · key (UTF-8) · payload. Little-endian. Lengths fit: channels and fields have at most 255
// bytes. A place is what the history gives it, filled in by the primary: f64 offset · f64 previous, and what it is told
// about keeping it: u32 publications · u32 seconds.

import { Publication } from '../publication.ts';

const HAS_EVENT = 1;
const HAS_ID = 2;
const HAS_PLACE = 4;
const HAS_KEY = 8;
/** Not published by anybody: see PublicationKind. Gaps are each worker's own and travel nowhere. */
const IS_JOIN = 16;
const IS_LEAVE = 32;
const PLACE_BYTES = 24;
const FIXED_BYTES = 6;

/** How a channel's publications are kept. */
export interface Retention {
  readonly historySize: number;
  readonly historyTtlSeconds: number;
}

/** Null for a channel without history. */
export type RetentionOf = (channel: string) => Retention | null;

export const NO_RETENTION: RetentionOf = () => null;

/** Where a packed publication lies, and what the history wants to know of it. */
export interface Packed {
  readonly start: number;
  readonly end: number;
  readonly channel: string;
  readonly key: string | null;
  /** Where its place lies; 0 where it has none. */
  readonly placeAt: number;
  readonly size: number;
  readonly ttlSeconds: number;
}

/** Bytes that these take when they are packed. */
export function packedBytes(publications: readonly Publication[], retentionOf: RetentionOf = NO_RETENTION): number {
  let bytes = 0;
  for (const publication of publications) {
    bytes += packedBytesOfOne(publication) + (retentionOf(publication.channel) === null ? 0 : PLACE_BYTES);
  }
  return bytes;
}

/** Packs publications in their order into the first bytes of `packed`; returns how many that were. */
export function packPublications(
  packed: Buffer,
  publications: readonly Publication[],
  retentionOf: RetentionOf = NO_RETENTION,
): number {
  let at = 0;
  for (const publication of publications) at = packOne(packed, at, publication, retentionOf(publication.channel));
  return at;
}

/** Visits them in their order. Payloads are slices of `packed`: see `Publication.retain`. */
export function unpackPublications(packed: Buffer, visit: (publication: Publication) => void, epoch = ''): void {
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
    const placeAt = (flags & HAS_PLACE) === 0 ? 0 : at;
    if (placeAt > 0) at += PLACE_BYTES;
    const eventBytes = (flags & HAS_EVENT) === 0 ? -1 : packed.readUInt8(at++);
    const idBytes = (flags & HAS_ID) === 0 ? -1 : packed.readUInt8(at++);
    const keyBytes = (flags & HAS_KEY) === 0 ? 0 : packed.readUInt8(at++);
    const channel = take(channelBytes);
    const event = eventBytes < 0 ? null : take(eventBytes);
    const id = idBytes < 0 ? null : take(idBytes);
    at += keyBytes;
    const payload = packed.subarray(at, at + payloadBytes);
    at += payloadBytes;
    const publication = new Publication(channel, payload, event, id);
    if ((flags & (IS_JOIN | IS_LEAVE)) !== 0) publication.kind = (flags & IS_JOIN) === 0 ? 'leave' : 'join';
    if (placeAt > 0) publication.place(epoch, packed.readDoubleLE(placeAt), packed.readDoubleLE(placeAt + 8));
    visit(publication);
  }
}

/** Visits them as they lie there, for the history. */
export function visitPacked(packed: Buffer, visit: (publication: Packed) => void): void {
  let at = 0;
  while (at < packed.length) {
    const start = at;
    const flags = packed.readUInt8(at);
    const channelBytes = packed.readUInt8(at + 1);
    const payloadBytes = packed.readUInt32LE(at + 2);
    at += FIXED_BYTES;
    const placeAt = (flags & HAS_PLACE) === 0 ? 0 : at;
    if (placeAt > 0) at += PLACE_BYTES;
    const eventBytes = (flags & HAS_EVENT) === 0 ? 0 : packed.readUInt8(at++);
    const idBytes = (flags & HAS_ID) === 0 ? 0 : packed.readUInt8(at++);
    const keyBytes = (flags & HAS_KEY) === 0 ? 0 : packed.readUInt8(at++);
    const channel = packed.toString('utf8', at, at + channelBytes);
    at += channelBytes + eventBytes + idBytes;
    const key = (flags & HAS_KEY) === 0 ? null : packed.toString('utf8', at, at + keyBytes);
    at += keyBytes + payloadBytes;
    const size = placeAt === 0 ? 0 : packed.readUInt32LE(placeAt + 16);
    const ttlSeconds = placeAt === 0 ? 0 : packed.readUInt32LE(placeAt + 20);
    visit({ start, end: at, channel, key, placeAt, size, ttlSeconds });
  }
}

/** Gives a packed publication its place. */
export function writePlace(packed: Buffer, placeAt: number, offset: number, previous: number): void {
  packed.writeDoubleLE(offset, placeAt);
  packed.writeDoubleLE(previous, placeAt + 8);
}

function packedBytesOfOne({ channel, payload, event, id, idempotencyKey }: Publication): number {
  let bytes = FIXED_BYTES + Buffer.byteLength(channel) + payload.length;
  if (event !== null) bytes += 1 + Buffer.byteLength(event);
  if (id !== null) bytes += 1 + Buffer.byteLength(id);
  if (idempotencyKey !== null) bytes += 1 + Buffer.byteLength(idempotencyKey);
  return bytes;
}

function packOne(packed: Buffer, start: number, publication: Publication, retention: Retention | null): number {
  const { channel, payload, event, id, idempotencyKey: key } = publication;
  packed[start] =
    (event === null ? 0 : HAS_EVENT) |
    (id === null ? 0 : HAS_ID) |
    (retention === null ? 0 : HAS_PLACE) |
    (key === null ? 0 : HAS_KEY) |
    (publication.kind === 'join' ? IS_JOIN : 0) |
    (publication.kind === 'leave' ? IS_LEAVE : 0);
  packed.writeUInt32LE(payload.length, start + 2);
  let at = start + FIXED_BYTES;
  if (retention !== null) {
    writePlace(packed, at, publication.offset, publication.previous);
    packed.writeUInt32LE(retention.historySize, at + 16);
    packed.writeUInt32LE(retention.historyTtlSeconds, at + 20);
    at += PLACE_BYTES;
  }
  if (event !== null) packed[at++] = Buffer.byteLength(event);
  if (id !== null) packed[at++] = Buffer.byteLength(id);
  if (key !== null) packed[at++] = Buffer.byteLength(key);
  const channelBytes = packed.write(channel, at, 'utf8');
  packed[start + 1] = channelBytes;
  at += channelBytes;
  if (event !== null) at += packed.write(event, at, 'utf8');
  if (id !== null) at += packed.write(id, at, 'utf8');
  if (key !== null) at += packed.write(key, at, 'utf8');
  return at + payload.copy(packed, at);
}
