// Fuzz: a million made-up and changed WebSocket conversations through our frame parser and the reference, side by side.
//
//   node dist/bench/fuzz-frames.js [count = 1000000] [seed = 1]
//
// Each sample, or some beginning of it, is read by ours whole and cut at random, under limits that it passes or does not,
// and by a reference that has all the bytes at once; all three must come to the same events and the same fault. Prints
// what became of the samples, how often each fault was met, and the first differences as hexadecimal that can be pasted
// into a test. Ends with status 1 on any difference or exception, and when a fault of the table was never met. The same
// seed makes the same samples.

import { Random } from '../test/workers/http/random.ts';
import { randomCuts, WHOLE } from '../test/workers/http/readings.ts';
import {
  type FrameReading,
  LIMITS,
  LOW_LIMITS,
  readByLongwire,
  readByReference,
} from '../test/workers/websocket/frame-readings.ts';
import { makeFrameSample } from '../test/workers/websocket/frame-samples.ts';
import { FRAME_FAULTS } from '../workers/websocket/faults.ts';

const SHOWN_LIMIT = 20;
const SAMPLES_BETWEEN_LINES = 250_000;

const count = Number(process.argv[2] ?? 1_000_000);
const seed = Number(process.argv[3] ?? 1);
const random = new Random(seed);
const tally = { samples: 0, bytes: 0, events: 0, sound: 0, unfinished: 0, faults: 0, different: 0 };
const faults = new Map<string, number>();
for (const { code, text } of Object.values(FRAME_FAULTS)) faults.set(`${code} ${text}`, 0);

const begin = process.hrtime.bigint();
for (let i = 1; i <= count; i++) {
  const made = makeFrameSample(random);
  const sample = random.once(3) ? made.subarray(0, random.below(made.length + 1)) : made;
  const limits = random.once(2) ? LIMITS : LOW_LIMITS;
  const expected = readByReference(sample, limits);
  for (const cuts of [WHOLE, randomCuts(random)]) {
    const got = outcomeOf(() => readByLongwire(sample, cuts, limits));
    if (got === summary(expected)) continue;
    if (++tally.different <= SHOWN_LIMIT) {
      const how = cuts === WHOLE ? 'whole' : 'cut';
      process.stdout.write(`${how}, ${limits.frameLimitBytes} bytes a frame: ${sample.toString('hex')}\n`);
      process.stdout.write(`  ours      ${got}\n  reference ${summary(expected)}\n`);
    }
  }

  tally.samples++;
  tally.bytes += sample.length;
  tally.events += expected.events.length;
  if (expected.fault !== null) {
    tally.faults++;
    faults.set(expected.fault, (faults.get(expected.fault) ?? 0) + 1);
  } else if (expected.pending) tally.unfinished++;
  else tally.sound++;
  if (i % SAMPLES_BETWEEN_LINES === 0) process.stdout.write(`${i} samples\n`);
}
const seconds = Number(process.hrtime.bigint() - begin) / 1e9;

process.stdout.write(`Node ${process.version}, seed ${seed}: ${count} samples in ${seconds.toFixed(1)} s\n`);
process.stdout.write(`${JSON.stringify(tally)}\n`);
for (const [fault, times] of [...faults].sort((a, b) => b[1] - a[1])) process.stdout.write(`  ${times} × ${fault}\n`);
process.exitCode = tally.different === 0 && ![...faults.values()].includes(0) ? 0 : 1;

function outcomeOf(read: () => FrameReading): string {
  try {
    return summary(read());
  } catch (thrown) {
    return `threw ${thrown instanceof Error ? thrown.stack : thrown}`;
  }
}

function summary({ events, fault, pending }: Omit<FrameReading, 'given'>): string {
  return JSON.stringify([events, fault, pending]);
}
