// Connections that move under load: what Longwire is to be known for, measured.
//
// Method: N event streams, each on a channel of its own, spread over client processes that number and time everything that
// arrives. All the while a publisher sends to random channels, `--rate` a second in calls of 20 channels, and once a second
// to every channel (`--broadcast-seconds`). In this order: a time of rest, `--replacements` rolling replacements, scaling 2 → 4 → 1 → 2, the
// primary, rest again. Latency runs from the call to the API to the client's read, at rest and while connections move; a ratio
// is to the rest of the same run. With `--history` all channels are full before anything is measured, so that what histories
// hold is the same throughout. At the end every channel has had what was sent to it, once and in order, and no client was
// closed, or the run has failed.
//
// Clients, publisher and gateway share the machine: where that leaves no core free, what is measured is who waits for one.
//
// Usage: npm run bench:moving -- [--connections 10000] [--workers 2] [--rate 2000] [--broadcast-seconds 1] [--replacements 3]
//        [--no-scale] [--no-primary] [--history] [--redis] [--json FILE]
//
//   60,000 connections, as many as two cores carry publications to:
//        npm run bench:moving -- --connections 60000 --workers 4 --rate 500 --broadcast-seconds 10
//
// Exit code: 0 when each budget was kept, 2 when one was missed, 1 when something was lost, doubled, out of order or closed, or
// the benchmark could not run.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startRedis } from '../test/harness/redis.ts';
import { nowMs, sleep } from './clock.ts';
import { BenchError, Crowd } from './crowd.ts';
import { channelName } from './load/orders.ts';
import { makePayload } from './load/payload.ts';
import { machine } from './machine.ts';
import { pssOf } from './memory.ts';
import { parentOf, processTree } from './processes.ts';
import { percentile } from './statistics.ts';
import { type Subject, startSubject } from './subjects/subject.ts';
import { planOf } from './subjects/subjects.ts';

const PREFIX = 'moving-';
const CHANNELS_A_CALL = 20;
const BROADCAST_CHANNELS = 500;
/** At least; long enough for a publication to all, of which what is measured beside it has one too. */
const REST_MS = 5_000;
const SETTLE_MS = 1_000;
const CONNECT_LIMIT_MS = 120_000;
const ARRIVE_LIMIT_MS = 10_000;
const OPERATION_LIMIT_MS = 120_000;
/** Connections that one worker can hold where RLIMIT_NOFILE is 20,000. */
const WORKER_CONNECTIONS = 19_000;
/** With 10,000 channels 64 MiB, which is all that the embedded broker keeps unless told otherwise. */
const HISTORY_SIZE = 30;
const HISTORY = { default: { history_size: HISTORY_SIZE, history_ttl_seconds: 3_600 } };

/** The budgets of the design. */
const RATE_BUDGET = 4_000;
const LATENCY_BUDGET = 3;
const MEMORY_BUDGET = 0.05;

interface Phase {
  name: string;
  seconds: number;
  /** Connections that moved, and those a second. */
  moved: number;
  rate: number;
  p50Ms: number;
  p99Ms: number;
  /** Of the primary, and of its workers together. */
  primaryBytes: number;
  workerBytes: number;
}

class Load {
  /** What was published, each channel counted. */
  sent = 0;
  private readonly agent = new Agent({ keepAlive: true, maxSockets: 8 });
  private readonly subject: Subject;
  private readonly connections: number;
  private readonly perSecond: number;
  private readonly broadcastMs: number;
  private sequence = 0;
  private state: 'running' | 'stopped' = 'running';
  private over: Promise<void> = Promise.resolve();

  constructor(subject: Subject, connections: number, perSecond: number, broadcastMs: number) {
    this.subject = subject;
    this.connections = connections;
    this.perSecond = perSecond;
    this.broadcastMs = broadcastMs;
  }

  /** Publishes to every channel so often, before anybody listens: it does not count as sent. */
  async fill(times: number): Promise<void> {
    for (let i = 0; i < times; i++) await this.broadcast();
    this.sent = 0;
  }

  start(): void {
    this.over = this.run();
  }

  async stop(): Promise<void> {
    this.state = 'stopped';
    await this.over;
    this.agent.destroy();
  }

  private async run(): Promise<void> {
    const pauseMs = (1000 * CHANNELS_A_CALL) / this.perSecond;
    let due = nowMs();
    let broadcastDue = due + this.broadcastMs;
    while (this.state === 'running') {
      due += pauseMs;
      const channels = new Set<string>();
      while (channels.size < Math.min(CHANNELS_A_CALL, this.connections)) {
        channels.add(channelName(PREFIX, Math.floor(Math.random() * this.connections)));
      }
      await this.publish([...channels]);
      if (nowMs() >= broadcastDue) {
        broadcastDue += this.broadcastMs;
        await this.broadcast();
      }
      if (due > nowMs()) await sleep(due - nowMs());
      else due = nowMs();
    }
  }

