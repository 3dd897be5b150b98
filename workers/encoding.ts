// An encoding: how publications look on the wire for one transport and format. There is one object for each such pair in
// the whole worker; a held connection points at its own, and two connections with the same one share every frame.
//
// Cost a publication: one Buffer for each encoding that has a subscriber, whatever the number of subscribers.

import type { Publication } from '../src/publication.ts';
import type { Transport } from '../src/stats.ts';
import type { Notice } from './recovery/notice.ts';

export const FORMATS = ['raw', 'json'] as const;
export type Format = (typeof FORMATS)[number];

interface FrameEncoding {
  /** Its place in `Publication.frames`. */
  readonly index: number;
  readonly transport: Transport;
  readonly format: Format;
  readonly encode: (publication: Publication) => Buffer;
}

/** Why somebody is closed, and whether to come back. */
export interface Farewell {
  readonly reason: string;
  readonly reconnect: boolean;
  /** A WebSocket's close code where it is not the usual one. */
  readonly code?: number;
}

/** Its two members and nothing else of what it came in. */
export function shownFarewell({ reason, reconnect }: Farewell): Farewell {
  return { reason, reconnect };
}

/** A stream's. */
export interface Encoding extends FrameEncoding {
  readonly transport: Exclude<Transport, 'poll'>;
  /** Written to an idle connection so that both ends, and what lies between them, know that it lives. */
  readonly heartbeat: Buffer;
  /** Written last when we end the connection in an orderly way; null when its end says enough. */
  readonly ending: Buffer | null;
  /** How its clients are told of their history; null where the format has no place for it. */
  readonly notice: ((notice: Notice) => Buffer) | null;
  /** Its last frame when the backend has it closed, or its token has expired: why, where there is a place for it. */
  readonly farewell: (farewell: Farewell) => Buffer;
}

/** A poll's, which is answered and neither beaten nor ended; and how the answer goes out. */
export interface PollEncoding extends FrameEncoding {
  readonly transport: 'poll';
  /** Whether the client wants the connection to stay. */
  readonly keepAlive: boolean;
  /** Its CORS fields. */
  readonly fields: string;
}

/** The publication as bytes ready to write, made on first use; none for a gap where the format has no place for it. */
export function frameOf(publication: Publication, encoding: FrameEncoding): Buffer {
  let { frames } = publication;
  if (frames === null) {
    frames = [];
    publication.frames = frames;
  }
  const known = frames[encoding.index];
  if (known !== undefined) return known;
  const frame = encoding.encode(publication);
  frames[encoding.index] = frame;
  return frame;
}
