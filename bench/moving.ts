// Connections that move under load: what Longwire is to be known for, measured.
//
// Method: N event streams, each on a channel of its own, spread over client processes that number and time everything that
// arrives. All the while a publisher sends to random channels, `--rate` a second in calls of 20 channels, and once a second
// to every channel. In this order: a time of rest, `--replacements` rolling replacements, scaling 2 → 4 → 1 → 2, rest again.
// Latency runs from the call to the API to the client's read, at rest and while connections move. At the end every channel
// has had what was sent to it, once and in order, and no client was closed, or the run has failed.
//
// Usage: npm run bench:moving -- [--connections 10000] [--rate 2000] [--replacements 3] [--redis] [--no-scale]

import { Agent, request } from 'node:http';
import { parseArgs } from 'node:util';
import { startRedis } from '../test/harness/redis.ts';
import { nowMs, sleep } from './clock.ts';
import { BenchError, Crowd } from './crowd.ts';
import { channelName } from './load/orders.ts';
import { makePayload } from './load/payload.ts';
import { pssOf } from './memory.ts';
import { percentile } from './statistics.ts';
import { type Subject, startSubject } from './subjects/subject.ts';
import { planOf } from './subjects/subjects.ts';

const PREFIX = 'moving-';
const CHANNELS_A_CALL = 20;
const BROADCAST_CHANNELS = 500;
const REST_MS = 5_000;
const SETTLE_MS = 1_000;
const CONNECT_LIMIT_MS = 120_000;
const ARRIVE_LIMIT_MS = 10_000;
const OPERATION_LIMIT_MS = 120_000;

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
  private sequence = 0;
  private state: 'running' | 'stopped' = 'running';
  private over: Promise<void>;

  constructor(subject: Subject, connections: number, perSecond: number) {
    this.subject = subject;
    this.connections = connections;
    this.perSecond = perSecond;
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
    let broadcastDue = due + 1000;
    while (this.state === 'running') {
      due += pauseMs;
      const channels = new Set<string>();
      while (channels.size < Math.min(CHANNELS_A_CALL, this.connections)) {
        channels.add(channelName(PREFIX, Math.floor(Math.random() * this.connections)));
      }
      await this.publish([...channels]);
      if (nowMs() >= broadcastDue) {
        broadcastDue += 1000;
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
      rate: { type: 'string', default: '2000' },
      replacements: { type: 'string', default: '3' },
      redis: { type: 'boolean', default: false },
      scale: { type: 'boolean', default: true },
    },
  });
  const connections = Number(values.connections);
  const redis = values.redis ? await startRedis() : null;
  const settings = { node: process.execPath, nodeFlags: [], workers: 2, redisUrl: redis?.url ?? '' };
  const plan = await planOf('longwire', settings);
  const subject = await startSubject(plan);
  const crowd = await Crowd.start(connections);
  let failed = false;
  try {
    const connected = await crowd.connect(plan.port, PREFIX, false, 256, CONNECT_LIMIT_MS, false);
    if (connected.open < connections) throw new BenchError(`${connected.open} of ${connections} connected`);
    const load = new Load(subject, connections, Number(values.rate));
    const phases: Phase[] = [];
    const measure = async (name: string, action: () => Promise<number>): Promise<void> => {
      await crowd.report();
      const began = nowMs();
      const moved = await action();
      const seconds = (nowMs() - began) / 1000;
      const { latencies } = await crowd.report();
      // What has just left gives its pages back within this, and young generations have been through.
      await sleep(SETTLE_MS);
      const primaryBytes = pssOf(subject.tree().slice(0, 1)).pssBytes;
      const workerBytes = pssOf(subject.serving()).pssBytes;
      phases.push({
        name,
        seconds,
        moved,
        rate: moved / seconds,
        p50Ms: percentile(latencies, 0.5),
        p99Ms: percentile(latencies, 0.99),
        primaryBytes,
        workerBytes,
      });
    };
    const rest = async (): Promise<number> => {
      await sleep(REST_MS);
      return 0;
    };
    const adminPort = Number(plan.env.LONGWIRE_ADMIN_PORT);
    // Code that has never run is compiled in the first seconds.
    await rest();
    await measure('rest', rest);
    for (let i = 1; i <= Number(values.replacements); i++) {
      await measure(`replacement ${i}`, () => operate(adminPort, '/workers/replace', '{}'));
    }
    for (const workers of values.scale ? [4, 1, 2] : []) {
      await measure(`scale to ${workers}`, () => operate(adminPort, '/workers/scale', JSON.stringify({ workers })));
    }
    await measure('rest', rest);
    await load.stop();
    const deadline = nowMs() + ARRIVE_LIMIT_MS;
    let { tally } = await crowd.report();
    while (tally.received < load.sent && nowMs() < deadline) {
      await sleep(100);
      ({ tally } = await crowd.report());
    }
    show(phases);
    const lost = load.sent - tally.received;
    console.log(
      `sent ${load.sent}, lost ${lost}, doubled ${tally.doubled}, out of order ${tally.overtaken}, closed ${tally.closed}`,
    );
    failed = lost !== 0 || tally.doubled + tally.overtaken + tally.closed + tally.faulty > 0;
    if (tally.samples.length > 0) console.log(tally.samples.join('\n'));
  } finally {
    await crowd.stop().catch(() => crowd.kill());
    await subject.stop();
    await redis?.stop();
  }
  process.exit(failed ? 1 : 0);
}

/** Begins an operation, waits for its end, and returns how many connections moved. */
async function operate(adminPort: number, path: string, body: string): Promise<number> {
  const url = `http://127.0.0.1:${adminPort}`;
  const begun = await fetch(url + path, { method: 'POST', body });
  const { operation } = (await begun.json()) as { operation: number };
  const deadline = nowMs() + OPERATION_LIMIT_MS;
  for (;;) {
    const answer = await fetch(`${url}/operations/${operation}`);
    const now = (await answer.json()) as { state: string; moved: number; reason: string | null };
    if (now.state === 'done') return now.moved;
    if (now.state === 'failed' || nowMs() > deadline) throw new BenchError(`${path}: ${now.state} ${now.reason}`);
    await sleep(20);
  }
}

function show(phases: readonly Phase[]): void {
  for (const { name, seconds, moved, rate, p50Ms, p99Ms, primaryBytes, workerBytes } of phases) {
    const moves = moved === 0 ? '' : `${moved} moved, ${Math.round(rate)}/s,`;
    const memory = `${mebi(primaryBytes)} + ${mebi(workerBytes)} MiB`;
    console.log(
      `${name.padEnd(16)} ${seconds.toFixed(1).padStart(5)} s  ${moves} p50 ${p50Ms.toFixed(1)} p99 ${p99Ms.toFixed(1)} ms, ${memory}`,
    );
  }
}

function mebi(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(1);
}

main().catch((error: unknown) => {
  console.error(error instanceof BenchError ? error.message : error);
  process.exit(1);
});
