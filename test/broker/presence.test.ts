// Presence as brokers keep it: one suite for the embedded broker, with a real relay, and Redis, with a real server; then what only
// Redis can lose.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Redis } from 'ioredis';
import { NamespaceTable } from '../../config/namespaces.ts';
import { parseNamespaces } from '../../config/parse-namespaces.ts';
import type { Broker } from '../../src/broker/broker.ts';
import { MemoryBroker } from '../../src/broker/memory.ts';
import { RedisBroker } from '../../src/broker/redis.ts';
import { decodeComing } from '../../src/broker/redis-presence.ts';
import { FrameReader } from '../../src/broker/relay-frames.ts';
import { createLog } from '../../src/log.ts';
import { CHANGES_A_CALL, entryOf, MEMBERS_LIMIT, type PresenceChange } from '../../src/presence.ts';
import { Relay } from '../../src/primary/relay.ts';
import { Publication } from '../../src/publication.ts';
import { emptyCounters } from '../../src/stats.ts';
import type { Holder } from '../../workers/presence/identities.ts';
import { Presence } from '../../workers/presence/presence.ts';
import { type RedisServer, startRedis } from '../harness/redis.ts';
import { hasChannelRights } from '../harness/redis-server.ts';
import { waitUntil } from '../harness/wait.ts';
import { projectFile } from '../project.ts';
import { logLines } from './log-lines.ts';
import { Recorder } from './recorder.ts';

const TTL_SECONDS = 1;

/** Writes down what is told of a channel's members, between its publications. */
class Listener extends Recorder {
  readonly told: string[] = [];
  override onPublication(publication: Publication): void {
    const { kind, channel, payload } = publication;
    this.told.push(`${channel} ${kind} ${payload}`);
    super.onPublication(publication);
  }

  of(channel: string): string[] {
    const prefix = `${channel} `;
    return this.told.filter((text) => text.startsWith(prefix)).map((text) => text.slice(prefix.length));
  }
}

interface TestWorker {
  readonly broker: Broker;
  readonly listener: Listener;
  /** Ends it without a word to the others. */
  die(): Promise<void>;
}

interface UnderTest {
  /** @param ttlSeconds How long its members are there unless it renews them: Redis alone counts that. */
  addWorker(ttlSeconds?: number): Promise<TestWorker>;
  stop(): Promise<void>;
}

function namespaces() {
  const parsed = parseNamespaces('{"default":{"presence":true,"join_leave":true}}', 1_048_576);
  assert.ok('namespaces' in parsed);
  return parsed.namespaces;
}

async function openMemory(): Promise<UnderTest> {
  const relay = new Relay(createLog('error', 'test'));
  let workers = 0;
  return {
    async addWorker() {
      const id = ++workers;
      const listener = new Listener();
      const toRelay = new FrameReader((kind, call, body) => relay.receive(id, kind, call, body));
      const toWorker = new FrameReader((kind, call, body) => broker.receive(kind, call, body));
      const sendTo = (reader: FrameReader) => (frames: Buffer) => {
        assert.equal(reader.push(Buffer.from(frames)), null);
        return true;
      };
      const broker = new MemoryBroker({ backlogBytes: 0, send: sendTo(toRelay) }, listener, namespaces());
      relay.join(id, { backlogBytes: 0, send: sendTo(toWorker) });
      await broker.start();
      return { broker, listener, die: async () => relay.leave(id) };
    },
    async stop() {},
  };
}

async function openRedis(redis: RedisServer): Promise<UnderTest> {
  const brokers: Broker[] = [];
  return {
    async addWorker(presenceSeconds = TTL_SECONDS) {
      const listener = new Listener();
      const options = { url: redis.url, prefix: 'push:', namespaces: namespaces(), presenceSeconds };
      const broker = new RedisBroker(options, listener, logLines().log);
      brokers.push(broker);
      await broker.start();
      return { broker, listener, die: () => broker.stop() };
    },
    async stop() {
      await Promise.all(brokers.map((broker) => broker.stop()));
    },
  };
}

function member(client: string, user = '', info = '') {
  const entry = entryOf({ client, user, info });
  const change = (kind: PresenceChange['kind'], channel: string, told = true): PresenceChange =>
    kind === 'join'
      ? { kind, channel, client, user, entry, told }
      : { kind, channel, client, user: '', entry: '', told };
  return { client, entry, change };
}

