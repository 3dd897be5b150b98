// The json format, the same for all transports: `{"channel":"…","data":"…","id":"…","event":"…"}` on one line.
//
// `data` is always a string: the payload as text where it is UTF-8, else base64 and `"encoding":"base64"` beside it. So
// nothing is lost or guessed at; a payload that is itself JSON is a string that holds JSON. `id` and `event` are there
// when the publication has them.

import { isUtf8 } from 'node:buffer';
import type { Publication } from '../src/publication.ts';

export function encodeJsonFormat({ channel, payload, event, id }: Publication): Buffer {
  const text = isUtf8(payload);
  const body: { channel: string; data: string; encoding?: 'base64'; id?: string; event?: string } = {
    channel,
    data: payload.toString(text ? 'utf8' : 'base64'),
  };
  if (!text) body.encoding = 'base64';
  if (id !== null) body.id = id;
  if (event !== null) body.event = event;
  return Buffer.from(JSON.stringify(body));
}
