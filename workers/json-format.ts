// The json format, the same for all transports: `{"channel":"…","data":"…","id":"…","event":"…"}` on one line.
//
// `data` is always a string: the payload as text where it is UTF-8, else base64 and `"encoding":"base64"` beside it. So
// nothing is lost or guessed at; a payload that is itself JSON is a string that holds JSON. `id` and `event` are there
// when the publication has them, `position` when its channel has history: docs/protocol.md says what to do with it.

import { isUtf8 } from 'node:buffer';
import { formatPosition } from '../src/position.ts';
import type { Publication } from '../src/publication.ts';
import { toldJson } from './recovery/notice.ts';

export function encodeJsonFormat(publication: Publication): Buffer {
  if (publication.kind !== 'published') return Buffer.from(toldJson(publication));
  const { channel, payload, event, id, epoch, offset } = publication;
  const body: { channel: string; id?: string; event?: string; position?: string } & Text = {
    channel,
    ...textOf(payload),
  };
  if (id !== null) body.id = id;
  if (event !== null) body.event = event;
  if (offset > 0) body.position = formatPosition(epoch, offset);
  return Buffer.from(JSON.stringify(body));
}

interface Text {
  data: string;
  encoding?: 'base64';
}

/** A payload as JSON has it. */
export function textOf(payload: Buffer): Text {
  return isUtf8(payload) ? { data: payload.toString() } : { data: payload.toString('base64'), encoding: 'base64' };
}
