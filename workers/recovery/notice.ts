// What a client is told beside publications: how a recovery went, that there is a gap, where it stands, by which id it is known.
//
// One JSON object in every json format, with `gap`, `recovered` or `client`, or none of them, and `position`; it has no `channel`, which tells
// it from a publication. Who comes to a channel and who goes is told likewise, in Centrifugo's shape: `{"join":{"channel","info"}}`. Event streams have it as the data of an event named `longwire`, and a position alone as an `id`
// without data, which moves the reader's last event id and is no event (WHATWG HTML §9.2.6).

import { formatPosition } from '../../src/position.ts';
import type { Publication } from '../../src/publication.ts';

export interface Notice {
  /** Channels of which everything since the client's position has been delivered. */
  readonly recovered?: readonly string[];
  /** Channels of which something may be missing. */
  readonly gap?: readonly string[];
  /** Up to here the client now has everything of its channels, apart from what a gap says; null where that is not known. */
  readonly position: string | null;
  /** The client id, where it is known. */
  readonly client?: string;
}

export function openingNotice(position: string | null, client: string | null): Notice {
  return client === null ? { position } : { position, client };
}

export function noticeJson({ recovered, gap, position, client }: Notice): string {
  return JSON.stringify({
    ...(recovered === undefined ? {} : { recovered }),
    ...(gap === undefined ? {} : { gap }),
    ...(position === null ? {} : { position }),
    ...(client === undefined ? {} : { client }),
  });
}

/** What the gateway itself has put into a channel's order, as JSON: a gap, or a member who comes or goes. */
export function toldJson(publication: Publication): string {
  const { kind, channel, payload } = publication;
  if (kind === 'gap') return noticeJson(gapNotice(publication));
  // The entry is JSON already.
  return `{"${kind}":{"channel":${JSON.stringify(channel)},"info":${payload}}}`;
}

/** Of a gap that stands in the order of its channel. */
export function gapNotice({ channel, epoch, offset }: Publication): Notice {
  return { gap: [channel], position: offset === 0 ? null : formatPosition(epoch, offset) };
}
