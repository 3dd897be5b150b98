// Server-sent events against two readers that are not ours to bend: eventsource-parser, and the standard's own algorithm
// written down in event-stream-reader.ts. Whatever is published arrives as published, line breaks as LF.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createParser } from 'eventsource-parser';
import * as fc from 'fast-check';
import { Publication } from '../../../src/publication.ts';
import { encodeEvent, eventFieldFault, SSE_JSON, SSE_RAW } from '../../../workers/transports/sse-encoder.ts';
import { Random } from '../http/random.ts';
import { NASTY_PAYLOADS } from '../payloads.ts';
import { readEventStream, type StreamEvent } from './event-stream-reader.ts';

const SEED = 2026;
const RUNS = 3_000;
/** What comes before the first event on a connection, as the standard's one optional BOM must not be the payload's. */
const OPENING = Buffer.from('retry: 2000\n\n');

/** What a reader has of a payload: its text, with every line break an LF. */
function arriving(payload: Buffer): string {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(payload).replaceAll(/\r\n?/g, '\n');
}

function readByPackage(bytes: Buffer, cut: (left: number) => number): StreamEvent[] {
  const events: StreamEvent[] = [];
  let lastEventId = '';
  const parser = createParser({
    onEvent: ({ event, data, id }) => {
      lastEventId = id ?? lastEventId;
      events.push({ type: event || 'message', data, lastEventId });
    },
    onError: (error) => assert.fail(error.message),
  });
  // Cut as text: a reader decodes before it parses.
  const text = new TextDecoder('utf-8').decode(bytes);
  for (let at = 0; at < text.length; ) {
    const end = at + Math.max(1, cut(text.length - at));
    parser.feed(text.slice(at, end));
    at = end;
  }
  return events;
}

/** By both readers, which must agree. */
function read(frames: readonly Buffer[], seed = SEED): StreamEvent[] {
  const bytes = Buffer.concat([OPENING, ...frames]);
  const { events, retryMs } = readEventStream(bytes);
  assert.equal(retryMs, 2_000);
  assert.deepEqual(
    readByPackage(bytes, (left) => left),
    events,
  );
  if (bytes.length < 10_000) {
    const random = new Random(seed);
    assert.deepEqual(
      readByPackage(bytes, () => 1 + random.below(20)),
      events,
    );
  }
  return events;
}

function publication(payload: Buffer, event: string | null = null, id: string | null = null): Publication {
  return new Publication('alice', payload, event, id);
}

