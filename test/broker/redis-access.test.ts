// Getting into Redis: passwords, users, TLS, database numbers, Unix sockets, and what REDIS_URL may look like.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Redis } from 'ioredis';
import { RedisBroker } from '../../src/broker/redis.ts';
import { connectionOptions, parseRedisUrl, retryDelayMs } from '../../src/broker/redis-options.ts';
import { Publication } from '../../src/publication.ts';
import { makeCertificates } from '../harness/certificates.ts';
import { type RedisServer, type RedisServerOptions, startRedis } from '../harness/redis.ts';
import { hasChannelRights } from '../harness/redis-server.ts';
import { waitUntil } from '../harness/wait.ts';
import { type LogLine, logLines } from './log-lines.ts';
import { Recorder } from './recorder.ts';
import { TestWorkers } from './workers.ts';

interface Visit {
  redis: RedisServer;
  /** A client with all rights, over the Unix socket. */
  admin: Redis;
  broker: RedisBroker;
  recorder: Recorder;
  lines: LogLine[];
}

/** Starts a server and a broker whose URL `url` makes of the server, and takes both away at the end. */
async function visit(
  options: RedisServerOptions,
  url: (redis: RedisServer) => string,
  use: (visit: Visit) => Promise<void>,
  prepare: (admin: Redis) => Promise<unknown> = async () => undefined,
): Promise<void> {
  const redis = await startRedis(options);
  const admin = new Redis({
    path: redis.path,
    ...(options.password === undefined ? {} : { password: options.password }),
  });
  const recorder = new Recorder();
  const { log, lines } = logLines();
  const broker = new RedisBroker({ url: url(redis), prefix: 'push:' }, recorder, log);
  try {
    await prepare(admin);
    await broker.start();
    await use({ redis, admin, broker, recorder, lines });
  } finally {
    await broker.stop();
    admin.disconnect();
    await redis.stop();
  }
}

async function assertWorks({ broker, recorder }: Visit): Promise<void> {
  assert.equal(broker.state, 'up');
  await broker.publish([new Publication('a', Buffer.from('x'))]);
  await recorder.untilPublications(1);
}

describe('a password', () => {
  const password = 'p@ss:/wörd#%';

  it('is taken from the URL, percent-encoded', async () => {
    await visit({ password }, (redis) => redis.url, assertWorks);
  });

  it('may come with a user', async () => {
    await visit(
      {},
      ({ port }) => `redis://gate%40way:secret@127.0.0.1:${port}`,
      assertWorks,
      (admin) =>
        admin.call('ACL', 'SETUSER', 'gate@way', 'on', '>secret', ...(hasChannelRights() ? ['&*'] : []), '+@all'),
    );
  });

  it('that is wrong is an error in the log, once in a while, and is tried until it is right', async () => {
    await visit(
      { password },
      ({ port }) => `redis://:wrong@127.0.0.1:${port}`,
      async (visited) => {
        const { broker, admin, recorder, lines } = visited;
        assert.equal(broker.state, 'down');
        await assert.rejects(broker.publish([new Publication('a', Buffer.from('x'))]), { kind: 'unavailable' });
        // A few attempts later there is still one line.
        const connections = async (): Promise<number> =>
          Number(/total_connections_received:(\d+)/.exec(await admin.info('stats'))?.[1]);
        const already = await connections();
        await waitUntil(async () => (await connections()) > already + 3, 'more attempts');
        const errors = lines.filter(({ level }) => level === 'error');
        assert.equal(errors.length, 1);
        assert.match(String(errors[0]?.error), /WRONGPASS/);
        assert.ok(!JSON.stringify(lines).includes('wrong@'), 'the log does not hold the password');

        await admin.config('SET', 'requirepass', 'wrong');
        await recorder.untilState('up');
        await assertWorks(visited);
      },
    );
  });

  it('that is missing is an error in the log, and publishing says what Redis says', async () => {
    await visit(
      { password },
      ({ port }) => `redis://127.0.0.1:${port}`,
      async ({ broker, lines }) => {
        assert.equal(broker.state, 'down');
        assert.match(JSON.stringify(lines.find(({ level }) => level === 'error')), /NOAUTH/);
        const publish = () => broker.publish([new Publication('a', Buffer.from('x'))]);
        // The link that publishes is a connection of its own, and may not stand yet when the other one has been refused.
        await waitUntil(
          () =>
            publish().then(
              () => true,
              (error: Error) => !error.message.includes('no connection'),
            ),
          'the link that publishes',
        );
        await assert.rejects(publish(), { kind: 'unavailable', message: /NOAUTH/ });
      },
    );
  });
});

