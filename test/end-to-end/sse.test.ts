// What is published is what subscribers get: every wire with every broker, through the clients that people use
// (`eventsource`, which is what a browser does, and `eventsource-parser`), with payloads that break naive framing.

import assert from 'node:assert/strict';
import { isUtf8 } from 'node:buffer';
import { after, before, describe, it } from 'node:test';
import { EventSource } from 'eventsource';
import { Redis } from 'ioredis';
import { API_KEY, type GatewayProcess } from '../harness/gateway.ts';
import type { RedisServer } from '../harness/redis.ts';
import { openStreams, SseClient } from '../harness/sse-client.ts';
import { waitUntil } from '../harness/wait.ts';
import { BROKERS, type Setup, setUp, WIRES } from './setups.ts';

const MEBIBYTE = 1024 * 1024;

const EMOJI = Buffer.from('🦊');

/** By name, so that a failure says which one it was. */
const PAYLOADS: Record<string, Buffer> = {
  plain: Buffer.from('hello'),
  empty: Buffer.alloc(0),
  'one LF': Buffer.from('\n'),
  'one CR': Buffer.from('\r'),
  'one CRLF': Buffer.from('\r\n'),
  'LF CR': Buffer.from('\n\r'),
  'every mix of line breaks': Buffer.from('a\rb\nc\r\nd\n\re\r\r\nf\n\n\r\r\n\ng'),
  'ends with LF': Buffer.from('line\n'),
  'ends with CR': Buffer.from('line\r'),
  'begins with CRLF': Buffer.from('\r\nline'),
  'several lines': Buffer.from('one\ntwo\nthree'),
  'lines that look like fields': Buffer.from('data: x\nevent: y\nid: z\nretry: 1\n: comment\n\nnext'),
  'NUL inside': Buffer.from('a\0b'),
  'NUL alone': Buffer.from('\0'),
  'leading space': Buffer.from(' x'),
  'spaces alone': Buffer.from('   '),
  'leading colon': Buffer.from(':x'),
  'leading tab': Buffer.from('\tx'),
  'byte order mark': Buffer.from('\ufeffx'),
  'line separators that end no line here': Buffer.from('a\u2028b\u2029c\u0085d\vb\ff'),
  'four-byte emoji': Buffer.from('🦊🐺 and 👩‍👩‍👧'),
  'first half of an emoji': EMOJI.subarray(0, 2),
  'second half of an emoji': EMOJI.subarray(2),
  'bytes that are no UTF-8': Buffer.from([0x61, 0xff, 0xfe, 0xc3, 0x28, 0xa0, 0x0a, 0xe2, 0x82, 0x0d, 0x80]),
  'every byte': Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)),
  'a surrogate as bytes': Buffer.from([0xed, 0xa0, 0x80]),
  '16 KiB of line breaks': Buffer.alloc(16_384, '\r\n\n\r'),
  '1 MiB': Buffer.alloc(MEBIBYTE, 'The quick brown fox. 🦊 '),
  '1 MiB of no UTF-8': Buffer.alloc(MEBIBYTE, Buffer.from([0xff, 0x00, 0x0a, 0x80])),
};

/** What a reader of the raw format gets: text in which every line break is LF (WHATWG HTML §9.2.6). */
function asRead(payload: Buffer): string {
  return payload.toString().replace(/\r\n|\r|\n/g, '\n');
}

function asJson(channel: string, payload: Buffer, extra: object = {}): object {
  const text = isUtf8(payload);
  const data = payload.toString(text ? 'utf8' : 'base64');
  return { channel, data, ...(text ? {} : { encoding: 'base64' }), ...extra };
}

/** Named, for an assertion on a mebibyte must not print it. */
function assertSame(actual: string, expected: string, name: string): void {
  if (actual === expected) return;
  const at = [...expected].findIndex((_, index) => actual[index] !== expected[index]);
  assert.fail(
    `${name}: ${actual.length} characters for ${expected.length}, other from ${at} on: ` +
      `${JSON.stringify(actual.slice(Math.max(0, at - 5), at + 20))}`,
  );
}

