// Our parsers against Node's own (llhttp, no leniency) on the same bytes: whatever Node rejects, ours must not take; what
// both take, they must read the same. And ours against itself: however the bytes are cut, it comes to the same.
//
// fast-check builds requests from pieces and changes them, so that a difference is shrunk to its smallest case; a short,
// seeded run of bench/fuzz-heads.ts's samples follows. Seeds are fixed: a test that fails must fail again.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { Random } from './random.ts';
import { BYTE_BY_BYTE, difference, randomCuts, readByLongwire, readByNode, WHOLE } from './readings.ts';
import * as samples from './samples.ts';

const SEED = 2026;
const RUNS = 4000;
const SAMPLES = 20_000;

const latin1 = fc.string({
  unit: fc.integer({ min: 0, max: 255 }).map((byte) => String.fromCharCode(byte)),
  maxLength: 12,
});
const piece = (good: readonly string[], odd: readonly string[]) =>
  fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom(...good) },
    { weight: 2, arbitrary: fc.constantFrom(...odd) },
    { weight: 1, arbitrary: latin1 },
  );

const requestLine = fc
  .tuple(
    piece(samples.METHODS, samples.ODD_METHODS),
    piece(samples.TARGETS, samples.ODD_TARGETS),
    piece(samples.VERSIONS, samples.ODD_VERSIONS),
  )
  .map((parts) => parts.join(' '));
const header = fc.oneof(
  { weight: 6, arbitrary: piece(samples.HEADERS, samples.ODD_HEADERS) },
  {
    weight: 1,
    arbitrary: fc.tuple(latin1, fc.constantFrom(': ', ':', ' :', ':\t'), latin1).map((parts) => parts.join('')),
  },
);
const host = fc.oneof({ weight: 8, arbitrary: fc.constant(['Host: a']) }, { weight: 1, arbitrary: fc.constant([]) });
const chunk = fc.tuple(latin1, piece(samples.CHUNK_TAILS, samples.ODD_CHUNK_TAILS)).map(([data, tail]) => {
  return data === '' ? '' : `${data.length.toString(16)}${tail}\r\n${data}\r\n`;
});
const trailer = piece(samples.TRAILERS, samples.ODD_TRAILERS).map((line) => `${line}\r\n`);
const body = fc.oneof(
  fc.constant({ header: [] as string[], bytes: '' }),
  latin1.map((bytes) => ({ header: [`Content-Length: ${bytes.length}`], bytes })),
  fc.tuple(fc.array(chunk, { maxLength: 3 }), fc.array(trailer, { maxLength: 2 })).map(([chunks, trailers]) => ({
    header: ['Transfer-Encoding: chunked'],
    bytes: `${chunks.join('')}0\r\n${trailers.join('')}\r\n`,
  })),
);
const request = fc
  .tuple(requestLine, host, fc.array(header, { maxLength: 4 }), body)
  .map(([line, hosts, headers, { header, bytes }]) => {
    return `${[line, ...hosts, ...headers, ...header].join('\r\n')}\r\n\r\n${bytes}`;
  });
const connection = fc
  .array(request, { minLength: 1, maxLength: 3 })
  .map((requests) => Buffer.from(requests.join(''), 'latin1'));
const change = fc.tuple(fc.nat(6), fc.nat(400), fc.constantFrom(...samples.BYTES), fc.integer({ min: 1, max: 12 }));
const changed = fc.tuple(connection, fc.array(change, { minLength: 1, maxLength: 4 })).map(([bytes, changes]) => {
  return changes.reduce<Buffer>((all, [kind, at, byte, length]) => {
    return samples.changeOnce(all, kind, at % (all.length + 1), byte, length);
  }, bytes);
});

describe("beside Node's own parser", () => {
  it('reads requests that are sound, odd or wrong', () => agree(connection));
  it('reads requests that were changed', () => agree(changed));
  it('reads anything at all', () => agree(fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes))));

  it('reads a run of the fuzz', () => {
    const random = new Random(SEED);
    let taken = 0;
    for (let i = 0; i < SAMPLES; i++) taken += check(samples.makeSample(random), random);
    // That both reject everything would agree as well.
    assert.ok(taken > SAMPLES / 4, `only ${taken} were taken`);
  });
});

function agree(inputs: fc.Arbitrary<Buffer>): void {
  const random = new Random(SEED);
  fc.assert(
    fc.property(inputs, (bytes) => {
      check(bytes, random);
    }),
    { seed: SEED, numRuns: RUNS },
  );
}

/** 1 when the first message was taken, else 0. */
function check(bytes: Buffer, random: Random): number {
  const whole = readByLongwire(bytes, WHOLE);
  const text = JSON.stringify(bytes.toString('latin1'));
  assert.deepEqual(readByLongwire(bytes, BYTE_BY_BYTE), whole, `byte by byte: ${text}`);
  assert.deepEqual(readByLongwire(bytes, randomCuts(random)), whole, `cut at random: ${text}`);
  const wrong = difference(whole, readByNode(bytes), bytes);
  assert.equal(wrong, null, `${wrong}: ${text}`);
  return Math.min(1, whole.messages.length);
}
