// One run of one subject: subject, a bare Node beside it, warm clients and a publisher, set up and taken down around a measurement.
//
// Also the two measurements that both benchmarks make: connecting (with who was busy meanwhile) and one round of publications
// (with the CPU time that the serving processes spent on it). Order of the runs: every subject once, then every subject
// again, so that a slow minute of the machine meets all of them; figures are medians over the runs.

import { errorText } from '../src/errors.ts';
import { startRedis } from '../test/harness/redis.ts';
import { nowMs, sleep } from './clock.ts';
import { waitedForCoreMs } from './cores.ts';
import { BenchError, Crowd, type RoundResult } from './crowd.ts';
import type { Tally } from './load/orders.ts';
import { machine } from './machine.ts';
import type { Options } from './options.ts';
import { type CpuMs, cpuOf, machineCpu } from './processes.ts';
import { httpPublisher, type Publisher, redisPublisher } from './publisher.ts';
import { none, type Outcome, type Row } from './report.ts';
import { median, percentile } from './statistics.ts';
import { type Subject, startSubject } from './subjects/subject.ts';
import {
  compileEpoll,
  ensureBun,
  planOf,
  processesOf,
  type SubjectSettings,
  type Variant,
} from './subjects/subjects.ts';

/** Connections that one serving process can hold at RLIMIT_NOFILE 20,000, less what it needs for itself. */
const CONNECTIONS_A_PROCESS = 19_500;
/** With a TLS handshake each, on both sides of one machine: a quarter of what was measured alone on it. */
const SECURE_CONNECTS_A_MS = 0.15;
/** After a round's last arrival: time for doubles to show up. */
const DOUBLES_WAIT_MS = 200;

export interface Stage {
  variant: Variant;
  subject: Subject;
  bare: Subject;
  crowd: Crowd;
  publisher: Publisher;
  options: Options;
}

export interface ConnectFigures {
  asked: number;
  open: number;
  refused: number;
  seconds: number;
  perSecond: number;
  /** Cores kept busy meanwhile: by the subject, by the clients, and by anything at all. */
  subjectCores: number;
  clientCores: number;
  machineCores: number;
  samples: string[];
}

export interface RoundFigures {
  reached: number;
  /** From the first publish call to the first and to the last arrival. */
  firstByteMs: number;
  lastByteMs: number;
  p50Ms: number;
  p99Ms: number;
  /** CPU time of the serving processes and of the whole tree. */
  servingCpu: CpuMs;
  treeCpu: CpuMs;
  /** That the serving processes were ready to run, and something else was on their core. */
  servingWaitedMs: number;
}

export interface Account extends Tally {
  asked: number;
  published: number;
  /** Publications that should have arrived and did not. */
  lost: number;
}

/** One measurement of every variant that can take part, `options.runs` times, interleaved. */
export async function runAll<Figures>(
  options: Options,
  variants: readonly Variant[],
  measure: (stage: Stage) => Promise<Figures>,
): Promise<Outcome<Figures> & { notes: string[] }> {
  return withSettings(options, async (settings) => {
    const facts = machine(settings);
    const { able, notes } = whoCan(options, variants, settings);
    const results = new Map<string, Figures[]>(able.map(({ name }) => [name, []]));
    for (let run = 1; run <= options.runs; run++) {
      for (const variant of able) {
        process.stderr.write(`run ${run} of ${options.runs}: ${variant.name}\n`);
        results.get(variant.name)?.push(await onStage(variant, settings, options, measure));
      }
    }
    return { machine: facts, results, notes };
  });
}

/** Those of the variants that were asked for and can hold the connections, and what is said of the others. */
export function whoCan(
  options: Options,
  variants: readonly Variant[],
  settings: SubjectSettings,
): { able: Variant[]; notes: string[] } {
  const notes: string[] = [];
  const able = variants.filter((variant) => {
    if (!options.subjects.includes(variant.name)) return false;
    const why = whyNot(variant, options.connections, settings);
    if (why !== null) notes.push(`${variant.name} was left out: ${why}`);
    return why === null;
  });
  return { able, notes };
}

/** Runs with what the options say of all subjects, and with a Redis where they want one. */
export async function withSettings<Result>(
  options: Options,
  run: (settings: SubjectSettings) => Promise<Result>,
): Promise<Result> {
  const redis = options.redis ? await startRedis().catch(noRedis) : null;
  const { node, nodeFlags, workers, accept, presence } = options;
  try {
    return await run({ node, nodeFlags, workers, accept, presence, redisUrl: redis?.url ?? '' });
  } finally {
    await redis?.stop();
  }
}

function noRedis(error: unknown): never {
  throw new BenchError(`redis-server did not start, is it installed? ${errorText(error)}`);
}

function whyNot({ subject }: Variant, connections: number, settings: SubjectSettings): string | null {
  if (subject === 'epoll' && !compileEpoll()) return 'cc is missing or could not compile bench/reference/epoll-sse.c';
  if (subject === 'bun' || subject === 'bun-topics') {
    const bun = ensureBun();
    if (typeof bun === 'string') return `Bun cannot be had: ${bun}`;
  }
  const room = processesOf(subject, settings) * CONNECTIONS_A_PROCESS;
  if (connections > room) return `it can hold ${room} connections, ${connections} are asked for`;
  return null;
}

