// The PROXY protocol over real sockets, on both wires and before TLS: who is believed, who is told why not, and what haproxy
// sends. Whom the gateway takes a client for is read from its log, where operators read it.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { after, before, describe, it } from 'node:test';
import { type Certificates, makeCertificates } from '../harness/certificates.ts';
import { ForeignProgram, missing } from '../harness/foreign.ts';
import { API_KEY, type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { type Answer, ask, RawClient, type RawOptions } from '../harness/raw-client.ts';
import { freePort } from '../harness/redis.ts';
import { SseClient } from '../harness/sse-client.ts';
import { waitUntil } from '../harness/wait.ts';
import { PROJECT_ROOT } from '../project.ts';
import { checksummed, tcp4, tcp6, v2 } from '../workers/proxy-headers.ts';

const HEALTH = 'GET /healthz HTTP/1.1\r\nHost: g\r\n\r\n';
const CLOSING = 'GET /healthz HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n';
/** Whom the gateway trusts, and who comes without being asked to. */
const PROXY = '127.0.0.2';
const STRANGER = '127.0.0.3';

const SETTINGS = {
  LONGWIRE_PROXY_PROTOCOL: 'on',
  LONGWIRE_TRUSTED_PROXIES: `192.0.2.0/24, ${PROXY}`,
  LONGWIRE_HEAD_DEADLINE_SECONDS: '1',
  LONGWIRE_LOG_LEVEL: 'debug',
  LONGWIRE_DRAIN_SECONDS: '0',
};

const HEADERS: readonly [what: string, header: Buffer, client: string][] = [
  ['v1 over IPv4', Buffer.from('PROXY TCP4 203.0.113.1 192.0.2.1 1024 443\r\n'), '203.0.113.1'],
  ['v1 over IPv6', Buffer.from('PROXY TCP6 2001:db8::2 2001:db8::1 1024 443\r\n'), '2001:db8::2'],
  ['v1 of the proxy itself', Buffer.from('PROXY UNKNOWN\r\n'), PROXY],
  ['v2 over IPv4', tcp4('203.0.113.3'), '203.0.113.3'],
  ['v2 over IPv6, with a checksum', checksummed(tcp6('2001:db8::4')), '2001:db8::4'],
  ['v2 with TLVs', tcp4('203.0.113.5', [[4, Buffer.alloc(2_000)]]), '203.0.113.5'],
  ['v2 of the proxy itself', v2(0x20, 0, Buffer.alloc(0)), PROXY],
];

function asProxy(): RawOptions {
  return { localAddress: PROXY };
}

/** Opens a stream behind a header that comes in pieces of `cut` bytes, and resolves with whom the gateway takes it for. */
async function clientBehind(
  gateway: GatewayProcess,
  header: Buffer,
  cut: number,
  options: RawOptions,
): Promise<string> {
  const seen = gateway.logged('opened').length;
  const client = new RawClient(gateway.publicPort, options);
  const bytes = Buffer.concat([header, Buffer.from('GET /sse/a HTTP/1.1\r\nHost: g\r\n\r\n')]);
  for (let at = 0; at < bytes.length; at += cut) {
    client.write(bytes.subarray(at, at + cut));
    if (cut < bytes.length) await new Promise((resolve) => setImmediate(resolve));
  }
  await client.sees('retry:');
  await waitUntil(() => gateway.logged('opened').length > seen, 'the line in the log');
  client.close();
  return String(gateway.logged('opened').at(-1)?.client);
}

for (const wire of ['handle', 'socket'] as const) {
  describe(`PROXY headers, ${wire} wire`, () => {
    let gateway: GatewayProcess;
    let port = 0;

    before(async () => {
      gateway = await startGateway({ env: { ...SETTINGS, LONGWIRE_WIRE: wire } });
      port = gateway.publicPort;
    });

    after(() => gateway.kill());

    for (const [what, header, client] of HEADERS) {
      it(`${what}: says who the client is, whole and in pieces`, async () => {
        for (const cut of [Number.MAX_SAFE_INTEGER, header.length, 7, 1]) {
          if (cut < 7 && header.length > 500) continue;
          assert.equal(await clientBehind(gateway, header, cut, asProxy()), client, `in pieces of ${cut}`);
        }
      });
    }

    it('stand once, before the first of many requests', async () => {
      const client = new RawClient(port, asProxy());
      client.write(Buffer.concat([tcp4('203.0.113.9'), Buffer.from(HEALTH + HEALTH)]));
      await client.answers(2);
      const body = '{"channel":"a","data":"through"}';
      client.write(
        `POST /api/publish HTTP/1.1\r\nHost: g\r\nX-API-Key: ${API_KEY}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      );
      await client.answers(3);
      client.write(tcp4('203.0.113.10'));
      const answers = await client.answers(4);
      assert.deepEqual(
        answers.map(({ status }) => status),
        [200, 200, 200, 400],
      );
      client.close();
    });

    it('are known to the worker that a poll is handed to, which asks for none', async () => {
      const poll = async (client: string, query: string): Promise<Answer> => {
        const request = `GET /poll/a?timeout=0${query} HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n`;
        return ask(port, Buffer.concat([tcp4(client), Buffer.from(request)]), asProxy());
      };
      const before = gateway.logged('closed').length;
      const clients = Array.from({ length: 20 }, (_, i) => `203.0.113.${100 + i}`);
      const sids = await Promise.all(clients.map(async (client) => (await poll(client, '')).headers['longwire-sid']));
      let polls = clients.length;
      await waitUntil(async () => {
        const answers = await Promise.all(clients.map((client, i) => poll(client, `&sid=${sids[i]}`)));
        for (const { status } of answers) assert.equal(status, 204);
        polls += answers.length;
        return (await gateway.metrics()).value('longwire_moved_total', { direction: 'in' }) > 0;
      }, 'a poll to be handed over');
      const ended = (): string[] =>
        gateway
          .logged('closed')
          .slice(before)
          .map(({ client }) => String(client));
      await waitUntil(() => ended().length === polls, 'the end of each in the log');
      assert.deepEqual([...new Set(ended())].sort(), clients, 'all under their own addresses');
    });

    it('that are none, or wrong, are answered 400 and counted; so is no header at all', async () => {
      const before = (await gateway.metrics()).value('longwire_rejected_total', { reason: 'proxy-header' });
      const wrong = [CLOSING, 'PROXY TCP4 localhost localhost 1 1\r\n', tcp4('203.0.113.9', [[3, Buffer.alloc(4)]])];
      for (const bytes of wrong) {
        const answer = await ask(port, bytes, asProxy());
        assert.deepEqual([answer.status, answer.headers.connection], [400, 'close']);
        assert.match(answer.text, /header of the PROXY protocol/);
      }
      await gateway.metricReaches('longwire_rejected_total', { reason: 'proxy-header' }, before + wrong.length);
      assert.equal(gateway.logged('a connection of a trusted proxy was rejected')[0]?.peer, PROXY);
    });

    it('are taken from nobody who is not trusted, whatever they say', async () => {
      for (const bytes of [CLOSING, tcp4(PROXY), `PROXY TCP4 ${PROXY} ${PROXY} 1 1\r\n${CLOSING}`]) {
        const answer = await ask(port, bytes, { localAddress: STRANGER });
        assert.equal(answer.status, 403);
      }
      await gateway.metricReaches('longwire_rejected_total', { reason: 'not-allowed' }, 3);
      assert.equal(gateway.logged('its peer is not in LONGWIRE_TRUSTED_PROXIES')[0]?.peer, STRANGER);
    });

    it('have the head’s deadline', async () => {
      const silent = new RawClient(port, asProxy());
      const half = new RawClient(port, asProxy());
      const headless = new RawClient(port, asProxy());
      half.write('PROXY TCP4 ');
      headless.write(Buffer.concat([tcp4('203.0.113.9'), Buffer.from('GET ')]));
      for (const client of [silent, half, headless]) await client.end();
      assert.deepEqual(
        [silent.text, half.text.slice(0, 13), headless.text.slice(0, 13)],
        ['', 'HTTP/1.1 408 ', 'HTTP/1.1 408 '],
      );
    });

    it('and their connections are given up in a drain, however far they have come', async () => {
      const clients = ['', 'PROXY ', 'PROXY UNKNOWN\r\n', 'PROXY UNKNOWN\r\nGET'].map((bytes) => {
        const client = new RawClient(port, asProxy());
        client.write(bytes);
        return client;
      });
      await gateway.metricReaches('longwire_connections', {}, clients.length);
      assert.deepEqual(await gateway.stop(), { code: 0, signal: null });
      for (const client of clients) await client.end();
    });
  });
}

describe('PROXY headers before TLS', () => {
  let certificates: Certificates;
  let ca: Buffer;
  let gateway: GatewayProcess;
  let port = 0;

  before(async () => {
    certificates = makeCertificates();
    ca = readFileSync(certificates.ca);
    const files = { LONGWIRE_TLS_CERT: certificates.cert, LONGWIRE_TLS_KEY: certificates.key };
    gateway = await startGateway({ env: { ...SETTINGS, ...files, LONGWIRE_TRUSTED_PROXIES: `127.0.0.1,${PROXY}` } });
    port = gateway.publicPort;
  });

  after(async () => {
    await gateway.kill();
    certificates.remove();
  });

  /** A TLS client on a socket that begins with these bytes. */
  function behind(header: Buffer): RawOptions {
    const socket = connect({ port, host: '127.0.0.1', localAddress: PROXY });
    socket.write(header);
    return { tls: { ca, socket } };
  }

  for (const [what, header, client] of HEADERS) {
    it(`${what}: the handshake follows, and the stream works`, async () => {
      assert.equal(await clientBehind(gateway, Buffer.alloc(0), Number.MAX_SAFE_INTEGER, behind(header)), client);
    });
  }

  it('stand in the same packet as the handshake’s beginning', async () => {
    // A relay that holds back what the client says until it is all of a ClientHello.
    const upstream = connect({ port, host: '127.0.0.1', localAddress: PROXY });
    const client = new RawClient(port, { tls: { ca, socket: glued(upstream, tcp4('203.0.113.77')) } });
    client.write(CLOSING);
    await client.end();
    assert.match(client.text, /^HTTP\/1\.1 200 /);
    client.close();
    await waitUntil(
      () => gateway.logged('closed').some(({ client }) => client === '203.0.113.77'),
      'the client in the log',
    );
  });

  it('that are wrong are followed by no word in the clear, and counted', async () => {
    const client = new RawClient(port, asProxy());
    client.write(CLOSING);
    await client.end();
    assert.equal(client.text, '');
    await gateway.metricReaches('longwire_rejected_total', { reason: 'proxy-header' }, 1);
    const stranger = new RawClient(port, { localAddress: STRANGER });
    await stranger.end();
    assert.equal(stranger.text, '');
    await gateway.metricReaches('longwire_rejected_total', { reason: 'not-allowed' }, 1);
  });

  it('the container’s health check sends one', async () => {
    const env = { PORT: `${port}`, LONGWIRE_TLS_CERT: certificates.cert, LONGWIRE_PROXY_PROTOCOL: 'on' };
    const check = spawn(process.execPath, [join(PROJECT_ROOT, 'deploy/healthcheck.mjs')], { env, stdio: 'inherit' });
    assert.deepEqual(await once(check, 'exit'), [0, null]);
  });

  it('a crowd that comes and goes leaves nothing behind', async () => {
    for (let round = 0; round < 3; round++) {
      const crowd = await Promise.all(
        Array.from({ length: 50 }, () => new SseClient(port, '/sse/a', '', behind(tcp4('203.0.113.9'))).opened()),
      );
      for (const client of crowd) client.close();
      await gateway.metricReaches('longwire_connections', {}, 0);
    }
  });
});

describe('PROXY headers of haproxy', { skip: missing('haproxy', '-v') }, () => {
  let certificates: Certificates;
  let ca: Buffer;
  let folder: string;

  before(() => {
    certificates = makeCertificates();
    ca = readFileSync(certificates.ca);
    folder = mkdtempSync(join(tmpdir(), 'longwire-send-proxy-'));
  });

  after(() => {
    certificates.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  for (const [how, option] of [
    ['send-proxy', 'send-proxy'],
    ['send-proxy-v2', 'send-proxy-v2'],
    ['send-proxy-v2 with all its options', 'send-proxy-v2 proxy-v2-options crc32c,unique-id,authority,ssl,cert-cn'],
  ] as const) {
    for (const tls of [false, true]) {
      it(`${how}, ${tls ? 'TLS ended by Longwire' : 'no TLS'}: clients have their own addresses, checks their answers`, async () => {
        const files = { LONGWIRE_TLS_CERT: certificates.cert, LONGWIRE_TLS_KEY: certificates.key };
        const gateway = await startGateway({
          env: { ...SETTINGS, ...(tls ? files : {}), LONGWIRE_TRUSTED_PROXIES: '127.0.0.0/8' },
        });
        const port = await freePort();
        const path = join(folder, `${port}.cfg`);
        writeFileSync(path, haproxy(port, gateway.publicPort, option));
        const proxy = new ForeignProgram('haproxy', ['-db', '-f', path]);
        try {
          const options: RawOptions = { localAddress: STRANGER, ...(tls ? { tls: { ca } } : {}) };
          await waitUntil(
            async () => {
              assert.ok(!proxy.exited, proxy.errors);
              return (await ask(port, CLOSING, options).catch(() => null))?.status === 200;
            },
            () => `haproxy to serve: ${proxy.errors}`,
          );
          const stream = await new SseClient(port, '/sse/a', '', options).opened();
          await waitUntil(() => gateway.logged('opened').length > 0, 'the line in the log');
          assert.equal(gateway.logged('opened')[0]?.client, STRANGER);
          // haproxy's own checks say LOCAL, or that they come from it.
          await waitUntil(() => gateway.logged('closed').some(({ client }) => client === '127.0.0.1'), 'a check');
          assert.deepEqual(gateway.logged('rejected'), []);
          stream.close();
        } finally {
          await proxy.stop();
          await gateway.kill();
        }
      });
    }
  }
});

/** What is written to it first goes to `upstream` in one piece with the header before it. */
function glued(upstream: Socket, header: Buffer): Duplex {
  let before = header;
  const stream = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      upstream.write(Buffer.concat([before, chunk]), done);
      before = Buffer.alloc(0);
    },
    final(done) {
      upstream.end(done);
    },
  });
  upstream.on('data', (chunk: Buffer) => stream.push(chunk)).on('end', () => stream.push(null));
  return stream;
}

function haproxy(port: number, gatewayPort: number, option: string): string {
  return `
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s

frontend public
  bind 127.0.0.1:${port}
  unique-id-format %pid-%rt
  default_backend longwire

backend longwire
  server longwire 127.0.0.1:${gatewayPort} ${option} check inter 200
`;
}