describe('an event in the raw format', () => {
  for (const [what, payload] of Object.entries(NASTY_PAYLOADS)) {
    it(`arrives as published: ${what}`, () => {
      const frame = SSE_RAW.encode(publication(payload));
      // Twice: that the first does not spill into the second.
      const event = { type: 'message', data: arriving(payload), lastEventId: '' };
      assert.deepEqual(read([frame, frame]), [event, event]);
    });
  }

  it('arrives as published, whatever the bytes', () => {
    const anything = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      // Mostly line breaks and what the framing is made of.
      fc
        .array(fc.constantFrom(0x0d, 0x0a, 0x3a, 0x20, 0x64, 0x00), { maxLength: 40 })
        .map((bytes) => Uint8Array.from(bytes)),
      fc.string({ unit: 'binary', maxLength: 60 }).map((text) => new TextEncoder().encode(text.toWellFormed())),
    );
    fc.assert(
      fc.property(fc.array(anything, { minLength: 1, maxLength: 4 }), fc.nat(), (payloads, seed) => {
        const frames = payloads.map((payload) => SSE_RAW.encode(publication(Buffer.from(payload))));
        const data = payloads.map((payload) => arriving(Buffer.from(payload)));
        assert.deepEqual(
          read(frames, seed).map((event) => event.data),
          data,
        );
      }),
      { seed: SEED, numRuns: RUNS },
    );
  });

  it('is as it has always been, byte by byte', () => {
    assert.equal(SSE_RAW.encode(publication(Buffer.from('hello'))).toString(), 'data: hello\n\n');
    assert.equal(SSE_RAW.encode(publication(Buffer.alloc(0))).toString(), 'data: \n\n');
    const whole = SSE_RAW.encode(publication(Buffer.from('a\r\nb\rc\n'), 'greeting', '7')).toString();
    assert.equal(whole, 'event: greeting\nid: 7\ndata: a\ndata: b\ndata: c\ndata: \n\n');
  });

  it('has its name and id beside it, of any characters that a line can hold', () => {
    const line = fc
      .string({ unit: 'binary', maxLength: 40 })
      .map((text) => text.toWellFormed().replaceAll(/[\r\n\0]/g, ''));
    fc.assert(
      fc.property(fc.option(line), fc.option(line), fc.uint8Array({ maxLength: 40 }), (event, id, payload) => {
        const bytes = Buffer.from(payload);
        const frame = SSE_RAW.encode(publication(bytes, event, id));
        const [got, next] = read([frame, SSE_RAW.encode(publication(bytes))]);
        // The name holds for its own event; the id is the last one until another comes.
        assert.deepEqual(got, { type: event || 'message', data: arriving(bytes), lastEventId: id ?? '' });
        assert.deepEqual(next, { type: 'message', data: arriving(bytes), lastEventId: id ?? '' });
      }),
      { seed: SEED, numRuns: RUNS },
    );
  });

  it('does not keep more memory than its bytes take, but for lines that end in CRLF', () => {
    const frame = encodeEvent(publication(Buffer.alloc(0)), Buffer.alloc(100_000, 'x\n'));
    assert.equal(frame.buffer.byteLength, frame.length);
  });
});

describe('an event in the json format', () => {
  for (const [what, payload] of Object.entries(NASTY_PAYLOADS)) {
    it(`loses no byte: ${what}`, () => {
      const [event] = read([SSE_JSON.encode(publication(payload, 'name', '1'))]);
      const { channel, data, encoding, id, event: name } = JSON.parse(event?.data ?? '');
      assert.ok(Buffer.from(data, encoding ?? 'utf8').equals(payload));
      assert.deepEqual([channel, id, name], ['alice', '1', 'name']);
      assert.deepEqual([event?.type, event?.lastEventId], ['name', '1']);
    });
  }

  it('is one line of data, whatever the payload', () => {
    for (const payload of Object.values(NASTY_PAYLOADS)) {
      assert.match(SSE_JSON.encode(publication(payload)).toString('latin1'), /^data: [^\r\n]*\n\n$/);
    }
  });
});

describe('a heartbeat', () => {
  it('is a comment: no reader makes an event of it, before, between or behind events', () => {
    const frame = SSE_RAW.encode(publication(Buffer.from('a\nb'), 'name', '1'));
    for (const { heartbeat } of [SSE_RAW, SSE_JSON]) {
      const bytes = Buffer.concat([heartbeat, heartbeat, frame, heartbeat, frame, heartbeat]);
      const { events, comments } = readEventStream(bytes);
      const event = { type: 'name', data: 'a\nb', lastEventId: '1' };
      assert.deepEqual(events, [event, event]);
      assert.equal(comments, 4);
      assert.deepEqual(
        readByPackage(bytes, () => 1),
        events,
      );
    }
  });
});

describe('the name and id of an event', () => {
  it('must hold nothing that ends the line, nor the NUL for which readers ignore an id', () => {
    for (const value of ['a\rb', 'a\nb', '\r\n', 'a\0', '\0']) {
      assert.equal(eventFieldFault('id', value), 'id must not hold CR, LF or NUL');
    }
    for (const value of ['', ' ', 'a b', ':', '\t', '\u2028', 'é😀', '\u007f'])
      assert.equal(eventFieldFault('event', value), null);
  });
});