/** One run of one variant. */
export async function onStage<Figures>(
  variant: Variant,
  settings: SubjectSettings,
  options: Options,
  measure: (stage: Stage) => Promise<Figures>,
): Promise<Figures> {
  const { subject: name, transport, wire } = variant;
  const subject = await startSubject(await planOf(name, settings, wire));
  let bare: Subject | null = null;
  let crowd: Crowd | null = null;
  const publisher =
    name === 'longwire' && settings.redisUrl !== ''
      ? redisPublisher(settings.redisUrl, options.payloadBytes)
      : httpPublisher(subject.plan, options.payloadBytes);
  try {
    bare = await startSubject(await planOf('bare', settings));
    crowd = await Crowd.start(options.connections, transport, subject.plan.secure);
    return await measure({ variant, subject, bare, crowd, publisher, options });
  } finally {
    publisher.close();
    await crowd?.stop().catch(() => undefined);
    await Promise.all([bare?.stop(), subject.stop()]);
  }
}

/** Longest that connecting may take: a tenth of the rate wanted, and a minute for the slow start of many workers. */
function connectLimitMs(connections: number, secure: boolean): number {
  return 60_000 + connections / (secure ? SECURE_CONNECTS_A_MS : 2);
}

export async function connectAll(stage: Stage, prefix: string, shared: boolean): Promise<ConnectFigures> {
  const { subject, crowd, options } = stage;
  const tree = subject.tree();
  const subjectBefore = cpuOf(tree);
  const clientBefore = cpuOf(crowd.pids);
  const machineBefore = machineCpu();
  const began = nowMs();
  const connected = await crowd.connect(
    subject.plan.port,
    prefix,
    shared,
    options.inFlight,
    connectLimitMs(options.connections, subject.plan.secure),
  );
  const wallMs = nowMs() - began;
  const cores = (after: CpuMs, before: CpuMs) => (after.user + after.system - before.user - before.system) / wallMs;
  return {
    asked: options.connections,
    open: connected.open,
    refused: connected.refused,
    seconds: connected.seconds,
    perSecond: connected.open / connected.seconds,
    subjectCores: cores(cpuOf(tree), subjectBefore),
    clientCores: cores(cpuOf(crowd.pids), clientBefore),
    machineCores: (machineCpu().busyMs - machineBefore.busyMs) / wallMs,
    samples: connected.samples,
  };
}

/** One round; `publish` resolves with the moment of its first publication. */
export async function publishRound(
  stage: Stage,
  sequence: number,
  publish: () => Promise<number>,
): Promise<RoundFigures> {
  const serving = stage.subject.serving();
  const tree = stage.subject.tree();
  const servingBefore = cpuOf(serving);
  const treeBefore = cpuOf(tree);
  const waitedBefore = waitedForCoreMs(serving);
  const [beganAtMs, round]: [number, RoundResult] = await Promise.all([
    publish(),
    stage.crowd.round(sequence, 30_000 + stage.options.connections),
  ]);
  await sleep(DOUBLES_WAIT_MS);
  const spent = (after: CpuMs, before: CpuMs) => ({
    user: after.user - before.user,
    system: after.system - before.system,
  });
  return {
    reached: round.reached,
    firstByteMs: round.firstAtMs - beganAtMs,
    lastByteMs: round.lastAtMs - beganAtMs,
    p50Ms: percentile(round.latencies, 0.5),
    p99Ms: percentile(round.latencies, 0.99),
    servingCpu: spent(cpuOf(serving), servingBefore),
    treeCpu: spent(cpuOf(tree), treeBefore),
    servingWaitedMs: waitedForCoreMs(serving) - waitedBefore,
  };
}

/** The clients' account of a whole run, after `published` rounds. */
export async function account(stage: Stage, published: number): Promise<Account> {
  const { tally } = await stage.crowd.report();
  const asked = stage.options.connections;
  const lost = published * (asked - tally.refused) - tally.received;
  return { ...tally, asked, published, lost };
}

/** Microseconds of CPU a delivery, over all rounds. */
export function cpuUs(rounds: readonly RoundFigures[], of: 'servingCpu' | 'treeCpu', kind: keyof CpuMs): number {
  const deliveries = rounds.reduce((total, round) => total + round.reached, 0);
  return (rounds.reduce((total, round) => total + round[of][kind], 0) * 1000) / deliveries;
}

/** The rows that say whether anything went wrong with a connection or a publication. */
export function accountRows<Figures extends { account: Account }>(): Row<Figures>[] {
  const row = (name: string, of: (account: Account) => number): Row<Figures> => {
    return { name, unit: '', digits: 0, of: (figures) => of(figures.account), budget: none };
  };
  return [
    row('refused', (account) => account.refused),
    row('lost', (account) => account.lost),
    row('doubled', (account) => account.doubled),
    row('overtaken', (account) => account.overtaken),
    row('closed or faulty', (account) => account.closed + account.faulty),
  ];
}

/** What a round took, in milliseconds. */
export type RoundMoment = 'firstByteMs' | 'lastByteMs' | 'p50Ms' | 'p99Ms' | 'servingWaitedMs';

/** The median of that over rounds. */
export function overRounds(rounds: readonly RoundFigures[], of: RoundMoment): number {
  return median(rounds.map((round) => round[of]));
}

/** Ends the program as a command should: exit code 1 and one line for what the person can mend. */
export function exitOn(error: unknown): void {
  const text = error instanceof BenchError ? error.message : error instanceof Error ? error.stack : String(error);
  process.stderr.write(`${text}\n`);
  process.exitCode = 1;
}
