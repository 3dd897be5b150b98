// The whole program as an operator meets it: start-up text, exit codes, signals, and that nobody is left behind.

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { get } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { reusePortFault } from '../../src/primary/reuse-port.ts';
import { isAlive } from '../harness/alive.ts';
import { waitUntil } from '../harness/wait.ts';

const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));
/** Where no `.env` lies. */
const EMPTY_FOLDER = mkdtempSync(join(tmpdir(), 'longwire-main-'));

interface Run {
  process: ChildProcess;
  /** What it wrote so far. */
  out: () => string;
  log: () => string;
  ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

interface Running extends Run {
  publicPort: number;
  adminPort: number;
}

const runs: Run[] = [];

/** Starts `longwire`, in a process group of its own, as a shell does it. */
function run(environment: Record<string, string> = {}): Run {
  const child = spawn(process.execPath, [MAIN], {
    cwd: EMPTY_FOLDER,
    detached: true,
    env: {
      PATH: process.env.PATH,
      PORT: '0',
      LONGWIRE_ADMIN_PORT: '0',
      LONGWIRE_HOST: '127.0.0.1',
      LONGWIRE_WORKERS: '2',
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  let log = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    out += chunk;
  });
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    log += chunk;
  });
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal }));
  const made = { process: child, out: () => out, log: () => log, ended };
  runs.push(made);
  return made;
}

async function start(environment: Record<string, string> = {}): Promise<Running> {
  const made = run(environment);
  await waitUntil(
    () => made.out().includes('/api/publish') || made.process.exitCode !== null,
    () => `the start-up text; log: ${made.log()}`,
  );
  const port = (name: string) =>
    Number(new RegExp(`^ +${name} +http://127\\.0\\.0\\.1:(\\d+)`, 'm').exec(made.out())?.[1]);
  const publicPort = port('public');
  const adminPort = port('admin');
  assert.ok(publicPort > 0 && adminPort > 0, made.out() + made.log());
  return { ...made, publicPort, adminPort };
}

async function fetchJson(port: number, path: string): Promise<{ status: number; body: unknown }> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { headers: { Connection: 'close' } });
  return { status: response.status, body: await response.json() };
}

async function workerPids({ adminPort }: Running): Promise<number[]> {
  const { body } = await fetchJson(adminPort, '/workers');
  return (body as { workers: { pid: number }[] }).workers.map(({ pid }) => pid);
}

/** Holds one SSE connection; resolves once its head has come. */
async function subscribe(port: number, channel: string): Promise<{ text: () => string; closed: Promise<unknown> }> {
  const request = get({ host: '127.0.0.1', port, path: `/sse/${channel}`, agent: false });
  const [response] = await once(request, 'response');
  let text = '';
  response.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  return { text: () => text, closed: once(response, 'close') };
}

function send({ process: child }: Run, signal: NodeJS.Signals): void {
  assert.ok(child.pid !== undefined);
  process.kill(child.pid, signal);
}

afterEach(async () => {
  for (const { process: child, ended } of runs.splice(0)) {
    child.kill('SIGKILL');
    await ended;
  }
});

after(() => rmSync(EMPTY_FOLDER, { recursive: true }));

