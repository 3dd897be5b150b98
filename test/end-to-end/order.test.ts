// One channel, a crowd of subscribers, thousands of publications as fast as they can be made: whoever stays gets every one,
// whoever comes and goes gets a contiguous run, and nobody anything twice or out of order, however fan-outs are sliced.
//
// Publications are numbers. Each subscriber checks its own as they come, so a failure names the first that was wrong.
// The full size, 10,000 to 300, runs where publishing is fastest (Redis, one pipeline) and so the crowd's queue longest.

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Redis } from 'ioredis';
import { API_KEY } from '../harness/gateway.ts';
import { RawClient } from '../harness/raw-client.ts';
import { waitUntil } from '../harness/wait.ts';
import { BROKERS, type Setup, setUp, WIRES } from './setups.ts';

const CROWD = 300;
/** Of the crowd, those that come and go all the time. */
const PASSERS_BY = 40;
/** What one of those waits for before it goes; different for each, so that they spread. */
const STAYS_FOR = [1, 7, 40, 150];

/** A publisher that is faster than the crowd can be written to makes turns of the loop long, and one connection is accepted a turn. */
const PATIENCE_MS = 120_000;

const FRAME = /data: (\d+)\n\n/g;

/** A subscriber that checks the numbers as they come. Heartbeats and the retry field are passed over. */
class Counting {
  readonly client: RawClient;
  first = -1;
  last = -1;
  count = 0;
  fault: string | null = null;
  #rest = '';
  #open = false;

  constructor(port: number) {
    this.client = new RawClient(port, { keep: false });
    this.client.write('GET /sse/crowd HTTP/1.1\r\nHost: gateway\r\n\r\n');
    this.client.socket.on('data', (chunk: Buffer) => this.#read(chunk.toString('latin1')));
  }

  async opened(): Promise<this> {
    await waitUntil(() => this.#open || this.client.ending !== 'none', 'the stream to open', PATIENCE_MS);
    if (!this.#open) this.fault = 'the stream was not opened';
    return this;
  }

  #read(text: string): void {
    const whole = this.#rest + text;
    const end = whole.lastIndexOf('\n\n') + 1;
    this.#rest = end === 0 ? whole : whole.slice(end + 1);
    if (end === 0) return;
    this.#open = true;
    for (const [, digits] of whole.slice(0, end + 1).matchAll(FRAME)) {
      const number = Number(digits);
      if (this.count > 0 && number !== this.last + 1) this.fault ??= `${number} came after ${this.last}`;
      if (this.count === 0) this.first = number;
      this.last = number;
      this.count++;
    }
  }
}

/** Publishes 0 to `count` - 1 in order, as fast as the way in allows. */
async function publishNumbers({ gateway, redis }: Setup, count: number): Promise<void> {
  if (redis !== null) {
    const publisher = new Redis(redis.url);
    const pipeline = publisher.pipeline();
    for (let number = 0; number < count; number++) pipeline.publish('push:crowd', `${number}`);
    await pipeline.exec();
    publisher.disconnect();
    return;
  }
  // Calls on one connection are served one after the other, so pipelining them all keeps their order.
  const client = new RawClient(gateway.publicPort);
  let calls = '';
  for (let number = 0; number < count; number++) {
    const body = `{"channel":"crowd","data":${number}}`;
    calls += `POST /api/publish HTTP/1.1\r\nHost: g\r\nX-API-Key: ${API_KEY}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  }
  client.write(calls);
  const answers = await client.answers(count);
  assert.ok(answers.every(({ status }) => status === 200));
  client.close();
}

for (const wire of WIRES) {
  for (const broker of BROKERS) {
    const full = wire === 'handle' && broker === 'redis';
    const publications = full ? 10_000 : 1_000;
    it(`${publications} publications to ${CROWD} that come and go, ${wire} wire, ${broker} broker`, async (t) => {
      // All of the crowd on one worker, so that its fan-outs take several slices; else on two.
      const setup = await setUp(wire, broker, { LONGWIRE_WORKERS: full ? '1' : '2' });
      t.after(() => setup.stop());
      const port = setup.gateway.publicPort;
      const staying = await Promise.all(Array.from({ length: CROWD - PASSERS_BY }, () => new Counting(port).opened()));
      let publishing = true;
      t.after(() => {
        publishing = false;
      });
      const passed: Counting[] = [];
      const comeAndGo = async (index: number): Promise<void> => {
        while (publishing) {
          const passer = await new Counting(port).opened();
          const stay = STAYS_FOR[index % STAYS_FOR.length] ?? 1;
          await waitUntil(
            () =>
              passer.count >= stay ||
              passer.last === publications - 1 ||
              passer.client.ending !== 'none' ||
              !publishing,
            `${stay} publications`,
            PATIENCE_MS,
          );
          if (publishing && passer.client.ending !== 'none') passer.fault ??= 'it was closed';
          passer.client.close();
          passed.push(passer);
        }
      };
      const passing = Array.from({ length: PASSERS_BY }, (_, index) => comeAndGo(index));
      await publishNumbers(setup, publications);
      await waitUntil(
        () => staying.every(({ last, client }) => last === publications - 1 || client.ending !== 'none'),
        () => `all to have the last one; the slowest has ${Math.min(...staying.map(({ last }) => last))}`,
        PATIENCE_MS,
      );
      publishing = false;
      await Promise.all(passing);

      for (const { fault, first, last, count, client } of staying) {
        assert.deepEqual(
          { fault, first, last, count },
          { fault: null, first: 0, last: publications - 1, count: publications },
        );
        client.close();
      }
      assert.deepEqual(
        passed.flatMap(({ fault }) => fault ?? []),
        [],
      );
      const runs = passed.filter(({ count }) => count > 0);
      assert.ok(runs.length >= PASSERS_BY, `${runs.length} came and went`);
      for (const { first, last, count } of runs) assert.equal(count, last - first + 1);
      // What the test is about has happened: fan-outs have waited for each other until Redis was read no further.
      if (full) {
        await setup.gateway.metricReaches('longwire_broker_pauses_total', {}, (pauses) => pauses > 0);
        assert.equal((await setup.gateway.metrics()).value('longwire_fanout_overruns_total'), 0);
      }
    });
  }
}
