// Processes and the broker that go away in the middle of a move, for real: what is closed is what the killed process held or was
// being given, and all others are right.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { isAlive } from '../harness/alive.ts';
import { clientSockets } from '../harness/client-sockets.ts';
import { API_KEY, type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { RawClient } from '../harness/raw-client.ts';
import { startRedis } from '../harness/redis.ts';
import { openStreams, type SseClient } from '../harness/sse-client.ts';
import { checkSurvivors, portsOf, settled } from '../harness/survivors.ts';
import { waitUntil } from '../harness/wait.ts';

/** More than move in the time that it takes to see that they do. */
const CLIENTS = 1_500;
/** A batch, and what waits behind it. */
const ON_THEIR_WAY = 128;

const gateways: GatewayProcess[] = [];

async function start(env: Record<string, string> = {}): Promise<{ gateway: GatewayProcess; clients: SseClient[] }> {
  const gateway = await startGateway({ env: { LONGWIRE_WORKERS: '1', LONGWIRE_DRAIN_SECONDS: '1', ...env } });
  gateways.push(gateway);
  const clients = await openStreams(gateway.publicPort, ...Array.from({ length: CLIENTS }, () => '/sse/all'));
  return { gateway, clients };
}

/** Begins to replace the only worker, and resolves with the process ids of both once the new one has the first connections. */
async function beginMoving(
  gateway: GatewayProcess,
  clients: readonly SseClient[],
): Promise<{ former: number; next: number }> {
  const pids = await beginReplacing(gateway);
  const ports = portsOf(clients);
  await waitUntil(() => clientSockets(pids.next, gateway.publicPort, ports) > 0, 'the first to have moved');
  return pids;
}

/** The same, once the new one is ready. */
async function beginReplacing(gateway: GatewayProcess): Promise<{ former: number; next: number }> {
  const [former] = await gateway.workerPids();
  gateway.signal('SIGHUP');
  const ready = () => gateway.logged('worker is ready').find(({ generation }) => generation === 2);
  await waitUntil(() => ready() !== undefined, 'the new worker');
  return { former: former as number, next: ready()?.pid as number };
}

describe('in the middle of a move', () => {
  after(async () => {
    for (const gateway of gateways) await gateway.kill();
  });

  it('the giver is killed: what it had given lives on', async () => {
    const { gateway, clients } = await start({ LONGWIRE_DRAIN_SECONDS: '20' });
    // Nobody can take this one, so that the giver is not gone before it is killed, however long that takes to see.
    const request = new RawClient(gateway.publicPort);
    const head = `POST /api/publish HTTP/1.1\r\nHost: g\r\nX-API-Key: ${API_KEY}\r\nContent-Length: 100`;
    request.write(`${head}\r\n\r\n{`);
    const { former } = await beginMoving(gateway, clients);
    process.kill(former, 'SIGKILL');
    await settled(gateway);
    await request.end();
    assert.ok((await checkSurvivors(gateway, clients)) > 0);
  });

  it('the taker is killed: the giver goes on, and gives them to its replacement', async () => {
    const { gateway, clients } = await start();
    const { next } = await beginMoving(gateway, clients);
    process.kill(next, 'SIGKILL');
    await settled(gateway);
    const survivors = await checkSurvivors(gateway, clients);
    // Given to the killed one, or on its way to it: nobody else is closed.
    const moved = (await gateway.metrics()).value('longwire_moved_total', { direction: 'out' });
    const withTheKilled = moved - survivors;
    assert.ok(CLIENTS - survivors <= withTheKilled + ON_THEIR_WAY, `${survivors} are open, ${moved} have moved`);
    assert.equal((await gateway.workers()).length, 1);
  });

  it('the primary is killed: both workers go, and nobody is left with a socket that nobody serves', async () => {
    const { gateway, clients } = await start();
    const { former, next } = await beginMoving(gateway, clients);
    gateway.signal('SIGKILL');
    await gateway.ended;
    for (const pid of [former, next]) await waitUntil(() => !isAlive(pid), `worker ${pid} to be gone`);
    await waitUntil(
      () => clients.every(({ connection }) => connection.ending !== 'none'),
      () => `${clients.filter(({ connection }) => connection.ending === 'none').length} connections to be closed`,
    );
  });

  it('the new worker dies before it is ready: the old one serves on and nothing has changed', async () => {
    const { gateway, clients } = await start();
    const [former] = await gateway.workerPids();
    gateway.signal('SIGHUP');
    let next: number | null = null;
    await waitUntil(async () => {
      next = (await gateway.workers()).find(({ state }) => state === 'starting')?.pid ?? null;
      return next !== null;
    }, 'the new worker to start');
    process.kill(next as unknown as number, 'SIGKILL');
    await settled(gateway);
    assert.equal(gateway.logged('operation has failed').length, 1);
    assert.deepEqual(await gateway.workerPids(), [former]);
    assert.equal(await checkSurvivors(gateway, clients), CLIENTS);
  });

  it('Redis is away: nobody is closed, and they move once it is back', async () => {
    const redis = await startRedis();
    try {
      const { gateway, clients } = await start({ REDIS_URL: redis.url });
      redis.pause();
      const { former } = await beginReplacing(gateway);
      await waitUntil(
        () => gateway.logged('a batch of connections was not moved').length > 0,
        'a batch to be called off',
      );
      assert.ok((await gateway.workers()).some(({ pid, state }) => pid === former && state === 'leaving'));
      redis.resume();
      await settled(gateway);
      await waitUntil(async () => (await gateway.readiness()) === 200, 'the gateway to be ready');
      assert.equal(await checkSurvivors(gateway, clients), CLIENTS);
    } finally {
      await redis.stop();
    }
  });
});

describe('a worker that fails by itself', () => {
  let gateway: GatewayProcess;
  before(async () => {
    gateway = await startGateway({ env: { LONGWIRE_HANG_SECONDS: '2', LONGWIRE_REBALANCE_PERCENT: '10' } });
  });
  after(() => gateway.kill());

  it('killed, is replaced within a second, and touches nobody else', async () => {
    const clients = await openStreams(gateway.publicPort, ...Array.from({ length: 40 }, () => '/sse/all'));
    await gateway.command('/workers/rebalance');
    await waitUntil(() => gateway.logged('operation is done').length > 0, 'both to have their share');
    const [victim] = await gateway.workerPids();
    const killedAt = performance.now();
    process.kill(victim as number, 'SIGKILL');
    const ready = () => gateway.logged('worker is ready').some(({ generation }) => generation === 2);
    await waitUntil(ready, 'the replacement');
    const tookMs = performance.now() - killedAt;
    assert.ok(tookMs < 1_000 * SLOW_MACHINE, `${tookMs} ms`);
    const open = clients.filter(({ connection }) => connection.ending === 'none');
    assert.equal(open.length, 20);
    await gateway.publish('all', 'hello');
    for (const client of open) assert.deepEqual(await client.data(1), ['hello']);
    for (const client of open) client.close();
  });

  it('hung, is killed after the limit and replaced', async () => {
    const [, victim] = await gateway.workerPids();
    process.kill(victim as number, 'SIGSTOP');
    await waitUntil(() => gateway.logged('a worker hangs').length > 0, 'the watch to see it', 20_000);
    // The log comes before the kernel has ended it.
    await waitUntil(async () => !(await gateway.workerPids()).includes(victim as number), 'the hung one to be gone');
    await waitUntil(async () => (await gateway.readiness()) === 200, 'the gateway to be ready');
    assert.equal(gateway.logged('a worker hangs')[0]?.kernelState, 'T');
  });

  it('alone with all connections, gives its share to the one that comes back', async () => {
    const [first] = await gateway.workerPids();
    process.kill(first as number, 'SIGSTOP');
    const clients = await openStreams(gateway.publicPort, ...Array.from({ length: 300 }, () => '/sse/all'));
    let counts: number[] = [];
    await waitUntil(
      async () => {
        counts = (await gateway.workers()).map(({ connections }) => connections.sse ?? 0);
        return counts.length === 2 && Math.min(...counts) >= 100;
      },
      () => `both to have their share: ${counts}`,
      20_000,
    );
    const open = clients.filter(({ connection }) => connection.ending === 'none');
    await gateway.publish('all', 'hello');
    for (const client of open) assert.deepEqual(await client.data(1), ['hello']);
  });
});

/** Other tests run at the same time; what is measured is that it is not the seconds of a back-off. */
const SLOW_MACHINE = 5;
