// NDJSON frames: chunks that an HTTP client takes apart and lines that an NDJSON reader does, whatever the payload.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Publication } from '../../../src/publication.ts';
import {
  encodeChunk,
  STREAM_JSON,
  STREAM_JSON_BARE,
  STREAM_RAW,
  STREAM_RAW_BARE,
} from '../../../workers/transports/stream-encoder.ts';

/** Takes a run of whole chunks apart (RFC 9112 §7.1); throws on anything else. */
function dechunk(bytes: Buffer): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const lineEnd = bytes.indexOf('\r\n', at);
    const size = Number.parseInt(bytes.toString('latin1', at, lineEnd), 16);
    assert.equal(bytes.toString('latin1', at, lineEnd), size.toString(16));
    const end = lineEnd + 2 + size;
    assert.equal(bytes.toString('latin1', end, end + 2), '\r\n');
    chunks.push(bytes.subarray(lineEnd + 2, end));
    at = end + 2;
  }
  return chunks;
}

function linesOf(bytes: Buffer): unknown[] {
  const text = bytes.toString();
  assert.ok(text.endsWith('\n'));
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}

const payloads = ['', 'hello', 'a\nb', 'a\r\nb\r', '\0', '{"a":1}', '\u2028', 'é👋'].map((text) => Buffer.from(text));

describe('NDJSON frames', () => {
  it('are one chunk of one line, which says channel, data, id and event', () => {
    for (const payload of payloads) {
      const frame = STREAM_JSON.encode(new Publication('alice', payload, 'e', '7'));
      const chunks = dechunk(frame);
      assert.equal(chunks.length, 1);
      assert.deepEqual(linesOf(chunks[0] as Buffer), [
        { channel: 'alice', data: payload.toString(), id: '7', event: 'e' },
      ]);
      assert.deepEqual(STREAM_JSON_BARE.encode(new Publication('alice', payload, 'e', '7')), chunks[0]);
    }
  });

  it('are the payload and LF in the raw format', () => {
    for (const payload of payloads) {
      const publication = new Publication('alice', payload);
      assert.deepEqual(dechunk(STREAM_RAW.encode(publication)), [Buffer.concat([payload, Buffer.from('\n')])]);
      assert.deepEqual(STREAM_RAW_BARE.encode(publication), Buffer.concat([payload, Buffer.from('\n')]));
    }
  });

  it('carry any bytes whole, base64 where they are no text', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        const payload = Buffer.from(bytes);
        const [line] = linesOf(STREAM_JSON_BARE.encode(new Publication('a', payload))) as {
          data: string;
          encoding?: string;
        }[];
        const decoded = Buffer.from(line?.data ?? '', line?.encoding === 'base64' ? 'base64' : 'utf8');
        assert.deepEqual(decoded, payload);
        assert.deepEqual(dechunk(encodeChunk(payload)), [Buffer.concat([payload, Buffer.from('\n')])]);
      }),
      { numRuns: 500 },
    );
  });

  it('beat with an empty line and end with the last chunk', () => {
    assert.deepEqual(dechunk(STREAM_JSON.heartbeat), [Buffer.from('\n')]);
    assert.deepEqual(linesOf(STREAM_JSON_BARE.heartbeat), []);
    assert.equal(STREAM_JSON.ending?.toString(), '0\r\n\r\n');
    assert.equal(STREAM_JSON_BARE.ending, null);
  });
});
