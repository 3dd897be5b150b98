// Clients that come back with a position, on every transport: they get what they missed, once each and in order, or are told
// that it is gone; whatever is published meanwhile, and however many channels they hold.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { EventSource } from 'eventsource';
import { type GatewayProcess, startGateway, type WorkerInfo } from '../harness/gateway.ts';
import {
  HISTORY_STREAMS,
  HISTORY_TRANSPORTS,
  HistoryClient,
  type HistoryTransport,
} from '../harness/history-client.ts';
import { ask } from '../harness/raw-client.ts';
import { freePort, type RedisServer, startRedis } from '../harness/redis.ts';
import { waitUntil } from '../harness/wait.ts';

const NAMESPACES = {
  namespaces: {
    chat: { history_size: 1_000, history_ttl_seconds: 60 },
    short: { history_size: 3, history_ttl_seconds: 60 },
  },
};

const folder = mkdtempSync(join(tmpdir(), 'longwire-recovery-'));
const file = join(folder, 'namespaces.json');
writeFileSync(file, JSON.stringify(NAMESPACES));
after(() => rmSync(folder, { recursive: true, force: true }));

/** Ports are fixed: a test that kills all workers at once would find them listening on another free one. */
interface Setup {
  name: string;
  start(): Promise<{ gateway: GatewayProcess; stop(): Promise<void> }>;
}

const SETUPS: readonly Setup[] = [
  {
    name: 'the embedded broker',
    async start() {
      const gateway = await startGateway({ env: { PORT: String(await freePort()), LONGWIRE_NAMESPACES: file } });
      return { gateway, stop: () => gateway.kill() };
    },
  },
  {
    name: 'Redis',
    async start() {
      const redis: RedisServer = await startRedis();
      const gateway = await startGateway({
        env: { PORT: String(await freePort()), REDIS_URL: redis.url, LONGWIRE_NAMESPACES: file },
      });
      return {
        gateway,
        async stop() {
          await gateway.kill();
          await redis.stop();
        },
      };
    },
  },
];

