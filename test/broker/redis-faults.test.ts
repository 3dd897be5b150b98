// Redis killed, paused, cutting us off, away from the start: what is refused, what is told, what comes back by itself.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { Redis } from 'ioredis';
import { PUBLISH_DEADLINE_MS } from '../../src/broker/broker.ts';
import { RedisBroker } from '../../src/broker/redis.ts';
import { Publication } from '../../src/publication.ts';
import { freePort, type RedisServer, startRedis } from '../harness/redis.ts';
import { waitUntil } from '../harness/wait.ts';
import { logLines } from './log-lines.ts';
import { Recorder } from './recorder.ts';
import { TestWorkers } from './workers.ts';

/** A second or two is what is promised; the rest is for a machine that is busy with other tests. */
const NOTICED_WITHIN_MS = 2_500;

const UNAVAILABLE = { name: 'LongwireError', kind: 'unavailable' };

function publication(channel: string, text: string): Publication {
  return new Publication(channel, Buffer.from(text));
}

describe('Redis', () => {
  let redis: RedisServer;
  let recorder: Recorder;
  let broker: RedisBroker;
  let log: ReturnType<typeof logLines>;

  beforeEach(async () => {
    redis = await startRedis();
    recorder = new Recorder();
    log = logLines();
    broker = new RedisBroker({ url: redis.url, prefix: 'push:' }, recorder, log.log);
    await broker.start();
  });
  afterEach(async () => {
    await broker.stop();
    await redis.stop();
  });

  /** A client of the backend's; it reconnects by itself too. */
  async function withClient(use: (client: Redis) => Promise<void>): Promise<void> {
    const client = new Redis(redis.url);
    client.on('error', () => undefined);
    try {
      await use(client);
    } finally {
      client.disconnect();
    }
  }

  /** The gap must have been told after `first` and before `second` were delivered. */
  function assertGapBetween(first: string, second: string): void {
    const story = recorder.entries.flatMap((entry) => {
      if (entry.type === 'gap') return ['gap'];
      return entry.type === 'publication' ? [Buffer.from(entry.publication[1]).toString()] : [];
    });
    assert.deepEqual(story, [first, 'gap', second]);
  }

  it('killed and started again: down at once, publishing refused at once, then up, with the gap told first', async () => {
    await broker.publish([publication('a', 'before')]);
    await recorder.untilPublications(1);
    const killedAt = performance.now();
    await redis.kill();
    await recorder.untilState('down', 1_000);
    await assert.rejects(broker.publish([publication('a', 'lost')]), UNAVAILABLE);
    assert.ok(performance.now() - killedAt < 1_000);

    await redis.restart();
    await recorder.untilState('up');
    await broker.publish([publication('a', 'after')]);
    await recorder.untilPublications(2);
    assertGapBetween('before', 'after');
    const gap = recorder.entries.find((entry) => entry.type === 'gap');
    const sinceKilledMs = performance.now() - killedAt;
    assert.ok(gap?.type === 'gap' && gap.sinceMs > 0 && gap.sinceMs < sinceKilledMs + 1_000);
    assert.deepEqual(
      log.lines.map(({ level, text }) => `${level} ${text}`).filter((line) => !line.includes('cannot be reached')),
      [
        'info Redis is up',
        'warn Redis is away',
        'warn publications may have been missed: the subscription did not stand',
        'info Redis is up',
      ],
    );
  });

  it('is read no further while the receiver is behind, and takes no silence for death', async () => {
    const count = 3_000;
    const text = (i: number): string => `${i} `.padEnd(4_000, 'x');
    await withClient(async (client) => {
      broker.setPaused(true);
      const pipeline = client.pipeline();
      for (let i = 0; i < count; i++) pipeline.publish('push:flood', text(i));
      await pipeline.exec();
      // 12 MB: more than the sockets hold between us, so that the rest lies in Redis.
      const outputBytes = async (): Promise<number> => {
        const lines = String(await client.client('LIST')).split('\n');
        const subscriber = lines.find((line) => line.includes('name=longwire-subscriber')) ?? '';
        return Number(/ omem=(\d+)/.exec(subscriber)?.[1] ?? 0);
      };
      await waitUntil(async () => (await outputBytes()) > 1_000_000, 'publications to wait in Redis');
      const taken = recorder.texts('flood').length;
      assert.ok(taken < count / 2, `${taken} came`);
      // Longer than a Redis that says nothing is trusted.
      const since = performance.now();
      await waitUntil(() => performance.now() - since > NOTICED_WITHIN_MS, 'that time to pass');
      assert.equal(broker.state, 'up');
      assert.equal(recorder.texts('flood').length, taken);
      await broker.publish([publication('aside', 'still published')]);

      broker.setPaused(false);
      await recorder.untilPublications(count + 1);
      assert.deepEqual(recorder.texts('aside'), ['still published']);
      assert.deepEqual(
        recorder.texts('flood'),
        Array.from({ length: count }, (_, i) => text(i)),
      );
      assert.deepEqual([broker.state, recorder.gaps], ['up', 0]);
    });
  });

  it('that cuts us off while the receiver is behind is noticed when it is read on, as a gap', async () => {
    await withClient(async (client) => {
      await client.config('SET', 'client-output-buffer-limit', 'pubsub 1mb 0 0');
      await broker.publish([publication('a', 'before')]);
      await recorder.untilPublications(1);
      broker.setPaused(true);
      const pipeline = client.pipeline();
      for (let i = 0; i < 3_000; i++) pipeline.publish('push:flood', 'x'.repeat(4_000));
      await pipeline.exec();
      broker.setPaused(false);
      await recorder.until(() => recorder.gaps === 1, 'the gap');
      await recorder.untilState('up');
      await broker.publish([publication('a', 'after')]);
      await recorder.until(() => recorder.texts('a').includes('after'), 'what is published from then on');
    });
  });

  it('is not read on a new connection either, while the receiver is still behind', async () => {
    await redis.kill();
    await recorder.untilState('down');
    broker.setPaused(true);
    await redis.restart();
    await recorder.untilState('up');
    await broker.publish([publication('a', 'kept back')]);
    await withClient(async (client) => assert.equal(await client.ping(), 'PONG'));
    assert.deepEqual(recorder.texts('a'), []);
    broker.setPaused(false);
    await recorder.until(() => recorder.texts('a').includes('kept back'), 'what was kept back');
  });

  it('killed with calls in flight: they fail at once, and nothing of them is published later', async () => {
    redis.pause();
    const calls = Array.from({ length: 50 }, (_, i) => broker.publish([publication('a', `lost ${i}`)]));
    const outcomes = Promise.allSettled(calls);
    await new Promise((resolve) => setImmediate(resolve));
    const begin = performance.now();
    await redis.kill();
    for (const outcome of await outcomes) {
      assert.equal(outcome.status, 'rejected');
      assert.equal(outcome.reason.kind, 'unavailable');
      assert.match(outcome.reason.message, /may or may not have been taken/);
    }
    assert.ok(performance.now() - begin < 1_000);

    await redis.restart();
    await recorder.untilState('up');
    await broker.publish([publication('a', 'after')]);
    await recorder.untilPublications(1);
    assert.deepEqual(recorder.texts('a'), ['after']);
  });

  it('paused for a moment: down and up again, with nothing lost and so no gap', async () => {
    const pausedAt = performance.now();
    redis.pause();
    const inFlight = broker.publish([publication('a', 'in flight')]).catch((error: unknown) => error);
    await recorder.untilState('down');
    assert.ok(performance.now() - pausedAt < NOTICED_WITHIN_MS, `noticed after ${performance.now() - pausedAt} ms`);
    await assert.rejects(broker.publish([publication('a', 'refused')]), {
      ...UNAVAILABLE,
      message: /nothing was published/,
    });

    redis.resume();
    await recorder.untilState('up');
    const outcome = await inFlight;
    await broker.publish([publication('a', 'after')]);
    await recorder.untilPublications(2);
    assert.deepEqual(outcome, [], 'Redis took it before the deadline');
    assert.deepEqual(recorder.texts('a'), ['in flight', 'after']);
    assert.equal(recorder.gaps, 0);
  });

  it('paused for long: calls fail by the deadline, the connections are made anew, the gap is told', async () => {
    await broker.publish([publication('a', 'before')]);
    await recorder.untilPublications(1);
    redis.pause();
    const begin = performance.now();
    await assert.rejects(broker.publish([publication('b', 'x')]), UNAVAILABLE);
    assert.ok(performance.now() - begin < PUBLISH_DEADLINE_MS + 500);
    await waitUntil(
      () => log.lines.some(({ subscriber, link }) => subscriber === 'away' || link === 'subscriber') || redisIsCut(),
      'the connection to be given up',
    );
    redis.resume();
    await recorder.until(() => recorder.gaps === 1, 'the gap');
    await recorder.untilState('up');
    await broker.publish([publication('a', 'after')]);
    await recorder.until(() => recorder.texts('a').length === 2, 'what was published after');
    const story = recorder.entries.flatMap((entry) => {
      if (entry.type === 'gap') return ['gap'];
      return entry.type === 'publication' && entry.publication[0] === 'a' ? [String(entry.publication[1])] : [];
    });
    assert.deepEqual(story, ['before', 'gap', 'after']);

    function redisIsCut(): boolean {
      return performance.now() - begin > 4_500;
    }
  });

  it('closing the subscriber: the gap is told before the next publication, while publishing goes on', async () => {
    await withClient(async (client) => {
      await client.publish('push:a', 'before');
      await recorder.untilPublications(1);
      await client.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
      await recorder.until(() => recorder.gaps === 1, 'the gap');
      await recorder.untilState('up');
      await client.publish('push:a', 'after');
      await recorder.untilPublications(2);
      assertGapBetween('before', 'after');
      const states = recorder.entries.flatMap((entry) => (entry.type === 'state' ? [entry.state] : []));
      assert.deepEqual(states, ['up', 'down', 'up']);
    });
  });

  it('closing the publisher: down for a moment, no gap', async () => {
    await withClient(async (client) => {
      const list = String(await client.client('LIST'));
      const id = /id=(\d+) .*name=longwire-publisher/.exec(list)?.[1];
      assert.ok(id !== undefined);
      await client.call('CLIENT', 'KILL', 'ID', id);
      await recorder.untilState('down');
      await recorder.untilState('up');
      assert.equal(recorder.gaps, 0);
    });
  });

  it('closing the subscriber again and again under load: no hole in what is delivered without a gap in between', async () => {
    await withClient(async (client) => {
      let number = 0;
      for (let round = 0; round < 20; round++) {
        for (let i = 0; i < 200; i++) void client.publish('push:count', String(number++)).catch(() => undefined);
        await client.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
        const told = recorder.gaps;
        for (let i = 0; i < 200; i++) void client.publish('push:count', String(number++)).catch(() => undefined);
        await recorder.until(() => recorder.gaps > told, 'the gap');
      }
      await recorder.untilState('up');
      await client.publish('push:count', String(number));
      await recorder.until(() => recorder.texts('count').at(-1) === String(number), 'the last one');
    });
    let expected = 0;
    let gapTold = false;
    let holes = 0;
    for (const entry of recorder.entries) {
      if (entry.type === 'gap') gapTold = true;
      if (entry.type !== 'publication') continue;
      const count = Number(Buffer.from(entry.publication[1]).toString());
      assert.ok(count >= expected, `${count} came after ${expected - 1}`);
      if (count > expected) {
        assert.ok(gapTold, `${expected} to ${count - 1} are missing, and no gap was told`);
        holes++;
      }
      gapTold = false;
      expected = count + 1;
    }
    assert.ok(holes > 0, 'nothing was lost: the test has not tested anything');
  });
});

