// Fuzz: a million made-up and changed request streams through our parsers and Node's own, side by side.
//
//   node dist/bench/fuzz-heads.js [count = 1000000] [seed = 1]
//
// Each sample is read by ours whole and cut at random, which must come to the same, and by Node's parser (llhttp, no
// leniency): whatever Node rejects ours must not take, what both take they must read the same. Prints what became of the
// samples, why ours rejected what Node takes (it is stricter on purpose), and the first differences as bytes that can be
// pasted into a test. Ends with status 1 on any difference or exception. The same seed makes the same samples.

import { Random } from '../test/workers/http/random.ts';
import { difference, randomCuts, readByLongwire, readByNode, WHOLE } from '../test/workers/http/readings.ts';
import { makeSample } from '../test/workers/http/samples.ts';

const SHOWN_LIMIT = 20;
const HEADS_BETWEEN_LINES = 250_000;

const count = Number(process.argv[2] ?? 1_000_000);
const seed = Number(process.argv[3] ?? 1);
const random = new Random(seed);
const tally = {
  bothTake: 0,
  bothReject: 0,
  oursAloneRejects: 0,
  unfinished: 0,
  nodeRejectsUnfinished: 0,
  different: 0,
};
const messages = { taken: 0, bodies: 0 };
const stricter = new Map<string, { times: number; example: string }>();

const begin = process.hrtime.bigint();
for (let i = 1; i <= count; i++) {
  const sample = makeSample(random);
  const whole = readByLongwire(sample, WHOLE);
  const cut = readByLongwire(sample, randomCuts(random));
  const nodes = readByNode(sample);
  const wrong =
    JSON.stringify(whole) === JSON.stringify(cut) ? difference(whole, nodes, sample) : 'whole and cut differ';
  messages.taken += whole.messages.length;
  for (const message of whole.messages) if (message.body !== null && message.body !== '') messages.bodies++;

  if (wrong !== null) {
    if (++tally.different <= SHOWN_LIMIT) process.stdout.write(`${wrong}\n  ${text(sample)}\n`);
  } else if (whole.fault !== null) {
    if (nodes.fault !== null) tally.bothReject++;
    else {
      tally.oursAloneRejects++;
      const seen = stricter.get(whole.fault);
      if (seen === undefined) stricter.set(whole.fault, { times: 1, example: text(sample) });
      else {
        seen.times++;
        if (text(sample).length < seen.example.length) seen.example = text(sample);
      }
    }
  } else if (whole.taken < sample.length) {
    if (nodes.fault !== null) tally.nodeRejectsUnfinished++;
    else tally.unfinished++;
  } else tally.bothTake++;

  if (i % HEADS_BETWEEN_LINES === 0) process.stdout.write(`${i} samples\n`);
}
const seconds = Number(process.hrtime.bigint() - begin) / 1e9;

process.stdout.write(`Node ${process.version}, seed ${seed}: ${count} samples in ${seconds.toFixed(1)} s\n`);
process.stdout.write(`${JSON.stringify({ ...tally, ...messages })}\n`);
process.stdout.write('ours rejects, Node takes, with the shortest example of each:\n');
for (const [fault, { times, example }] of [...stricter].sort((a, b) => b[1].times - a[1].times)) {
  process.stdout.write(`  ${times} × ${fault}  ${example}\n`);
}
process.exitCode = tally.different === 0 ? 0 : 1;

function text(sample: Buffer): string {
  return JSON.stringify(sample.toString('latin1'));
}
