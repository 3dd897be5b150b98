// The admin port: each page, each refusal, and that bad or slow clients neither stop it nor stay.

import assert from 'node:assert/strict';
import { request } from 'node:http';
import { createConnection, createServer } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { LongwireError } from '../../src/errors.ts';
import { createLog } from '../../src/log.ts';
import { AdminServer, namesLoopback } from '../../src/primary/admin.ts';
import { Commands } from '../../src/primary/commands.ts';
import { Metrics } from '../../src/primary/metrics.ts';
import { type OperationKind, Operations } from '../../src/primary/operations.ts';
import { checkReadiness } from '../../src/primary/readiness.ts';
import { WorkerTable } from '../../src/primary/worker-table.ts';
import { emptyCounters, emptyGauges } from '../../src/stats.ts';
import { waitUntil } from '../harness/wait.ts';

interface Reply {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: string;
}

let nowMs = 10_000;
const table = new WorkerTable(2, () => nowMs);
let stopping = false;
let failing = false;
const metrics = new Metrics(table, { version: '1.2.3', accept: 'shared', broker: 'memory' });
/** Operations that are over at once; what was asked for. */
const asked: string[] = [];
const operations = new Operations(createLog('error', 'primary', () => {}));
const begin = (kind: OperationKind, what: string) => {
  asked.push(what);
  return operations.begin(kind, async () => {});
};
const fleet = {
  operations,
  replace: (atOnce: boolean) => begin('replace', `replace ${atOnce}`),
  scale: (workers: number) => begin('scale', `scale ${workers}`),
  rebalance: () => begin('rebalance', 'rebalance'),
  replacePrimary: () => begin('replace-primary', 'replace primary'),
};
const commands = new Commands(fleet, '');
const TOKEN = 'the-token-of-this-test';
const admin = new AdminServer({
  host: '127.0.0.1',
  port: 0,
  table,
  metrics: {
    contentType: metrics.contentType,
    render: () => (failing ? Promise.reject(new Error('a fault of ours')) : metrics.render()),
  },
  readiness: () => checkReadiness(table, stopping),
  commands,
});
let port = 0;

function ask(path: string, method = 'GET', headers: Record<string, string> = {}, body = ''): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, path, method, headers, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }));
    });
    sent.on('error', reject).end(body);
  });
}

/** Sends bytes as they are and resolves with all that comes back, once the server has closed. */
function askRaw(text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let reply = '';
    const socket = createConnection({ host: '127.0.0.1', port }, () => socket.write(text));
    socket.setEncoding('latin1').on('data', (chunk) => {
      reply += chunk;
    });
    socket.on('error', reject).on('close', () => resolve(reply));
  });
}

before(async () => {
  port = (await admin.listen()).port;
  const row = table.begin(1, 4711);
  table.ready(row, { address: '::', port: 3000, wire: 'handle', wireWhy: '' });
  row.brokerState = 'up';
  const gauges = emptyGauges();
  gauges.acceptState = 'listening';
  gauges.connections[1] = 42;
  gauges.rssBytes = 1_000;
  nowMs = 12_000;
  table.snapshot(row, { counters: emptyCounters(), gauges });
  nowMs = 12_500;
});
after(() => admin.close());

