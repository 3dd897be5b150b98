// Processes that die while they have not yet acknowledged a descriptor that they were sent. Node then forgets to say that their
// channel has ended, and to close what it has sent; whoever relies on either leaves orphans, or clients that nobody serves.

import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { slotOf } from '../../workers/poll/sid.ts';
import { isAlive } from '../harness/alive.ts';
import { clientPorts } from '../harness/client-sockets.ts';
import { type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { PollClient } from '../harness/poll-client.ts';
import { RawClient } from '../harness/raw-client.ts';
import { startRedis } from '../harness/redis.ts';
import { waitUntil } from '../harness/wait.ts';

/** Each comes to any worker; so many that not all come to one. */
const CLIENTS = 40;

const gateways: GatewayProcess[] = [];
after(async () => {
  for (const gateway of gateways) await gateway.kill();
});

async function start(env: Record<string, string> = {}): Promise<GatewayProcess> {
  const gateway = await startGateway({ env });
  gateways.push(gateway);
  return gateway;
}

/** A session in each slot of two. */
async function sessionsOf(gateway: GatewayProcess): Promise<string[]> {
  const sids = new Map<number, string>();
  await waitUntil(async () => {
    const client = new PollClient(gateway.publicPort, 'a');
    await client.poll('timeout=0');
    client.close();
    sids.set(slotOf(client.sid), client.sid);
    return sids.size === 2;
  }, 'a session in each worker');
  return [...sids.values()];
}

/** Polls of both sessions, each on a connection of its own: half of them are on their way to the other worker. */
function pollAnew(gateway: GatewayProcess, sids: readonly string[]): RawClient[] {
  return Array.from({ length: CLIENTS }, (_, i) => {
    const client = new RawClient(gateway.publicPort);
    client.write(`GET /poll/a?sid=${sids[i % sids.length]}&since=0&timeout=0 HTTP/1.1\r\nHost: g\r\n\r\n`);
    return client;
  });
}

/** Somebody waits who was not answered: a stopped process has what would answer him. */
async function someWait(clients: readonly RawClient[]): Promise<void> {
  const connected = () => clients.every(({ socket }) => socket.localPort !== undefined && !socket.connecting);
  await waitUntil(connected, 'all to be connected');
  const answered = () => clients.filter(({ receivedBytes }) => receivedBytes > 0).length;
  await waitUntil(
    () => answered() > 0 && answered() < CLIENTS,
    () => `some of ${CLIENTS} to be answered: ${answered()}`,
  );
}

/** All that came before has been accepted, and what is for another process is on its way there. */
async function laterOneIsServed(gateway: GatewayProcess): Promise<void> {
  const client = new PollClient(gateway.publicPort, 'a');
  await client.poll('timeout=0');
  client.close();
}

describe('a process that dies before it has acknowledged a descriptor', () => {
  it('a primary: its workers go all the same', async () => {
    const redis = await startRedis();
    try {
      const gateway = await start({ REDIS_URL: redis.url });
      const workers = await gateway.workerPids();
      const sids = await sessionsOf(gateway);
      gateway.signal('SIGSTOP');
      const clients = pollAnew(gateway, sids);
      await someWait(clients);
      gateway.signal('SIGKILL');
      for (const pid of workers) await waitUntil(() => !isAlive(pid), `worker ${pid} to be gone`);
      for (const client of clients) await client.end();
    } finally {
      await redis.stop();
    }
  });

  it('a worker behind the sticky primary: its clients are closed', async () => {
    const gateway = await start({ LONGWIRE_ACCEPT: 'sticky' });
    const [victim = 0] = await gateway.workerPids();
    process.kill(victim, 'SIGSTOP');
    const clients = Array.from({ length: CLIENTS }, () => {
      const client = new RawClient(gateway.publicPort);
      client.write('GET /sse/a HTTP/1.1\r\nHost: g\r\n\r\n');
      return client;
    });
    await someWait(clients);
    process.kill(victim, 'SIGKILL');
    await waitUntil(
      () => clients.every(({ receivedBytes, ending }) => receivedBytes > 0 || ending !== 'none'),
      () =>
        `${clients.filter(({ receivedBytes, ending }) => receivedBytes === 0 && ending === 'none').length} to be closed`,
    );
    assert.equal(clientPorts(gateway.primaryPid, gateway.publicPort).size, 0);
    for (const client of clients) client.close();
  });

  it('a primary that is being taken over from: the next one goes on', async () => {
    const gateway = await start();
    const sids = await sessionsOf(gateway);
    const former = gateway.primaryPid;
    gateway.signal('SIGUSR2');
    await waitUntil(() => gateway.logged('the next primary is ready').length > 0, 'the next primary');
    process.kill(former, 'SIGSTOP');
    const clients = pollAnew(gateway, sids);
    await laterOneIsServed(gateway);
    process.kill(former, 'SIGKILL');
    await waitUntil(
      () => gateway.primaryPid !== former,
      () => `the next one to go on: ${gateway.log.slice(-2_000)}`,
    );
    await waitUntil(async () => (await gateway.readiness()) === 200, 'the gateway to be ready');
    for (const client of clients) client.close();
  });
});
