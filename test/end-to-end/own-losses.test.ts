// What the gateway itself loses: a subscription that was cut, a worker that Redis cut off, a Redis that was killed. Clients stay
// connected; channels with history are caught up before anything newer comes, the others' clients are told of a gap.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, describe, it } from 'node:test';
import { Redis } from 'ioredis';
import { type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { HISTORY_STREAMS, HISTORY_TRANSPORTS, HistoryClient } from '../harness/history-client.ts';
import { type RedisServer, startRedis } from '../harness/redis.ts';
import { publishAsBackend } from '../harness/redis-server.ts';
import { waitUntil } from '../harness/wait.ts';

const folder = mkdtempSync(join(tmpdir(), 'longwire-losses-'));
const file = join(folder, 'namespaces.json');
writeFileSync(
  file,
  JSON.stringify({
    namespaces: {
      chat: { history_size: 2_000, history_ttl_seconds: 60 },
      short: { history_size: 3, history_ttl_seconds: 60 },
    },
  }),
);
after(() => rmSync(folder, { recursive: true, force: true }));

describe('what the gateway itself has missed', () => {
  let redis: RedisServer;
  let gateway: GatewayProcess;
  let backend: Redis;
  let clients: HistoryClient[] = [];

  afterEach(async () => {
    for (const client of clients) client.close();
    clients = [];
    backend.disconnect();
    await gateway.kill();
    await redis.stop();
  });

  async function start(more: string[] = [], env: Record<string, string> = {}): Promise<void> {
    redis = await startRedis({ arguments: more });
    gateway = await startGateway({
      env: { REDIS_URL: redis.url, LONGWIRE_NAMESPACES: file, LONGWIRE_WORKERS: '1', ...env },
    });
    backend = new Redis(redis.url, { retryStrategy: () => 20 });
    backend.on('error', () => {});
    await waitUntil(async () => (await gateway.readiness()) === 200, 'the gateway to be ready');
  }

  async function open(...channels: string[]): Promise<HistoryClient[]> {
    clients = await Promise.all(
      HISTORY_TRANSPORTS.map((transport) => new HistoryClient(transport, gateway.publicPort, channels).opened()),
    );
    return clients;
  }

  const publish = (channel: string, data: string) => publishAsBackend(backend, ['push:', channel, data]);

  async function cutSubscription(): Promise<void> {
    const list = String(await backend.client('LIST'));
    const id =
      /id=(\d+) .*name=longwire-worker-1-subscriber/.exec(list)?.[1] ?? assert.fail('there is no subscription');
    await backend.client('KILL', 'ID', Number(id));
  }

  const range = (from: number, to: number): string[] => Array.from({ length: to - from }, (_, i) => String(from + i));

  it('is caught up where there is history, before anything newer, when its subscription was cut', async () => {
    await start();
    await open('chat:a', 'chat:b');
    let sent = 0;
    for (let round = 0; round < 5; round++) {
      for (const each of range(sent, sent + 20)) await publish(Number(each) % 2 === 0 ? 'chat:a' : 'chat:b', each);
      sent += 20;
      await Promise.all([
        cutSubscription(),
        (async () => {
          for (const each of range(sent, sent + 100)) await publish(Number(each) % 2 === 0 ? 'chat:a' : 'chat:b', each);
        })(),
      ]);
      sent += 100;
      for (const client of clients) {
        assert.deepEqual(await client.data(sent), range(0, sent));
        assert.deepEqual(
          client.notices.filter(({ gap }) => gap !== undefined),
          [],
        );
      }
    }
  });

  it('is caught up although nobody publishes any more', async () => {
    await start();
    await open('chat:a');
    await publish('chat:a', '1');
    for (const client of clients) await client.data(1);
    await cutSubscription();
    await publish('chat:a', '2');
    for (const client of clients) assert.deepEqual(await client.data(2), ['1', '2']);
  });

  it('is told as a gap where there is no history, or where that no longer has it', async () => {
    await start();
    await open('short:a', 'plain');
    // Away for as long as it takes to publish more than is kept.
    for (let round = 1; ; round++) {
      await Promise.all([cutSubscription(), ...range(0, 200).map((each) => publish('short:a', each))]);
      await publish('short:a', `last ${round}`);
      for (const client of clients) {
        // The last one may lie in the gap itself.
        await waitUntil(
          () =>
            client.publications.some(({ data }) => data === `last ${round}`) ||
            client.notices.some(({ gap }) => gap?.includes('short:a') === true),
          'the last one, or word of a gap',
        );
      }
      const told = clients.map(({ notices }) => notices.flatMap(({ gap }) => gap ?? []));
      for (const client of clients) {
        await waitUntil(
          () => client.notices.some(({ gap }) => gap?.includes('plain') === true),
          'word of the other gap',
        );
      }
      if (told.every((gaps) => gaps.includes('short:a'))) break;
      assert.ok(round < 20, 'the worker was never away for long enough');
    }
  });

  it('is caught up when the worker hung until Redis cut it off, and it never claims to be well meanwhile', async () => {
    await start(['--client-output-buffer-limit', 'pubsub', '1mb', '0', '0']);
    await open('chat:a');
    // It comes all at once, which is more than a mailbox holds.
    for (const client of clients) if (client.poller !== null) client.close();
    clients = clients.filter(({ poller }) => poller === null);
    const [pid] = await gateway.workerPids();
    assert.ok(pid !== undefined);
    process.kill(pid, 'SIGSTOP');
    const payload = (each: string): string => `${each} `.padEnd(20_000, '.');
    for (const each of range(0, 600)) await publish('chat:a', payload(each));
    await waitUntil(
      async () => !String(await backend.client('LIST')).includes('name=longwire-worker-1-subscriber'),
      'Redis to cut it off',
    );
    process.kill(pid, 'SIGCONT');
    for (const client of clients) {
      const got = (await client.data(600)).map((data) => data.split(' ')[0]);
      assert.deepEqual(got, range(0, 600));
      assert.deepEqual(
        client.notices.filter(({ gap }) => gap !== undefined),
        [],
      );
    }
    await gateway.metricReaches('longwire_broker_gaps_total', {}, (gaps) => gaps > 0);
  });

  it('is nothing when Redis was killed and came back with all its data', async () => {
    await start(['--appendonly', 'yes', '--appendfsync', 'always']);
    await open('chat:a');
    await publish('chat:a', '1');
    for (const client of clients) await client.data(1);
    const { position } = clients[0] ?? assert.fail();
    await redis.restart();
    await waitUntil(async () => (await publish('chat:a', '2').catch(() => null)) !== null, 'Redis to be back');
    for (const client of clients) {
      assert.deepEqual(await client.data(2), ['1', '2']);
      assert.deepEqual(
        client.notices.filter(({ gap }) => gap !== undefined),
        [],
      );
    }
    const back = new HistoryClient('stream', gateway.publicPort, ['chat:a'], position);
    assert.deepEqual((await back.outcome()).recovered, ['chat:a']);
    assert.deepEqual(await back.data(1), ['2']);
    back.close();
  });

  it('is told as a gap when Redis was killed and came back without its data, to those who stay and to those who come back', async () => {
    await start();
    await open('chat:a');
    await publish('chat:a', '1');
    for (const client of clients) await client.data(1);
    const { position } = clients[0] ?? assert.fail();
    await redis.restart();
    for (const client of clients) {
      await waitUntil(() => client.notices.some(({ gap }) => gap?.includes('chat:a') === true), 'word of the gap');
    }
    await waitUntil(
      async () => (await gateway.api('publish', { channel: 'chat:a', data: '2' })).status === 200,
      'it to go on',
    );
    for (const client of clients) assert.deepEqual(await client.data(2), ['1', '2']);
    const back = new HistoryClient('sse', gateway.publicPort, ['chat:a'], position);
    assert.deepEqual((await back.outcome()).gap, ['chat:a']);
    back.close();
  });

  it('does not silence who holds several channels when Redis came back without its data and counts anew', async () => {
    await start();
    await open('chat:a', 'chat:b');
    for (const each of range(0, 40)) await publish('chat:a', each);
    for (const client of clients) await client.data(40);
    await redis.restart();
    for (const client of clients) {
      await waitUntil(
        () => ['chat:a', 'chat:b'].every((name) => client.notices.some(({ gap }) => gap?.includes(name) === true)),
        'word of the gap in both',
      );
    }
    for (const each of range(40, 50)) {
      const channel = Number(each) % 2 === 0 ? 'chat:a' : 'chat:b';
      await waitUntil(
        async () => (await gateway.api('publish', { channel, data: each })).status === 200,
        'it to go on',
      );
    }
    for (const client of clients) assert.deepEqual(await client.data(50), range(0, 50));
  });

  it('does not keep those who come back while Redis is away from being recovered when it is there again', async () => {
    await start(['--appendonly', 'yes', '--appendfsync', 'always']);
    await open('chat:a');
    const { position } = clients[0] ?? assert.fail();
    await publish('chat:a', '1');
    await redis.kill();
    await waitUntil(async () => (await gateway.readiness()) === 503, 'it to be noticed');
    for (const client of clients) if (client.transport === 'poll') client.close();
    await gateway.metricReaches('longwire_connections', {}, HISTORY_STREAMS.length);
    const back = HISTORY_STREAMS.map(
      (transport) => new HistoryClient(transport, gateway.publicPort, ['chat:a'], position),
    );
    clients.push(...back);
    await gateway.metricReaches('longwire_connections', {}, 6);
    await redis.restart();
    for (const client of back) {
      assert.deepEqual((await client.outcome()).recovered, ['chat:a']);
      assert.deepEqual(await client.data(1), ['1']);
    }
  });
});
