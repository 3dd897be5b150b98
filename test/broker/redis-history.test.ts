// The history in Redis on a real server: what longwire.lua keeps, trims and forgets, and what positions are worth after each
// way in which Redis can lose something. By functions, where the server has them, and by the script, on a server whose operator has taken
// FUNCTION and FCALL away: it answers as Redis before 7 does.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Redis } from 'ioredis';
import { parseNamespaces } from '../../config/parse-namespaces.ts';
import type { HistoryQuery } from '../../src/broker/broker.ts';
import { RedisBroker } from '../../src/broker/redis.ts';
import { CHANNEL_BYTES, PAGE_BYTES, readHistory } from '../../src/broker/redis-reading.ts';
import { MARK_CHANNEL } from '../../src/channel.ts';
import { type ChannelHistory, missedSince } from '../../src/history.ts';
import type { Position } from '../../src/position.ts';
import { Publication } from '../../src/publication.ts';
import { startRedis } from '../harness/redis.ts';
import { hasFunctions, publishAsBackend } from '../harness/redis-server.ts';
import { waitUntil } from '../harness/wait.ts';
import { NASTY_PAYLOADS } from './conformance.ts';
import { logLines } from './log-lines.ts';
import { Recorder } from './recorder.ts';

const NAMESPACES = JSON.stringify({
  namespaces: {
    chat: { history_size: 5, history_ttl_seconds: 60 },
    brief: { history_size: 5, history_ttl_seconds: 1 },
    small: { history_size: 5, history_ttl_seconds: 60, payload_limit_bytes: 10 },
    large: { history_size: 100, history_ttl_seconds: 60 },
    rolling: { history_size: 30, history_ttl_seconds: 60 },
  },
});
const ALL: HistoryQuery = { since: 0, limit: Number.POSITIVE_INFINITY, reverse: false };

/** Keeps the publications themselves, places and all. */
class Keeper extends Recorder {
  readonly kept: Publication[] = [];
  override onPublication(publication: Publication): void {
    publication.retain();
    this.kept.push(publication);
    super.onPublication(publication);
  }
}

type By = 'functions' | 'script';

const NO_FUNCTIONS = hasFunctions() ? ['--rename-command', 'FUNCTION', '', '--rename-command', 'FCALL', ''] : [];
const WAYS: readonly By[] = hasFunctions() ? ['functions', 'script'] : ['script'];

async function open(by: By, options: string[] = [], historyPositionSeconds = 86_400) {
  const redis = await startRedis({ arguments: by === 'script' ? [...NO_FUNCTIONS, ...options] : options });
  const parsed = parseNamespaces(NAMESPACES, 1024 * 1024);
  assert.ok('namespaces' in parsed);
  const recorder = new Keeper();
  const make = (receiver: Recorder, url = redis.url) =>
    new RedisBroker(
      { url, prefix: 'push:', namespaces: parsed.namespaces, historyPositionSeconds },
      receiver,
      logLines().log,
    );
  const broker = make(recorder);
  await broker.start();
  // What was published between the look at the counter and the subscription shows by it.
  await waitUntil(() => recorder.kept[0]?.channel === MARK_CHANNEL, 'the mark that follows the subscription');
  const client = new Redis(redis.url, { retryStrategy: () => 20 });
  client.on('error', () => {});
  const call = (...args: string[]): Promise<unknown> => publishAsBackend(client, args, by);
  return { redis, broker, recorder, client, make, call };
}

type Opened = Awaited<ReturnType<typeof open>>;

async function close({ redis, broker, client }: Opened): Promise<void> {
  await broker.stop();
  client.disconnect();
  await redis.stop();
}

function publish({ broker }: Opened, channel: string, ...texts: string[]) {
  return broker.publish(texts.map((text) => new Publication(channel, Buffer.from(text))));
}

async function last(opened: Opened, channel: string, ...texts: string[]): Promise<Position> {
  return (await publish(opened, channel, ...texts)).at(-1) ?? assert.fail('it has no position');
}

async function read({ broker }: Opened, channel: string): Promise<ChannelHistory> {
  return (await broker.history?.read(channel, ALL)) ?? assert.fail('there is no history');
}

function texts(publications: readonly Publication[] | null): string[] | null {
  return publications?.map(({ payload }) => payload.toString()) ?? null;
}

async function missed(opened: Opened, channel: string, position: Position): Promise<string[] | null> {
  return texts(missedSince(await read(opened, channel), position));
}

