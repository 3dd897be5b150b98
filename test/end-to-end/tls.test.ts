// TLS on the public port, over real sockets: what is spoken and what is refused, clients that do it wrong or slowly, the
// cap, slow consumers, and how streams end. test/end-to-end/tls-reload.test.ts has the certificates.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { type Certificates, makeCertificates } from '../harness/certificates.ts';
import { API_KEY, type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { ask, RawClient, type RawOptions } from '../harness/raw-client.ts';
import { Relay } from '../harness/relay.ts';
import { SseClient } from '../harness/sse-client.ts';
import { waitUntil } from '../harness/wait.ts';
import { PROJECT_ROOT } from '../project.ts';

const HEALTH = 'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n';
const CLOSING = 'GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';
const VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const;
const MEBIBYTE = 1_048_576;
/** In publications of 64 KiB: far beyond what the kernels of both sides take over loopback. */
const ENOUGH_PUBLICATIONS = 96 * 16;
const MALFORMED = { reason: 'malformed' };
/** A ClientHello as it begins: a handshake record of 512 bytes that never comes to its end. */
const HALF_HELLO = Buffer.from('16030102000100', 'hex');

let certificates: Certificates;
let ca: Buffer;
const gateways: GatewayProcess[] = [];

before(() => {
  certificates = makeCertificates();
  ca = readFileSync(certificates.ca);
});

after(async () => {
  for (const gateway of gateways) await gateway.kill();
  certificates.remove();
});

async function start(env: Record<string, string> = {}): Promise<GatewayProcess> {
  const files = { LONGWIRE_TLS_CERT: certificates.cert, LONGWIRE_TLS_KEY: certificates.key };
  const gateway = await startGateway({ env: { ...files, ...env } });
  gateways.push(gateway);
  return gateway;
}

/** Options of a client that checks the certificate. */
function secure(more: ConnectionOptions = {}): RawOptions {
  return { tls: { ca, ...more } };
}

/** The error that a client's handshake ends with; fails when it succeeds. */
async function refusal(port: number, options: ConnectionOptions): Promise<string> {
  const client = new RawClient(port, secure(options));
  const [error] = await once(client.socket, 'error');
  client.close();
  return String(error.code);
}

describe('TLS', () => {
  let gateway: GatewayProcess;
  let port = 0;

  before(async () => {
    gateway = await start();
    port = gateway.publicPort;
  });

  it('is in the start-up text, which says why the wire is a socket', () => {
    assert.match(gateway.out, new RegExp(`public +https://127\\.0\\.0\\.1:${port}`));
    assert.ok(gateway.out.includes(`curl -N https://localhost:${port}/sse/alice\n`));
    assert.ok(gateway.out.includes(`curl -X POST https://localhost:${port}/api/publish `));
    assert.match(gateway.out, /wire +socket \(TLS\)/);
    const [line] = gateway.logged('TLS is on');
    assert.match(String(line?.names), /DNS:localhost/);
    assert.deepEqual(
      gateway.logged('worker is ready').map(({ wire, wireWhy }) => [wire, wireWhy]),
      [
        ['socket', 'TLS'],
        ['socket', 'TLS'],
      ],
    );
  });

  for (const version of VERSIONS) {
    describe(version, () => {
      const options = { minVersion: version, maxVersion: version };

      it('carries streams and calls, on one connection and on many', async () => {
        const subscribers = await Promise.all(
          Array.from({ length: 8 }, () => new SseClient(port, `/sse/${version}`, '', secure(options)).opened()),
        );
        for (const { connection } of subscribers) {
          assert.equal((connection.socket as TLSSocket).getProtocol(), version);
          assert.equal((connection.socket as TLSSocket).authorized, true);
        }
        const payloads = ['', 'one', 'two\nlines', '😀', 'x'.repeat(MEBIBYTE - 10)];
        const backend = new RawClient(port, secure(options));
        for (const [index, data] of payloads.entries()) {
          const body = Buffer.from(JSON.stringify({ channel: version, data }));
          const head = `POST /api/publish HTTP/1.1\r\nHost: g\r\nX-API-Key: ${API_KEY}\r\nContent-Length: ${body.length}\r\n\r\n`;
          backend.write(Buffer.concat([Buffer.from(head), body]));
          const answers = await backend.answers(index + 1);
          assert.equal(answers[index]?.status, 200, answers[index]?.text);
        }
        for (const subscriber of subscribers) {
          assert.deepEqual(await subscriber.data(payloads.length), payloads);
          subscriber.close();
        }
        backend.close();
      });

      it('answers requests that come faster than their answers are read, all of them and in order', async () => {
        const count = 5_000;
        const client = new RawClient(port, secure(options));
        client.write(HEALTH.repeat(count));
        const answers = await client.answers(count);
        assert.ok(answers.every(({ status, text }) => status === 200 && text === 'ok\n'));
        client.close();
      });

      it('ends an answer that is the last with a close_notify, not with a mere FIN', async () => {
        const relay = await Relay.to(port);
        const answer = await ask(relay.port, CLOSING, secure(options));
        assert.equal(answer.text, 'ok\n');
        assert.ok(relay.endsInAlert);
      });
    });
  }

  it('carries every transport', async () => {
    const upgrade = `Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n`;
    const clients = ['sse', 'stream', 'ws'].map((transport) => {
      const client = new RawClient(port, secure());
      client.write(`GET /${transport}/all HTTP/1.1\r\nHost: g\r\n${transport === 'ws' ? upgrade : ''}\r\n`);
      return client;
    });
    await gateway.metricReaches('longwire_subscriptions', {}, clients.length);
    await gateway.publish('all', 'to each of them');
    for (const client of clients) {
      await client.sees('to each of them');
      client.close();
    }
  });

  it('1.1 and below are refused', async () => {
    for (const version of ['TLSv1', 'TLSv1.1'] as const) {
      const options = { minVersion: version, maxVersion: version, ciphers: 'DEFAULT@SECLEVEL=0' };
      assert.match(await refusal(port, options), /PROTOCOL_VERSION/);
    }
  });

  it('ALPN: http/1.1, nothing when nothing is asked, and a refusal of everything else', async () => {
    const chosen: unknown[] = [];
    for (const ALPNProtocols of [['h2', 'http/1.1'], ['http/1.1'], undefined]) {
      const client = new RawClient(port, secure(ALPNProtocols === undefined ? {} : { ALPNProtocols }));
      client.write(HEALTH);
      await client.answers(1);
      chosen.push((client.socket as TLSSocket).alpnProtocol);
      client.close();
    }
    assert.deepEqual(chosen, ['http/1.1', 'http/1.1', false]);
    assert.match(await refusal(port, { ALPNProtocols: ['h2'] }), /NO_APPLICATION_PROTOCOL/);
  });

  it('/healthz answers, and the container’s health check asks it', async () => {
    assert.equal((await ask(port, CLOSING, secure())).status, 200);
    const env = { PORT: `${port}`, LONGWIRE_TLS_CERT: certificates.cert };
    const check = spawn(process.execPath, [join(PROJECT_ROOT, 'deploy/healthcheck.mjs')], { env, stdio: 'inherit' });
    assert.deepEqual(await once(check, 'exit'), [0, null]);
  });
});

describe('TLS with clients that do it wrong', () => {
  let gateway: GatewayProcess;
  let port = 0;

  before(async () => {
    gateway = await start({ LONGWIRE_HEAD_DEADLINE_SECONDS: '2' });
    port = gateway.publicPort;
  });

  it('who speaks something else is closed and counted, and harms nobody', async () => {
    const held = await new SseClient(port, '/sse/calm', '', secure()).opened();
    const pids = await gateway.workerPids();
    const nonsense = [
      'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n',
      'SSH-2.0-OpenSSH_9.2p1\r\n',
      randomBytes(4_096).fill(0x80, 0, 2),
      Buffer.alloc(100_000),
      Buffer.concat([HALF_HELLO, randomBytes(1_024)]),
    ];
    for (const bytes of nonsense) {
      const client = new RawClient(port);
      client.write(bytes);
      await client.end();
      client.close();
    }
    await gateway.metricReaches('longwire_rejected_total', MALFORMED, nonsense.length);
    await gateway.metricReaches('longwire_closed_total', MALFORMED, nonsense.length);
    await gateway.publish('calm', 'still here');
    assert.deepEqual(await held.data(1), ['still here']);
    held.close();
    assert.deepEqual(await gateway.workerPids(), pids);
    assert.deepEqual(
      gateway.logLines.filter(({ level, process }) => level !== 'info' || process.startsWith('worker')),
      [],
      'nothing is said of it in the log',
    );
  });

  it('a client that will not have our certificate has left by itself', async () => {
    await gateway.metricReaches('longwire_connections', {}, 0);
    const before = await gateway.metrics();
    assert.match(await refusal(port, { ca: [] }), /SELF_SIGNED|UNABLE_TO/);
    const left = before.value('longwire_closed_total', { reason: 'client-left' });
    await gateway.metricReaches('longwire_closed_total', { reason: 'client-left' }, left + 1);
    await gateway.metricReaches(
      'longwire_rejected_total',
      MALFORMED,
      before.value('longwire_rejected_total', MALFORMED),
    );
  });

  for (const version of VERSIONS) {
    it(`${version}: bytes that are not the client’s close its connection, held or not`, async () => {
      for (const target of ['/sse/slipped', '/healthz']) {
        const relay = await Relay.to(port);
        const client = new RawClient(relay.port, secure({ minVersion: version, maxVersion: version }));
        client.write(`GET ${target} HTTP/1.1\r\nHost: g\r\n\r\n`);
        await client.sees('200 OK');
        relay.slip(Buffer.concat([Buffer.from('1703030100', 'hex'), randomBytes(256)]));
        await client.end();
        client.close();
      }
      await gateway.metricReaches('longwire_channels', {}, 0);
    });
  }

  it('a client may not begin the handshake anew', async () => {
    const client = new RawClient(port, secure({ maxVersion: 'TLSv1.2' }));
    client.write(HEALTH);
    await client.answers(1);
    (client.socket as TLSSocket).renegotiate({}, () => {});
    await client.end();
  });

  it('a client that stalls in the handshake is gone by the head deadline', async () => {
    const clients = [Buffer.alloc(0), HALF_HELLO].map((bytes) => {
      const client = new RawClient(port);
      client.write(bytes);
      return client;
    });
    const startedAt = performance.now();
    for (const client of clients) {
      await client.end();
      assert.ok(client.endedAt - startedAt > 1_500, 'not before it');
      client.close();
    }
    await gateway.metricReaches('longwire_closed_total', { reason: 'head-timeout' }, clients.length);
    await gateway.metricReaches('longwire_connections', {}, 0);
  });
});

describe('connections in their handshake', () => {
  it('count against the cap: the next one is told so, through TLS, and has its place when they have gone', async () => {
    const cap = 6;
    const gateway = await start({ LONGWIRE_MAX_CONNECTIONS: `${cap}`, LONGWIRE_WORKERS: '1' });
    const silent = Array.from({ length: cap }, () => new RawClient(gateway.publicPort));
    await gateway.metricReaches('longwire_connections', { transport: 'http' }, cap);
    const answer = await ask(gateway.publicPort, CLOSING, secure());
    assert.equal(answer.status, 503);
    assert.match(answer.text, /holds as many connections as it may/);
    for (const client of silent) client.close();
    await gateway.metricReaches('longwire_connections', {}, 0);
    assert.equal((await ask(gateway.publicPort, CLOSING, secure())).status, 200);
  });
});

describe('a subscriber that stops reading, through TLS', () => {
  it('is closed when its outbox is full, and everybody else gets everything', async () => {
    const gateway = await start({
      LONGWIRE_WORKERS: '1',
      LONGWIRE_OUTBOX_LIMIT_BYTES: '262144',
      LONGWIRE_PAYLOAD_LIMIT_BYTES: '65536',
      LONGWIRE_STALL_SECONDS: '600',
    });
    const slow = new RawClient(gateway.publicPort, { keep: false, ...secure() });
    slow.write('GET /sse/busy HTTP/1.1\r\nHost: g\r\n\r\n');
    await waitUntil(() => slow.receivedBytes > 0, 'the stream to open');
    slow.socket.pause();
    const others = await Promise.all(
      Array.from({ length: 3 }, () => new SseClient(gateway.publicPort, '/sse/busy', '', secure()).opened()),
    );
    const payload = 'x'.repeat(65_000);
    const closed = async () => (await gateway.metrics()).value('longwire_closed_total', { reason: 'slow-consumer' });
    let published = 0;
    do {
      for (let times = 0; times < 16; times++) await gateway.publish('busy', `${published++} ${payload}`);
      assert.ok(published < ENOUGH_PUBLICATIONS, `${published} publications and still there`);
    } while ((await closed()) === 0);
    const expected = Array.from({ length: published }, (_, index) => `${index}`);
    for (const other of others) {
      const data = await other.data(published);
      assert.deepEqual(
        data.map((text) => text.split(' ')[0]),
        expected,
      );
      assert.equal(other.connection.ending, 'none');
      other.close();
    }
    assert.equal(await closed(), 1);
    slow.close();
    await gateway.metricReaches('longwire_subscriptions', {}, 0);
  });
});

describe('a drain through TLS', () => {
  for (const version of VERSIONS) {
    it(`${version}: ends streams with a close_notify, and waits for nobody in a handshake`, async () => {
      const gateway = await start({ LONGWIRE_DRAIN_SECONDS: '1', LONGWIRE_HEAD_DEADLINE_SECONDS: '600' });
      const { publicPort: port } = gateway;
      const relay = await Relay.to(port);
      const options = secure({ minVersion: version, maxVersion: version });
      const streams = await Promise.all(
        [relay.port, ...Array<number>(20).fill(port)].map((to) =>
          new SseClient(to, '/sse/drained', '', options).opened(),
        ),
      );
      const silent = [new RawClient(port), new RawClient(port)];
      silent[1]?.write(HALF_HELLO);
      await gateway.metricReaches('longwire_connections', {}, streams.length + silent.length);
      gateway.signal('SIGTERM');
      const endings = await Promise.all(streams.map(({ connection }) => connection.end()));
      assert.deepEqual(new Set(endings), new Set(['fin']));
      assert.ok(relay.endsInAlert);
      assert.deepEqual(await gateway.ended, { code: 0, signal: null });
      assert.match(gateway.log, /"text":"shut down","workersKilled":0/);
      for (const client of silent) await client.end();
    });
  }
});