for (const { name, start } of SETUPS) {
  describe(`recovery on ${name}`, () => {
    let gateway: GatewayProcess;
    let stop: () => Promise<void>;
    let made = 0;

    before(async () => {
      ({ gateway, stop } = await start());
    });
    after(() => stop());

    const fresh = (namespace: string): string => `${namespace}:${++made}`;
    const open = (transport: HistoryTransport, channels: readonly string[], since: string | null = null) =>
      new HistoryClient(transport, gateway.publicPort, channels, since);

    for (const transport of HISTORY_TRANSPORTS) {
      describe(transport, () => {
        it('tells where it stands at the start, and gives what was published since then', async () => {
          const channel = fresh('chat');
          const first = await open(transport, [channel]).opened();
          const { position } = first;
          assert.ok(position !== null, 'it was told no position');
          first.close();
          for (const data of ['1', '2', '3']) await gateway.publish(channel, data);
          const second = open(transport, [channel], position);
          assert.deepEqual((await second.outcome()).recovered, [channel]);
          assert.deepEqual(await second.data(3), ['1', '2', '3']);
          await gateway.publish(channel, '4');
          assert.deepEqual(await second.data(4), ['1', '2', '3', '4']);
          second.close();
        });

        it('gives with each publication the position behind it', async () => {
          const channel = fresh('chat');
          const client = await open(transport, [channel]).opened();
          const positions: (string | null)[] = [];
          for (const data of ['1', '2', '3']) {
            await gateway.publish(channel, data);
            await client.data(Number(data));
            positions.push(client.position);
          }
          client.close();
          for (const [i, position] of positions.entries()) {
            const back = open(transport, [channel], position);
            assert.deepEqual(await back.outcome().then(({ recovered, gap }) => [recovered, gap]), [
              [channel],
              undefined,
            ]);
            assert.deepEqual(await back.data(2 - i), ['1', '2', '3'].slice(i + 1));
            assert.equal(back.publications.length, 2 - i);
            back.close();
          }
        });

        it('says that there is a gap where something is gone, gives nothing of it, and goes on', async () => {
          const channel = fresh('short');
          const client = await open(transport, [channel]).opened();
          const { position } = client;
          client.close();
          for (const data of ['1', '2', '3', '4']) await gateway.publish(channel, data);
          for (const since of [position, 'other.1', 'no position', '']) {
            const back = open(transport, [channel], since);
            if (since === '' && transport === 'sse') continue; // no Last-Event-ID is sent then
            assert.deepEqual((await back.outcome()).gap, [channel]);
            back.close();
          }
          const back = open(transport, [channel], position);
          const { gap, recovered, position: now } = await back.outcome();
          assert.deepEqual([gap, recovered], [[channel], undefined]);
          await gateway.publish(channel, '5');
          assert.deepEqual(await back.data(1), ['5']);
          back.close();
          const again = open(transport, [channel], now);
          assert.deepEqual((await again.outcome()).recovered, [channel]);
          assert.deepEqual(await again.data(1), ['5']);
          again.close();
        });

        it('recovers many channels from one position, in the order of their publications, each by itself', async () => {
          const channels = [fresh('chat'), fresh('short'), fresh('chat'), 'plain'];
          const [a = '', b = '', c = '', plain = ''] = channels;
          const client = await open(transport, channels).opened();
          const { position } = client;
          client.close();
          for (const [channel, data] of [
            [a, '1'],
            [b, 'x'],
            [c, '2'],
            [a, '3'],
            [b, 'x'],
            [b, 'x'],
            [b, 'x'],
            [c, '4'],
            [plain, 'x'],
          ] as const) {
            await gateway.publish(channel, data);
          }
          const back = open(transport, channels, position);
          const { recovered, gap } = await back.outcome();
          assert.deepEqual([recovered?.sort(), gap], [[a, c].sort(), [b]]);
          assert.deepEqual(await back.data(4), ['1', '2', '3', '4']);
          back.close();
        });

        it('loses, doubles and reorders nothing, whatever is published while clients come and go', async () => {
          const channels = [fresh('chat'), fresh('chat')];
          const total = 600;
          const first = await open(transport, channels).opened();
          const start = first.position;
          first.close();
          let published = 0;
          const publishing = (async () => {
            for (; published < total; published++)
              await gateway.publish(channels[published % 2] ?? '', String(published));
          })();
          const followers = Array.from({ length: 6 }, async (_, follower) => {
            const got: number[] = [];
            let position = start;
            let connections = 0;
            while (got.length < total) {
              connections++;
              const client = open(transport, channels, position);
              assert.equal((await client.outcome()).gap, undefined);
              // Goes somewhere in the middle of what comes; the last one stays until it has all.
              const enough = published >= total ? total - got.length : 1 + ((follower + connections) % 7) * 4;
              await waitUntil(
                () => client.publications.length >= enough || published >= total,
                () => `${enough} more; it has ${got.length} of ${published}`,
              );
              client.close();
              client.look();
              got.push(...client.publications.map(({ data }) => Number(data)));
              position = client.position;
            }
            assert.deepEqual(
              got,
              Array.from({ length: total }, (_, i) => i),
            );
            return connections;
          });
          const connections = await Promise.all(followers);
          await publishing;
          assert.ok(Math.min(...connections) > 5, `they came back ${connections} times`);
        });
      });
    }

    it('gives nothing of a channel whose history was removed, though others have just been given it', async () => {
      const channel = fresh('chat');
      const first = await open('stream', [channel]).opened();
      first.close();
      await gateway.publish(channel, '1');
      // Enough that each worker has read it.
      for (let i = 0; i < 12; i++) {
        const back = open('stream', [channel], first.position);
        assert.deepEqual((await back.outcome()).recovered, [channel]);
        back.close();
      }
      assert.equal((await gateway.api('history_remove', { channel })).status, 200);
      let gaps = 0;
      await waitUntil(
        async () => {
          const back = open('stream', [channel], first.position);
          gaps = (await back.outcome()).gap === undefined ? 0 : gaps + 1;
          back.close();
          return gaps === 12;
        },
        'word of the gap from every worker',
        3_000,
      );
    });

    it('gives event streams the position as their id, and the publisher’s own in the json format', async () => {
      const channel = fresh('chat');
      const url = `http://127.0.0.1:${gateway.publicPort}/sse/${channel}`;
      const json = await open('sse', [channel]).opened();
      const source = new EventSource(url);
      await new Promise((resolve) => source.addEventListener('open', resolve));
      const got = new Promise<{ id: string; data: string }>((resolve) => {
        source.addEventListener('note', (event) => resolve({ id: event.lastEventId, data: String(event.data) }));
      });
      await gateway.publish(channel, 'hello', { event: 'note', id: 'own' });
      await json.data(1);
      assert.deepEqual(await got, { id: json.position, data: 'hello' });
      assert.equal((json.publications[0] as { id?: string }).id, 'own');
      source.close();
      json.close();
    });

    it('lets an EventSource of everyday come back by itself with all that it missed', async () => {
      const channel = fresh('chat');
      const sockets: Socket[] = [];
      const between = createServer((client) => {
        const server = connect(gateway.publicPort, '127.0.0.1');
        sockets.push(client, server);
        for (const socket of [client, server]) socket.on('error', () => {});
        client.pipe(server).pipe(client);
      }).listen(0, '127.0.0.1');
      await once(between, 'listening');
      const source = new EventSource(`http://127.0.0.1:${(between.address() as AddressInfo).port}/sse/${channel}`);
      const got: string[] = [];
      const outcomes: string[] = [];
      source.addEventListener('message', (event) => got.push(String(event.data)));
      source.addEventListener('longwire', (event) => outcomes.push(String(event.data)));
      await new Promise((resolve) => source.addEventListener('open', resolve));
      await gateway.publish(channel, '1');
      await waitUntil(() => got.length === 1, 'the first');
      for (const socket of sockets) socket.destroy();
      for (const data of ['2', '3']) await gateway.publish(channel, data);
      await waitUntil(
        () => got.length === 3 && outcomes.length === 1,
        () => `three; there came ${got}; ${outcomes}`,
        15_000,
      );
      assert.deepEqual(got, ['1', '2', '3']);
      assert.deepEqual(JSON.parse(outcomes[0] ?? '').recovered, [channel]);
      source.close();
      between.close();
    });

    it('lets a WebSocket take up channels from a position', async () => {
      const [a, b, c] = [fresh('chat'), fresh('chat'), fresh('short')] as const;
      const client = await open('websocket', [a]).opened();
      const { position } = client;
      for (const [channel, data] of [
        [b, '1'],
        [c, 'x'],
        [c, 'x'],
        [c, 'x'],
        [c, 'x'],
        [b, '2'],
      ] as const) {
        await gateway.publish(channel, data);
      }
      assert.deepEqual(await client.reply({ subscribe: [b, c], since: position }), { subscribed: [b, c] });
      const { recovered, gap } = await client.outcome();
      assert.deepEqual([recovered, gap], [[b], [c]]);
      await gateway.publish(c, '3');
      await gateway.publish(a, '4');
      assert.deepEqual(await client.data(4), ['1', '2', '3', '4']);
      const before = client.position;
      assert.equal((await client.reply({ subscribe: fresh('chat') })).position, before);
      for (const wish of [{ subscribe: a, since: 7 }, { unsubscribe: a, since: 'e.1' }, { since: 'e.1' }]) {
        assert.match(JSON.stringify(await client.reply(wish)), /"code":107/);
      }
      client.close();
    });

    it('recovers clients of a worker that was killed, on whichever comes to serve them', async () => {
      const channels = [fresh('chat'), fresh('chat')];
      const clients = HISTORY_STREAMS.map((transport) => open(transport, channels));
      for (const client of clients) await client.opened();
      const killed = await gateway.workerPids();
      for (const pid of killed) process.kill(pid, 'SIGKILL');
      await waitUntil(() => clients.every(({ ended }) => ended), 'the connections to end');
      // Not readiness alone: the primary may not have heard of the deaths yet.
      const isNew = ({ state, pid }: WorkerInfo) => state === 'ready' && !killed.includes(pid ?? 0);
      await waitUntil(async () => (await gateway.workers()).every(isNew), 'others to be ready');
      for (const [i, channel] of channels.entries()) await gateway.publish(channel, String(i + 1));
      for (const { transport, position } of clients) {
        const back = open(transport, channels, position);
        assert.deepEqual((await back.outcome()).recovered, channels);
        assert.deepEqual(await back.data(2), ['1', '2']);
        back.close();
      }
    });

    it('gives more than an outbox holds to whoever reads it, and does not take them for slow', async () => {
      const channel = fresh('chat');
      const client = await open('stream', [channel]).opened();
      const { position } = client;
      client.close();
      const payload = Buffer.alloc(100_000, 'x').toString();
      for (let i = 0; i < 50; i++) await gateway.publish(channel, `${i} ${payload}`);
      for (const transport of HISTORY_TRANSPORTS) {
        const back = open(transport, [channel], position);
        assert.deepEqual((await back.outcome()).recovered, [channel]);
        const numbers = (await back.data(50)).map((data) => data.split(' ')[0]);
        assert.deepEqual(
          numbers,
          Array.from({ length: 50 }, (_, i) => String(i)),
        );
        back.close();
      }
    });

    it('says nothing of positions where no channel has history, and passes over a Last-Event-ID there', async () => {
      const client = open('sse', ['plain'], '42');
      await gateway
        .publish('plain', 'x', { id: '43' })
        .then(() => client.data(1))
        .catch(() => {});
      await gateway.publish('plain', 'y');
      await waitUntil(() => client.publications.some(({ data }) => data === 'y'), 'it');
      assert.deepEqual(client.notices, []);
      client.close();
    });

    it('refuses a position where the format has no place for the outcome', async () => {
      for (const path of ['/stream', '/ws', '/poll']) {
        const upgrade =
          'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';
        const fields = path === '/ws' ? upgrade : 'Connection: close\r\n';
        const answer = await ask(
          gateway.publicPort,
          `GET ${path}/chat:x?format=raw&since=e.1 HTTP/1.1\r\nHost: gateway\r\n${fields}\r\n`,
        );
        assert.equal(answer.status, 400);
        assert.match(answer.text, /take json/);
      }
    });

    it('is counted by its outcome', async () => {
      await gateway.metricReaches('longwire_recoveries_total', { outcome: 'recovered' }, (value) => value > 20);
      await gateway.metricReaches('longwire_recoveries_total', { outcome: 'gap' }, (value) => value > 5);
    });
  });
}