for (const by of WAYS) {
  describe(`history in Redis by ${by}`, () => {
    let opened: Opened;
    before(async () => {
      opened = await open(by);
    });
    after(() => close(opened));

    it('keeps publications byte for byte, with event, id and place, and delivers them live in the same place', async () => {
      const from = opened.recorder.kept.length;
      const payloads = Object.values(NASTY_PAYLOADS);
      for (const payload of payloads) {
        const [position] = await opened.broker.publish([new Publication('chat:nasty', payload, 'ëvent', '')]);
        const kept = (await read(opened, 'chat:nasty')).publications.at(-1) ?? assert.fail();
        assert.ok(kept.payload.equals(payload));
        assert.deepEqual(
          [kept.event, kept.id, kept.offset, kept.epoch],
          ['ëvent', '', position?.offset, position?.epoch],
        );
      }
      await waitUntil(() => opened.recorder.kept.length >= from + payloads.length, 'the live ones');
      for (const [i, live] of opened.recorder.kept.slice(from).entries()) {
        assert.ok(live.payload.equals(payloads[i] ?? assert.fail()));
        assert.deepEqual([live.channel, live.event, live.id], ['chat:nasty', 'ëvent', '']);
        assert.equal(live.offset, (opened.recorder.kept[from]?.offset ?? 0) + i);
      }
    });

    it('numbers all channels with one counter, without holes, and knows of each the one before', async () => {
      const from = opened.recorder.kept.length;
      await Promise.all(Array.from({ length: 300 }, (_, i) => publish(opened, `chat:${i % 7}`, String(i))));
      await waitUntil(() => opened.recorder.kept.length >= from + 300, 'all');
      const before = new Map<string, number>();
      for (const [i, live] of opened.recorder.kept.slice(from).entries()) {
        assert.equal(live.offset, (opened.recorder.kept[from]?.offset ?? 0) + i);
        assert.equal(live.previous, before.get(live.channel) ?? 0);
        before.set(live.channel, live.offset);
      }
    });

    it('keeps as many as the namespace says, and tells what is gone from what never was', async () => {
      const first = await last(opened, 'chat:trim', '0');
      const second = await last(opened, 'chat:trim', '1');
      await publish(opened, 'chat:trim', '2', '3', '4', '5', '6');
      assert.deepEqual(await missed(opened, 'chat:trim', second), ['2', '3', '4', '5', '6']);
      assert.equal(await missed(opened, 'chat:trim', first), null);
    });

    it('tells a quiet channel from a forgotten one', async () => {
      const position = await last(opened, 'chat:other', 'x');
      assert.deepEqual(await missed(opened, 'chat:never', position), []);
      assert.deepEqual(await missed(opened, 'chat:never', { ...position, offset: 0 }), []);
    });

    it('lets them expire, and knows that they were there', async () => {
      const before = await last(opened, 'chat:other', 'x');
      const position = await last(opened, 'brief:a', '1', '2');
      assert.deepEqual(await missed(opened, 'brief:a', before), ['1', '2']);
      await waitUntil(async () => (await read(opened, 'brief:a')).publications.length === 0, 'them to expire');
      assert.equal(await missed(opened, 'brief:a', before), null);
      assert.deepEqual(await missed(opened, 'brief:a', position), []);
      await publish(opened, 'brief:a', '3');
      assert.deepEqual(await missed(opened, 'brief:a', position), ['3']);
      assert.equal(await missed(opened, 'brief:a', before), null);
    });

    it('forgets a channel when told to, and calls that a gap for whoever was behind', async () => {
      const behind = await last(opened, 'chat:remove', '1');
      const position = await last(opened, 'chat:remove', '2');
      await opened.broker.history?.remove('chat:remove');
      assert.equal(await missed(opened, 'chat:remove', behind), null);
      assert.deepEqual(await missed(opened, 'chat:remove', position), []);
    });

    it('knows no position of another epoch, or beyond its counter', async () => {
      const position = await last(opened, 'chat:p', '1');
      assert.equal(await missed(opened, 'chat:p', { ...position, epoch: 'other' }), null);
      assert.equal(await missed(opened, 'chat:p', { ...position, offset: position.offset + 1 }), null);
    });

    it('is published to by any backend with one call, in order with what the gateway publishes', async () => {
      const from = opened.recorder.kept.length;
      const answer = await opened.call('push:', 'chat:b', 'one', 'event', 'e', 'id', '7');
      const next = await last(opened, 'chat:b', 'two');
      assert.deepEqual(answer, [next.epoch, next.offset - 1]);
      await opened.call('push:', 'plain', 'live', 'event', 'e');
      await opened.call('push:', 'plain', 'live only');
      await waitUntil(() => opened.recorder.kept.length >= from + 4, 'four');
      assert.deepEqual(
        opened.recorder.kept.slice(from).map(({ channel, event, id, offset }) => [channel, event, id, offset > 0]),
        [
          ['chat:b', 'e', '7', true],
          ['chat:b', null, null, true],
          ['plain', 'e', null, false],
          ['plain', null, null, false],
        ],
      );
    });

    it('publishes once what comes twice with one key', async () => {
      const call = () => opened.call('push:', 'chat:key', 'x', 'key', 'abc');
      const first = await call();
      assert.deepEqual(await call(), first);
      assert.equal((await read(opened, 'chat:key')).publications.length, 1);
      assert.notDeepEqual(await opened.call('push:', 'chat:key2', 'x', 'key', 'abc'), first);
    });

    it('refuses what is no publication, and counts nothing for it', async () => {
      const { offset } = await last(opened, 'chat:refuse', 'x');
      for (const [args, problem] of [
        [['push:'], /give a prefix, a channel and a payload/],
        [['push:', '', 'x'], /1 to 255 bytes/],
        [['push:', 'x'.repeat(256), 'x'], /1 to 255 bytes/],
        [['push:', ':own', 'x'], /gateway's own/],
        [['push:', 'chat:\n', 'x'], /control characters/],
        [['push:', 'chat:a', 'x', 'event', 'a\nb'], /no CR, LF or NUL/],
        [['push:', 'chat:a', 'x', 'event', 'longwire'], /must not be longwire/],
        [['push:', 'chat:a', 'x', 'more', 'y'], /pairs of event, id and key/],
        [['push:', 'small:a', 'x'.repeat(11)], /the payload has 11 bytes; 10 are allowed/],
      ] as const) {
        await assert.rejects(opened.call(...args), problem);
      }
      assert.equal((await last(opened, 'chat:refuse', 'x')).offset, offset + 1);
    });

    it('finds what many channels have missed in one call', async () => {
      const position = await last(opened, 'chat:m1', 'a');
      await publish(opened, 'chat:m2', 'b');
      await publish(opened, 'chat:m1', 'c');
      const found = await opened.broker.history?.missed(position.offset, ['chat:m0', 'chat:m1', 'chat:m2']);
      assert.deepEqual(
        found?.channels.map(({ channel, publications }) => [channel, texts(publications)]),
        [
          ['chat:m1', ['c']],
          ['chat:m2', ['b']],
        ],
      );
    });

    it('is read in pages, so that no answer holds Redis up for long, and of what is too much tells the newest', async () => {
      const payload = Buffer.alloc(256 * 1024, 'x');
      const calls = async (): Promise<number> => {
        const stats = await opened.client.info('commandstats');
        return Number(/cmdstat_(?:fcall|evalsha):calls=(\d+)/.exec(stats)?.[1] ?? 0);
      };
      const positions: Position[] = [];
      for (let i = 0; i < 70; i++) {
        const [position] = await opened.broker.publish([new Publication('large:a', payload)]);
        positions.push(position ?? assert.fail('it has no position'));
      }
      const offsets = (publications: readonly Publication[]) => publications.map(({ offset }) => offset);
      const all = positions.map(({ offset }) => offset);
      const before = await calls();
      const history = await read(opened, 'large:a');
      const pages = (await calls()) - before;
      const fit = history.publications.length;
      assert.ok(
        fit * payload.length <= CHANNEL_BYTES && (fit + 1) * payload.length > CHANNEL_BYTES - PAGE_BYTES,
        `${fit}`,
      );
      assert.ok(pages >= (fit * payload.length) / PAGE_BYTES, `${pages} pages`);
      assert.deepEqual(offsets(history.publications), all.slice(-fit));
      assert.equal(history.floor, all.at(-fit - 1));
      assert.ok(history.publications.every((each) => each.payload.equals(payload)));
      assert.equal(missedSince(history, positions[69 - fit] as Position)?.length, fit);
      assert.equal(missedSince(history, positions[68 - fit] as Position), null);

      const store = opened.broker.history ?? assert.fail();
      const page = (query: Partial<HistoryQuery>) => store.read('large:a', { ...ALL, ...query });
      assert.deepEqual(offsets((await page({ limit: 30 })).publications), all.slice(0, 30));
      assert.deepEqual(offsets((await page({ limit: 70 })).publications), all.slice(0, fit));
      assert.deepEqual(offsets((await page({ since: all[10] ?? 0, limit: 7 })).publications), all.slice(11, 18));
      assert.deepEqual(offsets((await page({ limit: 9, reverse: true })).publications), all.slice(-9).reverse());
      assert.deepEqual(
        offsets((await page({ since: all[9] ?? 0, reverse: true })).publications),
        all.slice(0, 9).reverse(),
      );
    });

    it('finds what many channels have missed although no answer could hold it, and tells what is too much as gone', async () => {
      const start = await last(opened, 'chat:start', 'x');
      const payload = Buffer.alloc(512 * 1024, 'y');
      const channels = ['large:0', 'large:1', 'large:2', 'large:3', 'large:4'];
      const published = new Map<string, number[]>();
      for (const channel of channels) {
        const taken: number[] = [];
        for (let i = 0; i < (channel === 'large:4' ? 40 : 20); i++) {
          const [position] = await opened.broker.publish([new Publication(channel, payload)]);
          taken.push(position?.offset ?? 0);
        }
        published.set(channel, taken);
      }
      const store = opened.broker.history ?? assert.fail();
      const { channels: found } = await store.missed(start.offset, ['chat:none', ...channels, 'chat:nothing']);
      assert.deepEqual(
        found.map(({ channel }) => channel),
        channels,
      );
      for (const { channel, floor, publications } of found) {
        const expected = published.get(channel) ?? [];
        const fit = channel === 'large:4' ? publications.length : 20;
        assert.deepEqual(
          publications.map(({ offset }) => offset),
          expected.slice(-fit),
        );
        assert.equal(floor > start.offset, channel === 'large:4');
      }
      assert.ok((found[4]?.publications.length ?? 0) >= 28);
    });

    it('is one whole piece although it is published to and trimmed between any two of its pages', async () => {
      const payload = Buffer.alloc(200 * 1024, 'z');
      const publishSome = async (count: number): Promise<void> => {
        for (let i = 0; i < count; i++) await opened.broker.publish([new Publication('rolling:a', payload)]);
      };
      await publishSome(30);
      const sha = (await opened.client.hget('push::history', 'script')) ?? '';
      for (const between of [1, 7, 30]) {
        for (const limit of [Number.POSITIVE_INFINITY, 29]) {
          let pages = 0;
          const call = async (name: string, ...args: (string | number)[]): Promise<unknown> => {
            if (pages++ > 0) await publishSome(between);
            return by === 'functions'
              ? opened.client.callBuffer('FCALL', name, 0, 'push:', ...args)
              : opened.client.callBuffer('EVALSHA', sha, 0, name, 'push:', ...args);
          };
          const { publications, floor, top } = await readHistory(call, 'rolling:a', { ...ALL, limit });
          assert.ok(pages > 1, `${pages} pages`);
          assert.ok(publications.length > 0);
          for (const [i, { previous }] of publications.entries()) {
            assert.equal(previous, i === 0 ? floor : publications[i - 1]?.offset);
          }
          if (limit > 29) assert.equal(publications.at(-1)?.offset, top);
        }
      }
    });

    it('begins another epoch when Redis is flushed beneath us, and no former position is good', async () => {
      const position = await last(opened, 'chat:flush', '1', '2', '3');
      await opened.client.flushall();
      // A script knows the options by their key alone: it refuses until the gateway has told them again.
      const taken: Position[] = [];
      await waitUntil(async () => {
        taken.push(
          ...(await last(opened, 'chat:flush', '4').then(
            (each) => [each],
            () => [],
          )),
        );
        return taken.length > 0;
      }, 'it to go on');
      const [next = assert.fail()] = taken;
      assert.notEqual(next.epoch, position.epoch);
      assert.equal(await missed(opened, 'chat:flush', { ...position, offset: 1 }), null);
      assert.deepEqual(await missed(opened, 'chat:flush', next), []);
      await publish(opened, 'chat:flush', '5');
      assert.deepEqual(await missed(opened, 'chat:flush', next), ['5']);
    });

    it('goes on when its functions were deleted and brought again, and former positions stay good', async () => {
      const position = await last(opened, 'chat:reload', '1');
      await publish(opened, 'chat:reload', '2');
      await (by === 'functions'
        ? opened.client.call('FUNCTION', 'DELETE', 'longwire')
        : opened.client.call('SCRIPT', 'FLUSH'));
      const recorder = new Keeper();
      const other = opened.make(recorder);
      await other.start();
      await other.stop();
      const next = await last(opened, 'chat:reload', '3');
      // Functions have lost what they knew of this run of the server.
      assert.equal(next.epoch === position.epoch, by === 'script');
      assert.deepEqual(await missed(opened, 'chat:reload', position), ['2', '3']);
    });
  });

  describe(`a Redis that loses ${by} and keys while it runs`, () => {
    it('refuses to publish rather than to publish without history, and is put right by the gateway', async () => {
      const opened = await open(by);
      try {
        await last(opened, 'chat:a', '1');
        await opened.client.call(by === 'functions' ? 'FUNCTION' : 'SCRIPT', 'FLUSH');
        await opened.client.flushall();
        await assert.rejects(publish(opened, 'chat:a', '2'), {
          kind: 'unavailable',
          message: /Function not found|NOSCRIPT/,
        });
        await waitUntil(async () => {
          const [taken] = await publish(opened, 'chat:a', '3').catch(() => []);
          return taken != null;
        }, 'the library to be back');
        assert.equal((await read(opened, 'chat:a')).publications.length, 1);
      } finally {
        await close(opened);
      }
    });
  });

  describe(`a channel in which nothing is published, by ${by}`, () => {
    it('has nothing that was missed for as long as positions are to be good, and then a gap', async () => {
      const opened = await open(by, [], 1);
      try {
        const position = await last(opened, 'chat:busy', '0');
        assert.deepEqual(await missed(opened, 'chat:quiet', position), []);
        await waitUntil(async () => {
          await publish(opened, 'chat:busy', ...Array.from({ length: 16 }, String));
          return (await missed(opened, 'chat:quiet', position)) === null;
        }, 'it to be forgotten');
        assert.deepEqual(await missed(opened, 'chat:quiet', await last(opened, 'chat:busy', 'x')), []);
      } finally {
        await close(opened);
      }
    });
  });

  describe(`a Redis that is killed, by ${by}`, () => {
    it('without its data comes back with another epoch', async () => {
      const opened = await open(by);
      try {
        const position = await last(opened, 'chat:a', '1');
        await opened.redis.restart();
        await opened.recorder.until(() => opened.broker.state === 'down', 'it to be noticed');
        await opened.recorder.until(() => opened.broker.state === 'up', 'it to be back');
        assert.equal(await missed(opened, 'chat:a', position), null);
        assert.notEqual((await last(opened, 'chat:a', '1')).epoch, position.epoch);
      } finally {
        await close(opened);
      }
    });

    it('with all its data still knows every position', async () => {
      const opened = await open(by, ['--appendonly', 'yes', '--appendfsync', 'always']);
      try {
        const position = await last(opened, 'chat:a', '1');
        await publish(opened, 'chat:a', '2');
        await opened.redis.restart();
        await opened.recorder.until(() => opened.broker.state === 'down', 'it to be noticed');
        await opened.recorder.until(() => opened.broker.state === 'up', 'it to be back');
        assert.deepEqual(await missed(opened, 'chat:a', position), ['2']);
        await publish(opened, 'chat:a', '3');
        assert.deepEqual(await missed(opened, 'chat:a', position), ['2', '3']);
      } finally {
        await close(opened);
      }
    });

    it('with an older snapshot knows the positions up to that, and those beyond as gaps', async () => {
      const opened = await open(by);
      try {
        const early = await last(opened, 'chat:a', '1');
        await publish(opened, 'chat:a', '2');
        await opened.client.save();
        const lost = await last(opened, 'chat:a', '3');
        await opened.redis.restart();
        await opened.recorder.until(() => opened.broker.state === 'down', 'it to be noticed');
        await opened.recorder.until(() => opened.broker.state === 'up', 'it to be back');
        // The numbers are given out anew, to other publications.
        const anew = await last(opened, 'chat:a', 'other 3', '4', '5');
        assert.ok(anew.offset > lost.offset);
        assert.deepEqual(await missed(opened, 'chat:a', early), ['2', 'other 3', '4', '5']);
        assert.equal(await missed(opened, 'chat:a', lost), null);
      } finally {
        await close(opened);
      }
    });
  });

  describe(`a Redis that evicts keys, by ${by}`, () => {
    it('leaves gaps, never silence', async () => {
      const opened = await open(by, ['--maxmemory-policy', 'allkeys-random']);
      try {
        const start = await last(opened, 'chat:0', 'x');
        for (let i = 1; i <= 200; i++) await publish(opened, `chat:${i}`, 'x'.repeat(1_000));
        const used = Number(/used_memory:(\d+)/.exec(await opened.client.info('memory'))?.[1]);
        await opened.client.config('SET', 'maxmemory', String(used - 50_000));
        await opened.client.set('one more', 'x');
        assert.ok(Number(/evicted_keys:(\d+)/.exec(await opened.client.info('stats'))?.[1]) > 0);
        await opened.client.config('SET', 'maxmemory', '0');
        for (let i = 1; i <= 200; i++) {
          const found = await missed(opened, `chat:${i}`, start);
          assert.ok(found === null || found.length === 1, `chat:${i} has ${found?.length}`);
        }
      } finally {
        await close(opened);
      }
    });
  });
}