  private async broadcast(): Promise<void> {
    for (let next = 0; next < this.connections; next += BROADCAST_CHANNELS) {
      const count = Math.min(BROADCAST_CHANNELS, this.connections - next);
      await this.publish(Array.from({ length: count }, (_, i) => channelName(PREFIX, next + i)));
    }
  }

  private publish(channels: string[]): Promise<void> {
    const { port, apiKey } = this.subject.plan;
    const body = JSON.stringify({ channels, data: makePayload(++this.sequence, nowMs(), 32) });
    this.sent += channels.length;
    const headers = { 'Content-Length': Buffer.byteLength(body), 'X-API-Key': apiKey };
    return new Promise((resolve, reject) => {
      const options = { host: '127.0.0.1', port, path: '/api/broadcast', method: 'POST', agent: this.agent, headers };
      request(options, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
        });
        response.on('end', () => {
          if (response.statusCode === 200 && !text.includes('"error"')) resolve();
          else reject(new BenchError(`publishing was answered ${response.statusCode} ${text.slice(0, 200)}`));
        });
      })
        .on('error', reject)
        .end(body);
    });
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    allowNegative: true,
    options: {
      connections: { type: 'string', default: '10000' },
      workers: { type: 'string', default: '2' },
      rate: { type: 'string', default: '2000' },
      'broadcast-seconds': { type: 'string', default: '1' },
      replacements: { type: 'string', default: '3' },
      scale: { type: 'boolean', default: true },
      primary: { type: 'boolean', default: true },
      history: { type: 'boolean', default: false },
      redis: { type: 'boolean', default: false },
      json: { type: 'string', default: '' },
    },
  });
  const connections = Number(values.connections);
  const workers = Number(values.workers);
  const redis = values.redis ? await startRedis() : null;
  const settings = { node: process.execPath, nodeFlags: [], workers, redisUrl: redis?.url ?? '' };
  const measuredOn = machine(settings);
  const folder = mkdtempSync(join(tmpdir(), 'longwire-bench-'));
  const plan = await planOf('longwire', settings);
  if (values.history) {
    plan.env.LONGWIRE_NAMESPACES = join(folder, 'namespaces.json');
    writeFileSync(plan.env.LONGWIRE_NAMESPACES, JSON.stringify(HISTORY));
  }
  const adminPort = Number(plan.env.LONGWIRE_ADMIN_PORT);
  const broadcastMs = Number(values['broadcast-seconds']) * 1000;
  const subject = await startSubject(plan);
  const crowd = await Crowd.start(connections);
  const phases: Phase[] = [];
  let exitCode = 1;
  try {
    const load = new Load(subject, connections, Number(values.rate), broadcastMs);
    if (values.history) await load.fill(HISTORY_SIZE);
    const connected = await crowd.connect(plan.port, PREFIX, false, 256, CONNECT_LIMIT_MS, false);
    if (connected.open < connections) throw new BenchError(`${connected.open} of ${connections} connected`);
    load.start();
    const measure = async (name: string, action: () => Promise<number>): Promise<void> => {
      await crowd.report();
      const began = nowMs();
      const moved = await action();
      const seconds = (nowMs() - began) / 1000;
      const { latencies } = await crowd.report();
      // What has just left gives its pages back within this, and young generations have been through.
      await sleep(SETTLE_MS);
      const [primary = 0, ...serving] = await processesOf(adminPort);
      const phase = {
        name,
        seconds,
        moved,
        rate: moved / seconds,
        p50Ms: percentile(latencies, 0.5),
        p99Ms: percentile(latencies, 0.99),
        primaryBytes: pssOf([primary]).pssBytes,
        workerBytes: pssOf(serving).pssBytes,
      };
      phases.push(phase);
      show(phase);
    };
    const rest = async (): Promise<number> => {
      await sleep(Math.max(REST_MS, broadcastMs));
      return 0;
    };
    // Code that has never run is compiled in the first seconds.
    await rest();
    await measure('rest', rest);
    for (let i = 1; i <= Number(values.replacements); i++) {
      await measure(`replacement ${i}`, () => operate(adminPort, '/workers/replace', '{}'));
    }
    const fewest = Math.ceil(connections / WORKER_CONNECTIONS);
    for (const count of values.scale ? new Set([2 * workers, fewest, workers]) : []) {
      await measure(`scale to ${count}`, () =>
        operate(adminPort, '/workers/scale', JSON.stringify({ workers: count })),
      );
    }
    if (values.primary) await measure('primary', () => operate(adminPort, '/primary/replace', ''));
    await measure('rest', rest);
    await load.stop();
    const deadline = nowMs() + ARRIVE_LIMIT_MS;
    let { tally } = await crowd.report();
    while (tally.received < load.sent && nowMs() < deadline) {
      await sleep(100);
      ({ tally } = await crowd.report());
    }
    const { doubled, overtaken: outOfOrder, closed, faulty, samples } = tally;
    const outcome = { sent: load.sent, lost: load.sent - tally.received, doubled, outOfOrder, closed, faulty };
    console.log(JSON.stringify(outcome));
    if (samples.length > 0) console.log(samples.join('\n'));
    const verdicts = judge(phases);
    for (const { name, figure, kept } of verdicts) console.log(`${kept ? 'kept  ' : 'MISSED'} ${name}: ${figure}`);
    if (values.json !== '') {
      const content = { machine: measuredOn, options: values, outcome, verdicts, phases };
      writeFileSync(
        values.json,
        `${JSON.stringify(content, (key, value) => (key === 'json' ? undefined : value), 2)}\n`,
      );
    }
    const right = outcome.lost === 0 && doubled + outOfOrder + closed + faulty === 0;
    exitCode = !right ? 1 : verdicts.every(({ kept }) => kept) ? 0 : 2;
  } finally {
    await crowd.stop().catch(() => crowd.kill());
    await stopAll(adminPort);
    await subject.stop();
    await redis?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  process.exit(exitCode);
}

