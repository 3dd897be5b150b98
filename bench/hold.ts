// What it costs to hold N connections and to reach each of them once: Longwire beside its references, in one run.
//
// Method, for each subject and run: start it, a bare Node beside it and warm client processes; then as measures/hold.ts says.
// `--transport` chooses how the clients reach Longwire; the references speak SSE whatever it is, as the measure of the
// machine. Latency counts from the publish call that carries a publication to its arrival in the client. Every connection
// checks that it got every publication once and in order.
//
// Usage: npm run bench:hold -- --help

import { availableParallelism } from 'node:os';
import { accountRows, cpuUs, exitOn, overRounds, runAll } from './bench-run.ts';
import { growth, type HoldFigures, isSettled, kernelBytes, measureHold, perConnection } from './measures/hold.ts';
import { type Options, readOptions } from './options.ts';
import { atLeast, atMost, type Budget, type Row, writeReport } from './report.ts';
import { median } from './statistics.ts';
import { besideReferences, SUBJECT_NAMES } from './subjects/subjects.ts';

const DEFAULTS = { connections: 19_000, messages: 3, subjects: SUBJECT_NAMES };

/** docs/budgets.md asks for the total at this size only. */
const TOTAL_CONNECTIONS = 245_000;
/** A process, or a machine, that is busy for a smaller share than this was waiting for somebody else. */
const SATURATED_CORES = 0.85;
/** User memory a connection. A stream's and a poll's are measured against SSE's, by bench:transports. */
const MEMORY_BUDGETS = {
  sse: atMost(1_300, 'bytes'),
  stream: undefined,
  poll: undefined,
  websocket: atMost(1_400, 'bytes'),
};

const MB = 1e6;

const MEMORY_ROW = 'user memory a connection, whole tree';
const CONNECTS_ROW = 'connects';

const ROWS: Row<HoldFigures>[] = [
  {
    name: MEMORY_ROW,
    unit: 'bytes',
    digits: 0,
    of: (f) => perConnection(f, f.held, 'tree'),
  },
  {
    name: '… of the serving processes alone',
    unit: 'bytes',
    digits: 0,
    of: (f) => perConnection(f, f.held, 'serving'),
  },
  {
    name: '… of the tree, anonymous pages alone',
    unit: 'bytes',
    digits: 0,
    of: (f) => perConnection(f, f.held, 'tree', 'anonBytes'),
  },
  { name: '… after all were sent to', unit: 'bytes', digits: 0, of: (f) => perConnection(f, f.afterRounds, 'tree') },
  { name: 'growth of it by that', unit: '%', digits: 1, of: growth, budget: atMost(10, '%') },
  {
    name: 'kernel memory a connection, its half',
    unit: 'bytes',
    digits: 0,
    of: (f) => kernelBytes(f, f.held) / f.connect.open,
  },
  {
    name: '… after all were sent to',
    unit: 'bytes',
    digits: 0,
    of: (f) => kernelBytes(f, f.afterRounds) / f.connect.open,
  },
  { name: 'base: whole tree', unit: 'MB', digits: 1, of: (f) => f.base.tree.pssBytes / MB },
  {
    name: 'base: a serving process',
    unit: 'MB',
    digits: 1,
    of: (f) => f.base.serving.pssBytes / f.processes.serving / MB,
  },
  {
    name: '… above bare Node beside it',
    unit: 'MB',
    digits: 1,
    of: (f) => (f.base.serving.pssBytes / f.processes.serving - f.base.bare.pssBytes) / MB,
    budget: atMost(12, 'MB'),
  },
  {
    name: 'user + kernel of all, base included',
    unit: 'MiB',
    digits: 0,
    of: (f) => (f.afterRounds.tree.pssBytes + kernelBytes(f, f.afterRounds)) / 2 ** 20,
  },
  {
    name: CONNECTS_ROW,
    unit: 'a second',
    digits: 0,
    of: (f) => f.connect.perSecond,
  },
  { name: '… cores busy: subject', unit: '', digits: 2, of: (f) => f.connect.subjectCores },
  { name: '… cores busy: clients', unit: '', digits: 2, of: (f) => f.connect.clientCores },
  { name: '… cores busy: the machine', unit: '', digits: 2, of: (f) => f.connect.machineCores },
  {
    name: 'last of all has its publication after',
    unit: 'ms',
    digits: 0,
    of: (f) => overRounds(f.rounds, 'lastByteMs'),
  },
  { name: 'latency p50', unit: 'ms', digits: 1, of: (f) => overRounds(f.rounds, 'p50Ms') },
  { name: 'latency p99', unit: 'ms', digits: 1, of: (f) => overRounds(f.rounds, 'p99Ms') },
  {
    name: 'user CPU a publication to one, serving processes',
    unit: 'µs',
    digits: 2,
    of: (f) => cpuUs(f.rounds, 'servingCpu', 'user'),
  },
  { name: '… whole tree', unit: 'µs', digits: 2, of: (f) => cpuUs(f.rounds, 'treeCpu', 'user') },
  ...accountRows<HoldFigures>(),
];

/** Budgets hold for what docs/budgets.md names: rates for one worker and SSE, the total for 245,000 connections. */
function rowsFor(options: Options): Row<HoldFigures>[] {
  return ROWS.map((row) => {
    const budget = budgetOf(row, options) ?? row.budget;
    return budget === undefined ? row : { ...row, budget };
  });
}

function budgetOf({ name, unit }: Row<HoldFigures>, options: Options): Budget | undefined {
  const { workers, connections, transport } = options;
  if (name === MEMORY_ROW) return MEMORY_BUDGETS[transport];
  if (name === CONNECTS_ROW && workers === 1 && transport === 'sse') return atLeast(20_000, 'a second');
  if (unit === 'MiB' && connections >= TOTAL_CONNECTIONS) return atMost(2_048, 'MiB');
  return undefined;
}

function remarks(results: ReadonlyMap<string, HoldFigures[]>): string[] {
  const lines: string[] = [];
  for (const [subject, runs] of results) {
    const cores = median(runs.map((run) => run.connect.subjectCores / run.processes.serving));
    const machineCores = median(runs.map((run) => run.connect.machineCores));
    if (cores < SATURATED_CORES) {
      const limit = machineCores > SATURATED_CORES * availableParallelism() ? 'the machine was' : 'the clients were';
      lines.push(`${subject}: ${cores.toFixed(2)} cores busy a serving process while connecting: ${limit} the limit`);
    }
    const first = runs[0];
    if (first !== undefined) lines.push(`${subject}: published by ${first.published}`);
    if (!runs.every(isSettled)) {
      lines.push(`${subject}: memory did not stand still in at least one run`);
    }
    const samples = new Set(runs.flatMap((run) => [...run.connect.samples, ...run.account.samples]));
    for (const sample of samples) lines.push(`${subject}: ${sample}`);
  }
  lines.push(
    `kernel memory from ${[...results.values()][0]?.[0]?.base.kernel.source ?? 'nowhere'}; both ends are on this machine, ` +
      `the server's share as bench/memory.ts says`,
  );
  return lines;
}

async function main(): Promise<void> {
  const { options } = readOptions('hold', DEFAULTS);
  const outcome = await runAll(options, besideReferences(options.transport), measureHold);
  const notes = [...outcome.notes, ...remarks(outcome.results)];
  writeReport('hold', outcome, options, rowsFor(options), notes);
}

main().catch(exitOn);
