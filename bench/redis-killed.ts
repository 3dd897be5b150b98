// Redis killed with SIGKILL and started again under load: what clients with history see, and how soon all is well.
//
//   npm run bench:redis-killed            5,000 publications a second, 2,000 clients, with and without Redis' data
//
// Each client holds a channel of its own and is published numbers by a backend that calls `longwire_publish` in Redis, as fast
// as asked, before, and from the moment Redis is back. A client is in a correct state once it has the last number, or was told
// of a gap behind which it has everything. Checked for each: nothing missing without a gap, nothing twice, nothing out of
// order, and its connection never ended. Time is counted from the moment that Redis accepts connections again.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { startGateway } from '../test/harness/gateway.ts';
import { HistoryClient } from '../test/harness/history-client.ts';
import { startRedis } from '../test/harness/redis.ts';
import { waitUntil } from '../test/harness/wait.ts';

const CLIENTS = 2_000;
const RATE = 5_000;
const TURN_MS = 50;
const LOAD_MS = 2_000;
const AWAY_MS = 1_000;

const folder = mkdtempSync(join(tmpdir(), 'longwire-redis-killed-'));
const file = join(folder, 'namespaces.json');
writeFileSync(file, JSON.stringify({ namespaces: { chat: { history_size: 100, history_ttl_seconds: 300 } } }));
const results = [];
for (const data of ['all', 'none'] as const) results.push(await run(data));
rmSync(folder, { recursive: true, force: true });
console.log(JSON.stringify(results, null, 2));
process.exit(results.every(({ faults, ended }) => faults === 0 && ended === 0) ? 0 : 1);

async function run(data: 'all' | 'none') {
  const kept = data === 'all' ? ['--appendonly', 'yes', '--appendfsync', 'always'] : [];
  const redis = await startRedis({ arguments: kept });
  const gateway = await startGateway({
    env: { REDIS_URL: redis.url, LONGWIRE_NAMESPACES: file, LONGWIRE_LOG_LEVEL: 'error' },
  });
  const client = new Redis(redis.url, { enableOfflineQueue: false, maxRetriesPerRequest: 0, retryStrategy: () => 20 });
  client.on('error', () => {});
  await waitUntil(() => client.status === 'ready', 'the backend to connect');
  const clients = Array.from(
    { length: CLIENTS },
    (_, i) => new HistoryClient('stream', gateway.publicPort, [`chat:${i}`]),
  );
  for (const each of clients) await each.opened();

  /** By channel: numbers that were taken, in order; what failed may have been taken too. */
  const taken = clients.map((): number[] => []);
  let number = 0;
  const publishFor = async (ms: number): Promise<number> => {
    const startedAt = performance.now();
    let published = 0;
    while (performance.now() - startedAt < ms) {
      const due = Math.floor(((performance.now() - startedAt) / 1_000) * RATE) - published;
      const pipeline = client.pipeline();
      const numbers: number[] = [];
      for (let i = 0; i < due; i++) {
        pipeline.call('FCALL', 'longwire_publish', 0, 'push:', `chat:${number % CLIENTS}`, String(number));
        numbers.push(number++);
      }
      const answers = (await pipeline.exec().catch(() => null)) ?? [];
      for (const [i, each] of numbers.entries()) if (answers[i]?.[0] === null) taken[each % CLIENTS]?.push(each);
      published += due;
      await new Promise((resolve) => setTimeout(resolve, TURN_MS));
    }
    return published;
  };

  await publishFor(LOAD_MS);
  const underLoad = publishFor(AWAY_MS / 2);
  await new Promise((resolve) => setTimeout(resolve, AWAY_MS / 4));
  await redis.kill();
  await underLoad;
  await new Promise((resolve) => setTimeout(resolve, AWAY_MS));
  await redis.restart();
  const backAt = performance.now();
  await waitUntil(() => client.status === 'ready', 'the backend to be back');
  const afterwards = await publishFor(LOAD_MS).then(async (published) => {
    // The gateway has to bring the functions again where Redis lost them; until then publishing fails, and is tried again.
    let left = clients.map((_, i) => i);
    while (left.length > 0) {
      const pipeline = client.pipeline();
      for (const i of left) pipeline.call('FCALL', 'longwire_publish', 0, 'push:', `chat:${i}`, 'last');
      const answers = (await pipeline.exec().catch(() => null)) ?? [];
      left = left.filter((_, i) => answers[i]?.[0] !== null);
    }
    return published;
  });
  const seconds: number[] = clients.map(() => Number.NaN);
  await waitUntil(
    () => {
      for (const [i, each] of clients.entries()) {
        if (!Number.isNaN(seconds[i]) || each.publications.at(-1)?.data !== 'last') continue;
        seconds[i] = (performance.now() - backAt) / 1_000;
      }
      return !seconds.some(Number.isNaN);
    },
    () => `${seconds.filter(Number.isNaN).length} clients to have the last publication`,
    30_000,
  );

  let faults = 0;
  let gaps = 0;
  for (const [i, each] of clients.entries()) {
    let next: number | null = 0;
    let newest = -1;
    for (const entry of each.entries) {
      if (!('channel' in entry)) {
        if (entry.gap !== undefined) {
          gaps++;
          next = null;
        }
      } else if (entry.data !== 'last') {
        const got = Number(entry.data);
        if (got <= newest) faults++;
        if (next !== null) faults += (taken[i] ?? []).filter((owed) => owed >= (next as number) && owed < got).length;
        newest = got;
        next = got + 1;
      } else if (next !== null) {
        faults += (taken[i] ?? []).filter((owed) => owed >= (next as number)).length;
      }
    }
  }
  const outcome = {
    data,
    clients: CLIENTS,
    publicationsASecond: RATE,
    publishedBack: afterwards,
    faults,
    gaps,
    ended: clients.filter((each) => each.ended).length,
    lastClientSecondsAfterReturn: Math.round(Math.max(...seconds) * 100) / 100,
    ofWhichPublishingSeconds: LOAD_MS / 1_000,
  };
  for (const each of clients) each.close();
  client.disconnect();
  await gateway.kill();
  await redis.stop();
  return outcome;
}