describe('Redis that is not there at the start', () => {
  it('does not keep the gateway from starting, and is found later, with a gap since the start', async (test) => {
    const server = await startRedis();
    await server.kill();
    const recorder = new Recorder();
    const broker = new RedisBroker({ url: server.url, prefix: 'push:' }, recorder, logLines().log);
    test.after(() => Promise.all([broker.stop(), server.stop()]));
    const begin = performance.now();
    await broker.start();
    assert.ok(performance.now() - begin < 1_000);
    assert.equal(broker.state, 'down');
    await assert.rejects(broker.publish([publication('a', 'x')]), UNAVAILABLE);
    await server.restart();
    await recorder.untilState('up');
    await broker.publish([publication('a', 'x')]);
    await recorder.untilPublications(1);
    assert.deepEqual(
      recorder.entries.map(({ type }) => type),
      ['state', 'gap', 'state', 'publication'],
    );
  });

  it('but hangs: the start waits 3 s at most', async (test) => {
    const server = await startRedis();
    server.pause();
    const recorder = new Recorder();
    const broker = new RedisBroker({ url: server.url, prefix: 'push:' }, recorder, logLines().log);
    test.after(() => Promise.all([broker.stop(), server.stop()]));
    const begin = performance.now();
    await broker.start();
    assert.ok(performance.now() - begin < 3_500);
    assert.equal(broker.state, 'down');
    server.resume();
    await recorder.untilState('up');
  });

  it('can be given up on while it is being looked for', async () => {
    const port = await freePort();
    const broker = new RedisBroker({ url: `redis://127.0.0.1:${port}`, prefix: 'p:' }, new Recorder(), logLines().log);
    const started = broker.start();
    await broker.stop();
    await started;
    const waiting = new RedisBroker({ url: `redis://127.0.0.1:${port}`, prefix: 'p:' }, new Recorder(), logLines().log);
    await waiting.start();
    await waiting.stop();
  });
});

