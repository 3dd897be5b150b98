// A replacement of the primary that fails, at each of its steps: the old one goes on as before. What is closed is what a killed
// process tree held or was being given.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { isAlive } from '../harness/alive.ts';
import { clientPorts } from '../harness/client-sockets.ts';
import { API_KEY, type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { RawClient } from '../harness/raw-client.ts';
import { openStreams, SseClient } from '../harness/sse-client.ts';
import { checkSurvivors, settled } from '../harness/survivors.ts';
import { waitUntil } from '../harness/wait.ts';

const CLIENTS = 400;
const NAMESPACES = {
  kept: { history_size: 100, history_ttl_seconds: 60 },
  room: { presence: true, join_leave: true },
};

const gateways: GatewayProcess[] = [];
const folder = mkdtempSync(join(tmpdir(), 'longwire-faults-'));
const namespaces = join(folder, 'namespaces.json');

after(async () => {
  for (const gateway of gateways) await gateway.kill();
  rmSync(folder, { recursive: true, force: true });
});

async function start(
  env: Record<string, string> = {},
  count = CLIENTS,
): Promise<{ gateway: GatewayProcess; clients: SseClient[] }> {
  writeFileSync(namespaces, JSON.stringify({ namespaces: NAMESPACES }));
  const gateway = await startGateway({
    env: { LONGWIRE_DRAIN_SECONDS: '1', LONGWIRE_NAMESPACES: namespaces, ...env },
  });
  gateways.push(gateway);
  const clients = await openStreams(gateway.publicPort, ...Array.from({ length: count }, () => '/sse/all'));
  return { gateway, clients };
}

/** The process of the next primary, when it has come so far. */
async function nextPrimary(gateway: GatewayProcess, step: 'started' | 'ready'): Promise<number> {
  const lines = () => gateway.logged(`the next primary is ${step}`);
  await waitUntil(
    () => lines().length > 0,
    () => `the next primary: ${gateway.log.slice(-2_000)}`,
  );
  return Number(lines().at(-1)?.pid);
}

/** A request whose rest never comes. */
function openRequest({ publicPort }: GatewayProcess): RawClient {
  const request = new RawClient(publicPort);
  const head = `POST /api/publish HTTP/1.1\r\nHost: localhost\r\nAuthorization: apikey ${API_KEY}\r\nContent-Length: 100`;
  request.write(`${head}\r\n\r\n{`);
  return request;
}

/** Such requests, some of them at each worker: one that is woken first may accept many before the other does. */
async function openRequests(gateway: GatewayProcess): Promise<RawClient[]> {
  const requests: RawClient[] = [];
  const workers = await gateway.workerPids();
  await waitUntil(() => {
    requests.push(openRequest(gateway));
    return requests.length >= 40 && workers.every((pid) => clientPorts(pid, gateway.publicPort).size > 0);
  }, 'requests at each worker');
  return requests;
}

/** Nothing has changed: the same workers, the same connections, and the reason is told. */
async function checkUnchanged(gateway: GatewayProcess, clients: readonly SseClient[], workers: number[], why: RegExp) {
  await settled(gateway);
  const [failed] = gateway.logged('operation has failed');
  assert.match(String(failed?.reason), why);
  assert.deepEqual(await gateway.workerPids(), workers);
  assert.equal(await checkSurvivors(gateway, clients), CLIENTS);
  assert.equal(await gateway.readiness(), 200);
  const outcome = { kind: 'replace-primary', outcome: 'failed' };
  assert.equal((await gateway.metrics()).value('longwire_operations_total', outcome), 1);
}

describe('the primary goes on as before', () => {
  it('where the configuration on disk is at fault', async () => {
    const { gateway, clients } = await start();
    const workers = await gateway.workerPids();
    writeFileSync(namespaces, '{"namespaces": {"kept": {"history_size": "many"}}}');
    gateway.signal('SIGUSR2');
    await checkUnchanged(gateway, clients, workers, /the next primary is gone: .*history_size/s);
  });

  it('where the new configuration has another broker', async () => {
    const { gateway, clients } = await start();
    const workers = await gateway.workerPids();
    gateway.write({ LONGWIRE_REDIS_PREFIX: 'other:' });
    gateway.signal('SIGUSR2');
    await checkUnchanged(gateway, clients, workers, /LONGWIRE_REDIS_PREFIX cannot change .* needs a restart/);
  });

  it('where the next one is killed before it is ready', async () => {
    const { gateway, clients } = await start();
    const workers = await gateway.workerPids();
    const descriptors = () => readdirSync(`/proc/${gateway.primaryPid}/fd`).length;
    const before = descriptors();
    gateway.signal('SIGUSR2');
    process.kill(await nextPrimary(gateway, 'started'), 'SIGKILL');
    await checkUnchanged(gateway, clients, workers, /the next primary is gone: signal SIGKILL/);
    await waitUntil(
      () => descriptors() <= before,
      () => `${descriptors()} descriptors, ${before} before`,
    );
  });

  it('where there are no descriptors left to start the next one with, and a worker that dies then is replaced later', async () => {
    const { gateway, clients } = await start();
    const workers = await gateway.workerPids();
    const limitDescriptors = (soft: string) =>
      execFileSync('prlimit', ['--pid', String(gateway.primaryPid), `--nofile=${soft}:`]);
    limitDescriptors('5');
    gateway.signal('SIGUSR2');
    await settled(gateway);
    limitDescriptors('1000');
    await checkUnchanged(gateway, clients, workers, /the next primary is gone: .*EMFILE/);
    limitDescriptors('5');
    process.kill(workers[0] as number, 'SIGKILL');
    await waitUntil(() => gateway.logged('worker died').length > 1, 'a start that fails');
    limitDescriptors('1000');
    await waitUntil(async () => (await gateway.readiness()) === 200, 'the worker to be replaced');
  });

  it('where a service manager cannot be told which process is the main one from now on', async () => {
    const { gateway, clients } = await start({ NOTIFY_SOCKET: join(folder, 'nobody'), PATH: folder });
    const workers = await gateway.workerPids();
    gateway.signal('SIGUSR2');
    await checkUnchanged(gateway, clients, workers, /the service manager was not told/);
  });

  it('where the primary itself holds connections: sticky', async () => {
    const { gateway, clients } = await start({ LONGWIRE_ACCEPT: 'sticky' });
    const workers = await gateway.workerPids();
    gateway.signal('SIGUSR2');
    await checkUnchanged(gateway, clients, workers, /LONGWIRE_ACCEPT=sticky/);
  });
});

describe('in the middle of taking over', () => {
  it('the next primary is killed: what it held is closed, all others stay, and a second one succeeds', async () => {
    const { gateway, clients } = await start();
    const former = gateway.primaryPid;
    gateway.signal('SIGUSR2');
    process.kill(await nextPrimary(gateway, 'ready'), 'SIGKILL');
    await settled(gateway);
    assert.equal(gateway.primaryPid, former);
    await waitUntil(
      async () => (await gateway.workers()).filter(({ state }) => state === 'ready').length === 2,
      'the slots to be filled again',
    );
    await waitUntil(async () => (await gateway.workers()).length === 2, 'the one that was giving to be gone');
    const survivors = await checkSurvivors(gateway, clients);
    assert.equal((await gateway.metrics()).value('longwire_closed_total', { reason: 'drained' }), 0);
    const counted = (await gateway.metrics()).value('longwire_moved_total', { direction: 'out' });
    assert.ok(CLIENTS - survivors <= counted + 128, `${survivors} are open, ${counted} were given`);
    const replaced = await gateway.command('/primary/replace');
    assert.equal(replaced.status, 202);
    await waitUntil(
      () => gateway.primaryPid !== former,
      () => `the second: ${gateway.log.slice(-3_000)}`,
    );
    const open = clients.filter(({ connection }) => connection.ending === 'none');
    assert.equal(open.length, survivors);
    assert.equal(await checkSurvivors(gateway, open), survivors);
  });

  it('the next primary is killed and a second one follows at once: nothing is given that was to go to the first', async () => {
    const { gateway } = await start({ LONGWIRE_DRAIN_SECONDS: '2' }, 0);
    const ofSlot = async (slot: number) => (await gateway.workers()).filter(({ id }) => id === slot);
    // Nobody can take these, and whoever has one takes all of the drain to leave.
    const requests = await openRequests(gateway);
    const [leaving] = await ofSlot(1);
    gateway.signal('SIGUSR2');
    const first = await nextPrimary(gateway, 'ready');
    await waitUntil(
      async () => (await ofSlot(1)).some(({ state }) => state === 'leaving' || state === 'draining'),
      'slot 1 to be given',
    );
    process.kill(first, 'SIGKILL');
    await settled(gateway);
    gateway.signal('SIGUSR2');
    await waitUntil(() => gateway.logged('the next primary is started').length > 1, 'the second one');
    const second = await nextPrimary(gateway, 'started');
    process.kill(second, 'SIGSTOP');
    try {
      await waitUntil(() => !isAlive(leaving?.pid ?? 0), 'the one that was leaving to be gone', 9_000);
      await gateway.readiness();
      assert.deepEqual(
        (await ofSlot(2)).map(({ state }) => state),
        ['ready'],
      );
    } finally {
      process.kill(second, 'SIGCONT');
    }
    for (const request of requests) request.close();
    await waitUntil(
      () => gateway.primaryPid === second,
      () => `the second one: ${gateway.log.slice(-3_000)}`,
    );
  });

  it('a second one follows at once: nobody is told that those who move to it have gone', async () => {
    const { gateway } = await start({}, 0);
    const members = await openStreams(gateway.publicPort, ...Array.from({ length: 20 }, () => '/sse/room:one'));
    const comings = () => members[0]?.notices.filter(({ data }) => /"(join|leave)"/.test(data)).length ?? 0;
    await waitUntil(() => comings() === members.length, 'all to come');
    // Nobody can take these, so that the second replacement is not over at once.
    const requests = await openRequests(gateway);
    gateway.signal('SIGUSR2');
    process.kill(await nextPrimary(gateway, 'started'), 'SIGKILL');
    await settled(gateway);
    gateway.signal('SIGUSR2');
    await waitUntil(
      () => gateway.logged('this primary has taken over').length === 1,
      () => `the second one: ${gateway.log.slice(-3_000)}`,
    );
    const told = await gateway.api('presence', { channel: 'room:one' });
    assert.equal(Object.keys(JSON.parse(told.text).result.presence).length, members.length);
    assert.equal(comings(), members.length, 'nobody came again or went');
    for (const request of requests) request.close();
    for (const member of members) member.close();
  });

  it('the next primary hangs: it is given up, and nobody is closed by the old one', async () => {
    const { gateway, clients } = await start();
    gateway.signal('SIGUSR2');
    const next = await nextPrimary(gateway, 'ready');
    process.kill(next, 'SIGSTOP');
    await settled(gateway);
    assert.match(String(gateway.logged('operation has failed')[0]?.reason), /it hangs/);
    await waitUntil(() => !isAlive(next), 'it to be gone');
    await waitUntil(async () => (await gateway.workers()).length === 2, 'the one that was giving to be gone');
    await checkSurvivors(gateway, clients);
    assert.equal((await gateway.metrics()).value('longwire_closed_total', { reason: 'drained' }), 0);
  });

  it('the old primary is killed: the next one goes on with what it has, and with the history', async () => {
    const { gateway, clients } = await start();
    const [kept] = await openStreams(gateway.publicPort, '/sse/kept:news');
    assert.ok(kept !== undefined);
    await gateway.publish('kept:news', 'one');
    await gateway.publish('kept:news', 'two');
    await kept.data(2);
    gateway.signal('SIGUSR2');
    await nextPrimary(gateway, 'ready');
    const former = gateway.primaryPid;
    process.kill(former, 'SIGKILL');
    await waitUntil(
      () => gateway.primaryPid !== former,
      () => `the next one to go on: ${gateway.log.slice(-3_000)}`,
    );
    await waitUntil(async () => (await gateway.readiness()) === 200, 'the gateway to be ready');
    kept.close();
    await checkSurvivors(gateway, clients);
    const again = new SseClient(gateway.publicPort, '/sse/kept:news', `Last-Event-ID: ${kept.events[0]?.id}\r\n`);
    await gateway.publish('kept:news', 'three');
    assert.deepEqual(await again.data(2), ['two', 'three']);
    again.close();
    const operations = JSON.parse((await gateway.admin('/operations')).text).operations;
    assert.match(operations.at(-1).reason, /the former primary died/);
  });

  it('SIGTERM ends both in good order', async () => {
    const { gateway, clients } = await start();
    gateway.signal('SIGUSR2');
    const next = await nextPrimary(gateway, 'ready');
    const ending = await gateway.stop();
    assert.deepEqual(ending, { code: 0, signal: null });
    await waitUntil(() => !isAlive(next), 'the next one to be gone');
    for (const { connection } of clients) assert.equal(await connection.end(), 'fin');
  });
});
