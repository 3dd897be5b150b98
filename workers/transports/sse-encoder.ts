// Server-sent events, as the WHATWG HTML standard has them (§9.2.5 parsing, §9.2.6 interpreting an event stream).
//
// Pure byte code. A payload becomes one `data:` line for each of its lines, whichever way it breaks them: CR, LF and CRLF
// all end a line for the reader, who joins the lines with LF again. So in the raw format a CR or CRLF arrives as LF, and
// bytes that are not UTF-8 arrive as U+FFFD; everything else, NUL and the empty payload included, arrives as published.
// The json format (`json-format.ts`) is one line that loses nothing.
//
// Each value follows one space, which the reader takes off: a payload that begins with a space keeps its own.

import { formatPosition } from '../../src/position.ts';
import { NOTICE_EVENT, type Publication } from '../../src/publication.ts';
import { type Encoding, type Farewell, shownFarewell } from '../encoding.ts';
import { encodeJsonFormat } from '../json-format.ts';
import { gapNotice, type Notice, noticeJson, toldJson } from '../recovery/notice.ts';

const CR = 0x0d;
const LF = 0x0a;
const DATA = Buffer.from('data: ');

/** A comment: readers ignore it, proxies see life. 3 bytes. */
const HEARTBEAT = Buffer.from(':\n\n');

export const SSE_RAW: Encoding = {
  index: 0,
  transport: 'sse',
  format: 'raw',
  encode: (publication) =>
    publication.kind === 'published' ? encodeEvent(publication, publication.payload) : encodeTold(publication),
  heartbeat: HEARTBEAT,
  ending: null,
  notice: encodeNotice,
  farewell: (farewell) => encodeFarewell(farewell),
};

export const SSE_JSON: Encoding = {
  index: 1,
  transport: 'sse',
  format: 'json',
  encode: (publication) =>
    publication.kind === 'published'
      ? encodeEvent(publication, encodeJsonFormat(publication))
      : encodeTold(publication),
  heartbeat: HEARTBEAT,
  ending: null,
  notice: encodeNotice,
  farewell: (farewell) => encodeFarewell(farewell),
};

/**
 * One event: `event:` and `id:` where the publication has them, then `data` line by line, then the empty line.
 *
 * The name and id must be free of CR, LF and NUL; `eventFieldFault` says whether they are.
 */
export function encodeEvent(publication: Publication, data: Buffer): Buffer {
  const fields = encodeFields(publication);
  const fieldBytes = fields === '' ? 0 : Buffer.byteLength(fields);
  // Each line but the last trades its one or two bytes of line break for LF and 'data: '; two LF end the event.
  const breaks = countLineBreaks(data);
  const longest = fieldBytes + data.length + (breaks + 1) * DATA.length + 2;
  const frame = Buffer.allocUnsafe(longest);
  let at = fieldBytes === 0 ? 0 : frame.write(fields, 0, 'utf8');
  if (breaks === 0) {
    at = writeLine(frame, at, data, 0, data.length);
  } else {
    let lineStart = 0;
    for (let i = 0; i < data.length; i++) {
      const byte = data[i];
      if (byte !== CR && byte !== LF) continue;
      at = writeLine(frame, at, data, lineStart, i);
      if (byte === CR && data[i + 1] === LF) i++;
      lineStart = i + 1;
    }
    at = writeLine(frame, at, data, lineStart, data.length);
  }
  frame[at++] = LF;
  return at === longest ? frame : frame.subarray(0, at);
}

/** What is wrong with an event name or id, or null. An id with NUL would be ignored by every reader, so it is refused. */
export function eventFieldFault(name: string, value: string): string | null {
  for (let i = 0; i < value.length; i++) {
    const unit = value.charCodeAt(i);
    if (unit === CR || unit === LF || unit === 0) return `${name} must not hold CR, LF or NUL`;
  }
  return null;
}

/** `id:` is the position where there is one, so that a reader comes back with it; the publisher's own is in the json format. */
function encodeFields({ event, id, epoch, offset }: Publication): string {
  const own = offset > 0 ? formatPosition(epoch, offset) : id;
  if (event === null && own === null) return '';
  return (event === null ? '' : `event: ${event}\n`) + (own === null ? '' : `id: ${own}\n`);
}

/** The last event: nothing in the protocol keeps a reader from coming back, so its page must close it. */
function encodeFarewell(farewell: Farewell): Buffer {
  return Buffer.from(`event: ${NOTICE_EVENT}\ndata: ${JSON.stringify({ disconnect: shownFarewell(farewell) })}\n\n`);
}

/** A gap moves the reader's last event id, and who comes or goes does not. */
function encodeTold(publication: Publication): Buffer {
  if (publication.isGap) return encodeNotice(gapNotice(publication));
  return Buffer.from(`event: ${NOTICE_EVENT}\ndata: ${toldJson(publication)}\n\n`);
}

/** A position alone is no event: readers take its id, and that is all. */
export function encodeNotice(notice: Notice): Buffer {
  const id = notice.position === null ? '' : `id: ${notice.position}\n`;
  const { recovered, gap, client } = notice;
  if (recovered === undefined && gap === undefined && client === undefined) return Buffer.from(`${id}\n`);
  return Buffer.from(`event: ${NOTICE_EVENT}\n${id}data: ${noticeJson(notice)}\n\n`);
}

function writeLine(frame: Buffer, at: number, data: Buffer, start: number, end: number): number {
  DATA.copy(frame, at);
  data.copy(frame, at + DATA.length, start, end);
  const lineEnd = at + DATA.length + end - start;
  frame[lineEnd] = LF;
  return lineEnd + 1;
}

/** Line breaks in `data`; CRLF is one. */
function countLineBreaks(data: Buffer): number {
  // indexOf is native: a payload without a break, the usual one, is not walked in JavaScript.
  if (data.indexOf(LF) === -1 && data.indexOf(CR) === -1) return 0;
  let breaks = 0;
  for (let i = 0; i < data.length; i++) {
    const byte = data[i];
    if (byte === LF || (byte === CR && data[i + 1] !== LF)) breaks++;
  }
  return breaks;
}