describe('a user without the right', { skip: !hasChannelRights() }, () => {
  it('to subscribe is down, and up as soon as it has the right', async () => {
    await visit(
      {},
      ({ port }) => `redis://limited:secret@127.0.0.1:${port}`,
      async (visited) => {
        assert.equal(visited.broker.state, 'down');
        assert.match(JSON.stringify(visited.lines), /NOPERM/);
        await visited.admin.call('ACL', 'SETUSER', 'limited', 'allchannels');
        await visited.recorder.untilState('up');
        await assertWorks(visited);
      },
      (admin) => admin.call('ACL', 'SETUSER', 'limited', 'on', '>secret', 'resetchannels', '+@all'),
    );
  });

  it('to publish is told so, call by call', async () => {
    await visit(
      {},
      ({ port }) => `redis://limited:secret@127.0.0.1:${port}`,
      async ({ broker, recorder, lines }) => {
        assert.equal(broker.state, 'up');
        const outcomes = await Promise.allSettled([
          broker.publish([new Publication('a', Buffer.from('yes'))]),
          broker.publish([new Publication('a', Buffer.from('yes')), new Publication('b', Buffer.from('no'))]),
          broker.publish([new Publication('a', Buffer.from('yes'))]),
        ]);
        assert.deepEqual(
          outcomes.map(({ status }) => status),
          ['fulfilled', 'rejected', 'fulfilled'],
        );
        assert.match(JSON.stringify(lines.find(({ level }) => level === 'error')), /NOPERM/);
        await recorder.untilPublications(3);
        assert.deepEqual(recorder.texts('b'), []);
      },
      (admin) => {
        const root = ['on', '>secret', 'resetchannels', '&push:*', '+@all', '-publish'];
        return admin.call('ACL', 'SETUSER', 'limited', ...root, '(+publish resetchannels &push:a)');
      },
    );
  });
});

describe('TLS', () => {
  it('works with a certificate from an authority in NODE_EXTRA_CA_CERTS, and only then', async () => {
    const certificates = makeCertificates();
    const redis = await startRedis({ tls: certificates, password: 'secret' });
    const target = { url: redis.url, prefix: 'push:' };
    const trusting = new TestWorkers({ redis: target, env: { NODE_EXTRA_CA_CERTS: certificates.ca } });
    const doubting = new TestWorkers({ redis: target });
    try {
      assert.match(redis.url, /^rediss:/);
      const worker = await trusting.add();
      const outsider = await doubting.add();
      await worker.recorder.untilState('up');
      await worker.publish(['a', Buffer.alloc(1024 * 1024, 'secret'), null, null]);
      await worker.recorder.untilPublications(1);
      await outsider.recorder.untilState('down');
      assert.match(JSON.stringify(outsider.log), /certificate/);
      // Bytes are counted above TLS too: a pause is noticed, and no more than a pause.
      redis.pause();
      await worker.recorder.untilState('down');
      redis.resume();
      await worker.recorder.untilState('up');
      assert.equal(worker.recorder.gaps, 0);
    } finally {
      await trusting.stop();
      await doubting.stop();
      await redis.stop();
      certificates.remove();
    }
  });
});

describe('a database number', () => {
  it('is selected; publications have none', async () => {
    await visit(
      {},
      (redis) => `${redis.url}/3`,
      async (visited) => {
        await assertWorks(visited);
        assert.match(String(await visited.admin.client('LIST')), /name=longwire-publisher.* db=3 /);
        await visited.admin.publish('push:a', 'from database 0');
        await visited.recorder.untilPublications(2);
      },
    );
  });

  it('that Redis does not have is an error in the log', async () => {
    await visit(
      {},
      (redis) => `${redis.url}/99`,
      async ({ lines }) => {
        assert.match(JSON.stringify(lines.find(({ level }) => level === 'error')), /out of range/);
      },
    );
  });
});

describe('a Unix socket', () => {
  it('is reached by its path and by a unix: URL', async () => {
    await visit({}, (redis) => redis.path, assertWorks);
    await visit({}, (redis) => `unix://${redis.path}?db=2`, assertWorks);
  });
});

describe('REDIS_URL', () => {
  it('is read without regard to options that ioredis would take from it', () => {
    assert.deepEqual(parseRedisUrl('redis://h:1/2?enableOfflineQueue=true&keyPrefix=x&family=6').options, {
      host: 'h',
      port: 1,
      db: 2,
      family: 6,
    });
    assert.deepEqual(parseRedisUrl('redis://').options, { host: 'localhost', port: 6379, db: 0, family: 0 });
    assert.deepEqual(parseRedisUrl('rediss://u:p@[::1]').options, {
      ...{ host: '::1', port: 6379, db: 0, family: 0 },
      ...{ username: 'u', password: 'p', tls: {} },
    });
    assert.deepEqual(parseRedisUrl('unix:///a%20b.sock?db=3'), {
      options: { path: '/a b.sock', db: 3 },
      text: '/a b.sock',
    });
  });

  it('is not named in logs with its password', () => {
    assert.equal(parseRedisUrl('redis://user:secret@host/1').text, 'host:6379');
  });

  it('cannot change what keeps a publish from being sent twice', () => {
    const options = connectionOptions(parseRedisUrl('redis://h?autoResendUnfulfilledCommands=true'), 'name');
    assert.equal(options.autoResendUnfulfilledCommands, false);
    assert.equal(options.enableOfflineQueue, false);
    assert.equal(options.maxRetriesPerRequest, 0);
  });
});

describe('the delay before a new attempt', () => {
  it('is drawn from up to 50 ms, doubled each time, up to 2 s', () => {
    for (let attempt = 1; attempt < 2_000; attempt = attempt < 12 ? attempt + 1 : attempt * 2) {
      const ceiling = Math.min(2_000, 50 * 2 ** (attempt - 1));
      const delays = Array.from({ length: 500 }, () => retryDelayMs(attempt));
      assert.ok(delays.every((delay) => delay >= 10 && delay <= ceiling));
      assert.ok(Math.max(...delays) > 0.9 * ceiling);
      assert.ok(Math.min(...delays) < Math.max(11, 0.1 * ceiling));
    }
  });
});
