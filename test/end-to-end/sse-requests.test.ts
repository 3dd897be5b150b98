// How streams are asked for and answered, byte by byte on the wire: heads, methods, versions, CORS, names and what is
// refused; and what a held connection hears and may say. Both wires go through all of it.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { ask, RawClient } from '../harness/raw-client.ts';
import { openStreams, SseClient } from '../harness/sse-client.ts';
import { waitUntil } from '../harness/wait.ts';
import { WIRES } from './setups.ts';

const DATE = '[A-Z][a-z]{2}, \\d\\d [A-Z][a-z]{2} \\d{4} \\d\\d:\\d\\d:\\d\\d GMT';
const ALLOWED = 'https://app.example';

/** The whole head of a stream's answer, with these CORS lines in it. */
function openingHead(cors = ''): RegExp {
  return new RegExp(
    `^HTTP/1\\.1 200 OK\r\nDate: ${DATE}\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n` +
      `X-Accel-Buffering: no\r\n${cors.replaceAll('*', '\\*')}Connection: close\r\n\r\n`,
  );
}

function get(target: string, fields = ''): string {
  return `GET ${target} HTTP/1.1\r\nHost: gateway\r\n${fields}\r\n`;
}

for (const wire of WIRES) {
  describe(`asking for event streams, ${wire} wire`, () => {
    let gateway: GatewayProcess;
    let port = 0;

    before(async () => {
      gateway = await startGateway({
        env: {
          LONGWIRE_WIRE: wire,
          LONGWIRE_HEARTBEAT_SECONDS: '0.2',
          LONGWIRE_CORS_ORIGINS: `${ALLOWED},https://b.example`,
          LONGWIRE_RETRY_MILLISECONDS: '1234',
          LONGWIRE_CHANNEL_LIMIT: '5',
        },
      });
      port = gateway.publicPort;
    });

    after(() => gateway.kill());

    /** A stream as raw bytes, open and subscribed. */
    async function open(request: string): Promise<RawClient> {
      const client = new RawClient(port);
      client.write(request);
      await client.sees('\r\n\r\nretry: 1234\n\n');
      return client;
    }

    it('the answer is exactly this head, the retry field, then frames and heartbeats', async () => {
      const client = await open(get('/sse/alice'));
      await gateway.publish('alice', 'hello', { event: 'e', id: '7' });
      await client.sees('hello\n\n');
      const [head = ''] = openingHead('Vary: Origin\r\n').exec(client.text) ?? [];
      assert.notEqual(head, '', client.text);
      const frames = client.text.slice(head.length).replaceAll(':\n\n', '');
      assert.equal(frames, 'retry: 1234\n\nevent: e\nid: 7\ndata: hello\n\n');
      client.close();
    });

    it('a silent stream is sent heartbeats, again and again', async () => {
      const client = await new SseClient(port, '/sse/quiet').opened();
      await waitUntil(() => client.comments >= 5, 'five heartbeats');
      assert.deepEqual(client.events, []);
      client.close();
    });

    it('HEAD with a length is refused by a head alone', async () => {
      for (const path of ['/sse/alice', '/stream/alice']) {
        const client = new RawClient(port);
        client.write(`HEAD ${path} HTTP/1.1\r\nHost: gateway\r\nContent-Length: 0\r\n\r\n`);
        assert.equal(await client.end(), 'fin');
        assert.match(client.text, /^HTTP\/1\.1 400 .+\r\n\r\n$/s);
      }
    });

    it('HEAD gets the same head and no stream', async () => {
      const client = new RawClient(port);
      client.write('HEAD /sse/alice HTTP/1.1\r\nHost: gateway\r\n\r\n');
      assert.equal(await client.end(), 'fin');
      const [head] = openingHead('Vary: Origin\r\n').exec(client.text) ?? [];
      assert.equal(client.text, head);
    });

    it('OPTIONS says what may be asked, and the connection goes on', async () => {
      const client = new RawClient(port);
      client.write('OPTIONS /sse/alice HTTP/1.1\r\nHost: gateway\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: gateway\r\n\r\n');
      const [stream, all] = await client.answers(2);
      assert.equal(stream?.status, 204);
      assert.equal(stream.headers.allow, 'GET, HEAD, OPTIONS');
      assert.equal(stream.headers.connection, 'keep-alive');
      assert.equal(stream.headers['access-control-allow-methods'], undefined);
      assert.equal(all?.status, 204);
      client.write(get('/sse/alice'));
      await client.sees('retry: 1234\n\n');
      client.close();
    });

    it('CORS: an origin on the list is named, others are not', async () => {
      for (const [origin, lines] of [
        [ALLOWED, `Access-Control-Allow-Origin: ${ALLOWED}\r\nVary: Origin\r\n`],
        ['https://b.example', 'Access-Control-Allow-Origin: https://b.example\r\nVary: Origin\r\n'],
        ['https://app.example.evil', 'Vary: Origin\r\n'],
        ['http://app.example', 'Vary: Origin\r\n'],
        ['null', 'Vary: Origin\r\n'],
        ['*', 'Vary: Origin\r\n'],
      ] as const) {
        const client = await open(get('/sse/alice', `Origin: ${origin}\r\n`));
        assert.match(client.text, openingHead(lines), origin);
        client.close();
      }
    });

    it('CORS: a preflight is answered for an origin on the list, and a fault can be read there too', async () => {
      const preflight = (origin: string) =>
        ask(port, `OPTIONS /sse/alice HTTP/1.1\r\nHost: g\r\nOrigin: ${origin}\r\nConnection: close\r\n\r\n`);
      const { headers: allowed } = await preflight(ALLOWED);
      assert.equal(allowed['access-control-allow-origin'], ALLOWED);
      assert.equal(allowed['access-control-allow-methods'], 'GET, HEAD');
      assert.match(allowed['access-control-allow-headers'] ?? '', /Last-Event-ID/);
      assert.equal(allowed['access-control-allow-credentials'], undefined);
      const { headers: other } = await preflight('https://evil.example');
      assert.deepEqual(
        Object.keys(other).filter((name) => name.startsWith('access-control')),
        [],
      );
      const fault = await ask(port, get('/sse/', `Origin: ${ALLOWED}\r\n`));
      assert.equal(fault.status, 400);
      assert.equal(fault.headers['access-control-allow-origin'], ALLOWED);
    });

    it('HTTP/1.0 clients get the stream too, without Host', async () => {
      const client = await open('GET /sse/old HTTP/1.0\r\n\r\n');
      await gateway.publish('old', 'hello');
      await client.sees('data: hello\n\n');
      assert.match(client.text, openingHead('Vary: Origin\r\n'));
      client.close();
    });

    it('a head may come byte by byte', async () => {
      const client = new RawClient(port);
      for (const character of get('/sse/slow?channel=slower', 'X-Long: some value\r\n')) {
        client.write(character);
        // Each in a segment of its own, as far as that can be had: the kernel has taken it before the next is written.
        await new Promise((resolve) => client.socket.write('', resolve));
      }
      await client.sees('retry: 1234\n\n');
      await gateway.publish('slower', 'hello');
      await client.sees('data: hello\n\n');
      client.close();
    });

    it('absolute-form targets, as proxies send them, mean the same', async () => {
      const client = await open(`GET http://gateway/sse/proxied HTTP/1.1\r\nHost: gateway\r\n\r\n`);
      await gateway.publish('proxied', 'hello');
      await client.sees('data: hello\n\n');
      client.close();
    });

    it('channel names are percent-decoded UTF-8, with slashes and spaces as they come', async () => {
      for (const [target, channel] of [
        ['/sse/%C3%A9t%C3%A9', 'été'],
        ['/sse/%F0%9F%A6%8A', '🦊'],
        ['/sse/a%2Fb', 'a/b'],
        ['/sse/a/b', 'a/b'],
        ['/sse/a%20b', 'a b'],
        ['/sse/a+b', 'a+b'],
        ['/sse?channel=a+b', 'a b'],
        ['/sse?channel=a%2Bb&cachebuster=1', 'a+b'],
        ['/sse/?channel=only', 'only'],
        ['/sse/100%25', '100%'],
        ['/sse/a:b', 'a:b'],
        [`/sse/${'x'.repeat(255)}`, 'x'.repeat(255)],
        [`/sse/${'%C3%A9'.repeat(127)}`, 'é'.repeat(127)],
      ] as const) {
        const client = await open(get(target));
        await gateway.publish(channel, channel);
        await client.sees(`data: ${channel}\n\n`);
        client.close();
      }
    });

    it('what cannot be a subscription is refused with a reason', async () => {
      for (const [target, text] of [
        ['/sse/', /must not be empty/],
        ['/sse', /must not be empty/],
        ['/sse/:own', /begin with ':'/],
        ['/sse/%3Aown', /begin with ':'/],
        ['/sse/ok?channel=:publication', /begin with ':'/],
        ['/sse/a%00b', /control characters/],
        ['/sse/a%0Ab', /control characters/],
        ['/sse/a%C2%85b', /control characters/],
        [`/sse/${'x'.repeat(256)}`, /longer than 255 bytes/],
        [`/sse/${'%C3%A9'.repeat(128)}`, /longer than 255 bytes/],
        ['/sse/%', /percent-encoding/],
        ['/sse/%zz', /percent-encoding/],
        ['/sse/%FF', /percent-encoding/],
        ['/sse/%ED%A0%80', /percent-encoding/],
        ['/sse/ok?channel=%E0', /percent-encoding/],
        ['/sse/ok?format=xml', /format must be one of: raw, json/],
        ['/sse/a?channel=b&channel=c&channel=d&channel=e&channel=f', /at most 5 channels/],
      ] as const) {
        const answer = await ask(port, get(target));
        assert.equal(answer.status, 400, target);
        assert.match(answer.text, text, target);
        assert.equal(answer.headers.connection, 'close');
      }
      // Twice the same is one, so this is at the limit and not beyond it.
      const client = await open(get('/sse/a?channel=b&channel=c&channel=d&channel=e&channel=a&channel=b'));
      client.close();
    });

    it('other methods, other paths and bodies are refused', async () => {
      for (const [request, status] of [
        ['POST /sse/alice HTTP/1.1\r\nHost: g\r\nContent-Length: 0\r\n\r\n', 405],
        ['DELETE /sse/alice HTTP/1.1\r\nHost: g\r\n\r\n', 405],
        ['BREW /sse/alice HTTP/1.1\r\nHost: g\r\n\r\n', 501],
        ['GET /ssex HTTP/1.1\r\nHost: g\r\n\r\n', 404],
        ['GET / HTTP/1.1\r\nHost: g\r\n\r\n', 404],
        ['GET /SSE/alice HTTP/1.1\r\nHost: g\r\n\r\n', 404],
        ['GET /sse/alice HTTP/1.1\r\nHost: g\r\nContent-Length: 1\r\n\r\nx', 400],
        ['GET /sse/alice HTTP/1.1\r\n\r\n', 400],
        ['GET /sse/\xe9 HTTP/1.1\r\nHost: g\r\n\r\n', 400],
        ['GET /sse/alice HTTP/2.0\r\nHost: g\r\n\r\n', 505],
        [`GET /sse/${'x'.repeat(9_000)} HTTP/1.1\r\nHost: g\r\n\r\n`, 414],
        [`GET /sse/alice HTTP/1.1\r\nHost: g\r\nX: ${'x'.repeat(17_000)}\r\n\r\n`, 431],
      ] as const) {
        const answer = await ask(port, Buffer.from(request, 'latin1'));
        assert.equal(answer.status, status, request.slice(0, 60));
        if (status === 405) assert.equal(answer.headers.allow, 'GET, HEAD, OPTIONS');
      }
    });

    it('stray line ends on a stream are forgiven, anything else ends it as unexpected input', async () => {
      const before = (await gateway.metrics()).value('longwire_closed_total', { reason: 'unexpected-input' });
      const forgiven = await open(`${get('/sse/alice')}\r\n`);
      forgiven.write('\r\n\n\r');
      await gateway.publish('alice', 'still here');
      await forgiven.sees('data: still here\n\n');

      const pipelined = await open(`${get('/sse/alice')}GET /healthz HTTP/1.1\r\nHost: g\r\n\r\n`);
      assert.equal(await pipelined.end(), 'fin');
      const later = await open(get('/sse/alice'));
      later.write('\r\nx');
      assert.equal(await later.end(), 'fin');
      const bytes = await open(get('/sse/alice'));
      bytes.write(Buffer.alloc(100_000, 0xff));
      await bytes.end();
      await gateway.metricReaches('longwire_closed_total', { reason: 'unexpected-input' }, before + 3);
      await gateway.publish('alice', 'and here');
      await forgiven.sees('data: and here\n\n');
      forgiven.close();
    });

    it('a request for a stream may follow API calls on the same connection', async () => {
      const client = new RawClient(port);
      client.write(`GET /healthz HTTP/1.1\r\nHost: g\r\n\r\n${get('/sse/after')}`);
      await client.sees('retry: 1234\n\n');
      await gateway.publish('after', 'hello');
      await client.sees('data: hello\n\n');
      client.close();
    });

    it('all is forgotten once the streams are gone', async () => {
      await waitUntil(
        async () =>
          (await gateway.workers()).every(
            ({ channels, subscriptions, connections }) => channels + subscriptions + (connections.sse ?? 0) === 0,
          ),
        'no channel, subscription or stream to be left',
      );
    });
  });
}

describe('CORS for any origin and for none', () => {
  it('* allows every page, and the answer depends on no header', async (t) => {
    const gateway = await startGateway({ env: { LONGWIRE_CORS_ORIGINS: '*', LONGWIRE_WORKERS: '1' } });
    t.after(() => gateway.kill());
    for (const fields of ['', 'Origin: https://anywhere.example\r\n', 'Origin: null\r\n']) {
      const client = await new SseClient(gateway.publicPort, '/sse/alice', fields).opened();
      assert.match(`${client.head}\r\n\r\n`, openingHead('Access-Control-Allow-Origin: *\r\n'));
      client.close();
    }
  });

  it('an empty list allows none, and says nothing about it', async (t) => {
    const gateway = await startGateway({ env: { LONGWIRE_WORKERS: '1' } });
    t.after(() => gateway.kill());
    const [client = assert.fail()] = await openStreams(gateway.publicPort, '/sse/alice');
    assert.match(`${client.head}\r\n\r\n`, openingHead());
    client.close();
    const other = await new SseClient(gateway.publicPort, '/sse/alice', 'Origin: https://x.example\r\n').opened();
    assert.match(`${other.head}\r\n\r\n`, openingHead());
    other.close();
  });
});
