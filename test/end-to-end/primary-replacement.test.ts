// The primary replaced under publications, twice: every connection of every transport gets each of them once and in order, and none
// is closed, with the embedded broker and with Redis, with history and without.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { isAlive } from '../harness/alive.ts';
import { type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { type NumberedClient, NumberedPublisher } from '../harness/numbered.ts';
import { askOnce, replacePrimary } from '../harness/operations.ts';
import { RawClient } from '../harness/raw-client.ts';
import { type RedisServer, startRedis } from '../harness/redis.ts';
import { SseClient } from '../harness/sse-client.ts';
import { TRANSPORTS } from '../harness/transports.ts';
import { waitUntil } from '../harness/wait.ts';

const CHANNELS = ['a', 'b', 'c', 'd', 'all'];
/** Of each transport. */
const CLIENTS = 48;

async function openClients(gateway: GatewayProcess): Promise<NumberedClient[]> {
  const opening = TRANSPORTS.flatMap((transport) =>
    Array.from({ length: CLIENTS }, async (_, i) => {
      const channel = CHANNELS[i % 4] as string;
      return { held: await transport.open(gateway.publicPort, `${channel}?channel=all`), channels: [channel, 'all'] };
    }),
  );
  return Promise.all(opening);
}

const folder = mkdtempSync(join(tmpdir(), 'longwire-primary-'));
const namespaces = join(folder, 'namespaces.json');
writeFileSync(
  namespaces,
  JSON.stringify({
    default: { history_size: 100, history_ttl_seconds: 60 },
    namespaces: { room: { presence: true, join_leave: true } },
  }),
);
after(() => rmSync(folder, { recursive: true, force: true }));

for (const [broker, history] of [
  ['memory', 'without'],
  ['memory', 'with'],
  ['redis', 'without'],
  ['redis', 'with'],
] as const) {
  describe(`the primary is replaced, ${broker} broker, ${history} history`, () => {
    let gateway: GatewayProcess;
    let redis: RedisServer | null = null;
    let clients: NumberedClient[] = [];
    let publisher: NumberedPublisher;
    let idle: RawClient;
    const primaries: number[] = [];

    before(async () => {
      redis = broker === 'redis' ? await startRedis() : null;
      const env: Record<string, string> = redis === null ? {} : { REDIS_URL: redis.url };
      if (history === 'with') env.LONGWIRE_NAMESPACES = namespaces;
      gateway = await startGateway({ env });
      clients = await openClients(gateway);
      publisher = new NumberedPublisher(gateway, CHANNELS);
      idle = new RawClient(gateway.publicPort);
      await askOnce(idle);
    });
    after(async () => {
      for (const { held } of clients) held.close();
      idle.close();
      await gateway.kill();
      await redis?.stop();
    });

    for (const time of ['once', 'and once again, by the one that came']) {
      it(time, async () => {
        primaries.push(gateway.primaryPid);
        const workers = await gateway.workerPids();
        const accepted = (await gateway.metrics()).value('longwire_accepted_total');
        publisher.start();
        const operation = await replacePrimary(gateway);
        await publisher.stop();
        for (const client of clients) await publisher.check(client);
        assert.equal(operation.moved, 3 * CLIENTS, 'held streams');
        assert.equal(operation.stayed, 0);
        assert.ok(!primaries.includes(gateway.primaryPid), 'another process');
        for (const pid of [...primaries, ...workers]) await waitUntil(() => !isAlive(pid), `${pid} to be gone`);
        assert.equal((await gateway.workers()).length, 2);
        assert.equal(await gateway.readiness(), 200);
        assert.ok((await gateway.metrics()).value('longwire_accepted_total') >= accepted, 'counters go on');
        await askOnce(idle);
      });
    }

    it('and nothing is lost, closed or left behind', async () => {
      const metrics = await gateway.metrics();
      for (const reason of ['drained', 'lost', 'error', 'slow-consumer', 'client-left']) {
        assert.equal(metrics.value('longwire_closed_total', { reason }), 0, reason);
      }
      for (const reason of ['session-gone', 'session-elsewhere', 'superseded', 'draining']) {
        assert.equal(metrics.value('longwire_rejected_total', { reason }), 0, reason);
      }
      await gateway.metricReaches('longwire_connections', { transport: 'sse' }, CLIENTS);
      await gateway.metricReaches('longwire_connections', { transport: 'websocket' }, CLIENTS);
      for (const { held } of clients) held.close();
      await gateway.metricReaches('longwire_subscriptions', {}, 2 * CLIENTS);
      await gateway.metricReaches('longwire_connections', { transport: 'sse' }, 0);
    });

    it('who holds a channel is known as before, and nobody is told that he has come again or gone', {
      skip: history === 'without',
    }, async () => {
      const client = await new SseClient(gateway.publicPort, '/sse/room:one').opened();
      const comings = () => client.notices.filter(({ data }) => /"(join|leave)"/.test(data)).length;
      const members = async () =>
        JSON.parse((await gateway.api('presence', { channel: 'room:one' })).text).result.presence;
      await waitUntil(async () => Object.keys(await members()).length === 1, 'the member');
      const before = await members();
      await waitUntil(() => comings() === 1, 'himself to come');
      await replacePrimary(gateway);
      assert.deepEqual(await members(), before);
      await gateway.publish('room:one', 'still here');
      assert.deepEqual(await client.data(1), ['still here']);
      assert.equal(comings(), 1, 'nobody else came or went');
      client.close();
      await waitUntil(async () => Object.keys(await members()).length === 0, 'the member to be gone');
    });

    it('positions and histories are those of before', { skip: history === 'without' }, async () => {
      const client = new SseClient(gateway.publicPort, '/sse/past');
      await client.opened();
      await gateway.publish('past', 'one', { idempotency_key: 'k' });
      await client.data(1);
      const position = client.events[0]?.id;
      client.close();
      await gateway.publish('past', 'two');
      await replacePrimary(gateway);
      await gateway.publish('past', 'one', { idempotency_key: 'k' });
      await gateway.publish('past', 'three');
      const again = new SseClient(gateway.publicPort, '/sse/past', `Last-Event-ID: ${position}\r\n`);
      assert.deepEqual(await again.data(2), ['two', 'three']);
      again.close();
    });
  });
}
