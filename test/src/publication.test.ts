// A publication: its own memory once it is kept, and one frame for each encoding, made once.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Publication } from '../../src/publication.ts';
import { frameOf } from '../../workers/encoding.ts';
import { SSE_JSON, SSE_RAW } from '../../workers/transports/sse-encoder.ts';

describe('a publication', () => {
  it('has neither event nor id nor frames unless it is given them', () => {
    const { channel, payload, event, id, frames } = new Publication('a', Buffer.from('x'));
    assert.deepEqual([channel, payload.toString(), event, id, frames], ['a', 'x', null, null, null]);
  });

  it('that is kept does not keep the chunk that it came in', () => {
    const chunk = Buffer.alloc(65_536, 'c');
    chunk.write('payload', 1_000);
    const publication = new Publication('a', chunk.subarray(1_000, 1_007));
    publication.retain();
    assert.notEqual(publication.payload.buffer, chunk.buffer);
    chunk.fill('!');
    assert.equal(publication.payload.toString(), 'payload');
  });

  it('that is kept has its own memory even when it is all of what it came in, which is read into again', () => {
    const chunk = Buffer.alloc(65_536, 'c');
    const publication = new Publication('a', chunk);
    publication.retain();
    chunk.fill('!');
    assert.deepEqual(publication.payload, Buffer.alloc(65_536, 'c'));
  });

  it('may be kept more than once, which copies once, and of no bytes', () => {
    for (const payload of [Buffer.alloc(65_536).subarray(5, 5), Buffer.alloc(0), Buffer.from('x')]) {
      const publication = new Publication('a', payload);
      publication.retain();
      const kept = publication.payload;
      publication.retain();
      assert.equal(publication.payload, kept);
      assert.ok(kept.equals(payload));
    }
  });
});

describe('frames', () => {
  it('are made once for each encoding, on first use', () => {
    const publication = new Publication('a', Buffer.from('x'));
    let made = 0;
    const counting = [SSE_RAW, SSE_JSON].map((encoding) => ({
      ...encoding,
      encode: (each: Publication) => {
        made++;
        return encoding.encode(each);
      },
    }));
    const frames = [...counting, ...counting].map((encoding) => frameOf(publication, encoding));
    assert.equal(made, 2);
    assert.deepEqual(
      frames.slice(0, 2),
      [SSE_RAW, SSE_JSON].map((encoding) => encoding.encode(publication)),
    );
    assert.equal(frames[2], frames[0], 'the same bytes for all');
    assert.equal(frames[3], frames[1]);
  });
});