describe('a worker that does not read for long', () => {
  it('is cut off by Redis at its output buffer limit, and tells the gap before what comes next', async () => {
    const redis = await startRedis({ arguments: ['--client-output-buffer-limit', 'pubsub', '1mb', '0', '0'] });
    const workers = await TestWorkers.start(1, { redis: { url: redis.url, prefix: 'push:' } });
    const client = new Redis(redis.url);
    try {
      const [worker] = workers.all;
      assert.ok(worker !== undefined);
      const subscribed = async (): Promise<number> => Number(await client.pubsub('NUMPAT'));
      assert.equal(await subscribed(), 1);
      worker.process.kill('SIGSTOP');
      const payload = Buffer.alloc(100_000, 'x');
      let published = 0;
      while ((await subscribed()) === 1) {
        assert.ok(published < 10_000, 'Redis has not cut it off');
        await client.publish('push:flood', payload);
        published++;
      }
      worker.process.kill('SIGCONT');
      await worker.recorder.until(() => worker.recorder.gaps === 1, 'the gap');
      await worker.recorder.until(() => worker.recorder.state === 'up', 'the broker to be up');
      await client.publish('push:flood', 'after');
      await worker.recorder.until(() => worker.recorder.texts('flood').at(-1) === 'after', 'what came after');
      assert.ok(worker.recorder.texts('flood').length < published + 1, 'something was lost');
      const { entries } = worker.recorder;
      const gapAt = entries.findIndex(({ type }) => type === 'gap');
      const lastAt = entries.findLastIndex(({ type }) => type === 'publication');
      assert.ok(gapAt < lastAt);
      assert.ok(entries.slice(gapAt, lastAt).every(({ type }) => type !== 'publication'));
    } finally {
      client.disconnect();
      await workers.stop();
      await redis.stop();
    }
  });
});
