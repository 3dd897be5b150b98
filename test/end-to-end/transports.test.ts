// One contract for all transports: what is published arrives, whole and in order, whichever way a connection is held; what
// cannot be a subscription is refused; the silent are beaten, the vanished forgotten, the slow closed, or told what they lost, and a
// drain ends each in its own words. Every transport and format goes through it on both wires and, where a broker has a part, on both.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Redis } from 'ioredis';
import { API_KEY, type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { PollClient } from '../harness/poll-client.ts';
import { ask, RawClient } from '../harness/raw-client.ts';
import { type Held, TRANSPORTS, type TransportUnderTest } from '../harness/transports.ts';
import { waitUntil } from '../harness/wait.ts';
import { NASTY_PAYLOADS } from '../workers/payloads.ts';
import { BROKERS, type Setup, setUp, WIRES } from './setups.ts';

const ALLOWED = 'https://app.example';
const FORMATS = ['raw', 'json'] as const;
const CHANNEL_LIMIT = 5;
const IN_ORDER = 2_000;
const MEBIBYTE = 1024 * 1024;
/** More than what loopback's kernel buffers hold, whatever they are set to. */
const ENOUGH_MEBIBYTES = 96;

async function publishNumbers({ gateway, redis }: Setup, channel: string, count: number): Promise<void> {
  if (redis !== null) {
    const publisher = new Redis(redis.url);
    const pipeline = publisher.pipeline();
    for (let number = 0; number < count; number++) pipeline.publish(`push:${channel}`, `${number}`);
    await pipeline.exec();
    publisher.disconnect();
    return;
  }
  const client = new RawClient(gateway.publicPort);
  let calls = '';
  for (let number = 0; number < count; number++) {
    const body = JSON.stringify({ channel, data: number });
    calls += `POST /api/publish HTTP/1.1\r\nHost: g\r\nX-API-Key: ${API_KEY}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  }
  client.write(calls);
  assert.ok((await client.answers(count)).every(({ status }) => status === 200));
  client.close();
}

/** Each case of the suite, on a gateway that is up. */
function delivers(transport: TransportUnderTest, setup: () => Setup): void {
  const open = (target: string): Promise<Held> => transport.open(setup().gateway.publicPort, target);

  for (const format of FORMATS) {
    it(`carries every payload, ${format}`, async () => {
      const { gateway } = setup();
      const channel = `nasty-${format}`;
      const clients = await Promise.all([1, 2].map(() => open(`${channel}?format=${format}`)));
      const payloads = Object.entries(NASTY_PAYLOADS);
      for (const [, payload] of payloads) await gateway.publish(channel, payload);
      for (const client of clients) {
        const expected = payloads.flatMap(([name, payload]) =>
          client.expected(format, channel, payload).map((bytes) => [name, bytes] as const),
        );
        const received = await client.received(expected.length);
        for (const [index, [name, bytes]] of expected.entries()) {
          // The text is made only for a failure: some payloads are a million lines.
          if (!received[index]?.equals(bytes)) assert.fail(`${name}: ${String(received[index]).slice(0, 60)}`);
        }
        assert.equal(received.length, expected.length);
        client.close();
      }
    });

    it(`carries ${IN_ORDER} publications in order, each once, ${format}`, async () => {
      const channel = `order-${format}`;
      const clients = await Promise.all([1, 2].map(() => open(`${channel}?format=${format}`)));
      await publishNumbers(setup(), channel, IN_ORDER);
      for (const client of clients) {
        const texts = (await client.received(IN_ORDER)).map(String);
        const numbers = format === 'raw' ? texts : texts.map((text) => JSON.parse(text).data);
        assert.deepEqual(
          numbers,
          Array.from({ length: IN_ORDER }, (_, number) => `${number}`),
        );
        client.close();
      }
    });
  }

  it('carries several channels on one connection, each once, and their event and id', async () => {
    const { gateway } = setup();
    const client = await open('a?channel=b&channel=a&channel=c%2Fd&format=json');
    for (const channel of ['a', 'b', 'e', 'c/d']) await gateway.publish(channel, channel, { event: 'e', id: '1' });
    await gateway.publish('a', 'last');
    assert.deepEqual(
      (await client.received(4)).map((bytes) => JSON.parse(String(bytes))),
      [
        ...['a', 'b', 'c/d'].map((channel) => ({ channel, data: channel, id: '1', event: 'e' })),
        { channel: 'a', data: 'last' },
      ],
    );
    client.close();
  });

  it('takes names as they are encoded in path and query', async () => {
    for (const [target, channel] of [
      ['%C3%A9t%C3%A9', 'été'],
      ['%F0%9F%A6%8A', '🦊'],
      ['a%2Fb', 'a/b'],
      ['a/b', 'a/b'],
      ['a%20b', 'a b'],
      ['a+b', 'a+b'],
      ['100%25', '100%'],
      ['?channel=a+b', 'a b'],
      ['?channel=a%2Bb&cachebuster=1', 'a+b'],
      [`${'%C3%A9'.repeat(127)}`, 'é'.repeat(127)],
    ] as const) {
      const client = await open(target);
      await setup().gateway.publish(channel, channel);
      assert.ok((await client.received(1)).join('').includes(channel), target);
      client.close();
    }
  });
}

function refuses(transport: TransportUnderTest, gateway: () => GatewayProcess): void {
  it('refuses what cannot be a subscription, with a reason', async () => {
    for (const [target, text] of [
      ['', /must not be empty/],
      [':own', /begin with ':'/],
      ['%3Aown', /begin with ':'/],
      ['ok?channel=:publication', /begin with ':'/],
      ['a%00b', /control characters/],
      ['a%C2%85b', /control characters/],
      ['x'.repeat(256), /longer than 255 bytes/],
      ['%C3%A9'.repeat(128), /longer than 255 bytes/],
      ['%', /percent-encoding/],
      ['%FF', /percent-encoding/],
      ['ok?channel=%E0', /percent-encoding/],
      ['ok?format=xml', /format must be one of: raw, json/],
      ['a?channel=b&channel=c&channel=d&channel=e&channel=f', new RegExp(`at most ${CHANNEL_LIMIT} channels`)],
    ] as const) {
      const answer = await ask(gateway().publicPort, transport.request(target));
      assert.equal(answer.status, 400, target);
      assert.match(answer.text, text, target);
      assert.equal(answer.headers.connection, 'close');
    }
    const limit = await transport.open(gateway().publicPort, 'a?channel=b&channel=c&channel=d&channel=e&channel=a');
    limit.close();
  });

  it('answers HEAD, OPTIONS and other methods', async () => {
    const { publicPort } = gateway();
    const path = `/${transport.path}/alice`;
    const methods = transport.streams ? 'GET, HEAD, OPTIONS' : 'GET';
    const request = (method: string, fields = '') =>
      ask(publicPort, `${method} ${path} HTTP/1.1\r\nHost: g\r\nConnection: close\r\n${fields}\r\n`);
    for (const method of ['POST', 'DELETE', ...(transport.streams ? [] : ['OPTIONS'])]) {
      const { status, headers } = await request(method, method === 'POST' ? 'Content-Length: 0\r\n' : '');
      assert.deepEqual([status, headers.allow], [405, methods], method);
    }
    if (!transport.streams) return;

    const options = await request('OPTIONS', `Origin: ${ALLOWED}\r\n`);
    assert.equal(options.status, 204);
    assert.equal(options.headers.allow, methods);
    assert.equal(options.headers['access-control-allow-origin'], ALLOWED);
    assert.equal((await request('OPTIONS')).headers['access-control-allow-origin'], undefined);

    const head = await request('HEAD');
    const client = await transport.open(publicPort, 'alice', `Origin: ${ALLOWED}\r\n`);
    const undated = (text: string) => text.replace(/^Date: .*\r\n/m, '');
    assert.equal(head.status, 200);
    assert.equal(head.text, '');
    assert.ok(client.head.includes(`Access-Control-Allow-Origin: ${ALLOWED}\r\n`));
    client.close();
    // A HEAD begins no session that it could tell of.
    if (transport.polls) return;
    assert.equal(
      undated(`${head.head}\r\n`),
      undated(client.head).replace(`Access-Control-Allow-Origin: ${ALLOWED}\r\n`, '').replace(/\r\n$/, ''),
    );
  });

  it('refuses a body, and an origin’s page may read why where the transport has CORS', async () => {
    const request = transport.request('alice', `Origin: ${ALLOWED}\r\nContent-Length: 1\r\n`);
    const answer = await ask(gateway().publicPort, `${request}x`);
    assert.equal(answer.status, 400);
    if (transport.streams) assert.equal(answer.headers['access-control-allow-origin'], ALLOWED);
  });

  it('serves HTTP/1.0 clients where it can, and those that want no keep-alive', async () => {
    if (!transport.streams) {
      assert.equal(
        (await ask(gateway().publicPort, transport.request('old').replace('HTTP/1.1', 'HTTP/1.0'))).status,
        426,
      );
      return;
    }
    const closing = await transport.open(gateway().publicPort, 'old?format=json', 'Connection: close\r\n');
    const old = await transport.open(gateway().publicPort, 'old?format=json', '', '1.0');
    assert.doesNotMatch(old.head, /transfer-encoding/i);
    await gateway().publish('old', 'hello');
    for (const client of [closing, old]) {
      assert.deepEqual((await client.received(1)).map(String), ['{"channel":"old","data":"hello"}']);
      client.close();
    }
  });

  it('beats while there is nothing to say', async () => {
    const client = await transport.open(gateway().publicPort, 'quiet');
    await waitUntil(() => client.heartbeats >= 5, 'five heartbeats', 30_000);
    assert.equal((await client.received(0)).length, 0);
    client.close();
  });
}

/** One client of each transport that reads nothing from now on. One that polls is slow by asking no more: see below. */
async function stopReading(gateway: GatewayProcess): Promise<Held[]> {
  const streams = TRANSPORTS.filter(({ polls }) => !polls);
  const clients = await Promise.all(streams.map(({ open }) => open(gateway.publicPort, 'busy')));
  for (const { connection } of clients) connection.socket.pause();
  return clients;
}

for (const wire of WIRES) {
  for (const broker of BROKERS) {
    describe(`deliveries, ${wire} wire, ${broker} broker`, () => {
      let setup: Setup;

      before(async () => {
        // A reader that is busy with a million lines must not be taken for a slow consumer.
        setup = await setUp(wire, broker, {
          LONGWIRE_OUTBOX_LIMIT_BYTES: String(64 * MEBIBYTE),
          LONGWIRE_MAILBOX_LIMIT_BYTES: String(64 * MEBIBYTE),
          LONGWIRE_POLL_EXPIRY_SECONDS: '3',
        });
      });

      after(() => setup?.stop());

      for (const transport of TRANSPORTS) describe(transport.name, () => delivers(transport, () => setup));

      it('clients that go are forgotten, whether they say so or vanish', async () => {
        const { gateway } = setup;
        await gateway.metricReaches('longwire_connections', {}, 0);
        const targets = ['gone', 'gone', 'gone?channel=too', 'x'];
        const open = ({ open }: TransportUnderTest) => targets.map((target) => open(gateway.publicPort, target));
        const clients = await Promise.all(TRANSPORTS.flatMap(open));
        for (const [index, client] of clients.entries()) {
          if (index % 2 === 0) client.close();
          else client.vanish();
        }
        await gateway.publish('gone', 'to nobody');
        for (const gauge of ['connections', 'channels', 'subscriptions']) {
          await gateway.metricReaches(`longwire_${gauge}`, {}, 0);
        }
      });
    });
  }

  describe(`requests and heartbeats, ${wire} wire`, () => {
    let gateway: GatewayProcess;

    before(async () => {
      gateway = await startGateway({
        env: {
          LONGWIRE_WIRE: wire,
          LONGWIRE_HEARTBEAT_SECONDS: '0.2',
          LONGWIRE_POLL_WAIT_SECONDS: '0.2',
          LONGWIRE_CHANNEL_LIMIT: String(CHANNEL_LIMIT),
          LONGWIRE_CORS_ORIGINS: ALLOWED,
        },
      });
    });

    after(() => gateway.kill());

    for (const transport of TRANSPORTS) describe(transport.name, () => refuses(transport, () => gateway));
  });

  for (const broker of BROKERS) {
    it(`closes those that do not read, and ends the others with what each says last, ${wire} wire, ${broker} broker`, async (t) => {
      const { gateway, stop } = await setUp(wire, broker, {
        LONGWIRE_OUTBOX_LIMIT_BYTES: '262144',
        LONGWIRE_PAYLOAD_LIMIT_BYTES: '65536',
        LONGWIRE_DRAIN_SECONDS: '0.2',
        LONGWIRE_MAILBOX_LIMIT_BYTES: String(8 * MEBIBYTE),
      });
      t.after(stop);
      const slow = await stopReading(gateway);
      const slowPoll = new PollClient(gateway.publicPort, 'busy');
      await slowPoll.poll('timeout=0');
      const reading = await Promise.all(TRANSPORTS.map(({ open }) => open(gateway.publicPort, 'busy')));
      const payload = 'x'.repeat(60_000);
      let published = 0;
      const closed = async () => (await gateway.metrics()).value('longwire_closed_total', { reason: 'slow-consumer' });
      do {
        for (let times = 0; times < 32; times++) await gateway.publish('busy', payload);
        published += 32;
        assert.ok(published * payload.length < ENOUGH_MEBIBYTES * MEBIBYTE, `${published} and still there`);
      } while ((await closed()) < slow.length || published * payload.length < 9 * MEBIBYTE);
      for (const client of reading) assert.equal((await client.received(published)).length, published);
      for (const { connection } of slow) connection.socket.resume();
      await Promise.all(slow.map(({ connection }) => connection.end()));

      // Whoever asks no more is not closed for it: its mailbox has the newest, and says how many it has not.
      while ((await slowPoll.poll('timeout=0')).status === 200);
      const kept = slowPoll.publications.length;
      assert.ok(slowPoll.lost > 0 && kept > 100, `${slowPoll.lost} lost, ${kept} kept`);
      assert.equal(slowPoll.lost + kept, published);
      slowPoll.close();

      const goodbyes = Promise.all(reading.map((client) => client.goodbye()));
      assert.deepEqual(await gateway.stop(), { code: 0, signal: null });
      assert.deepEqual(
        await goodbyes,
        TRANSPORTS.map(({ goodbye }) => goodbye),
      );
      for (const { connection } of reading) assert.equal(await connection.end(), 'fin');
    });
  }
}