describe('admin pages', () => {
  it('/metrics is the Prometheus text format', async () => {
    const { status, headers, body } = await ask('/metrics?collect[]=all');
    assert.equal(status, 200);
    assert.equal(headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8');
    assert.equal(headers['cache-control'], 'no-store');
    assert.match(body, /^longwire_connections\{worker="1",transport="sse"\} 42$/m);
  });

  it('/live is 200 while the loop runs', async () => {
    const { status, body } = await ask('/live');
    assert.equal(status, 200);
    assert.deepEqual(JSON.parse(body), { live: true });
  });

  it('/ready is 200 or 503 and names the check that fails', async () => {
    const good = await ask('/ready');
    assert.equal(good.status, 200);
    assert.equal(JSON.parse(good.body).ready, true);
    stopping = true;
    const bad = await ask('/ready');
    stopping = false;
    assert.equal(bad.status, 503);
    const report: { ready: boolean; checks: { name: string; ok: boolean }[] } = JSON.parse(bad.body);
    assert.equal(report.ready, false);
    assert.deepEqual(
      report.checks.filter(({ ok }) => !ok).map(({ name }) => name),
      ['running'],
    );
  });

  it('/workers describes each worker, and slots with nobody in them', async () => {
    const { status, headers, body } = await ask('/workers');
    assert.equal(status, 200);
    assert.equal(headers['content-type'], 'application/json; charset=utf-8');
    const { workers }: { workers: Record<string, unknown>[] } = JSON.parse(body);
    assert.equal(workers.length, 2);
    assert.deepEqual(workers[0], {
      id: 1,
      generation: 1,
      restarts: 0,
      state: 'ready',
      pid: 4711,
      uptimeSeconds: 2.5,
      snapshotAgeSeconds: 0.5,
      address: '::',
      port: 3000,
      wire: 'handle',
      accept: 'listening',
      broker: 'up',
      connections: { http: 0, sse: 42, stream: 0, websocket: 0, poll: 0 },
      connectionLimit: 0,
      channels: 0,
      subscriptions: 0,
      memory: { rssBytes: 1_000, heapTotalBytes: 0, heapUsedBytes: 0, externalBytes: 0, arrayBuffersBytes: 0 },
    });
    const { state, pid, uptimeSeconds, accept } = workers[1] ?? {};
    assert.deepEqual(
      { state, pid, uptimeSeconds, accept },
      { state: 'gone', pid: null, uptimeSeconds: null, accept: null },
    );
  });

  it('answers HEAD with the same head and no body', async () => {
    for (const path of ['/metrics', '/live', '/ready', '/workers']) {
      const { status, headers, body } = await ask(path, 'HEAD');
      assert.equal(status, 200, path);
      assert.ok(Number(headers['content-length']) > 0, path);
      assert.equal(body, '', path);
    }
  });
});

describe('admin refusals', () => {
  it('404 for other paths, in JSON', async () => {
    for (const path of ['/', '/metrics/', '/METRICS', '/workers/1', '//live', '/%6cive', 'http://localhost/live']) {
      const { status, body, headers } = await ask(path);
      assert.equal(status, 404, path);
      assert.equal(JSON.parse(body).error.status, 404);
      assert.equal(headers['cache-control'], 'no-store');
    }
  });

  it('405 for other methods, with Allow', async () => {
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE']) {
      const { status, headers, body } = await ask('/ready', method);
      assert.equal(status, 405, method);
      assert.equal(headers.allow, 'GET, HEAD');
      assert.equal(JSON.parse(body).error.status, 405);
    }
  });

  it('413 for any body, which is not read', async () => {
    const declared = await ask('/metrics', 'GET', { 'Content-Length': '5' }, 'hello');
    assert.equal(declared.status, 413);
    assert.equal(declared.headers.connection, 'close');
    const chunked = await ask('/metrics', 'POST', { 'Transfer-Encoding': 'chunked' }, 'hello');
    assert.equal(chunked.status, 413);
    const expecting = await askRaw(
      'POST /live HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\nExpect: 100-continue\r\n\r\n',
    );
    assert.match(expecting, /^HTTP\/1\.1 413 /);
    assert.doesNotMatch(expecting, /100 Continue/);
  });

  it('413 for a command’s body over its limit, also when it comes late and in pieces', async () => {
    const head = 'POST /workers/scale HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000\r\n\r\n';
    const socket = createConnection({ host: '127.0.0.1', port });
    let text = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    const ended = new Promise<string>((resolve) => {
      socket.on('close', () => resolve('closed')).on('error', ({ message }) => resolve(message));
    });
    socket.write(head);
    for (let piece = 0; piece < 4; piece++) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      socket.write('x'.repeat(2_000));
    }
    await waitUntil(
      () => text.includes('1024 bytes'),
      () => `an answer: ${text}`,
    );
    assert.match(text, /^HTTP\/1\.1 413 /);
    socket.end();
    assert.equal(await ended, 'closed');
  });

  it('403 for any Host that is not loopback, because it is bound on loopback', async () => {
    for (const host of [
      'evil.example',
      'localhost.evil.example',
      '127.0.0.1.evil.example',
      '192.0.2.1',
      '[2001:db8::1]',
    ]) {
      assert.equal((await ask('/metrics', 'GET', { Host: host })).status, 403, host);
    }
    assert.match(await askRaw('GET /live HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n'), /^HTTP\/1\.1 403 /);
    for (const host of ['localhost', 'LOCALHOST:3001', '127.0.0.1', '127.1.2.3:80', '[::1]:3001']) {
      assert.equal((await ask('/metrics', 'GET', { Host: host })).status, 200, host);
    }
  });

  it('answers HTTP/1.0 without a Host, which no browser sends', async () => {
    assert.match(await askRaw('GET /live HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 200 /);
  });

  it('closes on bytes that are not HTTP, and on heads that are too long', async () => {
    assert.match(await askRaw('\0\x01\x02 nonsense\r\n\r\n'), /^HTTP\/1\.1 400 /);
    const long = `GET /live HTTP/1.1\r\nHost: localhost\r\nX-Long: ${'x'.repeat(20_000)}\r\n\r\n`;
    assert.match(await askRaw(long), /^HTTP\/1\.1 431 /);
  });

  it('500 in JSON for a fault of ours, and goes on', async () => {
    failing = true;
    const { status, body } = await ask('/metrics');
    failing = false;
    assert.equal(status, 500);
    assert.deepEqual(JSON.parse(body), { error: { status: 500, message: 'a fault of ours' } });
    assert.equal((await ask('/metrics')).status, 200);
  });
});

describe('admin port', () => {
  it('reads Host names strictly', () => {
    for (const host of ['localhost', 'localhost:', '127.0.0.1:1', '[::1]', undefined]) {
      assert.equal(namesLoopback(host), true, host);
    }
    for (const host of [
      '',
      ':3001',
      '::1',
      '[localhost',
      'localhost:80:80',
      'a@localhost',
      'localhost/',
      '0.0.0.0',
      '[::]',
    ]) {
      assert.equal(namesLoopback(host), false, host);
    }
  });

  it('lets any Host in when it is bound on another address', async () => {
    const open = new AdminServer({
      host: '0.0.0.0',
      port: 0,
      table,
      metrics,
      readiness: () => checkReadiness(table, false),
      commands,
    });
    const former = port;
    port = (await open.listen()).port;
    try {
      assert.equal((await ask('/live', 'GET', { Host: 'longwire:3001' })).status, 200);
    } finally {
      port = former;
      await open.close();
    }
  });

  it('says clearly that its port is taken', async () => {
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen({ host: '127.0.0.1', port: 0 }, resolve));
    const address = holder.address();
    assert.ok(address !== null && typeof address !== 'string');
    const second = new AdminServer({
      host: '127.0.0.1',
      port: address.port,
      table,
      metrics,
      readiness: () => checkReadiness(table, false),
      commands,
    });
    await assert.rejects(second.listen(), (error) => {
      assert.ok(error instanceof LongwireError);
      assert.match(error.message, new RegExp(`127\\.0\\.0\\.1:${address.port}.*LONGWIRE_ADMIN_PORT`));
      return true;
    });
    holder.close();
  });

  it('closes although a client keeps its connection and another has not finished its head', async () => {
    const closing = new AdminServer({
      host: '127.0.0.1',
      port: 0,
      table,
      metrics,
      readiness: () => checkReadiness(table, false),
      commands,
    });
    const { port: own } = await closing.listen();
    const ends = ['GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n', 'GET /live HTTP'].map(
      (text) =>
        new Promise<void>((resolve, reject) => {
          const socket = createConnection({ host: '127.0.0.1', port: own }, () => socket.write(text));
          socket
            .resume()
            .on('error', reject)
            .on('close', () => resolve());
        }),
    );
    // Answered on a third connection: by then the other two have been accepted.
    const former = port;
    port = own;
    await ask('/live');
    port = former;
    await closing.close();
    await Promise.all(ends);
  });
});