describe('longwire', () => {
  it('says where it is once it serves, and its two lines work', async () => {
    const gateway = await start();
    const text = gateway.out();
    const key = /'X-API-Key: ([^']+)'/.exec(text)?.[1] ?? '';
    assert.ok(key.length >= 16);
    assert.ok(text.includes(`curl -N http://localhost:${gateway.publicPort}/sse/alice\n`), text);
    const ready = await fetchJson(gateway.adminPort, '/ready');
    assert.equal(ready.status, 200, JSON.stringify(ready.body));
    const subscribers = await Promise.all(Array.from({ length: 8 }, () => subscribe(gateway.publicPort, 'alice')));
    const published = await fetch(`http://127.0.0.1:${gateway.publicPort}/api/publish`, {
      method: 'POST',
      headers: { 'X-API-Key': key, Connection: 'close' },
      body: '{"channel":"alice","data":"hello"}',
    });
    assert.equal(published.status, 200);
    for (const { text: received } of subscribers) await waitUntil(() => received().includes('data: hello\n'), 'hello');
    assert.ok(!gateway.log().includes(key), 'the key is in no log');
  });

  it('does not show a configured key', async () => {
    const key = 'a-configured-key-of-ours';
    const gateway = await start({ LONGWIRE_API_KEY: key, LONGWIRE_WORKERS: '1' });
    assert.ok(!gateway.out().includes(key));
    assert.ok(!gateway.log().includes(key));
    assert.ok(gateway.out().includes('$LONGWIRE_API_KEY'));
  });

  it('drains and exits 0 on SIGTERM, ending streams in an orderly way', async () => {
    const gateway = await start({ LONGWIRE_DRAIN_SECONDS: '0' });
    const subscriber = await subscribe(gateway.publicPort, 'alice');
    const pids = await workerPids(gateway);
    send(gateway, 'SIGTERM');
    await subscriber.closed;
    assert.deepEqual(await gateway.ended, { code: 0, signal: null });
    assert.deepEqual(pids.filter(isAlive), []);
    assert.match(gateway.log(), /"text":"shut down","workersKilled":0/);
  });

  it('does the same on Ctrl-C, which reaches the workers too', async () => {
    const gateway = await start({ LONGWIRE_DRAIN_SECONDS: '0' });
    await subscribe(gateway.publicPort, 'alice');
    assert.ok(gateway.process.pid !== undefined);
    process.kill(-gateway.process.pid, 'SIGINT');
    assert.deepEqual(await gateway.ended, { code: 0, signal: null });
    assert.equal(gateway.log().match(/"worker has left"/g)?.length, 2, gateway.log());
  });

  it('is alive but not ready while it drains, and exits at once on a second signal', async () => {
    for (const [signal, code] of [['SIGINT', 130] as const, ['SIGTERM', 143] as const]) {
      const gateway = await start({ LONGWIRE_DRAIN_SECONDS: '60', LONGWIRE_WORKERS: '1' });
      await Promise.all([subscribe(gateway.publicPort, 'alice'), subscribe(gateway.publicPort, 'bob')]);
      const pids = await workerPids(gateway);
      send(gateway, signal);
      await waitUntil(() => gateway.log().includes('shutting down'), 'the drain to begin');
      const ready = await fetchJson(gateway.adminPort, '/ready');
      assert.equal(ready.status, 503);
      assert.equal((await fetchJson(gateway.adminPort, '/live')).status, 200);
      send(gateway, signal);
      assert.deepEqual(await gateway.ended, { code, signal: null });
      await waitUntil(() => !pids.some(isAlive), 'the workers to be gone');
    }
  });

  it('leaves no orphans when the primary is killed', async () => {
    const gateway = await start();
    await subscribe(gateway.publicPort, 'alice');
    const pids = await workerPids(gateway);
    assert.equal(pids.filter(isAlive).length, 2);
    send(gateway, 'SIGKILL');
    assert.deepEqual(await gateway.ended, { code: null, signal: 'SIGKILL' });
    await waitUntil(() => !pids.some(isAlive), 'the workers to be gone');
  });

  it('goes on when nobody reads its output any more', async () => {
    const gateway = await start({ LONGWIRE_LOG_LEVEL: 'debug' });
    gateway.process.stderr?.destroy();
    gateway.process.stdout?.destroy();
    const [first = 0] = await workerPids(gateway);
    process.kill(first, 'SIGKILL');
    await waitUntil(async () => {
      const pids = await workerPids(gateway);
      return !pids.includes(first) && (await fetchJson(gateway.adminPort, '/ready')).status === 200;
    }, 'a replacement, whose lines have no reader');
  });
});

describe('longwire that cannot start', () => {
  it('exits 78 with all faults of its configuration', async () => {
    const failed = run({ LONGWIRE_WORKERS: 'many', LONGWIRE_WORKERZ: '2' });
    assert.deepEqual(await failed.ended, { code: 78, signal: null });
    assert.match(failed.log(), /LONGWIRE_WORKERS="many"/);
    assert.match(failed.log(), /LONGWIRE_WORKERZ/);
    assert.equal(failed.out(), '');
  });

  it('exits 1 with one clear message when a port is taken', async () => {
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen({ host: '127.0.0.1', port: 0 }, resolve));
    const address = holder.address();
    assert.ok(address !== null && typeof address !== 'string');
    for (const knob of ['PORT', 'LONGWIRE_ADMIN_PORT']) {
      const failed = run({ [knob]: `${address.port}` });
      assert.deepEqual(await failed.ended, { code: 1, signal: null });
      assert.equal(failed.out(), '');
      const lines = failed.log().trim().split('\n');
      assert.equal(lines.length, 1, failed.log());
      const { level, text, reason }: Record<string, string> = JSON.parse(lines[0] ?? '');
      assert.deepEqual({ level, text }, { level: 'error', text: 'cannot start' });
      assert.match(reason ?? '', new RegExp(`${address.port}.*${knob}`));
    }
    holder.close();
  });

  it('exits 78 where SO_REUSEPORT does not work, and serves where it does', async () => {
    if ((await reusePortFault()) === null) {
      const gateway = await start({ LONGWIRE_ACCEPT: 'reuseport' });
      assert.equal((await workerPids(gateway)).length, 2);
      return;
    }
    const failed = run({ LONGWIRE_ACCEPT: 'reuseport' });
    assert.deepEqual(await failed.ended, { code: 78, signal: null });
    assert.match(failed.log(), /LONGWIRE_ACCEPT=reuseport needs Node 22\.12/);
  });

  it('warns of a maximum that the descriptors cannot hold', async () => {
    const gateway = await start({ LONGWIRE_MAX_CONNECTIONS: '10000000', LONGWIRE_WORKERS: '1' });
    assert.match(gateway.log(), /"level":"warn".*LONGWIRE_MAX_CONNECTIONS is 10000000/);
  });
});
