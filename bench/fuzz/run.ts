// A run of the fuzz: hundreds of connections at a time against one gateway, a canary beside them, and at the end the
// question whether the gateway is what it was before. Used by bench/fuzz.ts and, short, by the tests.
//
// What must hold: no worker dies, hangs or logs an error; every connection is answered and ended as bench/fuzz/answers.ts
// and connection.ts say; the canary never misses a publication; afterwards the gateway holds the canary alone, and neither
// descriptors nor memory have stayed behind.

import { readdirSync } from 'node:fs';
import { API_KEY, type GatewayProcess, startGateway } from '../../test/harness/gateway.ts';
import { waitUntil } from '../../test/harness/wait.ts';
import { pssOf } from '../memory.ts';
import { Canary } from './canary.ts';
import { DEADLINE_SECONDS, type Ending, type Outcome, runConnection } from './connection.ts';
import { makePlan } from './plan.ts';
import { FUZZ_LIMITS } from './requests.ts';

/** In flight at a time. */
const CONNECTIONS = 300;
/**
 * After this share of the requests memory is taken for the first time. The primary's heap grows for some 400,000 requests
 * before V8 collects all of it for the first time, and then stays where it is.
 */
const WARM_SHARE = 0.5;
/** As many source addresses, so that ports that wait for their last packets do not run out. */
const LOCAL_ADDRESSES = 200;
const CHECK_EVERY_MS = 500;
const SHOWN_LIMIT = 10;
const SHOWN_BYTES = 1_500;
/** Of the gateway: short, so that connections that are left to them do not pile up. */
const DEADLINES = {
  LONGWIRE_HEAD_DEADLINE_SECONDS: `${DEADLINE_SECONDS}`,
  LONGWIRE_KEEPALIVE_SECONDS: `${DEADLINE_SECONDS}`,
  LONGWIRE_STALL_SECONDS: `${DEADLINE_SECONDS}`,
  LONGWIRE_HEARTBEAT_SECONDS: '1',
  LONGWIRE_POLL_WAIT_SECONDS: '1',
  LONGWIRE_POLL_EXPIRY_SECONDS: '1',
};

/**
 * Heaps of the gateway: twice what its workers need for this. What piles up shows soon, and ends a worker, where else a heap
 * goes up and down by 60 MiB between two collections.
 */
const HEAP = '--max-old-space-size=40';

export interface FuzzOptions {
  requests: number;
  seed: number;
  env?: Record<string, string>;
  /** Told of progress now and then. */
  onProgress?: (requests: number, connections: number, memoryBytes: number) => void;
}

export interface Growth {
  before: number;
  after: number;
}

export interface FuzzReport {
  requests: number;
  connections: number;
  seconds: number;
  /** Answers by status. */
  statuses: Map<number, number>;
  streams: number;
  endings: Map<Ending, number>;
  canary: { sent: number; longestMs: number };
  /** Open descriptors of the gateway's processes with the canary alone, before and after. */
  descriptors: Growth;
  /** Memory of the same (PSS, bytes): half-way under load, and at the end. */
  memory: Growth;
  /** Everything that must not have happened; the first few of a kind. */
  wrong: string[];
}

/** Starts a gateway, fuzzes it, stops it. */
export async function fuzz({ requests, seed, env = {}, onProgress = () => {} }: FuzzOptions): Promise<FuzzReport> {
  const gateway = await startGateway({
    env: {
      ...DEADLINES,
      NODE_OPTIONS: HEAP,
      LONGWIRE_HEAD_LIMIT_BYTES: `${FUZZ_LIMITS.headBytes}`,
      LONGWIRE_TARGET_LIMIT_BYTES: `${FUZZ_LIMITS.targetBytes}`,
      LONGWIRE_HEADER_LIMIT: `${FUZZ_LIMITS.headers}`,
      LONGWIRE_BODY_LIMIT_BYTES: `${FUZZ_LIMITS.bodyBytes}`,
      LONGWIRE_PAYLOAD_LIMIT_BYTES: `${FUZZ_LIMITS.payloadBytes}`,
      ...env,
    },
  });
  try {
    return await run(gateway, requests, seed, onProgress);
  } finally {
    await gateway.kill();
  }
}

