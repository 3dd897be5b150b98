// Frames come out as they went in, wherever the stream of them was cut; and bytes that are no frame are told.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type FrameKind, FrameReader, FrameWriter, GATHER_BYTES, KINDS } from '../../src/broker/relay-frames.ts';

type Frame = [kind: FrameKind, call: number, body: Buffer];

const kind = fc.constantFrom(...(Object.keys(KINDS) as FrameKind[]));
const frame = fc
  .tuple(kind, fc.nat(0xffff_ffff), fc.uint8Array({ maxLength: 200 }))
  .map(([kind, call, body]): Frame => [kind, call, Buffer.from(body)]);

function write(frames: Frame[]): Buffer {
  const writer = new FrameWriter();
  return Buffer.concat(
    frames.map(([kind, call, body]) => {
      body.copy(writer.add(kind, call, body.length));
      return Buffer.from(writer.take());
    }),
  );
}

/** Reads through one buffer that each piece overwrites, as a link does. */
function readInPieces(bytes: Buffer, ends: readonly number[]): { frames: Frame[]; fault: string | null } {
  const frames: Frame[] = [];
  const reader = new FrameReader((kind, call, body) => frames.push([kind, call, Buffer.from(body)]));
  const shared = Buffer.alloc(bytes.length);
  let fault: string | null = null;
  let from = 0;
  for (const end of [...ends, bytes.length]) {
    const piece = bytes.subarray(from, end);
    piece.copy(shared);
    fault ??= reader.push(shared.subarray(0, piece.length));
    shared.fill(0xee);
    from = end;
  }
  return { frames, fault };
}

describe('frames', () => {
  it('are what was written, whole, byte by byte and cut anywhere', () => {
    const property = fc.property(fc.array(frame, { maxLength: 12 }), fc.array(fc.nat(2_500)), (frames, cuts) => {
      const bytes = write(frames);
      const ends = cuts.filter((cut) => cut < bytes.length).sort((a, b) => a - b);
      const everyByte = Array.from({ length: bytes.length }, (_, i) => i);
      for (const pieces of [[], ends, everyByte]) {
        assert.deepEqual(readInPieces(bytes, pieces), { frames, fault: null });
      }
    });
    fc.assert(property, { numRuns: 300 });
  });

  it('of every size around what is read and gathered at once come out whole', () => {
    const sizes = [0, 1, 4_095, 65_527, 65_536, GATHER_BYTES - 9, GATHER_BYTES, GATHER_BYTES + 1, 3_000_000, 5];
    const frames = sizes.map((bytes, call): Frame => ['publications', call, Buffer.alloc(bytes, call + 1)]);
    const bytes = write(frames);
    const ends = Array.from({ length: Math.floor(bytes.length / 65_536) }, (_, i) => (i + 1) * 65_536);
    assert.deepEqual(readInPieces(bytes, ends), { frames, fault: null });
  });

  it('that are half there when the other end goes are nothing', () => {
    const bytes = write([
      ['publish', 1, Buffer.from('whole')],
      ['publish', 2, Buffer.from('half')],
    ]);
    for (let end = bytes.length - 12; end < bytes.length; end++) {
      const { frames, fault } = readInPieces(bytes.subarray(0, end), []);
      assert.deepEqual([frames, fault], [[['publish', 1, Buffer.from('whole')]], null]);
    }
  });

  it('of a kind that there is not, too short or too long are faults, however they arrive', () => {
    const unknown = write([['publish', 1, Buffer.from('x')]]);
    unknown[4] = 99;
    const short = Buffer.from([4, 0, 0, 0, 1, 0, 0, 0, 0]);
    const long = Buffer.from([0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0]);
    for (const [bytes, expected] of [
      [unknown, 'a frame of kind 99'],
      [short, 'a frame of 8 bytes'],
      [long, 'a frame of 4294967299 bytes'],
    ] as const) {
      const good = write([['publish', 7, Buffer.from('before')]]);
      const all = Buffer.concat([good, bytes]);
      for (const pieces of [[], Array.from({ length: all.length }, (_, i) => i)]) {
        const { frames, fault } = readInPieces(all, pieces);
        assert.equal(fault, expected);
        assert.deepEqual(frames, [['publish', 7, Buffer.from('before')]]);
      }
    }
  });
});

describe('a frame writer', () => {
  it('gathers up to its size, and takes any frame while it is empty', () => {
    const writer = new FrameWriter();
    assert.ok(writer.fits(10 * GATHER_BYTES));
    writer.add('publish', 1, 100);
    assert.equal(writer.bytes, 109);
    assert.ok(writer.fits(GATHER_BYTES - 109 - 9));
    assert.ok(!writer.fits(GATHER_BYTES - 109 - 8));
    assert.equal(writer.take().length, 109);
    assert.equal(writer.bytes, 0);
    assert.equal(writer.add('publish', 2, 2 * GATHER_BYTES).length, 2 * GATHER_BYTES);
  });

  it('uses its buffer again, unless what was taken last is still needed', () => {
    const writer = new FrameWriter();
    const next = (): Buffer => {
      writer.add('publish', 1, 1);
      return writer.take();
    };
    const first = next();
    assert.equal(next().buffer, first.buffer);
    writer.leave();
    assert.notEqual(next().buffer, first.buffer);
  });

  it('does not keep the buffer of a large frame', () => {
    const writer = new FrameWriter();
    writer.add('publish', 1, 2 * GATHER_BYTES);
    assert.equal(writer.take().length, 2 * GATHER_BYTES + 9);
    writer.add('publish', 2, 1);
    assert.equal(writer.take().buffer.byteLength, GATHER_BYTES);
  });
});