for (const wire of WIRES) {
  for (const broker of BROKERS) {
    describe(`event streams, ${wire} wire, ${broker} broker`, () => {
      let setup: Setup;
      let gateway: GatewayProcess;
      let port = 0;

      before(async () => {
        setup = await setUp(wire, broker);
        gateway = setup.gateway;
        port = gateway.publicPort;
      });

      after(() => setup.stop());

      it('runs on the wire that was asked for, in every worker', async () => {
        assert.deepEqual(
          (await gateway.workers()).map((worker) => worker.wire),
          [wire, wire],
        );
      });

      it('reach an EventSource: data, event name, id and the delay after which to come back', async () => {
        const source = new EventSource(`http://127.0.0.1:${port}/sse/alice`);
        const seen: { type: string; data: unknown; id: string }[] = [];
        const see = ({ type, data, lastEventId: id }: MessageEvent) => seen.push({ type, data, id });
        source.addEventListener('message', see);
        source.addEventListener('headline', see);
        await new Promise((resolve, reject) => {
          source.addEventListener('open', resolve);
          source.addEventListener('error', (error) => reject(new Error(`no stream: ${error.message}`)));
        });
        await gateway.publish('alice', 'hello');
        await gateway.publish('bob', 'not for alice');
        await gateway.publish('alice', 'two\nlines', { event: 'headline', id: 'ä-42' });
        await gateway.publish('alice', { any: ['json', 1, null] }, { id: '43' });
        await waitUntil(() => seen.length >= 3, 'three events');
        source.close();
        assert.deepEqual(seen, [
          { type: 'message', data: 'hello', id: '' },
          { type: 'headline', data: 'two\nlines', id: 'ä-42' },
          { type: 'message', data: '{"any":["json",1,null]}', id: '43' },
        ]);
      });

      it('carry any payload in the raw format as text, and in the json format byte for byte', async () => {
        // Enough of them that both workers hold some.
        const raw = await openStreams(port, ...Array<string>(4).fill('/sse/nasty'));
        const json = await openStreams(port, ...Array<string>(4).fill('/sse/nasty?format=json'));
        let count = 0;
        for (const [name, payload] of Object.entries(PAYLOADS)) {
          count++;
          await gateway.publish('nasty', payload);
          for (const client of raw) {
            assertSame((await client.data(count)).at(-1) ?? 'nothing', asRead(payload), `${name}, raw`);
          }
          const expected = JSON.stringify(asJson('nasty', payload));
          for (const client of json)
            assertSame((await client.data(count)).at(-1) ?? 'nothing', expected, `${name}, json`);
        }
        for (const client of [...raw, ...json]) {
          assert.equal(client.events.length, count);
          assert.equal(client.retry, 2_000);
          client.close();
        }
      });

      it('carry strings and their bytes alike', async () => {
        const [client = assert.fail()] = await openStreams(port, '/sse/strings');
        const texts = ['', 'hello', 'a\r\nb', '\0', '🦊', ' x', '\ufeff'];
        for (const text of texts) await gateway.publish('strings', text);
        assert.deepEqual(
          await client.data(texts.length),
          texts.map((text) => asRead(Buffer.from(text))),
        );
        client.close();
      });

      it('carry event and id in both formats', async () => {
        const [raw = assert.fail(), json = assert.fail()] = await openStreams(
          port,
          '/sse/fields',
          '/sse/fields?format=json',
        );
        const extras = [{}, { event: 'e' }, { id: 'i' }, { event: 'näme: x', id: ' 1' }, { event: '', id: '' }];
        for (const extra of extras) await gateway.publish('fields', 'x', extra);
        await Promise.all([raw.data(extras.length), json.data(extras.length)]);
        assert.deepEqual(
          raw.events.map(({ event, id }) => [event, id]),
          [
            [undefined, undefined],
            ['e', undefined],
            [undefined, 'i'],
            ['näme: x', ' 1'],
            [undefined, ''],
          ],
        );
        assert.deepEqual(
          json.events.map(({ data }) => JSON.parse(data)),
          extras.map((extra) => asJson('fields', Buffer.from('x'), extra)),
        );
        raw.close();
        json.close();
      });

      it('carry several channels on one connection, each once', async () => {
        const [client = assert.fail()] = await openStreams(
          port,
          '/sse/a?channel=b&channel=a&channel=b&channel=c%2Fd&format=json',
        );
        for (const channel of ['a', 'b', 'c/d', 'e']) await gateway.publish(channel, channel);
        await gateway.publish('a', 'last');
        const events = await client.data(4);
        assert.deepEqual(
          events.map((data) => JSON.parse(data)),
          [
            { channel: 'a', data: 'a' },
            { channel: 'b', data: 'b' },
            { channel: 'c/d', data: 'c/d' },
            { channel: 'a', data: 'last' },
          ],
        );
        client.close();
        await waitUntil(
          async () => (await gateway.workers()).every(({ channels, subscriptions }) => channels + subscriptions === 0),
          'all channels to be forgotten',
        );
      });

      it('broadcast to many channels reaches each of them', async () => {
        const names = Array.from({ length: 20 }, (_, index) => `many-${index}`);
        const clients = await openStreams(port, ...names.map((name) => `/sse/${name}`));
        const answer = await gateway.api('broadcast', { channels: names, data: 'all', event: 'e' });
        assert.equal(answer.status, 200);
        assert.deepEqual(JSON.parse(answer.text), { result: { responses: names.map(() => ({ result: {} })) } });
        for (const client of clients) {
          assert.deepEqual(await client.data(1), ['all']);
          client.close();
        }
      });

      if (broker === 'redis')
        describesRedisPublishers(
          () => setup.redis ?? assert.fail(),
          () => port,
        );
    });
  }
}

