// The Redis broker on a real server: the contract, and what Redis itself brings along.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Redis } from 'ioredis';
import { RedisBroker } from '../../src/broker/redis.ts';
import { Publication } from '../../src/publication.ts';
import { type RedisServer, startRedis } from '../harness/redis.ts';
import { describeBroker } from './conformance.ts';
import { logLines } from './log-lines.ts';
import { Recorder } from './recorder.ts';
import { TestWorkers } from './workers.ts';

describeBroker('redis', async (count) => {
  const redis = await startRedis();
  const workers = await TestWorkers.start(count, { redis: { url: redis.url, prefix: 'push:' } });
  return {
    workers,
    takeAway: () => redis.kill(),
    async stop() {
      await workers.stop();
      await redis.stop();
    },
  };
});

describe('messages in Redis', () => {
  let redis: RedisServer;
  /** Any other client of that server. */
  let client: Redis;
  let recorder: Recorder;
  let broker: RedisBroker;
  const log = logLines();

  before(async () => {
    redis = await startRedis();
    client = new Redis(redis.url);
    recorder = new Recorder();
    broker = new RedisBroker({ url: redis.url, prefix: 'push:' }, recorder, log.log);
    await broker.start();
  });
  after(async () => {
    await broker.stop();
    client.disconnect();
    await redis.stop();
  });

  /** Publishes as a backend would, and returns what the broker made of it; a last one tells that nothing else came. */
  async function received(channel: string | Buffer, payload: string | Buffer): Promise<Recorder['publications']> {
    const before = recorder.publications.length;
    await client.publish(channel as string, payload);
    await client.publish('push:last', '');
    await recorder.until(() => recorder.publications.slice(before).some(([name]) => name === 'last'), 'the last one');
    return recorder.publications.slice(before, -1);
  }

  it('are publications of the channel after the prefix', async () => {
    assert.deepEqual(await received('push:alice', 'hello'), [['alice', Buffer.from('hello'), null, null]]);
  });

  it('are none of ours with another prefix', async () => {
    assert.deepEqual(await received('pull:alice', 'hello'), []);
    assert.deepEqual(await received('xpush:alice', 'hello'), []);
  });

  it('are plain when the publication has neither event nor id', async () => {
    const other = new Redis(redis.url);
    await other.psubscribe('*');
    const message = new Promise<[Buffer, Buffer]>((resolve) => {
      other.on('pmessageBuffer', (_pattern: string, channel: Buffer, payload: Buffer) => resolve([channel, payload]));
    });
    const payload = Buffer.from([0, 255, 13, 10]);
    const before = recorder.publications.length;
    await broker.publish([new Publication('ümläut', payload)]);
    await recorder.untilPublications(before + 1);
    assert.deepEqual(await message, [Buffer.from('push:ümläut'), payload]);
    other.disconnect();
  });

  it('are an envelope when it has one of them, as documented', async () => {
    const other = new Redis(redis.url);
    await other.psubscribe('*');
    const message = new Promise<string[]>((resolve) => {
      other.on('pmessage', (_pattern, channel, payload) => resolve([channel, payload]));
    });
    const before = recorder.publications.length;
    await broker.publish([new Publication('news', Buffer.from('x\ny'), 'headline', '42')]);
    await recorder.untilPublications(before + 1);
    assert.deepEqual(await message, ['push::publication', '{"channel":"news","event":"headline","id":"42"}\nx\ny']);
    other.disconnect();
  });

  it('may be envelopes of any backend', async () => {
    assert.deepEqual(await received('push::publication', '{"id":"7","channel":"news","more":[1]}\n\n'), [
      ['news', Buffer.from('\n'), null, '7'],
    ]);
    assert.deepEqual(await received('push::publication', '{ "channel" : "news" , "event" : null }\r\n'), [
      ['news', Buffer.alloc(0), null, null],
    ]);
  });

  it('are dropped when the envelope is malformed, with a line in the log', async () => {
    const before = log.lines.length;
    for (const envelope of [
      '',
      '{"channel":"a"}',
      '\npayload',
      'no json\nx',
      '[]\nx',
      'null\nx',
      '"a"\nx',
      '{}\nx',
      '{"channel":7}\nx',
      '{"channel":""}\nx',
      '{"channel":":own"}\nx',
      '{"channel":"a\\u0000"}\nx',
      `{"channel":"${'x'.repeat(256)}"}\nx`,
      '{"channel":"a","event":7}\nx',
      '{"channel":"a","event":"longwire"}\nx',
      '{"channel":"a","event":"a\\nb"}\nx',
      '{"channel":"a","id":"a\\u0000b"}\nx',
      `{"channel":"a","id":"${'x'.repeat(20_000)}"}\nx`,
      Buffer.from([...Buffer.from('{"channel":"'), 0xff, ...Buffer.from('"}\nx')]),
    ]) {
      assert.deepEqual(await received('push::publication', envelope), [], `${envelope}`);
    }
    const lines = log.lines.slice(before);
    assert.equal(lines.length, 1, 'the same complaint is logged once in a while, not each time');
    assert.equal(lines[0]?.level, 'warn');
    assert.match(String(lines[0]?.text), /malformed envelope/);
  });

  it('are brought where they are fences, which workers tell apart by themselves', async () => {
    const [publication] = await received('push::fence', 'a-batch');
    assert.deepEqual([publication?.[0], String(publication?.[1])], [':fence', 'a-batch']);
  });

  it('are ignored on other names of the gateway’s own and on names that are none', async () => {
    assert.deepEqual(await received('push::other', 'x'), []);
    assert.deepEqual(await received('push::', 'x'), []);
    assert.deepEqual(await received('push:', 'x'), []);
    assert.deepEqual(await received('push:a\nb', 'x'), []);
    assert.deepEqual(await received(`push:${'x'.repeat(256)}`, 'x'), []);
    assert.deepEqual(await received(Buffer.from([...Buffer.from('push:'), 0xc3]), 'x'), []);
  });

  it('come to a payload that is whole although it was read in pieces', async () => {
    const payload = Buffer.alloc(3_000_000, 'piece ');
    const [publication] = await received('push:large', payload);
    assert.ok(payload.equals(Buffer.from(publication?.[1] ?? [])));
  });

  it('measure the round trip', async () => {
    await recorder.until(() => broker.roundTripSeconds > 0 || broker.state !== 'up', 'a round trip');
    assert.ok(broker.roundTripSeconds < 1);
  });

  it('are no longer delivered once the broker is stopped, and its connections are gone', async () => {
    const local = new Recorder();
    const stopped = new RedisBroker({ url: redis.url, prefix: 'push:', connectionName: 'gone' }, local, log.log);
    await stopped.start();
    assert.match(String(await client.client('LIST')), /name=gone-subscriber/);
    await stopped.stop();
    await client.publish('push:alice', 'late');
    await received('push:alice', 'later');
    assert.deepEqual(local.publications, []);
    assert.equal(stopped.state, 'down');
    assert.doesNotMatch(String(await client.client('LIST')), /name=gone-/);
    await assert.rejects(stopped.publish([new Publication('a', Buffer.from('x'))]), { kind: 'unavailable' });
    await stopped.stop();
  });

  it('with a prefix that holds glob characters are only those that begin with it', async () => {
    const local = new Recorder();
    const odd = new RedisBroker({ url: redis.url, prefix: 'p[u]*?\\' }, local, log.log);
    await odd.start();
    await client.publish('pu-anything', 'no');
    await client.publish('p[u]*?\\yes', 'yes');
    await local.untilPublications(1);
    assert.deepEqual(local.texts('yes'), ['yes']);
    await odd.stop();
  });
});
