// Workers replaced, added and taken away under publications: every connection of every transport gets each of them once and in
// order, and none is closed. On both wires, with the embedded broker and with Redis.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { type NumberedClient, NumberedPublisher } from '../harness/numbered.ts';
import { askOnce, operate } from '../harness/operations.ts';
import { RawClient } from '../harness/raw-client.ts';
import { startRedis } from '../harness/redis.ts';
import { TRANSPORTS } from '../harness/transports.ts';
import { waitUntil } from '../harness/wait.ts';

const CHANNELS = ['a', 'b', 'c', 'd', 'all'];
/** Of each transport; three times as many in a crowd as one batch has places. */
const CLIENTS = 64;

async function openClients(gateway: GatewayProcess): Promise<NumberedClient[]> {
  const opening = TRANSPORTS.flatMap((transport) =>
    Array.from({ length: CLIENTS }, async (_, i) => {
      const channel = CHANNELS[i % 4] as string;
      const format = i % 8 < 4 ? '' : '&format=raw';
      // Polls on a new connection each come to whichever worker accepts, and to it before their session does.
      const fields = transport.polls && i % 2 === 0 ? 'Connection: close\r\n' : '';
      const target = `${channel}?channel=all${transport.name === 'stream' ? '' : format}`;
      return {
        held: await transport.open(gateway.publicPort, target, fields),
        channels: [channel, 'all'],
        name: transport.name,
      };
    }),
  );
  return Promise.all(opening);
}

const folder = mkdtempSync(join(tmpdir(), 'longwire-moving-'));
const namespaces = join(folder, 'namespaces.json');
writeFileSync(namespaces, JSON.stringify({ default: { history_size: 100, history_ttl_seconds: 60 } }));
after(() => rmSync(folder, { recursive: true, force: true }));

/** Where this is no folder there are no descriptor links, and descriptors go by the channel. */
const NO_FOLDER = '/nowhere/at/all';

async function setup(wire: string, broker: string, history: string, way: string, accept: string) {
  const redis = broker === 'redis' ? await startRedis() : null;
  const env: Record<string, string> = {
    LONGWIRE_WIRE: wire,
    LONGWIRE_ACCEPT: accept,
    LONGWIRE_KEEPALIVE_SECONDS: '60',
  };
  if (redis !== null) env.REDIS_URL = redis.url;
  if (way === 'channel') env.TMPDIR = NO_FOLDER;
  if (history === 'with') env.LONGWIRE_NAMESPACES = namespaces;
  return { redis, gateway: await startGateway({ env }) };
}

for (const [wire, broker, history, way, accept] of [
  ['handle', 'memory', 'without', 'link', 'shared'],
  ['handle', 'redis', 'without', 'channel', 'shared'],
  ['handle', 'redis', 'with', 'link', 'shared'],
  ['socket', 'memory', 'without', 'link', 'shared'],
  ['socket', 'memory', 'without', 'link', 'sticky'],
  ['socket', 'memory', 'with', 'link', 'sticky'],
] as const) {
  describe(`connections move, ${wire} wire, ${broker} broker, ${history} history, by the ${way}, ${accept}`, () => {
    let gateway: GatewayProcess;
    let redis: Awaited<ReturnType<typeof setup>>['redis'] = null;
    let clients: NumberedClient[] = [];
    let publisher: NumberedPublisher;
    let idle: RawClient;

    before(async () => {
      ({ gateway, redis } = await setup(wire, broker, history, way, accept));
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

    async function underPublications(action: () => Promise<void>): Promise<void> {
      publisher.start();
      await action();
      await publisher.stop();
      for (const client of clients) await publisher.check(client);
    }

    it('when every worker is replaced, one after the other and all at once', async () => {
      await underPublications(async () => {
        const rolling = await operate(gateway, '/workers/replace');
        assert.equal(rolling.moved, 3 * CLIENTS, 'held streams');
        assert.equal(rolling.stayed, 0);
        await operate(gateway, '/workers/replace', '{"atOnce":true}');
      });
      assert.deepEqual(
        (await gateway.workers()).map(({ generation }) => generation),
        [3, 3],
      );
      await askOnce(idle);
    });

    it('when workers are added and taken away', async () => {
      await underPublications(async () => {
        await operate(gateway, '/workers/scale', '{"workers":4}');
        await waitUntil(
          async () =>
            (await gateway.workers()).every(({ connections }) => held(connections) >= clients.length / 4 - 16),
          'the new workers to have their share',
        );
        await operate(gateway, '/workers/scale', '{"workers":1}');
        await operate(gateway, '/workers/scale', '{"workers":2}');
      });
      await askOnce(idle);
    });

    it('and nothing is lost, closed or left behind', async () => {
      const metrics = await gateway.metrics();
      for (const reason of ['drained', 'lost', 'error', 'slow-consumer', 'client-left']) {
        assert.equal(metrics.value('longwire_closed_total', { reason }), 0, reason);
      }
      for (const reason of ['session-gone', 'session-elsewhere', 'superseded', 'draining', 'capacity']) {
        assert.equal(metrics.value('longwire_rejected_total', { reason }), 0, reason);
      }
      await gateway.metricReaches('longwire_connections', { transport: 'sse' }, CLIENTS);
      await gateway.metricReaches('longwire_connections', { transport: 'websocket' }, CLIENTS);
      const moved = (await gateway.metrics()).value('longwire_moved_total', { direction: 'out' });
      assert.ok(moved > 9 * CLIENTS, `${moved} moves`);
      for (const { held } of clients) held.close();
      // Sessions of polls wait for their clients a while longer.
      await gateway.metricReaches('longwire_poll_sessions', {}, CLIENTS);
      await gateway.metricReaches('longwire_subscriptions', {}, 2 * CLIENTS);
      await gateway.metricReaches('longwire_connections', { transport: 'sse' }, 0);
    });
  });
}

function held(connections: Record<string, number>): number {
  return Object.values(connections).reduce((sum, count) => sum + count, 0);
}
