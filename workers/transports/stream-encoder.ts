// NDJSON streams: one publication a line, each line a chunk of its own for HTTP/1.1 clients (RFC 9112 §7.1).
//
// Pure byte code. In the json format a line is one JSON object; in raw it is the payload as published, for clients whose
// payloads have no LF. A heartbeat is an empty line, which NDJSON readers pass over. HTTP/1.0 knows no chunks: those
// clients get the bare lines, from an encoding of their own.
//
// Cost a publication: one Buffer for each of the four encodings that is in use.

import type { Publication } from '../../src/publication.ts';
import { type Encoding, type Farewell, type Format, shownFarewell } from '../encoding.ts';
import { encodeJsonFormat } from '../json-format.ts';
import { noticeJson } from '../recovery/notice.ts';

const LF = 0x0a;
const NOTHING = Buffer.alloc(0);
const HEARTBEAT = Buffer.from('\n');
/** The last chunk: a client that reads it knows that the stream has ended and was not cut. */
const LAST_CHUNK = Buffer.from('0\r\n\r\n');

export const STREAM_JSON = chunked(2, 'json');
export const STREAM_RAW = chunked(3, 'raw');
export const STREAM_JSON_BARE = bare(4, 'json');
export const STREAM_RAW_BARE = bare(5, 'raw');

function chunked(index: number, format: Format): Encoding {
  return {
    index,
    transport: 'stream',
    format,
    encode: (publication) => (isUntold(publication, format) ? NOTHING : encodeChunk(contentOf(publication, format))),
    heartbeat: chunkOf(HEARTBEAT),
    ending: LAST_CHUNK,
    farewell: (farewell) =>
      format === 'json' ? Buffer.concat([encodeChunk(farewellLine(farewell)), LAST_CHUNK]) : LAST_CHUNK,
    notice: format === 'json' ? (notice) => encodeChunk(Buffer.from(noticeJson(notice))) : null,
  };
}

function bare(index: number, format: Format): Encoding {
  return {
    index,
    transport: 'stream',
    format,
    encode: (publication) => (isUntold(publication, format) ? NOTHING : encodeLine(contentOf(publication, format))),
    heartbeat: HEARTBEAT,
    ending: null,
    farewell: (farewell) => (format === 'json' ? encodeLine(farewellLine(farewell)) : NOTHING),
    notice: format === 'json' ? (notice) => encodeLine(Buffer.from(noticeJson(notice))) : null,
  };
}

function farewellLine(farewell: Farewell): Buffer {
  return Buffer.from(JSON.stringify({ disconnect: shownFarewell(farewell) }));
}

/** Lines of payloads have no place for a gap, or for who comes and goes. */
function isUntold({ kind }: Publication, format: Format): boolean {
  return kind !== 'published' && format === 'raw';
}

function contentOf(publication: Publication, format: Format): Buffer {
  return format === 'json' ? encodeJsonFormat(publication) : publication.payload;
}

/** The content and LF. */
export function encodeLine(content: Buffer): Buffer {
  const line = Buffer.allocUnsafe(content.length + 1);
  content.copy(line);
  line[content.length] = LF;
  return line;
}

/** The content and LF as one chunk. */
export function encodeChunk(content: Buffer): Buffer {
  const size = `${(content.length + 1).toString(16)}\r\n`;
  const chunk = Buffer.allocUnsafe(size.length + content.length + 3);
  chunk.write(size, 0, 'latin1');
  content.copy(chunk, size.length);
  chunk.write('\n\r\n', size.length + content.length, 'latin1');
  return chunk;
}

function chunkOf(bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')]);
}
