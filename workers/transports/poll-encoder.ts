// Answers to polls. In the json format one answer holds all publications that the client does not have:
//
//   {"sid":"…","since":"17","publications":[{"channel":"alice","data":"hello"}]}
//
// with `"client"` where its client is known, and, where a mailbox overflowed, `"gap":true,"lost":3`. In raw it is one publication, its payload as published, because
// nothing would tell several apart. Both carry the sid and the new position in ETag, Longwire-Sid and Longwire-Since too, and
// Longwire-Lost beside a gap; a wait that is over without anything is a 204 with the same fields.
//
// Cost an answer: one Buffer, and one write; a frame that is a Buffer itself (mailbox.ts) is written as it is, shared by all.

import { LongwireError } from '../../src/errors.ts';
import { type Farewell, type Format, type PollEncoding, shownFarewell } from '../encoding.ts';
import { answer, answerHead } from '../http/answers.ts';
import { encodeJsonFormat } from '../json-format.ts';
import { entityTag } from '../poll/cursor.ts';
import type { Frame } from '../poll/mailbox.ts';
import type { PollSession } from '../poll/session.ts';

const END = ']}';

/** Places in `Publication.frames`, and names between workers. */
const JSON_POLL = 8;
export const RAW_POLL = 9;

/** One object for all that ask alike: two formats, kept or not, and the fields of each allowed origin. */
const encodings = new Map<string, PollEncoding>();

export function pollEncoding(format: Format, keepAlive: boolean, fields: string): PollEncoding {
  const key = `${format} ${keepAlive} ${fields}`;
  const known = encodings.get(key);
  if (known !== undefined) return known;
  const made: PollEncoding = {
    index: format === 'json' ? JSON_POLL : RAW_POLL,
    transport: 'poll',
    format,
    // A copy even where the payload is the frame: it stays with its publication, whose payload may lie in what the broker
    // reads into next.
    encode: format === 'json' ? encodeJsonFormat : ({ payload }) => Buffer.from(payload),
    keepAlive,
    fields,
  };
  encodings.set(key, made);
  return made;
}

/** An answer with the session's content, as buffers to write one after the other. */
export function encodePoll(encoding: PollEncoding, session: PollSession, keepAlive: boolean): Buffer[] {
  const { sid, client } = session;
  const { frames, since, lost } = session.take();
  const cursor = `ETag: ${entityTag(sid, since)}\r\nLongwire-Sid: ${sid}\r\nLongwire-Since: ${since}\r\n`;
  const gap = lost === 0 ? '' : `Longwire-Lost: ${lost}\r\n`;
  const known = client === null ? '' : `Longwire-Client: ${client}\r\n`;
  const fields = `${cursor}${known}${gap}${POLL_FIELDS}${encoding.fields}`;
  if (frames.length === 0 && (lost === 0 || encoding.format === 'raw')) {
    return [Buffer.from(answerHead(204, 0, '', fields, keepAlive), 'latin1')];
  }
  const type = typeOf(encoding.format);
  if (encoding.format === 'raw') {
    const [frame = ''] = frames;
    return pieces([answerHead(200, frame.length, type, fields, keepAlive), frame]);
  }
  const told = lost === 0 ? '' : `,"gap":true,"lost":${lost}`;
  const named = client === null ? '' : `,"client":"${client}"`;
  const begin = `{"sid":"${sid}","since":"${since}"${named}${told},"publications":[`;
  let length = begin.length + Math.max(0, frames.length - 1) + END.length;
  for (const frame of frames) length += frame.length;
  const parts: Frame[] = [answerHead(200, length, type, fields, keepAlive) + begin];
  for (const [index, frame] of frames.entries()) {
    if (index > 0) parts.push(',');
    parts.push(frame);
  }
  parts.push(END);
  return pieces(parts);
}

/** The answer to a HEAD, which opens nothing: the fields that are known without a session. */
export function encodePollHead({ format, fields }: PollEncoding, keepAlive: boolean): Buffer {
  return Buffer.from(answerHead(200, null, typeOf(format), POLL_FIELDS + fields, keepAlive), 'latin1');
}

const POLL_FIELDS = 'Cache-Control: no-store\r\n';

function typeOf(format: Format): string {
  return format === 'json' ? 'application/json' : 'application/octet-stream';
}

const DISCONNECTED = new LongwireError('disconnected', 'the backend has ended this session');

/** An answer that says why the backend wants its client to go: an error, and `"disconnect":{"reason","reconnect"}` beside it. */
export function encodePollFarewell(farewell: Farewell, encoding: PollEncoding, keepAlive: boolean): Buffer {
  return encodePollFault(DISCONNECTED, encoding, keepAlive, { disconnect: shownFarewell(farewell) });
}

/** An answer that is an error: `{"error":{"code":…,"message":"…"}}`, with what else there is to say in its body and its head. */
export function encodePollFault(
  fault: LongwireError,
  { fields }: PollEncoding,
  keepAlive: boolean,
  more = {},
  moreFields = '',
): Buffer {
  return answer({
    status: fault.status,
    body: JSON.stringify({ ...fault.toBody(), ...more }),
    contentType: 'application/json',
    fields: POLL_FIELDS + fields + moreFields,
    keepAlive,
  });
}

/** Joins what is small; what is large stays the Buffer that others write too. */
function pieces(parts: readonly Frame[]): Buffer[] {
  const joined: Buffer[] = [];
  let run = '';
  for (const part of parts) {
    if (typeof part === 'string') {
      run += part;
      continue;
    }
    if (run !== '') joined.push(Buffer.from(run, 'latin1'));
    joined.push(part);
    run = '';
  }
  if (run !== '') joined.push(Buffer.from(run, 'latin1'));
  return joined;
}