function presenceOf({ broker }: TestWorker) {
  return broker.presence ?? assert.fail('it has no presence');
}

const NASTY_CHANNELS = ['a', 'chat:ümläut', '频道', 'with space', 'a*b?[c]', 'x'.repeat(255)];
const NASTY_MEMBERS = [
  member('c1'),
  member('c2', 'ünï "quoted" \\ 👩‍👩‍👧'),
  member('c3', 'u', '{"a":[],"b":{},"c":1e400,"d":"\\n","e":"🤞"}'),
  member('c4', 'x'.repeat(255), JSON.stringify('y'.repeat(1_022))),
];

for (const name of ['memory', 'Redis']) {
  describe(`presence, ${name} broker`, () => {
    let redis: RedisServer | null = null;
    let opened: UnderTest;
    let one: TestWorker;
    let two: TestWorker;

    before(async () => {
      redis = name === 'Redis' ? await startRedis() : null;
      opened = await (redis === null ? openMemory() : openRedis(redis));
      one = await opened.addWorker();
      two = await opened.addWorker();
    });
    after(async () => {
      await opened.stop();
      await redis?.stop();
    });

    /** A publication behind all that was told so far has come to both. */
    async function settle(): Promise<void> {
      const counts = [one, two].map(({ listener }) => listener.of('settled').length);
      await one.broker.publish([new Publication('settled', Buffer.from('x'))]);
      for (const [i, { listener }] of [one, two].entries()) {
        await listener.until(() => listener.of('settled').length > (counts[i] as number), 'the last publication');
      }
    }

    it('keeps who joins, byte for byte, and tells everybody once', async () => {
      for (const channel of NASTY_CHANNELS) {
        const joins = NASTY_MEMBERS.map(({ change }) => change('join', channel));
        assert.deepEqual(await presenceOf(one).change(joins), []);
        assert.deepEqual(await presenceOf(two).change(joins), []);
        const entries = NASTY_MEMBERS.map(({ entry }) => entry);
        assert.deepEqual([...(await presenceOf(two).read(channel))].sort(), [...entries].sort());
        assert.deepEqual(await presenceOf(two).count(channel), { clients: 4, users: 4 });
        await settle();
        for (const { listener } of [one, two]) {
          assert.deepEqual(
            listener.of(channel),
            entries.map((entry) => `join ${entry}`),
          );
        }
      }
    });

    it('lets go of who leaves, and tells everybody once with the same entry', async () => {
      const channel = 'leaving';
      const [a, b] = [member('a', 'u'), member('b', 'u')];
      await presenceOf(one).change([a.change('join', channel), b.change('join', channel)]);
      assert.deepEqual(await presenceOf(one).count(channel), { clients: 2, users: 1 });
      await presenceOf(one).change([a.change('leave', channel), a.change('leave', channel)]);
      await presenceOf(two).change([a.change('leave', channel), member('never').change('leave', channel)]);
      assert.deepEqual(await presenceOf(two).read(channel), [b.entry]);
      await settle();
      assert.deepEqual(two.listener.of(channel), [`join ${a.entry}`, `join ${b.entry}`, `leave ${a.entry}`]);
      await presenceOf(one).change([b.change('leave', channel)]);
      assert.deepEqual(await presenceOf(one).read(channel), []);
      assert.deepEqual(await presenceOf(one).count(channel), { clients: 0, users: 0 });
    });

    it('tells it between publications, where it happened', async () => {
      const channel = 'order';
      const a = member('a');
      await one.broker.publish([new Publication(channel, Buffer.from('1'))]);
      await presenceOf(one).change([a.change('join', channel)]);
      await one.broker.publish([new Publication(channel, Buffer.from('2'))]);
      await presenceOf(one).change([a.change('leave', channel)]);
      await settle();
      for (const { listener } of [one, two]) {
        assert.deepEqual(listener.of(channel), ['published 1', `join ${a.entry}`, 'published 2', `leave ${a.entry}`]);
      }
    });

    it('tells nobody where it is told not to', async () => {
      const a = member('a');
      await presenceOf(one).change([a.change('join', 'quiet', false)]);
      assert.deepEqual(await presenceOf(two).read('quiet'), [a.entry]);
      await presenceOf(one).change([a.change('leave', 'quiet', false)]);
      await settle();
      assert.deepEqual(two.listener.of('quiet'), []);
    });

    it('says of which members there is nothing to renew', async () => {
      const [a, b, c] = [member('a'), member('b'), member('c')];
      await presenceOf(one).change([b.change('join', 'renewed')]);
      const renewals = [a, b, c].map(({ change }) => change('renew', 'renewed'));
      assert.deepEqual(await presenceOf(one).change(renewals), [0, 2]);
      assert.deepEqual(await presenceOf(one).read('renewed'), [b.entry]);
    });

    it('knows those who were taken over as the same when their worker dies, and the others as gone', async () => {
      const channel = 'moved';
      const dying = await opened.addWorker();
      const [stays, goes] = [member('stays'), member('goes')];
      await presenceOf(dying).change([stays.change('join', channel), goes.change('join', channel)]);
      await presenceOf(one).change([stays.change('join', channel)]);
      await dying.die();
      await waitUntil(async () => {
        assert.deepEqual(await presenceOf(one).change([stays.change('renew', channel)]), []);
        return (await presenceOf(two).count(channel)).clients === 1;
      }, 'the dead worker’s member to be gone');
      assert.deepEqual(await presenceOf(two).read(channel), [stays.entry]);
      // Redis tells of those who ended with the next change of their channel.
      await presenceOf(one).change([stays.change('renew', channel)]);
      await settle();
      assert.deepEqual(two.listener.of(channel), [`join ${stays.entry}`, `join ${goes.entry}`, `leave ${goes.entry}`]);
    });

    it('counts any number of members, and tells no more than one answer holds', async () => {
      const teller = await opened.addWorker(60);
      const changes = Array.from({ length: MEMBERS_LIMIT + 1 }, (_, i) =>
        member(`c${i}`, `u${i % 7}`).change('join', 'crowd', false),
      );
      for (let i = 0; i < changes.length; i += CHANGES_A_CALL) {
        await presenceOf(teller).change(changes.slice(i, i + CHANGES_A_CALL));
      }
      assert.deepEqual(await presenceOf(two).count('crowd'), { clients: MEMBERS_LIMIT + 1, users: 7 });
      await assert.rejects(presenceOf(two).read('crowd'), { kind: 'limit-exceeded', message: /10001 clients/ });
      await presenceOf(teller).change([member('c0').change('leave', 'crowd', false)]);
      assert.equal((await presenceOf(two).read('crowd')).length, MEMBERS_LIMIT);
    });
  });
}

