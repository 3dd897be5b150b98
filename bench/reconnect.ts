// A crowd that comes back at once, each client with its position: how soon all are recovered, how long the workers' event loops
// are blocked at most, and how often Redis is asked.
//
//   npm run bench:reconnect               20,000 clients on 100 channels, ten publications missed by each
//   npm run bench:reconnect -- 4          on four workers; 2 unless given
//
// The same crowd without positions comes first, for comparison. Clients are sockets in two forked processes (RLIMIT_NOFILE is
// 20,000 a process here): each asks for a stream with `?since=` and counts what comes until it is told the outcome. They stay until
// the workers' longest event-loop delay of each second was read from /metrics; how long the loops are blocked when all of them leave
// at once is read apart from that. They run at the lowest priority, or what was measured would be the wait for a core. Redis' calls
// of functions, and how long it was busy with them, are read from INFO commandstats.

import { fork } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { constants, setPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { startGateway } from '../test/harness/gateway.ts';
import { HistoryClient } from '../test/harness/history-client.ts';
import { startRedis } from '../test/harness/redis.ts';
import { publishAsBackend } from '../test/harness/redis-server.ts';

const WORKERS = Number(process.argv[2] ?? 2);
const CLIENTS = 20_000;
const PROCESSES = 2;
const CHANNELS = 100;
const MISSED = 10;

interface Crowd {
  recovered: number;
  gaps: number;
  failed: number;
  /** Clients that got not exactly what they missed. */
  wrong: number;
  seconds: number;
}

if (process.send !== undefined) {
  process.once('message', ({ port, position, count }: { port: number; position: string | null; count: number }) => {
    setPriority(constants.priority.PRIORITY_LOW);
    void comeBack(port, position, count).then((crowd) => process.send?.(crowd));
    process.once('message', () => process.exit(0));
  });
} else {
  await main();
}

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'longwire-reconnect-'));
  const file = join(folder, 'namespaces.json');
  writeFileSync(file, JSON.stringify({ namespaces: { chat: { history_size: 100, history_ttl_seconds: 300 } } }));
  const redis = await startRedis();
  const gateway = await startGateway({
    env: {
      REDIS_URL: redis.url,
      LONGWIRE_NAMESPACES: file,
      LONGWIRE_LOG_LEVEL: 'error',
      LONGWIRE_WORKERS: String(WORKERS),
    },
  });
  const client = new Redis(redis.url);
  const first = await new HistoryClient('stream', gateway.publicPort, ['chat:0']).opened();
  const position = first.position ?? '';
  first.close();
  for (let i = 0; i < MISSED * CHANNELS; i++) {
    await publishAsBackend(client, ['push:', `chat:${i % CHANNELS}`, `missed ${i}`]);
  }
  const before = await functionCalls(client);
  let longestDelaySeconds = 0;
  const timer = setInterval(async () => {
    const metrics = await gateway.metrics().catch(() => null);
    if (metrics === null) return;
    for (let worker = 1; worker <= WORKERS; worker++) {
      const delay = metrics.value('longwire_event_loop_delay_max_seconds', { worker: String(worker) });
      longestDelaySeconds = Math.max(longestDelaySeconds, delay);
    }
  }, 500);
  // Until the workers' last report of it.
  const reported = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1_500));
  const come = async (since: string | null): Promise<{ crowds: Crowd[]; delayMs: number; leavingMs: number }> => {
    longestDelaySeconds = 0;
    const children = Array.from({ length: PROCESSES }, () => fork(fileURLToPath(import.meta.url)));
    const crowds = await Promise.all(
      children.map((child) => {
        child.send({ port: gateway.publicPort, position: since, count: CLIENTS / PROCESSES });
        return new Promise<Crowd>((resolve) => child.once('message', (crowd: Crowd) => resolve(crowd)));
      }),
    );
    await reported();
    const delayMs = Math.round(longestDelaySeconds * 1_000);
    longestDelaySeconds = 0;
    for (const child of children) child.send('leave');
    await gateway.metricReaches('longwire_connections', {}, 0);
    await reported();
    return { crowds, delayMs, leavingMs: Math.round(longestDelaySeconds * 1_000) };
  };
  const reference = await come(null);
  const { crowds, delayMs, leavingMs } = await come(position);
  clearInterval(timer);
  const after = await functionCalls(client);
  const calls = after.calls - before.calls;
  const sum = (field: keyof Crowd): number => crowds.reduce((total, crowd) => total + crowd[field], 0);
  const outcome = {
    clients: CLIENTS,
    workers: WORKERS,
    channels: CHANNELS,
    recovered: sum('recovered'),
    gaps: sum('gaps'),
    failed: sum('failed'),
    wrong: sum('wrong'),
    seconds: Math.max(...crowds.map(({ seconds }) => seconds)),
    longestLoopDelayMs: {
      withPositions: delayMs,
      without: reference.delayMs,
      asTheyLeave: [reference.leavingMs, leavingMs],
    },
    secondsWithout: Math.max(...reference.crowds.map(({ seconds }) => seconds)),
    callsToRedis: calls,
    callsAChannelAndWorker: calls / CHANNELS / WORKERS,
    redisBusyMs: (after.usec - before.usec) / 1_000,
  };
  console.log(JSON.stringify(outcome, null, 2));
  client.disconnect();
  await gateway.kill();
  await redis.stop();
  rmSync(folder, { recursive: true, force: true });
  process.exit(outcome.recovered === CLIENTS && outcome.wrong === 0 ? 0 : 1);
}

async function functionCalls(client: Redis): Promise<{ calls: number; usec: number }> {
  const [, calls = 0, usec = 0] =
    /cmdstat_(?:fcall|evalsha):calls=(\d+),usec=(\d+)/.exec(await client.info('commandstats')) ?? [];
  return { calls: Number(calls), usec: Number(usec) };
}

function comeBack(port: number, position: string | null, count: number): Promise<Crowd> {
  const crowd: Crowd = { recovered: 0, gaps: 0, failed: 0, wrong: 0, seconds: 0 };
  const startedAt = performance.now();
  let left = count;
  return new Promise((resolve) => {
    for (let i = 0; i < count; i++) {
      const socket = connect(port, '127.0.0.1');
      let text = '';
      const done = (outcome: 'recovered' | 'gaps' | 'failed'): void => {
        socket.removeAllListeners();
        socket.on('error', () => {});
        crowd[outcome]++;
        if (outcome === 'recovered' && text.split('"data":"missed').length !== MISSED + 1) crowd.wrong++;
        if (--left > 0) return;
        crowd.seconds = Math.round(performance.now() - startedAt) / 1_000;
        resolve(crowd);
      };
      socket.on('connect', () =>
        socket.write(
          `GET /stream/chat:${i % CHANNELS}${position === null ? '' : `?since=${position}`} HTTP/1.0\r\nHost: gateway\r\n\r\n`,
        ),
      );
      socket.on('data', (bytes) => {
        text += bytes.toString('latin1');
        if (text.includes('"recovered"')) done('recovered');
        else if (text.includes('"gap"')) done('gaps');
        else if (position === null && text.includes('"position"')) done('recovered');
      });
      socket.on('error', () => done('failed'));
      socket.on('end', () => done('failed'));
    }
  });
}
