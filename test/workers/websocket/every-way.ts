// One sample of a WebSocket client's bytes, read every way there is, all of which must come to the same: whole, byte by
// byte, cut at random, and by the reference; and every beginning of it too, so that each fault is met at its very byte.

import assert from 'node:assert/strict';
import type { FrameLimits } from '../../../workers/websocket/frame-parser.ts';
import { Random } from '../http/random.ts';
import { BYTE_BY_BYTE, randomCuts, WHOLE } from '../http/readings.ts';
import { type FrameReading, LIMITS, readByLongwire, readByReference } from './frame-readings.ts';

const RANDOM_CUTS = 6;
/** All beginnings of a sample take the square of its length. */
const BEGINNINGS_UP_TO_BYTES = 250;

/** What it comes to; `given` is how many bytes it took, one by one, until a fault or close was met. */
export function readEveryWay(bytes: Buffer, limits: FrameLimits = LIMITS): FrameReading {
  const bytewise = readByLongwire(bytes, BYTE_BY_BYTE, limits);
  const { given, ...outcome } = bytewise;
  agrees(bytes, limits, outcome, 'whole');
  for (let seed = 0; seed < RANDOM_CUTS; seed++) {
    const cut = readByLongwire(bytes, randomCuts(new Random(seed)), limits);
    assert.deepEqual({ ...cut, given }, bytewise, `cut at random, seed ${seed}`);
  }
  if (bytes.length <= BEGINNINGS_UP_TO_BYTES) {
    for (let end = 0; end < bytes.length; end++) {
      const beginning = bytes.subarray(0, end);
      agrees(beginning, limits, readByReference(beginning, limits), `the first ${end} bytes`);
    }
  }
  return bytewise;
}

function agrees(bytes: Buffer, limits: FrameLimits, expected: Omit<FrameReading, 'given'>, how: string): void {
  const { given: _, ...outcome } = readByLongwire(bytes, WHOLE, limits);
  assert.deepEqual(outcome, expected, how);
  assert.deepEqual(readByReference(bytes, limits), expected, `the reference, ${how}`);
}
