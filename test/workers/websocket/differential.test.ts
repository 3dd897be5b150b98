// The frame parser against the reference, which has all the bytes at once, and against itself, however they are cut.
//
// fast-check builds conversations from messages in pieces with control frames between them, and changes them, so that a
// difference is shrunk to its smallest case; a short, seeded run of bench/fuzz-frames.ts's samples follows. Seeds are
// fixed: a test that fails must fail again.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { BINARY as BINARY_FRAME, encodeFrame, TEXT as TEXT_FRAME } from '../../../workers/websocket/frame.ts';
import { Random } from '../http/random.ts';
import { BYTE_BY_BYTE, randomCuts, WHOLE } from '../http/readings.ts';
import { changeOnce } from '../http/samples.ts';
import { BINARY, CONTINUE, clientFrame, PING, PONG, TEXT } from './client-frames.ts';
import { LIMITS, LOW_LIMITS, readByLongwire, readByReference } from './frame-readings.ts';
import { BYTES, makeFrameSample } from './frame-samples.ts';

const SEED = 2026;
const RUNS = 1_500;
const SAMPLES = 6_000;

const mask = fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => Buffer.from(bytes));
const control = fc
  .tuple(fc.constantFrom(PING, PONG), fc.uint8Array({ maxLength: 125 }), mask)
  .map(([opcode, payload, key]) => ({
    bytes: clientFrame(opcode, Buffer.from(payload), { mask: key }),
    event: `${opcode === PING ? 'ping' : 'pong'} ${Buffer.from(payload).toString('latin1')}`,
  }));
const content = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 200 }).map((text) => ({ opcode: TEXT, payload: Buffer.from(text) })),
  fc.uint8Array({ maxLength: 200 }).map((bytes) => ({ opcode: BINARY, payload: Buffer.from(bytes) })),
);
/** A message in up to five frames, with control frames between them. */
const message = fc
  .tuple(content, fc.array(fc.tuple(fc.nat(200), fc.option(control, { nil: null })), { maxLength: 4 }), mask)
  .map(([{ opcode, payload }, cuts, key]) => {
    const ordered = cuts
      .map(([at, between]) => ({ at: at % (payload.length + 1), between }))
      .sort((a, b) => a.at - b.at);
    const frames: Buffer[] = [];
    const events: string[] = [];
    let from = 0;
    for (const { at, between } of ordered) {
      frames.push(
        clientFrame(from === 0 && frames.length === 0 ? opcode : CONTINUE, payload.subarray(from, at), {
          fin: false,
          mask: key,
        }),
      );
      if (between !== null) {
        frames.push(between.bytes);
        events.push(between.event);
      }
      from = at;
    }
    frames.push(clientFrame(frames.length === 0 ? opcode : CONTINUE, payload.subarray(from), { mask: key }));
    events.push(`${opcode === TEXT ? 'text' : 'binary'} ${payload.toString('latin1')}`);
    return { bytes: Buffer.concat(frames), events };
  });
const conversation = fc
  .array(
    fc.oneof(
      message,
      control.map(({ bytes, event }) => ({ bytes, events: [event] })),
    ),
    { maxLength: 5 },
  )
  .map((parts) => ({
    bytes: Buffer.concat(parts.map((part) => part.bytes)),
    events: parts.flatMap((part) => part.events),
  }));
const change = fc.tuple(fc.nat(6), fc.nat(2_000), fc.constantFrom(...BYTES), fc.integer({ min: 1, max: 12 }));
const changed = fc.tuple(conversation, fc.array(change, { minLength: 1, maxLength: 4 })).map(([{ bytes }, changes]) => {
  return changes.reduce<Buffer>(
    (all, [kind, at, byte, length]) => changeOnce(all, kind, at % (all.length + 1), byte, length),
    bytes,
  );
});

describe('frames', () => {
  it('that a client sends arrive as they were, however they are cut', () => {
    const random = new Random(SEED);
    fc.assert(
      fc.property(conversation, ({ bytes, events }) => {
        const expected = { events, fault: null, pending: false, given: bytes.length };
        for (const cuts of [WHOLE, BYTE_BY_BYTE, randomCuts(random)]) {
          assert.deepEqual(readByLongwire(bytes, cuts), expected);
        }
      }),
      { seed: SEED, numRuns: RUNS },
    );
  });

  it('that the gateway encodes are read back once they are masked', () => {
    const lengths = fc.oneof(fc.nat(300), fc.constantFrom(125, 126, 65_535, 65_536));
    fc.assert(
      fc.property(lengths, mask, fc.constantFrom(TEXT_FRAME, BINARY_FRAME), (length, key, opcode) => {
        const payload = Buffer.alloc(length, 'abcdefghi');
        const frame = encodeFrame(opcode, payload);
        const head = frame.length - length;
        const masked = Buffer.concat([
          frame.subarray(0, head),
          key,
          frame.subarray(head).map((byte, i) => byte ^ (key[i % 4] as number)),
        ]);
        masked[1] = (masked[1] as number) | 0x80;
        const kind = opcode === TEXT_FRAME ? 'text' : 'binary';
        assert.deepEqual(readByLongwire(masked, WHOLE).events, [`${kind} ${payload}`]);
      }),
      { seed: SEED, numRuns: 300 },
    );
  });
});

describe('beside the reference', () => {
  it('reads conversations that were changed', () => agree(changed));
  it('reads anything at all', () => agree(fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes))));

  it('reads a run of the fuzz', () => {
    const random = new Random(SEED);
    let events = 0;
    let faults = 0;
    for (let i = 0; i < SAMPLES; i++) {
      const outcome = check(makeFrameSample(random), random);
      events += outcome.events.length;
      if (outcome.fault !== null) faults++;
    }
    // That both reject everything, or nothing, would agree as well.
    assert.ok(events > SAMPLES, `only ${events} events`);
    assert.ok(faults > SAMPLES / 10 && faults < SAMPLES / 2, `${faults} faults`);
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

/** Compares the readings of all the bytes, and of some beginning of them: a fault must be met at its very byte. */
function check(bytes: Buffer, random: Random) {
  const beginning = bytes.subarray(0, random.below(bytes.length + 1));
  for (const sample of [beginning, bytes]) {
    for (const limits of [LIMITS, LOW_LIMITS]) {
      const expected = readByReference(sample, limits);
      for (const cuts of [WHOLE, BYTE_BY_BYTE, randomCuts(random)]) {
        const { given: _, ...outcome } = readByLongwire(sample, cuts, limits);
        assert.deepEqual(outcome, expected, sample.toString('hex'));
      }
    }
  }
  return readByReference(bytes);
}