describe('commands', () => {
  it('are answered with an operation, which can be looked at', async () => {
    for (const [path, body, what] of [
      ['/workers/replace', '', 'replace false'],
      ['/workers/replace', '{"atOnce":true}', 'replace true'],
      ['/workers/scale', '{"workers":4}', 'scale 4'],
      ['/workers/rebalance', '{}', 'rebalance'],
    ] as const) {
      const answer = await ask(path, 'POST', { 'Content-Length': `${body.length}` }, body);
      assert.equal(answer.status, 202, answer.body);
      assert.equal(asked.at(-1), what);
      const { operation, kind } = JSON.parse(answer.body);
      assert.equal(kind, path.slice('/workers/'.length));
      const shown = JSON.parse((await ask(`/operations/${operation}`)).body);
      assert.equal(shown.state, 'done');
      assert.equal(shown.reason, null);
    }
    assert.equal(JSON.parse((await ask('/operations')).body).operations.length, 4);
    for (const path of ['/operations/99', '/operations/', '/operations/x']) assert.equal((await ask(path)).status, 404);
    assert.equal((await ask('/operations', 'DELETE')).status, 405);
  });

  it('refuse what they do not understand, and do nothing', async () => {
    const before = asked.length;
    for (const [path, body] of [
      ['/workers/scale', ''],
      ['/workers/scale', '{"workers":0}'],
      ['/workers/scale', '{"workers":1025}'],
      ['/workers/scale', '{"workers":1.5}'],
      ['/workers/scale', '{"workers":"4"}'],
      ['/workers/scale', '{"workers":4,"now":true}'],
      ['/workers/scale', '[4]'],
      ['/workers/scale', '{'],
      ['/workers/replace', '{"atOnce":1}'],
      ['/workers/replace', '{"all":true}'],
      ['/workers/rebalance', '{"workers":4}'],
    ] as const) {
      const { status, body: text } = await ask(path, 'POST', { 'Content-Length': `${body.length}` }, body);
      assert.equal(status, 400, body);
      assert.equal(JSON.parse(text).error.status, 400);
    }
    const read = await ask('/workers/scale');
    assert.equal(read.status, 405);
    assert.equal(read.headers.allow, 'POST');
    assert.equal(asked.length, before);
  });

  it('are not for pages in a browser, on loopback either', async () => {
    const { status } = await ask('/workers/rebalance', 'POST', { Origin: 'http://localhost:3001' });
    assert.equal(status, 403);
  });

  it('need the token where there is one, and one where the port is not bound on loopback', async () => {
    const former = port;
    const options = { port: 0, table, metrics, readiness: () => checkReadiness(table, false) };
    const guarded = new AdminServer({ ...options, host: '127.0.0.1', commands: new Commands(fleet, TOKEN) });
    const open = new AdminServer({ ...options, host: '0.0.0.0', commands });
    const rebalance = (headers: Record<string, string>) => ask('/workers/rebalance', 'POST', headers);
    try {
      port = (await guarded.listen()).port;
      for (const authorization of ['', 'Bearer', `Bearer ${TOKEN}x`, `Basic ${TOKEN}`, TOKEN]) {
        assert.equal((await rebalance({ Authorization: authorization })).status, 401, authorization);
      }
      assert.equal((await rebalance({ Authorization: `Bearer ${TOKEN}` })).status, 202);
      assert.equal((await ask('/workers')).status, 200, 'pages need none');
      port = (await open.listen()).port;
      const refused = await rebalance({});
      assert.equal(refused.status, 403);
      assert.match(refused.body, /LONGWIRE_ADMIN_TOKEN/);
    } finally {
      port = former;
      await guarded.close();
      await open.close();
    }
  });

  it('wait for each other up to a bound', async () => {
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    operations.begin('replace', () => held);
    await waitUntil(() => operations.all.at(-1)?.state === 'running', 'the first to run');
    for (let i = 0; i < 8; i++) assert.equal((await ask('/workers/rebalance', 'POST')).status, 202);
    const refused = await ask('/workers/rebalance', 'POST');
    assert.equal(refused.status, 503);
    release();
    await waitUntil(() => operations.all.every(({ state }) => state === 'done'), 'all to end');
  });

  it('that fail say why, and do not keep the next from running', async () => {
    const failing = operations.begin('scale', () => Promise.reject(new LongwireError('unavailable', 'no room')));
    const next = operations.begin('scale', async () => {});
    await waitUntil(() => next.state === 'done', 'the next one');
    assert.equal(failing.state, 'failed');
    assert.equal(failing.reason, 'no room');
  });
});
