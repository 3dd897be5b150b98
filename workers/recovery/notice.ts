// What a client is told about its history beside publications: how a recovery went, that there is a gap, where it stands.
//
// One JSON object in every json format, with `gap` or `recovered` or neither and `position`; it has no `channel`, which tells
// it from a publication. Event streams have it as the data of an event named `longwire`, and a position alone as an `id`
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
}

export function noticeJson({ recovered, gap, position }: Notice): string {
  return JSON.stringify({
    ...(recovered === undefined ? {} : { recovered }),
    ...(gap === undefined ? {} : { gap }),
    ...(position === null ? {} : { position }),
  });
}

/** Of a gap that stands in the order of its channel. */
export function gapNotice({ channel, epoch, offset }: Publication): Notice {
  return { gap: [channel], position: offset === 0 ? null : formatPosition(epoch, offset) };
}