describe('presence in Redis', () => {
  let redis: RedisServer;
  let opened: UnderTest;
  let worker: TestWorker;
  let client: Redis;
  const a = member('a', 'u', '{"n":1}');

  before(async () => {
    redis = await startRedis();
    opened = await openRedis(redis);
    worker = await opened.addWorker();
    client = new Redis(redis.url, { retryStrategy: () => 20 });
    client.on('error', () => {});
  });
  after(async () => {
    await opened.stop();
    client.disconnect();
    await redis.stop();
  });

  it('ends by itself where nobody renews anything', async () => {
    await presenceOf(worker).change([a.change('join', 'ends')]);
    assert.deepEqual(await client.exists('push::present:ends', 'push::member:ends'), 2);
    await waitUntil(async () => (await presenceOf(worker).count('ends')).clients === 0, 'the member to end');
    await waitUntil(async () => (await client.exists('push::present:ends', 'push::member:ends')) === 0, 'its keys');
    assert.deepEqual(await presenceOf(worker).change([a.change('renew', 'ends')]), [0]);
  });

  it('brings its script where that is gone', async () => {
    await client.script('FLUSH');
    await presenceOf(worker).change([a.change('join', 'script')]);
    assert.deepEqual(await presenceOf(worker).read('script'), [a.entry]);
  });

  it('is put right where Redis has evicted one of its two keys', async () => {
    for (const key of ['push::member:evicted', 'push::present:evicted']) {
      await presenceOf(worker).change([a.change('join', 'evicted')]);
      await client.del(key);
      assert.deepEqual(await presenceOf(worker).read('evicted'), []);
      assert.deepEqual(await presenceOf(worker).change([a.change('renew', 'evicted')]), [0]);
      await presenceOf(worker).change([a.change('join', 'evicted')]);
      assert.deepEqual(await presenceOf(worker).read('evicted'), [a.entry]);
    }
  });

  it('needs the rights that docs/operations.md names, and no others', async () => {
    const text = projectFile('docs/operations.md');
    const base = /`(\+ping [^`]*)` and `(&push:\*)`/.exec(text);
    const own = /`(\+evalsha [^`]*)` and\s+`(~push:\*)`/.exec(text);
    assert.ok(base !== null && own !== null);
    const channels = hasChannelRights() ? base[2] : '';
    const rights = [base[1], channels, own[1], own[2]].join(' ').trim().split(/ +/);
    await client.call('ACL', 'SETUSER', 'gateway', 'reset', 'on', '>secret', ...rights);
    const url = redis.url.replace('redis://', 'redis://gateway:secret@');
    const broker = new RedisBroker({ url, prefix: 'push:', namespaces: namespaces() }, new Listener(), logLines().log);
    await broker.start();
    assert.equal(broker.state, 'up');
    await client.script('FLUSH');
    for (const kind of ['join', 'renew', 'leave', 'join'] as const) {
      assert.deepEqual(await broker.presence?.change([a.change(kind, 'rights')]), []);
    }
    assert.deepEqual(await broker.presence?.read('rights'), [a.entry]);
    assert.deepEqual(await broker.presence?.count('rights'), { clients: 1, users: 1 });
    await broker.stop();
  });

  it('keeps the order of who comes and goes while scripts are forgotten and brought again by others', async () => {
    const parts = { namespaces: new NamespaceTable(namespaces()), counters: emptyCounters(), lifeSeconds: 1 };
    const presence = new Presence({ ...parts, store: () => worker.broker.presence });
    const other = await opened.addWorker();
    let going = true;
    const disturbing = (async () => {
      while (going) {
        await client.script('FLUSH');
        // Brings it, between the failures of the other one.
        await Promise.all(
          [0, 1, 2].map((i) => presenceOf(other).change([member(`o${i}`).change('join', 'others', false)])),
        );
      }
    })();
    const channel = 'flushed';
    const gone: string[] = [];
    for (let round = 0; round < 200; round++) {
      const holder: Holder = { onItsWay: false, deliver() {}, warm: () => 0 };
      presence.meet(holder, channel, { user: `u${round}`, info: '' });
      presence.enter(holder, channel);
      // In another call than the one that it came with.
      await new Promise((resolve) => setImmediate(resolve));
      presence.leave(holder);
      gone.push(`u${round}`);
    }
    await presence.stop();
    going = false;
    await disturbing;
    const told = () => other.listener.of(channel).map((text) => text.replace(/^(\w+) .*"user":"(u\d+)".*$/, '$1 $2'));
    await waitUntil(() => told().length >= 2 * gone.length, 'all to be told');
    assert.deepEqual(
      told(),
      gone.flatMap((user) => [`join ${user}`, `leave ${user}`]),
    );
    assert.deepEqual(await presenceOf(worker).count(channel), { clients: 0, users: 0 });
  });

  it('is said again when Redis was killed and has lost it', async () => {
    await presenceOf(worker).change([a.change('join', 'killed')]);
    await redis.kill();
    await assert.rejects(presenceOf(worker).read('killed'), { kind: 'unavailable' });
    await assert.rejects(presenceOf(worker).change([a.change('renew', 'killed')]), { kind: 'unavailable' });
    await redis.restart();
    await worker.listener.untilState('up');
    assert.deepEqual(await presenceOf(worker).change([a.change('renew', 'killed')]), [0]);
  });

  it('takes no word of who comes that makes no sense', () => {
    assert.equal(typeof decodeComing(Buffer.from('joins 1\nax')), 'string');
    assert.equal(typeof decodeComing(Buffer.from('join 1')), 'string');
    assert.equal(typeof decodeComing(Buffer.from('join 1000\na')), 'string');
    assert.equal(typeof decodeComing(Buffer.from('leave 0\n{}')), 'string');
    const told = decodeComing(Buffer.from('leave 1\na{}'));
    assert.ok(typeof told !== 'string');
    assert.deepEqual([told.kind, told.channel, told.payload.toString()], ['leave', 'a', '{}']);
  });
});
