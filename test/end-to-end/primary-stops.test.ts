// A gateway that is told to stop while one primary takes over from another: whichever of the two hears it, both say goodbye to those
// that they hold, and whoever was told leaves last.

import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { isAlive } from '../harness/alive.ts';
import { API_KEY, type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { RawClient } from '../harness/raw-client.ts';
import { openStreams, type SseClient } from '../harness/sse-client.ts';
import { waitUntil } from '../harness/wait.ts';

const CLIENTS = 200;

const gateways: GatewayProcess[] = [];
after(async () => {
  for (const gateway of gateways) await gateway.kill();
});

interface TakingOver {
  gateway: GatewayProcess;
  clients: SseClient[];
  former: number;
  next: number;
}

/** A take-over that has come half the way: one worker of the former primary cannot leave before its drain is over. */
async function halfWay(): Promise<TakingOver> {
  const gateway = await startGateway({ env: { LONGWIRE_DRAIN_SECONDS: '1' } });
  gateways.push(gateway);
  const former = gateway.primaryPid;
  const clients = await openStreams(gateway.publicPort, ...Array.from({ length: CLIENTS }, () => '/sse/all'));
  // Nobody can take a request whose rest never comes.
  const head = `POST /api/publish HTTP/1.1\r\nHost: localhost\r\nX-API-Key: ${API_KEY}\r\nContent-Length: 100\r\n\r\n{`;
  for (let i = 0; i < 40; i++) new RawClient(gateway.publicPort).write(head);
  gateway.signal('SIGUSR2');
  await waitUntil(
    () => gateway.logged('the next primary is ready').length > 0,
    () => `the next primary: ${gateway.log.slice(-2_000)}`,
  );
  const is = async (slot: number, wanted: string) =>
    (await gateway.workers()).some(({ id, state }) => id === slot && state === wanted);
  await waitUntil(() => is(1, 'leaving'), 'half of the way', 10_000);
  assert.ok(await is(2, 'ready'), 'the other half has not begun to go');
  return { gateway, clients, former, next: Number(gateway.logged('the next primary is ready')[0]?.pid) };
}

async function checkGoodbye({ gateway, clients, former, next }: TakingOver): Promise<void> {
  assert.deepEqual(await gateway.ended, { code: 0, signal: null });
  await waitUntil(() => !isAlive(former) && !isAlive(next), 'both to be gone');
  for (const { connection } of clients) assert.equal(await connection.end(), 'fin');
  assert.equal(gateway.logged('shut down').length, 2);
  for (const { workersKilled } of gateway.logged('shut down')) assert.equal(workersKilled, 0);
  assert.deepEqual(gateway.logged('the primary goes on'), []);
}

/** In which order they have left. */
function leaving({ gateway }: TakingOver): unknown[] {
  return gateway.logged('shut down').map(({ pid }) => pid);
}

describe('a stop in the middle of a take-over', { concurrency: true }, () => {
  it('that reaches the next primary alone, as a service manager does it, drains the former one first', async () => {
    const rig = await halfWay();
    process.kill(rig.next, 'SIGTERM');
    await waitUntil(() => !isAlive(rig.former), 'the former one to leave', 15_000);
    assert.ok(isAlive(rig.next), 'the main process leaves last: what is left then is killed');
    await checkGoodbye(rig);
    assert.deepEqual(leaving(rig), [rig.former, rig.next]);
  });

  it('that reaches the former primary alone, by hand, drains the next one first', async () => {
    const rig = await halfWay();
    process.kill(rig.former, 'SIGTERM');
    await checkGoodbye(rig);
    assert.deepEqual(leaving(rig), [rig.next, rig.former]);
  });

  it('that reaches both is one stop, and no second signal', async () => {
    const rig = await halfWay();
    process.kill(rig.former, 'SIGTERM');
    process.kill(rig.next, 'SIGTERM');
    await checkGoodbye(rig);
    assert.deepEqual(rig.gateway.logged('second signal'), []);
    assert.deepEqual(leaving(rig), [rig.former, rig.next]);
  });

  it('and a second signal ends both at once', async () => {
    const rig = await halfWay();
    process.kill(rig.former, 'SIGTERM');
    await waitUntil(() => rig.gateway.logged('shutting down').length === 2, 'both to stop');
    process.kill(rig.former, 'SIGTERM');
    assert.deepEqual(await rig.gateway.ended, { code: 143, signal: null });
    await waitUntil(() => !isAlive(rig.next), 'the next one to be gone');
  });
});