async function run(
  gateway: GatewayProcess,
  requests: number,
  seed: number,
  onProgress: NonNullable<FuzzOptions['onProgress']>,
): Promise<FuzzReport> {
  const pids = await gateway.workerPids();
  const processes = [gateway.process.pid ?? 0, ...pids];
  const canary = new Canary(gateway.publicPort, API_KEY);
  await canary.begin();
  const report: FuzzReport = {
    requests: 0,
    connections: 0,
    seconds: 0,
    statuses: new Map(),
    streams: 0,
    endings: new Map(),
    canary: { sent: 0, longestMs: 0 },
    descriptors: { before: descriptorsOf(processes), after: 0 },
    memory: { before: pssOf(processes).pssBytes, after: 0 },
    wrong: [],
  };

  const singing = canary.run();
  const began = performance.now();
  let measured = false;
  let checkedAt = began;
  const lane = async (): Promise<void> => {
    while (report.requests < requests && report.wrong.length === 0) {
      const plan = makePlan(seed, report.connections++, API_KEY);
      report.requests += plan.requests;
      const address = process.platform === 'linux' ? `127.0.0.${2 + (plan.number % LOCAL_ADDRESSES)}` : undefined;
      count(report, await runConnection(plan, gateway.publicPort, address));
      if (!measured && report.requests > requests * WARM_SHARE) {
        measured = true;
        report.memory.before = pssOf(processes).pssBytes;
      }
      if (performance.now() - checkedAt < CHECK_EVERY_MS) continue;
      checkedAt = performance.now();
      onProgress(report.requests, report.connections, pssOf(processes).pssBytes);
      if (canary.wrong !== null) report.wrong.push(`the canary: ${canary.wrong}`);
      if (gateway.exited) report.wrong.push('the gateway has exited');
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, lane));
  report.seconds = (performance.now() - began) / 1_000;

  canary.stop();
  await singing;
  if (canary.wrong !== null) report.wrong.push(`the canary: ${canary.wrong}`);
  report.canary = { sent: canary.sent, longestMs: canary.longestMs };
  await checkAfterwards(gateway, pids, report);
  const left = () => descriptorsOf(processes) - report.descriptors.before;
  await waitUntil(() => left() <= 0, 'descriptors').catch(() => report.wrong.push(`${left()} descriptors left behind`));
  report.descriptors.after = descriptorsOf(processes);
  report.memory.after = pssOf(processes).pssBytes;
  canary.close();
  return report;
}

function count(report: FuzzReport, { plan, ending, answers, wrong }: Outcome): void {
  report.endings.set(ending, (report.endings.get(ending) ?? 0) + 1);
  for (const status of answers.statuses) report.statuses.set(status, (report.statuses.get(status) ?? 0) + 1);
  if (answers.stream) report.streams++;
  if (wrong === null || report.wrong.length >= SHOWN_LIMIT) return;
  const bytes = JSON.stringify(Buffer.concat(plan.pieces).toString('latin1')).slice(0, SHOWN_BYTES);
  report.wrong.push(`connection ${plan.number} (${plan.leaving}, ${ending}): ${wrong}; it sent ${bytes}`);
}

async function checkAfterwards(gateway: GatewayProcess, pids: number[], report: FuzzReport): Promise<void> {
  const { wrong } = report;
  const now = await gateway.workerPids();
  if (now.join() !== pids.join()) wrong.push(`workers ${pids.join()} have become ${now.join()}`);
  const metrics = await gateway.metrics();
  const restarts = metrics.value('longwire_worker_restarts_total');
  if (restarts !== 0) wrong.push(`${restarts} restarts`);
  const errors = metrics.value('longwire_closed_total', { reason: 'error' });
  if (errors !== 0) wrong.push(`${errors} connections were closed for an error of ours`);
  for (const line of gateway.logLines.filter(({ level }) => level === 'error').slice(0, SHOWN_LIMIT)) {
    wrong.push(`logged: ${JSON.stringify(line)}`);
  }
  try {
    await gateway.metricReaches('longwire_connections', {}, 1);
    await gateway.metricReaches('longwire_subscriptions', {}, 1);
    await gateway.metricReaches('longwire_channels', {}, 1);
  } catch (error) {
    wrong.push(`left behind: ${error instanceof Error ? error.message : error}`);
  }
  const counters = await gateway.metrics();
  const accepted = counters.value('longwire_accepted_total');
  const closed = counters.value('longwire_closed_total');
  if (accepted !== closed + 1) wrong.push(`${accepted} accepted, ${closed} closed, 1 held: they do not add up`);
}

function descriptorsOf(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    try {
      return sum + readdirSync(`/proc/${pid}/fd`).length;
    } catch {
      return sum;
    }
  }, 0);
}
