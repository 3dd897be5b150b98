// What it costs to hold N connections and to reach each of them once: Longwire beside its references, in one run.
//
// Method, for each subject and run: start it, a bare Node beside it and warm client processes; wait until memory stands
// still: base. Connect N SSE connections, each on its own channel of 24 characters; wait: memory a connection is the growth
// since base, divided by N (user: PSS of the process tree, no forced garbage collection; kernel: see memory.ts). Publish
// one publication to every channel, `--messages` times, each after the one before has arrived everywhere; wait: growth.
// Latency counts from the publish call that carries a publication to its arrival in the client. Every connection checks
// that it got every publication once and in order.
//
// Usage: npm run bench:hold -- --help

import { availableParallelism } from 'node:os';
import {
  type Account,
  account,
  accountRows,
  type ConnectFigures,
  connectAll,
  cpuUs,
  exitOn,
  overRounds,
  publishRound,
  type RoundFigures,
  runAll,
  type Stage,
} from './bench-run.ts';
import { type KernelMemory, kernelMemory, serverShare, settledMemory, type UserMemory } from './memory.ts';
import { type Options, readOptions } from './options.ts';
import { atLeast, atMost, type Row, writeReport } from './report.ts';
import { median } from './statistics.ts';

const DEFAULTS = { connections: 19_000, messages: 3 };

const PREFIX = 'bench-';
/** DESIGN §9 asks for the total at this size only. */
const TOTAL_CONNECTIONS = 245_000;
/** A process, or a machine, that is busy for a smaller share than this was waiting for somebody else. */
const SATURATED_CORES = 0.85;

interface Memory {
  tree: UserMemory;
  serving: UserMemory;
  bare: UserMemory;
  kernel: KernelMemory;
}

interface HoldFigures {
  processes: { tree: number; serving: number };
  base: Memory;
  connect: ConnectFigures;
  held: Memory;
  published: string;
  rounds: RoundFigures[];
  afterRounds: Memory;
  account: Account;
}

async function measure(stage: Stage): Promise<HoldFigures> {
  const { subject, publisher, options } = stage;
  const base = await memory(stage);
  const connect = await connectAll(stage, PREFIX, false);
  const held = await memory(stage);
  const rounds: RoundFigures[] = [];
  for (let sequence = 1; sequence <= options.messages; sequence++) {
    const publish = () => publisher.each(PREFIX, options.connections, sequence);
    rounds.push(await publishRound(stage, sequence, publish));
  }
  const afterRounds = await memory(stage);
  return {
    processes: { tree: subject.tree().length, serving: subject.serving().length },
    base,
    connect,
    held,
    published: publisher.how,
    rounds,
    afterRounds,
    account: await account(stage, options.messages),
  };
}

async function memory({ subject, bare, options }: Stage): Promise<Memory> {
  const groups = [subject.tree(), subject.serving(), bare.tree()];
  const [tree, serving, idle] = await settledMemory(groups, options.settleSeconds * 1000);
  if (tree === undefined || serving === undefined || idle === undefined)
    throw new RangeError('three groups, three readings');
  return { tree, serving, bare: idle, kernel: kernelMemory() };
}

const MB = 1e6;

const perConnection = (
  figures: HoldFigures,
  memory: Memory,
  of: 'tree' | 'serving',
  kind: 'pssBytes' | 'anonBytes' = 'pssBytes',
) => (memory[of][kind] - figures.base[of][kind]) / figures.connect.open;

const kernelBytes = (figures: HoldFigures, memory: Memory) => serverShare(figures.base.kernel, memory.kernel);

const growth = (figures: HoldFigures) =>
  (perConnection(figures, figures.afterRounds, 'tree') / perConnection(figures, figures.held, 'tree') - 1) * 100;

const ROWS: Row<HoldFigures>[] = [
  {
    name: 'user memory a connection, whole tree',
    unit: 'bytes',
    digits: 0,
    of: (f) => perConnection(f, f.held, 'tree'),
    budget: atMost(1_300, 'bytes'),
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
    name: 'connects',
    unit: 'a second',
    digits: 0,
    of: (f) => f.connect.perSecond,
    budget: atLeast(20_000, 'a second'),
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

/** The budgets hold for the sizes that DESIGN §9 names: rates for one worker, the total for 245,000 connections. */
function rowsFor(options: Options): Row<HoldFigures>[] {
  return ROWS.map((row) => {
    if (row.name === 'connects' && options.workers > 1) return { ...row, budget: undefined };
    if (row.unit === 'MiB' && options.connections >= TOTAL_CONNECTIONS) return { ...row, budget: atMost(2_048, 'MiB') };
    return row;
  }).map(({ budget, ...row }) => (budget === undefined ? row : { ...row, budget }));
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
    if (runs.some((run) => ![run.base, run.held, run.afterRounds].every((memory) => memory.tree.settled))) {
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
  const options = readOptions('hold', DEFAULTS);
  const outcome = await runAll(options, measure);
  const notes = [...outcome.notes, ...remarks(outcome.results)];
  writeReport('hold', outcome, options, rowsFor(options), notes);
}

main().catch(exitOn);
