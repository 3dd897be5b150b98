// From start to exit as an operator sees it: starts that must fail, workers that are killed, drains, second signals, and
// a primary that is gone. test/primary/main.test.ts has the start-up text and the exit codes; this is about connections.

import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import { isAlive } from '../harness/alive.ts';
import { API_KEY, type GatewayProcess, runGateway, startGateway } from '../harness/gateway.ts';
import { ask, RawClient } from '../harness/raw-client.ts';
import { startRedis } from '../harness/redis.ts';
import { openStreams } from '../harness/sse-client.ts';
import { waitUntil } from '../harness/wait.ts';
import { WIRES } from './setups.ts';

const HEALTH = 'GET /healthz HTTP/1.1\r\nHost: g\r\n\r\n';

const started: GatewayProcess[] = [];

async function start(env: Record<string, string> = {}): Promise<GatewayProcess> {
  const gateway = await startGateway({ env });
  started.push(gateway);
  return gateway;
}

afterEach(async () => {
  for (const gateway of started.splice(0)) await gateway.kill();
});

function targets(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `/sse/drained-${index}`);
}

describe('a worker that is killed', () => {
  it('takes its own connections alone, is replaced, and no counter goes backwards', async () => {
    const gateway = await start();
    const clients = await openStreams(gateway.publicPort, ...targets(40));
    await gateway.metricReaches('longwire_connections', { transport: 'sse' }, 40);
    await gateway.metricReaches('longwire_accepted_total', {}, (accepted) => accepted >= 40);
    const [victim = assert.fail(), other = assert.fail()] = await gateway.workers();
    const before = await gateway.metrics();
    let seen = before.counters();

    process.kill(victim.pid ?? assert.fail(), 'SIGKILL');
    const cut = () => clients.filter(({ connection }) => connection.ending !== 'none').length;
    await waitUntil(
      async () => {
        const counters = (await gateway.metrics()).counters();
        for (const [name, value] of seen) assert.ok((counters.get(name) ?? 0) >= value, `${name} went backwards`);
        seen = counters;
        const [replacement] = await gateway.workers();
        return replacement?.generation === 2 && replacement.state === 'ready' && cut() === victim.connections.sse;
      },
      () => `${victim.connections.sse} to be cut and a replacement; ${cut()} are`,
    );
    assert.equal(cut(), 40 - (other.connections.sse ?? 0));
    assert.equal((await gateway.workers())[1]?.pid, other.pid);
    assert.equal((await gateway.metrics()).value('longwire_worker_restarts_total', { worker: '1' }), 1);

    await gateway.api('broadcast', { channels: targets(40).map((target) => target.slice(5)), data: 'after' });
    const left = clients.filter(({ connection }) => connection.ending === 'none');
    for (const client of left) assert.deepEqual(await client.data(1), ['after']);
    for (const client of await openStreams(gateway.publicPort, ...targets(20))) client.close();
  });
});

describe('SIGTERM with a delay', () => {
  it('has /ready say 503 first, while everybody is served, and drains after it', async () => {
    const gateway = await start({ LONGWIRE_DRAIN_DELAY_SECONDS: '2', LONGWIRE_DRAIN_SECONDS: '0' });
    const [before] = await openStreams(gateway.publicPort, '/sse/all');
    gateway.signal('SIGTERM');
    await waitUntil(async () => (await gateway.readiness()) === 503, 'not to be ready');
    const [late] = await openStreams(gateway.publicPort, '/sse/all');
    await gateway.publish('all', 'still here');
    for (const client of [before, late]) assert.deepEqual(await client?.data(1), ['still here']);
    assert.deepEqual(await gateway.ended, { code: 0, signal: null });
    assert.equal(before?.connection.ending, 'fin');
  });
});

