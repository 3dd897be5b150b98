// What the next primary may do otherwise than the one that it takes over from: more or fewer workers, another admin port, another wire;
// and what becomes of those who cannot move.

import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { reusePortFault } from '../../src/primary/reuse-port.ts';
import { makeSid, slotOf } from '../../workers/poll/sid.ts';
import { makeCertificates } from '../harness/certificates.ts';
import { type GatewayOptions, type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { type NumberedClient, NumberedPublisher } from '../harness/numbered.ts';
import { replacePrimary } from '../harness/operations.ts';
import { PollClient } from '../harness/poll-client.ts';
import { ask } from '../harness/raw-client.ts';
import { freePort } from '../harness/redis.ts';
import { openStreams, SseClient } from '../harness/sse-client.ts';
import { TRANSPORTS } from '../harness/transports.ts';
import { waitUntil } from '../harness/wait.ts';

const CHANNELS = ['a', 'b', 'c'];
const CLIENTS = 24;

const gateways: GatewayProcess[] = [];
after(async () => {
  for (const gateway of gateways) await gateway.kill();
});

async function start(options: GatewayOptions): Promise<GatewayProcess> {
  const gateway = await startGateway(options);
  gateways.push(gateway);
  return gateway;
}

async function openClients(gateway: GatewayProcess): Promise<NumberedClient[]> {
  const opening = TRANSPORTS.flatMap((transport) =>
    Array.from({ length: CLIENTS }, async (_, i) => {
      const channel = CHANNELS[i % CHANNELS.length] as string;
      return { held: await transport.open(gateway.publicPort, channel), channels: [channel] };
    }),
  );
  return Promise.all(opening);
}

describe('the next primary', () => {
  it('has as many workers as its configuration says, and every poll session finds its own', async () => {
    const gateway = await start({ file: { LONGWIRE_WORKERS: '2' } });
    const clients = await openClients(gateway);
    const publisher = new NumberedPublisher(gateway, CHANNELS);
    for (const workers of [4, 1, 3]) {
      gateway.write({ LONGWIRE_WORKERS: `${workers}` });
      publisher.start();
      await replacePrimary(gateway);
      await publisher.stop();
      for (const client of clients) await publisher.check(client);
      assert.equal((await gateway.workers()).length, workers);
    }
    const metrics = await gateway.metrics();
    for (const reason of ['session-gone', 'session-elsewhere', 'superseded', 'draining']) {
      assert.equal(metrics.value('longwire_rejected_total', { reason }), 0, reason);
    }
    for (const { held } of clients) held.close();
  });

  it('finds sessions whose slot went with fewer workers and came back with more, from whichever worker they are asked', async () => {
    const gateway = await start({ file: { LONGWIRE_WORKERS: '2' } });
    const clients: PollClient[] = [];
    await waitUntil(async () => {
      const client = new PollClient(gateway.publicPort, 'a', { anew: true });
      clients.push(client);
      await client.poll('timeout=0');
      return slotOf(client.sid) === 2;
    }, 'a session of the slot that goes');
    for (const workers of [1, 3]) {
      gateway.write({ LONGWIRE_WORKERS: `${workers}` });
      await replacePrimary(gateway);
    }
    await gateway.publish('a', 'x');
    for (let round = 0; round < 10; round++) {
      for (const client of clients) {
        const { status, text } = await client.poll('timeout=0');
        assert.equal(status, round === 0 ? 200 : 204, text);
      }
    }
    const unknown = new PollClient(gateway.publicPort, 'a', { anew: true });
    unknown.sid = makeSid(2);
    unknown.since = '0';
    // Where two workers each take the other for the one that has it, the client is asked to come again.
    await waitUntil(async () => {
      const { status } = await unknown.poll('timeout=0');
      assert.ok(status === 410 || status === 421, `${status}`);
      return status === 410;
    }, 'a session that never was to be gone');
    for (const client of [...clients, unknown]) client.close();
  });

  it('is given connections by the channel where no links can be made', async () => {
    const gateway = await start({ env: { TMPDIR: '/nowhere/at/all' } });
    const clients = await openClients(gateway);
    const publisher = new NumberedPublisher(gateway, CHANNELS);
    publisher.start();
    const { moved } = await replacePrimary(gateway);
    await publisher.stop();
    assert.equal(moved, clients.length - CLIENTS, 'held connections; polls go as sessions');
    for (const client of clients) await publisher.check(client);
    for (const { held } of clients) held.close();
  });

  it('is asked for nothing while it only starts: polls of sessions that nobody has are answered at once', async () => {
    const gateway = await start({});
    gateway.signal('SIGUSR2');
    await waitUntil(() => gateway.logged('the next primary is started').length > 0, 'the next primary');
    const next = Number(gateway.logged('the next primary is started')[0]?.pid);
    process.kill(next, 'SIGSTOP');
    try {
      for (let i = 0; i < 20; i++) {
        const request = `GET /poll/a?sid=${makeSid(1 + (i % 2))}&since=0 HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n`;
        assert.equal((await ask(gateway.publicPort, request)).status, 410);
      }
    } finally {
      process.kill(next, 'SIGCONT');
    }
    await waitUntil(
      () => gateway.primaryPid === next,
      () => `the next primary to take over: ${gateway.log.slice(-2_000)}`,
    );
  });

  it('answers on another admin port, with the key that the one before had made', async () => {
    const gateway = await start({ file: { LONGWIRE_API_KEY: '', LONGWIRE_ADMIN_PORT: '0' } });
    const key = /X-API-Key: (\S+?)'/.exec(gateway.out)?.[1] ?? assert.fail(gateway.out);
    const [client] = await openStreams(gateway.publicPort, '/sse/a');
    const adminPort = await freePort();
    gateway.write({ LONGWIRE_API_KEY: '', LONGWIRE_ADMIN_PORT: `${adminPort}` });
    gateway.signal('SIGUSR2');
    await waitUntil(
      () => gateway.logged('this primary has taken over').length > 0,
      () => gateway.log.slice(-2_000),
    );
    assert.equal(gateway.logged('this primary has taken over')[0]?.adminPort, adminPort);
    const answer = await ask(adminPort, 'GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
    assert.equal(answer.status, 200);
    const published = await gateway.api('publish', { channel: 'a', data: 'x' }, `X-API-Key: ${key}\r\n`);
    assert.equal(published.status, 200, published.text);
    assert.deepEqual(await client?.data(1), ['x']);
  });

  it('comes to a port of its own with reuseport', async (context) => {
    const fault = await reusePortFault();
    if (fault !== null) {
      context.skip(fault);
      return;
    }
    const gateway = await start({ env: { LONGWIRE_ACCEPT: 'reuseport' } });
    const clients = await openClients(gateway);
    const publisher = new NumberedPublisher(gateway, CHANNELS);
    await replacePrimary(gateway);
    publisher.start();
    await waitUntil(() => publisher.published > 20, 'some publications');
    await publisher.stop();
    for (const client of clients) await publisher.check(client);
    for (const { held } of clients) held.close();
  });

  it('is not come to through TLS: those who hold a connection are told to come again, and it is there', async () => {
    const certificates = makeCertificates();
    try {
      const gateway = await start({
        env: {
          LONGWIRE_TLS_CERT: certificates.cert,
          LONGWIRE_TLS_KEY: certificates.key,
          LONGWIRE_DRAIN_SECONDS: '0.2',
        },
      });
      const tls = { rejectUnauthorized: false };
      const client = await new SseClient(gateway.publicPort, '/sse/a', '', { tls }).opened();
      await replacePrimary(gateway);
      assert.equal(await client.connection.end(), 'fin');
      assert.equal((await gateway.metrics()).value('longwire_not_moved_total', { reason: 'tls' }), 1);
      const again = await new SseClient(gateway.publicPort, '/sse/a', '', { tls }).opened();
      await gateway.publish('a', 'x');
      assert.deepEqual(await again.data(1), ['x']);
      again.close();
    } finally {
      certificates.remove();
    }
  });
});