/** Begins an operation, waits for its end, and returns how many connections moved. */
async function operate(adminPort: number, path: string, body: string): Promise<number> {
  const url = `http://127.0.0.1:${adminPort}`;
  const begun = await fetch(url + path, { method: 'POST', body });
  const { operation } = (await begun.json()) as { operation: number };
  const deadline = nowMs() + OPERATION_LIMIT_MS;
  for (;;) {
    await sleep(20);
    let now: { state: string; moved: number; reason: string | null };
    try {
      now = (await (await fetch(`${url}/operations/${operation}`)).json()) as typeof now;
    } catch (thrown) {
      // A primary that leaves closes what it has not answered; the next one knows the operation.
      if (nowMs() > deadline) throw thrown;
      continue;
    }
    if (now.state === 'done') return now.moved;
    if (now.state === 'failed' || nowMs() > deadline) throw new BenchError(`${path}: ${now.state} ${now.reason}`);
  }
}

/** The primary of now, which may not be the one that was started, and its workers. */
async function processesOf(adminPort: number): Promise<number[]> {
  const answer = await fetch(`http://127.0.0.1:${adminPort}/workers`);
  const { workers } = (await answer.json()) as { workers: { pid: number | null }[] };
  const pid = workers.find((worker) => worker.pid !== null)?.pid;
  return pid === undefined || pid === null ? [] : processTree(parentOf(pid));
}

/** Ends a primary that took over: it is nobody's child any more. Its workers go with it. */
async function stopAll(adminPort: number): Promise<void> {
  const [primary] = await processesOf(adminPort).catch(() => []);
  if (primary !== undefined) process.kill(primary, 'SIGKILL');
}

function judge(phases: readonly Phase[]): { name: string; figure: string; kept: boolean }[] {
  const resting = phases.filter(({ moved }) => moved === 0);
  const moving = phases.filter(({ moved }) => moved > 0);
  const replacements = phases.filter(({ name }) => name.startsWith('replacement'));
  const first = replacements[0];
  const last = replacements.at(-1);
  // The quieter of the two: whoever else uses the machine only makes a rest slower.
  const restMs = Math.min(...resting.map(({ p99Ms }) => p99Ms));
  const slowest = Math.min(...replacements.map(({ rate }) => rate));
  const worst = Math.max(...moving.map(({ p99Ms }) => p99Ms / restMs));
  const verdicts = [
    {
      name: `connections a second while workers are replaced, at least ${RATE_BUDGET}`,
      figure: `${Math.round(slowest)}, the slowest`,
      kept: slowest >= RATE_BUDGET,
    },
    {
      name: `p99 of delivery while moving to that at rest, at most ${LATENCY_BUDGET}`,
      figure: `${worst.toFixed(2)}, the worst`,
      kept: worst <= LATENCY_BUDGET,
    },
  ];
  if (first === undefined || last === undefined || first === last) return verdicts;
  const growth = (last.primaryBytes + last.workerBytes) / (first.primaryBytes + first.workerBytes) - 1;
  verdicts.push({
    name: `memory after the last replacement to that after the first, at most ${100 * MEMORY_BUDGET} % apart`,
    figure: `${(100 * growth).toFixed(1)} %`,
    kept: Math.abs(growth) <= MEMORY_BUDGET,
  });
  return verdicts;
}

function show({ name, seconds, moved, rate, p50Ms, p99Ms, primaryBytes, workerBytes }: Phase): void {
  const moves = moved === 0 ? '' : `${moved} moved, ${Math.round(rate)}/s,`;
  console.log(
    `${name.padEnd(16)} ${seconds.toFixed(1).padStart(5)} s  ${moves} p50 ${p50Ms.toFixed(1)} p99 ${p99Ms.toFixed(1)} ms, ${mebi(primaryBytes)} + ${mebi(workerBytes)} MiB`,
  );
}

function mebi(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(1);
}

main().catch((error: unknown) => {
  console.error(error instanceof BenchError ? error.message : error);
  process.exit(1);
});