for (const wire of WIRES) {
  describe(`SIGTERM, ${wire} wire`, () => {
    it('ends streams in an orderly way, spread over the drain, and exits 0', async () => {
      const seconds = 2;
      const count = 100;
      const gateway = await start({ LONGWIRE_WIRE: wire, LONGWIRE_DRAIN_SECONDS: `${seconds}` });
      const clients = await openStreams(gateway.publicPort, ...targets(count));
      const startedAt = performance.now();
      gateway.signal('SIGTERM');
      const endings = await Promise.all(clients.map(({ connection }) => connection.end()));
      assert.deepEqual(new Set(endings), new Set(['fin']));
      assert.deepEqual(await gateway.ended, { code: 0, signal: null });

      // Where in the drain each of them ended, 0 to 1. Not how fast: a busy machine may be late, but never early.
      const moments = clients
        .map(({ connection }) => (connection.endedAt - startedAt) / (seconds * 1_000))
        .sort((a, b) => a - b);
      const early = moments.filter((moment) => moment < 0.1).length;
      assert.ok(early <= count / 4, `${early} of ${count} ended in the first tenth`);
      const halfway = moments.filter((moment) => moment < 0.5).length;
      assert.ok(halfway <= count * 0.6, `${halfway} of ${count} ended in the first half`);
      assert.ok((moments.at(-1) ?? 0) >= 0.9, 'the last one had its time');
      assert.ok(gateway.logged('shut down').length === 1);
    });

    it('during a drain: API calls under way are answered, /healthz says so, and nobody new is let in', async () => {
      const gateway = await start({ LONGWIRE_WIRE: wire, LONGWIRE_DRAIN_SECONDS: '3', LONGWIRE_WORKERS: '1' });
      const { publicPort: port } = gateway;
      await openStreams(port, '/sse/a', '/sse/b');
      const idle = new RawClient(port);
      idle.write(HEALTH);
      assert.equal((await idle.answers(1))[0]?.text, 'ok\n');
      // Two requests that have begun, and so are under way: one waits for its body, one for the rest of its head.
      const body = '{"channel":"a","data":"x"}';
      const calling = new RawClient(port);
      calling.write(`POST /api/publish HTTP/1.1\r\nHost: g\r\nX-API-Key: ${API_KEY}\r\nExpect: 100-continue\r\n`);
      calling.write(`Content-Length: ${body.length}\r\n\r\n`);
      await calling.answers(1);
      const asking = new RawClient(port);
      asking.write(HEALTH + HEALTH.slice(0, 12));
      await asking.answers(1);

      gateway.signal('SIGTERM');
      assert.equal(await idle.end(), 'fin', 'a connection with nothing to say goes at once');
      assert.equal(await gateway.readiness(), 503);
      assert.equal((await gateway.admin('/live')).status, 200);
      asking.write(HEALTH.slice(12));
      const health = (await asking.answers(2))[1];
      assert.deepEqual([health?.status, health?.text, health?.headers.connection], [503, 'draining\n', 'close']);
      calling.write(body);
      const answer = (await calling.answers(2))[1];
      assert.deepEqual([answer?.status, answer?.headers.connection], [200, 'close']);
      assert.equal(await calling.end(), 'fin');
      const late = new RawClient(port);
      late.write(HEALTH);
      assert.equal(await late.end(), 'reset', 'the port is closed');
      assert.deepEqual(await gateway.ended, { code: 0, signal: null });
    });

    it('a call that waits for the broker when the signal comes is answered', async (t) => {
      const redis = await startRedis();
      t.after(() => redis.stop());
      const gateway = await start({
        LONGWIRE_WIRE: wire,
        REDIS_URL: redis.url,
        LONGWIRE_DRAIN_SECONDS: '0',
        LONGWIRE_WORKERS: '1',
      });
      redis.pause();
      const calling = gateway.api('publish', { channel: 'a', data: 'x' });
      // The worker has read the call, and more: it has answered this one, which came later.
      for (let times = 0; times < 20; times++)
        await ask(gateway.publicPort, HEALTH.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'));
      gateway.signal('SIGTERM');
      await waitUntil(() => gateway.logged('shutting down').length > 0, 'the drain to begin');
      redis.resume();
      assert.equal((await calling).status, 200);
      assert.deepEqual(await gateway.ended, { code: 0, signal: null });
    });

    it('a second signal ends everything at once, with 128 and its number', async () => {
      const gateway = await start({ LONGWIRE_WIRE: wire, LONGWIRE_DRAIN_SECONDS: '600' });
      const clients = await openStreams(gateway.publicPort, ...targets(20));
      const pids = await gateway.workerPids();
      gateway.signal('SIGTERM');
      await waitUntil(() => gateway.logged('shutting down').length > 0, 'the drain to begin');
      gateway.signal('SIGINT');
      assert.deepEqual(await gateway.ended, { code: 130, signal: null });
      await Promise.all(clients.map(({ connection }) => connection.end()));
      await waitUntil(() => !pids.some(isAlive), 'the workers to be gone');
    });

    it('clients that do not answer our FIN, or do not read, do not hold the drain up', async () => {
      const gateway = await start({ LONGWIRE_WIRE: wire, LONGWIRE_DRAIN_SECONDS: '0', LONGWIRE_WORKERS: '1' });
      const deaf = new RawClient(gateway.publicPort, { answerEnd: false });
      deaf.write('GET /sse/deaf HTTP/1.1\r\nHost: g\r\n\r\n');
      await deaf.sees('retry:');
      const full = new RawClient(gateway.publicPort, { answerEnd: false, keep: false });
      full.write('GET /sse/full HTTP/1.1\r\nHost: g\r\n\r\n');
      await waitUntil(() => full.receivedBytes > 0, 'the stream to open');
      full.socket.pause();
      for (let times = 0; times < 8; times++) await gateway.publish('full', 'x'.repeat(1_000_000));
      assert.deepEqual(await gateway.stop(), { code: 0, signal: null });
      assert.match(gateway.log, /"text":"shut down","workersKilled":0/);
      full.close();
    });
  });
}

describe('a primary that is killed', () => {
  it('leaves no worker and no port behind', async () => {
    const gateway = await start();
    const { publicPort, adminPort } = gateway;
    const clients = await openStreams(publicPort, ...targets(10));
    const pids = await gateway.workerPids();
    await gateway.kill();
    await waitUntil(() => !pids.some(isAlive), 'the workers to be gone');
    await Promise.all(clients.map(({ connection }) => connection.end()));
    const again = await start({ PORT: `${publicPort}`, LONGWIRE_ADMIN_PORT: `${adminPort}` });
    assert.equal(again.publicPort, publicPort);
  });
});

describe('a start that must fail', () => {
  it('says which port is taken, and that before it takes anything else', async () => {
    const holder = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => holder.once('listening', resolve));
    const address = holder.address();
    assert.ok(address !== null && typeof address !== 'string');
    const failed = runGateway({ env: { PORT: `${address.port}` } });
    assert.deepEqual(await failed.ended, { code: 1, signal: null });
    assert.equal(failed.out, '');
    const [line = assert.fail(), ...others] = failed.logLines;
    assert.match(String(line.reason), new RegExp(`port ${address.port} is taken by another program; PORT chooses`));
    assert.deepEqual(others, []);
    holder.close();
  });

  it('tells all faults of the configuration at once, with what is allowed, and no secret', async () => {
    const failed = runGateway({
      env: {
        PORT: '70000',
        LONGWIRE_WIRE: 'rope',
        LONGWIRE_HEARTBEAT_SECONDS: '0',
        LONGWIRE_API_KEY: 'short-secret',
        REDIS_URL: 'http://user:hidden-password@host',
        LONGWIRE_PAYLOAD_LIMIT_BYTES: '2097152',
        LONGWIRE_HARTBEAT_SECONDS: '5',
      },
    });
    assert.deepEqual(await failed.ended, { code: 78, signal: null });
    for (const text of [
      /^7 faults in the configuration:$/m,
      /PORT="70000".*0 to 65535/,
      /LONGWIRE_WIRE="rope".*auto, handle or socket/,
      /LONGWIRE_HEARTBEAT_SECONDS="0".*0\.1 to 3600 seconds/,
      /LONGWIRE_API_KEY must be at least 16 characters/,
      /REDIS_URL must begin with redis:/,
      /LONGWIRE_PAYLOAD_LIMIT_BYTES="2097152" must not be above LONGWIRE_OUTBOX_LIMIT_BYTES/,
      /LONGWIRE_HARTBEAT_SECONDS is not a knob; did you mean LONGWIRE_HEARTBEAT_SECONDS\?/,
    ]) {
      assert.match(failed.log, text);
    }
    assert.doesNotMatch(failed.log, /short-secret|hidden-password/);
  });
});

