// What history costs a publisher: publications a second through the broker over Redis, plain and with history, side by side.
//
//   npm run bench:publish
//
// One broker in this process publishes calls of one publication each, IN_FLIGHT of them at a time, to a Redis of its own, as a
// worker does for `/api/publish`; it receives them all on its subscription. Rounds of plain and of history take turns, so that
// what else the machine does meets both; the figure is the median of the rounds' rates and of their quotients.

import { parseNamespaces } from '../config/parse-namespaces.ts';
import type { BrokerReceiver } from '../src/broker/broker.ts';
import { RedisBroker } from '../src/broker/redis.ts';
import { createLog } from '../src/log.ts';
import { Publication } from '../src/publication.ts';
import { startRedis } from '../test/harness/redis.ts';
import { median } from './statistics.ts';

const ROUNDS = 7;
const PUBLICATIONS = 30_000;
const IN_FLIGHT = 500;
const CHANNELS = 1_000;
const PAYLOAD = Buffer.alloc(100, 'x');

const parsed = parseNamespaces('{"namespaces":{"chat":{"history_size":100,"history_ttl_seconds":300}}}', 1024 * 1024);
if ('faults' in parsed) throw new TypeError(JSON.stringify(parsed.faults));
const redis = await startRedis();
let received = 0;
const receiver: BrokerReceiver = {
  onPublication: () => {
    received++;
  },
  onState: () => {},
  onGap: () => {},
  onHistory: () => {},
};
const broker = new RedisBroker(
  { url: redis.url, prefix: 'push:', namespaces: parsed.namespaces },
  receiver,
  createLog('error', 'bench'),
);
await broker.start();
await round('plain');
await round('chat');
const plain: number[] = [];
const history: number[] = [];
for (let i = 0; i < ROUNDS; i++) {
  plain.push(await round('plain'));
  history.push(await round('chat'));
}
console.log(
  JSON.stringify(
    {
      publications: PUBLICATIONS,
      inFlight: IN_FLIGHT,
      plainASecond: Math.round(median(plain)),
      historyASecond: Math.round(median(history)),
      share: Math.round(median(history.map((rate, i) => rate / (plain[i] as number))) * 100) / 100,
      received,
    },
    null,
    2,
  ),
);
await broker.stop();
await redis.stop();

/** Publications a second, each its own call. */
async function round(namespace: string): Promise<number> {
  const startedAt = performance.now();
  let next = 0;
  const publishAll = async (): Promise<void> => {
    while (next < PUBLICATIONS) {
      const publication = new Publication(`${namespace}:${next++ % CHANNELS}`, PAYLOAD);
      await broker.publish([publication]);
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, publishAll));
  return PUBLICATIONS / ((performance.now() - startedAt) / 1_000);
}
