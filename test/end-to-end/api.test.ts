// The backend's API over real sockets, on both wires: what it takes, what it refuses and with which code, and how its
// connections are used (keep-alive, pipelining, half-closing, Expect, clients that do not read).

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { API_KEY, type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { type Answer, ask, RawClient } from '../harness/raw-client.ts';
import { openStreams } from '../harness/sse-client.ts';
import { waitUntil } from '../harness/wait.ts';
import { WIRES } from './setups.ts';

const MEBIBYTE = 1024 * 1024;
const BODY_LIMIT = 65_536;
const PAYLOAD_LIMIT = 32_768;

/** A whole call. `fields` are header lines with their CRLF. */
function call(body: string, fields = '', path = '/api/publish', version = '1.1'): string {
  const host = version === '1.1' ? 'Host: g\r\n' : '';
  return (
    `POST ${path} HTTP/${version}\r\n${host}X-API-Key: ${API_KEY}\r\n${fields}` +
    `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
  );
}

function publishing(channel: string, data: unknown): string {
  return JSON.stringify({ channel, data });
}

function errorOf(answer: Answer): { code: number; message: string } {
  return JSON.parse(answer.text).error;
}

for (const wire of WIRES) {
  describe(`the API, ${wire} wire`, () => {
    let gateway: GatewayProcess;
    let port = 0;

    before(async () => {
      gateway = await startGateway({
        env: {
          LONGWIRE_WIRE: wire,
          LONGWIRE_BODY_LIMIT_BYTES: `${BODY_LIMIT}`,
          LONGWIRE_PAYLOAD_LIMIT_BYTES: `${PAYLOAD_LIMIT}`,
          LONGWIRE_STALL_SECONDS: '1',
        },
      });
      port = gateway.publicPort;
    });

    after(() => gateway.kill());

    it('a call that succeeds is answered with exactly this', async () => {
      const answer = await gateway.api('publish', { channel: 'alice', data: 'hello' });
      assert.match(
        answer.head,
        /^HTTP\/1\.1 200 OK\r\nDate: [^\r]+ GMT\r\nContent-Type: application\/json\r\nContent-Length: 13\r\nConnection: close$/,
      );
      assert.equal(answer.text, '{"result":{}}');
    });

    it('data of every JSON type: a string as it is, anything else as its JSON', async () => {
      const [client = assert.fail()] = await openStreams(port, '/sse/types');
      const values = ['text', '', 0, -1.5e-7, true, false, null, [], [1, 'a', null], {}, { a: { b: [] } }, 'é🦊'];
      for (const value of values) await gateway.publish('types', value);
      const expected = values.map((value) => (typeof value === 'string' ? value : JSON.stringify(value)));
      assert.deepEqual(await client.data(values.length), expected);
      client.close();
    });

    it('b64data is bytes, with padding or without', async () => {
      const [client = assert.fail()] = await openStreams(port, '/sse/base64?format=json');
      for (const b64data of ['', 'aGVsbG8=', 'aGVsbG8', '/+8=']) {
        assert.equal((await gateway.api('publish', { channel: 'base64', b64data })).status, 200, b64data);
      }
      const data = (await client.data(4)).map((json) => JSON.parse(json).data);
      assert.deepEqual(data, ['', 'hello', 'hello', '/+8=']);
      client.close();
    });

    it('broadcast says of each channel how it went', async () => {
      const [client = assert.fail()] = await openStreams(port, '/sse/good?channel=twice');
      const channels = ['good', '', ':own', 'twice', 7, 'a\0b', 'twice'];
      const answer = await gateway.api('broadcast', { channels, data: 'x' });
      assert.equal(answer.status, 200);
      const responses: { error?: { code: number } }[] = JSON.parse(answer.text).result.responses;
      assert.deepEqual(
        responses.map(({ error }) => error?.code ?? null),
        [null, 107, 107, null, 107, 107, null],
      );
      assert.deepEqual(await client.data(3), ['x', 'x', 'x']);
      client.close();
    });

    it('what is wrong with a call is told by status, code and message', async () => {
      const cases: [method: string, body: unknown, status: number, code: number, message: RegExp][] = [
        ['publish', '', 400, 107, /not JSON/],
        ['publish', '{"channel":"a","data":', 400, 107, /not JSON/],
        ['publish', 'null', 400, 107, /must be a JSON object/],
        ['publish', '[]', 400, 107, /must be a JSON object/],
        ['publish', '"text"', 400, 107, /must be a JSON object/],
        ['publish', {}, 400, 107, /channel must be a string/],
        ['publish', { channel: 1, data: 'x' }, 400, 107, /channel must be a string/],
        ['publish', { channel: '', data: 'x' }, 400, 107, /must not be empty/],
        ['publish', { channel: ':own', data: 'x' }, 400, 107, /begin with ':'/],
        ['publish', { channel: 'a\nb', data: 'x' }, 400, 107, /control characters/],
        ['publish', { channel: 'é'.repeat(128), data: 'x' }, 400, 107, /longer than 255 bytes/],
        ['publish', '{"channel":"\\ud800","data":"x"}', 400, 107, /channel must be well-formed/],
        ['publish', { channel: 'a' }, 400, 107, /data is missing/],
        ['publish', '{"channel":"a","data":"\\udc00"}', 400, 107, /data must be well-formed/],
        ['publish', { channel: 'a', data: 'x', b64data: 'eA==' }, 400, 107, /not both/],
        ['publish', { channel: 'a', b64data: 'e' }, 400, 107, /base64/],
        ['publish', { channel: 'a', b64data: 'eA=' }, 400, 107, /base64/],
        ['publish', { channel: 'a', b64data: 'e A=' }, 400, 107, /base64/],
        ['publish', { channel: 'a', b64data: 5 }, 400, 107, /base64/],
        ['publish', { channel: 'a', data: 'x', event: 'a\nb' }, 400, 107, /event must not hold/],
        ['publish', { channel: 'a', data: 'x', id: 'a\0b' }, 400, 107, /id must not hold/],
        ['publish', { channel: 'a', data: 'x', id: 5 }, 400, 107, /id must be a string/],
        ['publish', { channel: 'a', data: 'x', event: 'e'.repeat(256) }, 400, 107, /at most 255 bytes/],
        ['publish', { channel: 'a', data: 'x'.repeat(PAYLOAD_LIMIT + 1) }, 413, 106, /32769 bytes; 32768 are allowed/],
        ['broadcast', { channels: [], data: 'x' }, 400, 107, /at least one/],
        ['broadcast', { channels: 'a', data: 'x' }, 400, 107, /must be an array/],
        ['broadcast', { channels: ['a'] }, 400, 107, /data is missing/],
        ['nothing', {}, 404, 104, /publish, broadcast/],
        ['', {}, 404, 104, /publish, broadcast/],
        ['publish/', {}, 404, 104, /publish, broadcast/],
        ['constructor', {}, 404, 104, /publish, broadcast/],
        ['%', {}, 404, 104, /publish, broadcast/],
      ];
      for (const [method, body, status, code, message] of cases) {
        const answer = await gateway.api(method, body);
        assert.equal(answer.status, status, `${method} ${JSON.stringify(body)}: ${answer.text}`);
        assert.equal(errorOf(answer).code, code);
        assert.match(errorOf(answer).message, message);
      }
    });

    it('a body that is not UTF-8 is refused, not repaired', async () => {
      const body = Buffer.concat([Buffer.from('{"channel":"a","data":"'), Buffer.from([0xff]), Buffer.from('"}')]);
      const head = `POST /api/publish HTTP/1.1\r\nHost: g\r\nX-API-Key: ${API_KEY}\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n`;
      const answer = await ask(port, Buffer.concat([Buffer.from(head), body]));
      assert.equal(answer.status, 400);
      assert.match(errorOf(answer).message, /UTF-8/);
    });

    it('a payload at the limit passes, whatever its bytes', async () => {
      const [client = assert.fail()] = await openStreams(port, '/sse/large');
      await gateway.publish('large', 'x'.repeat(PAYLOAD_LIMIT));
      assert.equal((await client.data(1))[0]?.length, PAYLOAD_LIMIT);
      client.close();
    });

    it('the key: missing, wrong, right, and as Centrifugo clients send it', async () => {
      for (const [fields, status] of [
        ['', 401],
        ['X-API-Key: wrong\r\n', 401],
        [`X-API-Key: ${API_KEY}x\r\n`, 401],
        [`X-API-Key: ${API_KEY.slice(0, -1)}\r\n`, 401],
        ['X-API-Key:\r\n', 401],
        [`Authorization: Bearer ${API_KEY}\r\n`, 401],
        [`Authorization: ${API_KEY}\r\n`, 401],
        [`X-API-Key: ${API_KEY}\r\n`, 200],
        [`x-api-key: ${API_KEY}\r\n`, 200],
        [`Authorization: apikey ${API_KEY}\r\n`, 200],
        [`Authorization: ApiKey ${API_KEY}\r\n`, 200],
      ] as const) {
        const answer = await gateway.api('publish', { channel: 'a', data: 'x' }, fields);
        assert.equal(answer.status, status, fields);
        if (status !== 401) continue;
        assert.match(answer.headers['www-authenticate'] ?? '', /^apikey/);
        assert.ok(!answer.text.includes(API_KEY));
      }
      // Which methods there are is told to nobody without the key.
      assert.equal((await gateway.api('nothing', {}, '')).status, 401);
    });

    it('401 comes on the head alone: the body is neither awaited nor asked for', async () => {
      const client = new RawClient(port);
      client.write('POST /api/publish HTTP/1.1\r\nHost: g\r\nExpect: 100-continue\r\nContent-Length: 60000\r\n\r\n');
      assert.equal(await client.end(), 'fin');
      assert.equal((await client.answers(1))[0]?.status, 401);
      assert.equal(client.text.includes('100 Continue'), false);
    });

    it('a body over its limit is 413: announced, in chunks, or endless', async () => {
      const head = `POST /api/publish HTTP/1.1\r\nHost: g\r\nX-API-Key: ${API_KEY}\r\n`;
      const announced = await ask(port, `${head}Content-Length: ${BODY_LIMIT + 1}\r\n\r\n`);
      assert.equal(announced.status, 413);
      const expecting = new RawClient(port);
      expecting.write(`${head}Expect: 100-continue\r\nContent-Length: ${BODY_LIMIT + 1}\r\n\r\n`);
      assert.equal((await expecting.answers(1))[0]?.status, 413);
      expecting.close();

      const chunk = `4000\r\n${'x'.repeat(0x4000)}\r\n`;
      const chunked = await ask(port, `${head}Transfer-Encoding: chunked\r\n\r\n${chunk.repeat(5)}`);
      assert.equal(chunked.status, 413);
      // The rest of what the client sends is read and thrown away, so that it sees the answer and no reset.
      const endless = await ask(port, `${head}Transfer-Encoding: chunked\r\n\r\n${chunk.repeat(200)}`);
      assert.equal(endless.status, 413);
    });

    it('Expect: 100-continue is answered before the body, an unknown expectation with 417', async () => {
      const body = publishing('a', 'x');
      const client = new RawClient(port);
      client.write(
        `POST /api/publish HTTP/1.1\r\nHost: g\r\nX-API-Key: ${API_KEY}\r\nExpect: 100-continue\r\nContent-Length: ${body.length}\r\n\r\n`,
      );
      assert.equal((await client.answers(1))[0]?.status, 100);
      assert.equal(client.text, 'HTTP/1.1 100 Continue\r\n\r\n');
      client.write(body);
      assert.equal((await client.answers(2))[1]?.status, 200);
      client.close();
      assert.equal((await ask(port, call(body, 'Expect: 200-maybe\r\n'))).status, 417);
    });

    it('chunked bodies, with extensions and trailers, cut anywhere', async () => {
      const [stream = assert.fail()] = await openStreams(port, '/sse/chunks');
      const body = publishing('chunks', 'hello');
      const chunks = `5;x="y"\r\n${body.slice(0, 5)}\r\n${(body.length - 5).toString(16)}\r\n${body.slice(5)}\r\n0\r\nX-Sum: 1\r\n\r\n`;
      const head = `POST /api/publish HTTP/1.1\r\nHost: g\r\nX-API-Key: ${API_KEY}\r\nTransfer-Encoding: chunked\r\n\r\n`;
      const client = new RawClient(port);
      client.write(head + chunks);
      assert.equal((await client.answers(1))[0]?.status, 200);
      for (const character of head + chunks) {
        client.write(character);
        await new Promise((resolve) => client.socket.write('', resolve));
      }
      assert.equal((await client.answers(2))[1]?.status, 200);
      client.write(`${head}5\r\nhello\r\nG\r\n`);
      assert.equal((await client.answers(3))[2]?.status, 400);
      assert.equal(await client.end(), 'fin');
      assert.deepEqual(await stream.data(2), ['hello', 'hello']);
      stream.close();
    });

    it('GET is 405 with Allow, other methods too', async () => {
      for (const method of ['GET', 'HEAD', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
        const client = new RawClient(port);
        client.write(`${method} /api/publish HTTP/1.1\r\nHost: g\r\nX-API-Key: ${API_KEY}\r\n\r\n`);
        assert.equal(await client.end(), 'fin');
        assert.match(client.text, /^HTTP\/1\.1 405 Method Not Allowed\r\n/);
        assert.match(client.text, /\r\nAllow: POST\r\n/);
      }
    });

    it('many calls in one write are answered in order, and published in order', async () => {
      const [stream = assert.fail()] = await openStreams(port, '/sse/pipelined');
      const client = new RawClient(port);
      const good = Array.from({ length: 300 }, (_, index) => call(publishing('pipelined', index)));
      // Between them, calls that fail but leave the connection in order, so that the order of answers shows.
      const calls = good.flatMap((text, index) => (index % 3 === 0 ? [text, call('{}')] : [text]));
      client.write(calls.join(''));
      const answers = await client.answers(calls.length);
      assert.deepEqual(
        answers.map(({ status }) => status),
        calls.map((text) => (text.endsWith('{}') ? 400 : 200)),
      );
      assert.deepEqual(
        await stream.data(300),
        good.map((_, index) => `${index}`),
      );
      assert.ok(answers.every(({ headers }) => headers.connection === 'keep-alive'));
      stream.close();
      client.close();
    });

    it('Connection: close ends after that answer, and what was pipelined behind it is not served', async () => {
      const [stream = assert.fail()] = await openStreams(port, '/sse/closing');
      const client = new RawClient(port);
      client.write(
        call(publishing('closing', 'first')) +
          call(publishing('closing', 'second'), 'Connection: close\r\n') +
          call(publishing('closing', 'never')),
      );
      assert.equal(await client.end(), 'fin');
      const answers = await client.answers(2);
      assert.deepEqual(
        answers.map(({ headers }) => headers.connection),
        ['keep-alive', 'close'],
      );
      await gateway.publish('closing', 'third');
      assert.deepEqual(await stream.data(3), ['first', 'second', 'third']);
      stream.close();
    });

    it('HTTP/1.0 is closed after one call, unless it asks to be kept alive', async () => {
      const once = new RawClient(port);
      once.write(call(publishing('a', 'x'), '', '/api/publish', '1.0'));
      assert.equal(await once.end(), 'fin');
      assert.equal((await once.answers(1))[0]?.headers.connection, 'close');
      const kept = new RawClient(port);
      for (let calls = 1; calls <= 3; calls++) {
        kept.write(call(publishing('a', 'x'), 'Connection: keep-alive\r\n', '/api/publish', '1.0'));
        assert.equal((await kept.answers(calls)).at(-1)?.headers.connection, 'keep-alive');
      }
      kept.close();
    });

    it('a client that sends everything and then FIN gets all its answers', async () => {
      for (const count of [1, 2, 50]) {
        const client = new RawClient(port);
        client.write(call(publishing('a', 'x')).repeat(count));
        client.socket.end();
        assert.equal(await client.end(), 'fin');
        assert.equal((await client.answers(count)).length, count);
      }
    });

    it('a client that ends in the middle of a request is owed nothing', async () => {
      for (const part of ['POST /api', call(publishing('a', 'x')).slice(0, -5)]) {
        const client = new RawClient(port);
        client.write(part);
        client.socket.end();
        assert.equal(await client.end(), 'fin');
        assert.equal(client.text, '');
      }
    });

    it('a client that asks on and on without reading is not read, then closed as a slow consumer', async () => {
      const closed = async () => (await gateway.metrics()).value('longwire_closed_total', { reason: 'slow-consumer' });
      const before = await closed();
      const client = new RawClient(port, { keep: false });
      client.socket.pause();
      const calls = Buffer.from('GET /healthz HTTP/1.1\r\nHost: g\r\n\r\n'.repeat(2_000));
      // What both kernels' buffers hold, and little more, is all it can get rid of; 256 MiB would be no bound at all.
      const limit = 256 * MEBIBYTE;
      const writeOn = (): void => {
        while (client.socket.writable && client.socket.bytesWritten < limit && client.socket.write(calls));
      };
      client.socket.on('drain', writeOn);
      writeOn();
      await gateway.metricReaches('longwire_closed_total', { reason: 'slow-consumer' }, before + 1);
      assert.ok(client.socket.bytesWritten - client.socket.writableLength < limit / 2);
      client.close();
      assert.equal((await gateway.api('publish', { channel: 'a', data: 'x' })).status, 200);
    });

    it('calls are counted by outcome', async () => {
      const before = await gateway.metrics();
      const count = (outcome: string) => before.value('longwire_api_requests_total', { outcome });
      assert.ok(count('succeeded') > 300 && count('failed') > 100);
      await waitUntil(
        async () => (await gateway.workers()).every(({ connections }) => connections.http === 0),
        'all connections to be over',
      );
    });
  });
}
