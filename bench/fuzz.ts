// Fuzz: a million made-up and changed requests over real sockets against a running gateway.
//
//   npm run fuzz [-- count = 1000000 [seed = 1 [wire = auto]]]
//
// Method: a gateway of two workers on the embedded broker, with small limits and short deadlines; 300 connections at a time,
// each with up to 24 requests, sound and odd ones, pipelined or one by one, cut anywhere, ended by FIN, by RST, by waiting,
// or without reading (bench/fuzz/). What must hold is written on top of bench/fuzz/run.ts. Prints what became of
// them; ends with status 1 if anything was wrong. The same seed makes the same connections; `count` includes requests that
// stand behind one that ended their connection.

import { fuzz } from './fuzz/run.ts';

const PROGRESS_EVERY = 100_000;
/** In the second half, both workers and the primary together: heaps that have not been collected just then. */
const GROWTH_LIMIT_BYTES = 32 * 1024 * 1024;
/** Shorter runs end before the primary's heap has been collected as a whole, so that growth says nothing. */
const JUDGED_FROM_REQUESTS = 800_000;

const requests = Number(process.argv[2] ?? 1_000_000);
const seed = Number(process.argv[3] ?? 1);
const wire = process.argv[4] ?? 'auto';
let shown = 0;

const report = await fuzz({
  requests,
  seed,
  env: { LONGWIRE_WIRE: wire },
  onProgress(done, connections, memoryBytes) {
    if (done - shown < PROGRESS_EVERY) return;
    shown = done;
    print(`${done} requests on ${connections} connections; memory ${mebibytes(memoryBytes)}`);
  },
});

const { connections, seconds, statuses, streams, endings, canary, descriptors, memory, wrong } = report;
const growth = memory.after - memory.before;
if (requests >= JUDGED_FROM_REQUESTS && growth > GROWTH_LIMIT_BYTES) wrong.push(`memory grew by ${mebibytes(growth)}`);

print(
  `Node ${process.version}, wire ${wire}, seed ${seed}: ${report.requests} requests on ${connections} connections in ${seconds.toFixed(1)} s`,
);
print(`${Math.round(report.requests / seconds)} requests a second`);
print(`answers: ${table(statuses)}, of them ${streams} streams`);
print(`endings: ${table(endings)}`);
print(`canary: ${canary.sent} publications, the longest took ${canary.longestMs.toFixed(0)} ms`);
print(`memory: ${mebibytes(memory.before)} half-way, ${mebibytes(memory.after)} at the end`);
print(`descriptors: ${descriptors.before} before, ${descriptors.after} at the end`);
for (const text of wrong) print(`WRONG: ${text}`);
process.exitCode = wrong.length === 0 ? 0 : 1;

function table(counts: Map<number | string, number>): string {
  return [...counts]
    .sort((a, b) => b[1] - a[1])
    .map(([name, times]) => `${times} × ${name}`)
    .join(', ');
}

function mebibytes(bytes: number): string {
  return `${(bytes / 1_048_576).toFixed(1)} MiB`;
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
