// WebSockets over real sockets, frame by frame: the handshake and its faults, what a client may say and what it is answered
// while publications flow. How they end: websocket-endings.test.ts; how the clients that people use get on with them:
// websocket-clients.test.ts.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { ask, RawClient } from '../harness/raw-client.ts';
import { waitUntil } from '../harness/wait.ts';
import {
  ACCEPT,
  handshake,
  KEY,
  MESSAGE_LIMIT_BYTES,
  WebSocketClient,
  type WebSocketOptions,
} from '../harness/websocket-client.ts';
import { BINARY, clientFrame, fragments, fragmentsOf, PING, PONG, TEXT } from '../workers/websocket/client-frames.ts';
import { WIRES } from './setups.ts';

const ALLOWED = 'https://app.example';
const CHANNEL_LIMIT = 5;

/** A 400 of the API has the same code: bad-request. */
const BAD_REQUEST = 107;

for (const wire of WIRES) {
  describe(`WebSockets, ${wire} wire`, () => {
    let gateway: GatewayProcess;
    let port = 0;

    before(async () => {
      gateway = await startGateway({
        env: {
          LONGWIRE_WIRE: wire,
          LONGWIRE_CORS_ORIGINS: `${ALLOWED},https://b.example`,
          LONGWIRE_CHANNEL_LIMIT: String(CHANNEL_LIMIT),
        },
      });
      port = gateway.publicPort;
    });

    after(() => gateway.kill());

    function open(target: string, options: WebSocketOptions = {}): Promise<WebSocketClient> {
      return new WebSocketClient(port, target, options).opened();
    }

    describe('the handshake', () => {
      it('is answered with exactly this head, and publications follow', async () => {
        const client = await open('/ws/alice');
        assert.equal(
          client.head,
          'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
            `Sec-WebSocket-Accept: ${ACCEPT}\r\n\r\n`,
        );
        await gateway.publish('alice', 'hello', { event: 'e', id: '7' });
        assert.deepEqual(await client.json(1), [{ channel: 'alice', data: 'hello', id: '7', event: 'e' }]);
        client.close();
      });

      it('declines extensions and subprotocols by silence', async () => {
        const fields = 'Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: chat\r\n';
        const client = await open('/ws/alice', { fields });
        assert.doesNotMatch(client.head, /extensions|protocol:/i);
        client.close();
      });

      it('may bring frames in its own packet', async () => {
        const early = Buffer.concat([
          clientFrame(PING, 'early'),
          clientFrame(TEXT, '{"subscribe":"early"}'),
          ...fragments(TEXT, '{"pi', 'ng":', '1}'),
        ]);
        const client = await open('/ws/alice', { early });
        assert.deepEqual(await client.json(2), [{ subscribed: ['early'] }, { pong: 1 }]);
        await waitUntil(() => client.pongs.length > 0, 'the pong, which may come in a packet of its own');
        assert.deepEqual(client.pongs, ['early']);
        await gateway.publish('early', 'here');
        assert.deepEqual((await client.json(3))[2], { channel: 'early', data: 'here' });
        client.close();
      });

      it('may come byte by byte, and so may all frames', async () => {
        const client = new RawClient(port);
        const bytes = Buffer.concat([Buffer.from(handshake('/ws/slow')), clientFrame(TEXT, '{"ping":"slow"}')]);
        for (const byte of bytes) {
          client.write(Buffer.of(byte));
          await new Promise((resolve) => client.socket.write('', resolve));
        }
        await client.sees('{"pong":"slow"}');
        client.close();
      });

      it('is refused with what is missing', async () => {
        const upgrade = 'Upgrade: websocket\r\nConnection: Upgrade\r\n';
        const version = 'Sec-WebSocket-Version: 13\r\n';
        const key = `Sec-WebSocket-Key: ${KEY}\r\n`;
        const get = 'GET /ws/alice HTTP/1.1\r\nHost: g\r\n';
        const faults: [name: string, request: string, status: number][] = [
          ['a plain GET', `${get}\r\n`, 426],
          ['no Connection', `${get}Upgrade: websocket\r\n${version}${key}\r\n`, 426],
          ['another upgrade', `${get}Upgrade: h2c\r\nConnection: Upgrade\r\n${version}${key}\r\n`, 426],
          ['HTTP/1.0', `GET /ws/alice HTTP/1.0\r\n${upgrade}${version}${key}\r\n`, 426],
          ['no version', `${get}${upgrade}${key}\r\n`, 426],
          ['version 8', `${get}${upgrade}Sec-WebSocket-Version: 8\r\n${key}\r\n`, 426],
          ['no key', `${get}${upgrade}${version}\r\n`, 400],
          ['two keys', `${get}${upgrade}${version}${key}${key}\r\n`, 400],
          ['a short key', `${get}${upgrade}${version}Sec-WebSocket-Key: c2hvcnQ=\r\n\r\n`, 400],
          ['a body', `${get}${upgrade}${version}${key}Content-Length: 1\r\n\r\nx`, 400],
          ['POST', `POST /ws/alice HTTP/1.1\r\nHost: g\r\nContent-Length: 0\r\n${upgrade}${version}${key}\r\n`, 405],
          ['HEAD', `HEAD /ws/alice HTTP/1.1\r\nHost: g\r\n${upgrade}${version}${key}\r\n`, 405],
          ['OPTIONS', 'OPTIONS /ws/alice HTTP/1.1\r\nHost: g\r\n\r\n', 405],
        ];
        for (const [name, request, status] of faults) {
          const client = new RawClient(port);
          client.write(request);
          assert.equal(await client.end(), 'fin', name);
          assert.match(client.text, new RegExp(`^HTTP/1\\.1 ${status} `), name);
          if (status === 426) {
            assert.match(client.text, /^Upgrade: websocket\r$/m, name);
            assert.match(client.text, /^Sec-WebSocket-Version: 13\r$/m, name);
          }
          if (status === 405) assert.match(client.text, /^Allow: GET\r$/m, name);
          client.close();
        }
      });

      it('is open to pages of the own host and of the list, and to clients that are no pages', async () => {
        const own = ['http://gateway', 'https://gateway'];
        for (const origin of [...own, ALLOWED, 'https://b.example']) {
          const client = await open('/ws/alice', { fields: `Origin: ${origin}\r\n` });
          client.close();
        }
        const before = (await gateway.metrics()).value('longwire_rejected_total', { reason: 'not-allowed' });
        const foreign = ['https://evil.example', 'http://app.example', 'https://app.example.evil', 'null', 'gateway'];
        for (const origin of [...foreign, 'http://gateway:81']) {
          const answer = await ask(port, handshake('/ws/alice', `Origin: ${origin}\r\n`));
          assert.equal(answer.status, 403, origin);
          assert.equal(answer.headers['access-control-allow-origin'], undefined);
        }
        await gateway.metricReaches('longwire_rejected_total', { reason: 'not-allowed' }, before + foreign.length + 1);
      });
    });

    describe('what a client says', () => {
      it('subscribe and unsubscribe change what it gets from the reply on', async () => {
        const client = await open('/ws/a');
        assert.deepEqual(await client.reply({ subscribe: 'b' }), { subscribed: ['b'] });
        assert.deepEqual(await client.reply({ subscribe: ['c', 'ünï/🦊', 'c', 'a'] }), {
          subscribed: ['c', 'ünï/🦊', 'a'],
        });
        for (const channel of ['a', 'b', 'c', 'ünï/🦊']) await gateway.publish(channel, `for ${channel}`);
        assert.deepEqual(
          (await client.json(6)).slice(2),
          ['a', 'b', 'c', 'ünï/🦊'].map((channel) => ({ channel, data: `for ${channel}` })),
        );
        assert.deepEqual(await client.reply({ unsubscribe: ['a', 'b', 'never'] }), {
          unsubscribed: ['a', 'b', 'never'],
        });
        for (const channel of ['a', 'b', 'c']) await gateway.publish(channel, 'again');
        assert.deepEqual((await client.json(8)).at(-1), { channel: 'c', data: 'again' });
        client.close();
      });

      it('may give up its last channel and take up others', async () => {
        const client = await open('/ws/only');
        assert.deepEqual(await client.reply({ unsubscribe: 'only' }), { unsubscribed: ['only'] });
        await gateway.publish('only', 'to nobody');
        assert.deepEqual(await client.reply({ subscribe: 'other' }), { subscribed: ['other'] });
        await gateway.publish('other', 'x');
        assert.deepEqual((await client.json(3)).at(-1), { channel: 'other', data: 'x' });
        client.close();
      });

      it('a ping is answered with what it held', async () => {
        const client = await open('/ws/alice');
        for (const value of [42, -1.5, null, true, '', 'ä🦊']) {
          assert.deepEqual(await client.reply({ ping: value }), { pong: value });
        }
        client.close();
      });

      it('anything else is answered with an error and changes nothing', async () => {
        const client = await open('/ws/alice');
        const wishes: [wish: unknown, message: RegExp][] = [
          ['', /a message is JSON/],
          ['hello', /a message is JSON/],
          ['{"subscribe":', /a message is JSON/],
          ['42', /a message is one of/],
          ['null', /a message is one of/],
          ['[{"ping":1}]', /a message is one of/],
          ['{}', /a message is one of/],
          [{ publish: 'x' }, /a message is one of/],
          [{ subscribe: 'a', unsubscribe: 'alice' }, /a message is one of/],
          ['{"__proto__":1}', /a message is one of/],
          [{ ping: [1] }, /no object and no list/],
          [{ ping: {} }, /no object and no list/],
          [`{"ping":${'['.repeat(8_000)}${']'.repeat(8_000)}}`, /no object and no list/],
          [{ subscribe: [] }, /at least one/],
          [{ subscribe: '' }, /must not be empty/],
          [{ subscribe: ['ok', ''] }, /must not be empty/],
          [{ subscribe: 7 }, /a channel is a string/],
          [{ subscribe: null }, /a channel is a string/],
          [{ subscribe: [['nested']] }, /a channel is a string/],
          ['{"subscribe":"\\ud83e"}', /a channel is a string/],
          [{ subscribe: 'x'.repeat(256) }, /255 bytes/],
          [{ subscribe: 'é'.repeat(128) }, /255 bytes/],
          [{ subscribe: ':own' }, /':'/],
          [{ unsubscribe: ':own' }, /':'/],
          [{ subscribe: 'a\nb' }, /control characters/],
          [{ unsubscribe: {} }, /a channel is a string/],
        ];
        for (const [wish, message] of wishes) {
          const reply = (await client.reply(wish)) as { error?: { code: number; message: string } };
          assert.equal(reply.error?.code, BAD_REQUEST, JSON.stringify(wish));
          assert.match(reply.error.message, message, JSON.stringify(wish));
        }
        client.write(clientFrame(BINARY, '{"ping":1}'));
        const answers = await client.json(wishes.length + 1);
        assert.match(JSON.stringify(answers.at(-1)), /binary/);
        await gateway.metricReaches('longwire_subscriptions', {}, 1);
        await gateway.publish('alice', 'still here');
        assert.deepEqual((await client.json(wishes.length + 2)).at(-1), { channel: 'alice', data: 'still here' });
        client.close();
      });

      it('the channel limit holds however channels are taken up, all or none', async () => {
        const client = await open('/ws/a?channel=b&channel=c');
        const limit = new RegExp(`at most ${CHANNEL_LIMIT} channels`);
        assert.match(JSON.stringify(await client.reply({ subscribe: ['d', 'e', 'f'] })), limit);
        await gateway.metricReaches('longwire_subscriptions', {}, 3);
        assert.deepEqual(await client.reply({ subscribe: ['d', 'e', 'a', 'b'] }), { subscribed: ['d', 'e', 'a', 'b'] });
        assert.match(JSON.stringify(await client.reply({ subscribe: 'f' })), limit);
        assert.deepEqual(await client.reply({ unsubscribe: 'e' }), { unsubscribed: ['e'] });
        assert.deepEqual(await client.reply({ subscribe: 'f' }), { subscribed: ['f'] });
        await gateway.metricReaches('longwire_subscriptions', {}, CHANNEL_LIMIT);
        client.close();
      });

      it('messages up to the limit are read whole, in frames of any size', async () => {
        const client = await open('/ws/alice');
        const value = 'x'.repeat(MESSAGE_LIMIT_BYTES - '{"ping":""}'.length);
        const message = Buffer.from(JSON.stringify({ ping: value }));
        for (const frames of [
          [clientFrame(TEXT, message)],
          fragmentsOf(TEXT, message, 1_000),
          fragmentsOf(TEXT, message, 1),
        ]) {
          client.write(...frames);
        }
        assert.deepEqual(await client.json(3), Array(3).fill({ pong: value }));
        client.close();
      });

      it('pings are answered between fragments and publications, in order', async () => {
        const client = await open('/ws/busy?format=raw');
        const publications = 200;
        for (let number = 0; number < publications; number++) {
          const published = gateway.publish('busy', `${number}`);
          const [first = Buffer.alloc(0), second = Buffer.alloc(0)] = fragments(TEXT, '{"ping"', `:${number}}`);
          client.write(first, clientFrame(PING, `p${number}`), clientFrame(PONG, 'unasked'), second);
          await published;
        }
        const texts = (await client.received(2 * publications)).map(({ payload }) => payload.toString());
        const numbers = Array.from({ length: publications }, (_, number) => number);
        assert.deepEqual(
          texts.filter((text) => !text.startsWith('{')),
          numbers.map(String),
        );
        assert.deepEqual(
          texts.filter((text) => text.startsWith('{')),
          numbers.map((number) => `{"pong":${number}}`),
        );
        // Pings that are read together may have one pong, the latest's (RFC 6455 §5.5.3).
        const pongs = client.pongs.map((pong) => Number(pong.slice(1)));
        assert.deepEqual(
          pongs,
          [...new Set(pongs)].sort((a, b) => a - b),
        );
        assert.equal(pongs.at(-1), publications - 1);
        client.close();
      });
    });
  });
}