describe('LONGWIRE_ACCEPT=reuseport', () => {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const works = major > 22 || (major === 22 && minor >= 12);

  it(works ? 'serves with a socket a worker' : 'is refused with exit code 78 on this Node', async () => {
    if (!works) {
      const failed = runGateway({ env: { LONGWIRE_ACCEPT: 'reuseport' } });
      assert.deepEqual(await failed.ended, { code: 78, signal: null });
      assert.match(failed.log, /LONGWIRE_ACCEPT=reuseport needs Node 22\.12 or later/);
      return;
    }
    const gateway = await start({ LONGWIRE_ACCEPT: 'reuseport', LONGWIRE_DRAIN_SECONDS: '0.5' });
    const clients = await openStreams(gateway.publicPort, ...targets(64));
    await gateway.metricReaches('longwire_connections', { transport: 'sse' }, 64);
    for (const worker of await gateway.workers()) assert.ok((worker.connections.sse ?? 0) > 0, 'each has its share');
    await gateway.api('broadcast', { channels: targets(64).map((target) => target.slice(5)), data: 'x' });
    for (const client of clients) assert.deepEqual(await client.data(1), ['x']);
    const stopping = gateway.stop();
    await Promise.all(clients.map(({ connection }) => connection.end(20_000)));
    assert.deepEqual(await stopping, { code: 0, signal: null });
  });
});