/** What a backend does that has a Redis client and nothing of ours. */
function describesRedisPublishers(redis: () => RedisServer, port: () => number): void {
  it('PUBLISH from any Redis client reaches subscribers byte for byte', async () => {
    const publisher = new Redis(redis().url);
    const names = ['alice', 'with space', 'ünï', 'a/b', '100%'];
    for (const name of names) {
      const target = `/sse/${encodeURIComponent(name)}`;
      const [raw = assert.fail(), json = assert.fail()] = await openStreams(port(), target, `${target}?format=json`);
      const payloads = Object.values(PAYLOADS).filter(({ length }) => length < 100_000);
      for (const payload of payloads) await publisher.publish(`push:${name}`, payload);
      assert.deepEqual(await raw.data(payloads.length), payloads.map(asRead));
      assert.deepEqual(
        (await json.data(payloads.length)).map((data) => JSON.parse(data)),
        payloads.map((payload) => asJson(name, payload)),
      );
      raw.close();
      json.close();
    }
    publisher.disconnect();
  });

  it('the envelope carries event and id, and stays in order with plain messages', async () => {
    const publisher = new Redis(redis().url);
    const client = await new SseClient(port(), '/sse/news').opened();
    const envelope = (head: object, payload: string) => `${JSON.stringify(head)}\n${payload}`;
    await publisher.publish('push:news', 'plain');
    await publisher.publish('push::publication', envelope({ channel: 'news', event: 'e', id: '1' }, 'two\nlines'));
    await publisher.publish('push::publication', envelope({ channel: 'news' }, ''));
    await publisher.publish('push::publication', 'no envelope');
    await publisher.publish('push::publication', envelope({ channel: ':own' }, 'x'));
    await publisher.publish('push::elsewhere', 'x');
    await publisher.publish('push:', 'no channel');
    await publisher.publish('news', 'no prefix');
    await publisher.publish('push:news', 'last');
    assert.deepEqual(await client.data(4), ['plain', 'two\nlines', '', 'last']);
    assert.deepEqual(
      client.events.map(({ event, id }) => [event, id]),
      [
        [undefined, undefined],
        ['e', '1'],
        [undefined, undefined],
        [undefined, undefined],
      ],
    );
    client.close();
    publisher.disconnect();
  });
}

describe('event streams that are cut off', () => {
  it('make an EventSource come back by itself', async (t) => {
    const { gateway, stop } = await setUp('handle', 'memory', { LONGWIRE_RETRY_MILLISECONDS: '50' });
    const source = new EventSource(`http://127.0.0.1:${gateway.publicPort}/sse/alice`);
    t.after(() => {
      source.close();
      return stop();
    });
    let opened = 0;
    const seen: unknown[] = [];
    source.addEventListener('open', () => opened++);
    source.addEventListener('message', ({ data }) => seen.push(data));
    await waitUntil(() => opened === 1, 'the stream to open');
    for (const pid of await gateway.workerPids()) process.kill(pid, 'SIGKILL');
    await waitUntil(() => opened === 2, 'the stream to open again');
    await gateway.publish('alice', 'after');
    await waitUntil(() => seen.length > 0, 'an event');
    assert.deepEqual(seen, ['after']);
    assert.ok(!gateway.log.includes(API_KEY));
  });
});
