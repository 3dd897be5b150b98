// The haproxy configuration of docs/operations.md, as it stands there: TLS ended in front of the gateway, streams and calls
// through it over HTTP/1.1 and HTTP/2, and their end in a drain. Skipped where there is no haproxy; Debian has it.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type Certificates, makeCertificates } from '../harness/certificates.ts';
import { ForeignProgram, missing } from '../harness/foreign.ts';
import { API_KEY, type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { ask } from '../harness/raw-client.ts';
import { freePort } from '../harness/redis.ts';
import { SseClient } from '../harness/sse-client.ts';
import { waitUntil } from '../harness/wait.ts';
import { projectFile } from '../project.ts';

const CLOSING = 'GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';

describe('TLS in haproxy', { skip: missing('haproxy', '-v') }, () => {
  let certificates: Certificates;
  let folder: string;
  let gateway: GatewayProcess;
  let haproxy: ForeignProgram;
  let port = 0;
  let tls: { ca: Buffer };

  before(async () => {
    certificates = makeCertificates();
    tls = { ca: readFileSync(certificates.ca) };
    folder = mkdtempSync(join(tmpdir(), 'longwire-haproxy-'));
    gateway = await startGateway({ env: { LONGWIRE_HEARTBEAT_SECONDS: '1', LONGWIRE_DRAIN_SECONDS: '0' } });
    port = await freePort();
    const both = join(folder, 'both.pem');
    writeFileSync(both, Buffer.concat([certificates.cert, certificates.key].map((path) => readFileSync(path))));
    const changes: [from: string, to: string][] = [
      ['bind :443 ', `bind 127.0.0.1:${port} `],
      ['/etc/haproxy/longwire.pem', both],
      ['127.0.0.1:3000', `127.0.0.1:${gateway.publicPort}`],
    ];
    let configuration = /```haproxy\n([\s\S]*?)```/.exec(projectFile('docs/operations.md'))?.[1] ?? '';
    for (const [from, to] of changes) {
      assert.equal(configuration.split(from).length, 2, from);
      configuration = configuration.replace(from, to);
    }
    const path = join(folder, 'haproxy.cfg');
    writeFileSync(path, configuration);
    haproxy = new ForeignProgram('haproxy', ['-db', '-f', path]);
    await waitUntil(
      async () => {
        assert.ok(!haproxy.exited, haproxy.errors);
        return (await ask(port, CLOSING, { tls }).catch(() => null))?.status === 200;
      },
      () => `haproxy to serve: ${haproxy.errors}`,
    );
  });

  after(async () => {
    await haproxy?.stop();
    await gateway?.kill();
    certificates.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  it('passes streams and calls on, and says nothing against the configuration', async () => {
    const subscribers = await Promise.all(
      Array.from({ length: 5 }, () => new SseClient(port, '/sse/a?channel=b', '', { tls }).opened()),
    );
    const body = '{"channel":"a","data":"through"}';
    const head = `POST /api/publish HTTP/1.1\r\nHost: g\r\nX-API-Key: ${API_KEY}\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n`;
    assert.equal((await ask(port, head + body, { tls })).status, 200);
    await gateway.publish('b', 'x'.repeat(500_000));
    for (const subscriber of subscribers) {
      assert.deepEqual(await subscriber.data(2), ['through', 'x'.repeat(500_000)]);
      await waitUntil(() => subscriber.comments > 0, 'a heartbeat');
      subscriber.close();
    }
    await gateway.metricReaches('longwire_channels', {}, 0);
    assert.doesNotMatch(haproxy.errors, /WARNING|ALERT/);
  });

  it('carries many streams on one HTTP/2 connection, and ends them when the gateway drains', async () => {
    const session = connect(`https://127.0.0.1:${port}`, tls);
    const streams = Array.from({ length: 20 }, (_, index) => open(session, `/sse/h2-${index}`));
    for (const { text } of streams) await waitUntil(() => text().includes('retry:'), 'the stream to open');
    for (const index of streams.keys()) await gateway.publish(`h2-${index}`, `for ${index}`);
    for (const [index, { text }] of streams.entries()) {
      await waitUntil(() => text().includes(`data: for ${index}\n`), `the publication for ${index}`);
    }
    const ends = streams.map(({ stream }) => once(stream, 'end'));
    assert.deepEqual(await gateway.stop(), { code: 0, signal: null });
    await Promise.all(ends);
    session.destroy();
  });
});

function open(session: ClientHttp2Session, path: string): { stream: ClientHttp2Stream; text: () => string } {
  const stream = session.request({ ':path': path });
  let text = '';
  stream.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  return { stream, text: () => text };
}
