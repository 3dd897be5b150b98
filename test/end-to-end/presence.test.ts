// Presence from outside: who holds a channel, told by the API of every gateway and by the channel itself, on every transport, through
// moves, deaths of workers and of whole gateways. Over Redis a second gateway looks on.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { PollClient } from '../harness/poll-client.ts';
import { ask } from '../harness/raw-client.ts';
import { type RedisServer, startRedis } from '../harness/redis.ts';
import { type Held, TRANSPORTS } from '../harness/transports.ts';
import { waitUntil } from '../harness/wait.ts';
import { WebSocketClient } from '../harness/websocket-client.ts';

interface Member {
  client: string;
  user: string;
  conn_info?: unknown;
}

/** What a client is told that has no place between publications of its own. */
interface Told {
  client?: string;
  join?: { channel: string; info: Member };
  leave?: { channel: string; info: Member };
  channel?: string;
  data?: string;
}

async function toldTo(held: Held): Promise<Told[]> {
  return (await held.received(0)).map((bytes) => JSON.parse(String(bytes)));
}

/** Who came and went, as `+user` and `-user`. */
async function comingsTo(held: Held): Promise<string[]> {
  return (await toldTo(held)).flatMap(({ join, leave, channel, data }) => {
    if (channel !== undefined) return [`${data}`];
    if (join !== undefined) return [`+${join.info.user}`];
    return leave === undefined ? [] : [`-${leave.info.user}`];
  });
}

async function untilTold(held: Held, ...expected: string[]): Promise<void> {
  let told: string[] = [];
  await waitUntil(
    async () => {
      told = await comingsTo(held);
      return told.length >= expected.length;
    },
    () => `${expected} to be told; told was ${told}`,
  );
  assert.deepEqual(told, expected);
}

function idOf(held: Held, told: readonly Told[]): string {
  const inHead = /^longwire-client: (\S+)\r$/im.exec(held.head)?.[1];
  return inHead ?? told.find(({ client }) => client !== undefined)?.client ?? assert.fail(`no id: ${held.head}`);
}

async function call<Result>(gateway: GatewayProcess, method: string, body: object): Promise<Result> {
  const answer = await gateway.api(method, body);
  assert.equal(answer.status, 200, answer.text);
  return JSON.parse(answer.text).result;
}

async function membersOf(gateway: GatewayProcess, channel: string): Promise<Record<string, Member>> {
  return (await call<{ presence: Record<string, Member> }>(gateway, 'presence', { channel })).presence;
}

async function usersOf(gateway: GatewayProcess, channel: string): Promise<string[]> {
  return Object.values(await membersOf(gateway, channel))
    .map(({ user }) => user)
    .sort();
}

async function untilUsers(gateway: GatewayProcess, channel: string, ...users: string[]): Promise<void> {
  let found: string[] = [];
  await waitUntil(
    async () => {
      found = await usersOf(gateway, channel);
      return found.length === users.length;
    },
    () => `${users} to be in ${channel}; there are ${found}`,
  );
  assert.deepEqual(found, users);
}

/** Has the gateway do something to its workers; resolves when that is over. */
async function operation(gateway: GatewayProcess, path: string): Promise<void> {
  const { operation } = JSON.parse((await gateway.command(path)).text);
  await waitUntil(async () => {
    const { state } = JSON.parse((await gateway.admin(`/operations/${operation}`)).text);
    assert.notEqual(state, 'failed');
    return state === 'done';
  }, `${path} to be over`);
}

const NAMESPACES = {
  namespaces: {
    room: { presence: true, join_leave: true },
    quiet: { presence: true },
    kept: { presence: true, join_leave: true, history_size: 10, history_ttl_seconds: 60 },
  },
};

const folder = mkdtempSync(join(tmpdir(), 'longwire-presence-'));
const file = join(folder, 'namespaces.json');
writeFileSync(file, JSON.stringify(NAMESPACES));
after(() => rmSync(folder, { recursive: true, force: true }));

const ENVIRONMENT = {
  LONGWIRE_NAMESPACES: file,
  LONGWIRE_PRESENCE_SECONDS: '2',
  LONGWIRE_POLL_EXPIRY_SECONDS: '2',
};

for (const broker of ['embedded', 'Redis']) {
  describe(`presence, ${broker} broker`, () => {
    let redis: RedisServer | null = null;
    let gateway: GatewayProcess;
    /** Over Redis another machine's; else the same. */
    let other: GatewayProcess;

    before(async () => {
      redis = broker === 'Redis' ? await startRedis() : null;
      const env = { ...ENVIRONMENT, REDIS_URL: redis?.url ?? '' };
      gateway = await startGateway({ env });
      other = redis === null ? gateway : await startGateway({ env });
    });
    after(async () => {
      await gateway.kill();
      await other.kill();
      await redis?.stop();
    });

    const open = (target: string, name = 'sse', at = gateway): Promise<Held> => {
      const transport = TRANSPORTS.find((each) => each.name === name) ?? assert.fail();
      return transport.open(at.publicPort, `${target}${target.includes('?') ? '&' : '?'}format=json`);
    };

    it('tells who is there, by the id that each client is told itself, on every transport and gateway', async () => {
      const info = encodeURIComponent('{"name":"Åsa \\"1\\"","n":[1,{}]}');
      const held = await Promise.all(TRANSPORTS.map(({ name }) => open(`quiet:all?user=${name}&info=${info}`, name)));
      const silent = await open('quiet:all?channel=plain');
      await untilUsers(other, 'quiet:all', '', 'poll', 'sse', 'stream', 'websocket');
      const members = await membersOf(other, 'quiet:all');
      for (const [i, each] of held.entries()) {
        await waitUntil(async () => each.head.includes('Longwire-Client') || (await toldTo(each)).length > 0, 'the id');
        const client = idOf(each, await toldTo(each));
        assert.deepEqual(members[client], {
          client,
          user: TRANSPORTS[i]?.name,
          conn_info: { name: 'Åsa "1"', n: [1, {}] },
        });
      }
      const own = idOf(silent, await toldTo(silent));
      assert.deepEqual(members[own], { client: own, user: '' });
      assert.deepEqual(await call(other, 'presence_stats', { channel: 'quiet:all' }), {
        num_clients: 5,
        num_users: 5,
      });
      for (const each of [...held, silent]) each.close();
      // The poll's session goes on for LONGWIRE_POLL_EXPIRY_SECONDS.
      await untilUsers(other, 'quiet:all');
    });

    it('tells who comes and goes on every transport, between publications', async (context) => {
      // All that is told is compared: on a busy machine two seconds without a renewal, or a poll, would be told too.
      const env = { LONGWIRE_NAMESPACES: file, REDIS_URL: redis?.url ?? '' };
      const here = await startGateway({ env });
      context.after(() => here.kill());
      const beyond = redis === null ? here : await startGateway({ env });
      context.after(() => beyond.kill());
      const held: Held[] = [];
      const told: string[][] = [];
      for (const { name } of TRANSPORTS) {
        held.push(await open(`room:a?user=${name}`, name, here));
        told.push([]);
        for (const each of told) each.push(`+${name}`);
        for (const [i, each] of held.entries()) await untilTold(each, ...(told[i] as string[]));
      }
      await beyond.publish('room:a', 'between');
      for (const each of told) each.push('between');
      const visitor = await open('room:a?user=visitor', 'sse', beyond);
      for (const each of told) each.push('+visitor');
      for (const [i, each] of held.entries()) await untilTold(each, ...(told[i] as string[]));
      await untilTold(visitor, '+visitor');
      const [, came] = await toldTo(visitor);
      assert.deepEqual(came, {
        join: { channel: 'room:a', info: { client: idOf(visitor, await toldTo(visitor)), user: 'visitor' } },
      });
      visitor.close();
      for (const each of told) each.push('-visitor');
      for (const [i, each] of held.entries()) await untilTold(each, ...(told[i] as string[]));
      for (const each of held) each.close();
      await untilUsers(beyond, 'room:a', 'poll');
    });

    it('is told to nobody whose format has no place for it, and moves no position', async () => {
      const raw = new WebSocketClient(gateway.publicPort, '/ws/room:raw?format=raw&user=u');
      await raw.opened();
      await untilUsers(gateway, 'room:raw', 'u');
      const kept = await open('kept:a?user=k');
      await untilTold(kept, '+k');
      await gateway.publish('room:raw', 'x');
      assert.deepEqual(
        (await raw.received(1)).map(({ payload }) => String(payload)),
        ['x'],
      );
      await gateway.publish('kept:a', '1');
      await untilTold(kept, '+k', '1');
      raw.close();
      kept.close();
      await untilUsers(gateway, 'room:raw');
      const page = await call<{ publications: object[] }>(gateway, 'history', { channel: 'kept:a', limit: -1 });
      assert.equal(page.publications.length, 1);
    });

    it('follows what a WebSocket takes up and gives up', async () => {
      const socket = await new WebSocketClient(gateway.publicPort, '/ws/plain').opened();
      const reply = (await socket.reply({ subscribe: ['quiet:ws', 'plain'] })) as { client?: string };
      assert.ok(reply.client !== undefined);
      await untilUsers(other, 'quiet:ws', '');
      assert.deepEqual(Object.keys(await membersOf(other, 'quiet:ws')), [reply.client]);
      assert.deepEqual(await socket.reply({ subscribe: 'quiet:more' }), {
        subscribed: ['quiet:more'],
        client: reply.client,
      });
      assert.deepEqual(await socket.reply({ unsubscribe: 'quiet:ws' }), { unsubscribed: ['quiet:ws'] });
      await untilUsers(other, 'quiet:ws');
      await untilUsers(other, 'quiet:more', '');
      socket.close();
      await untilUsers(other, 'quiet:more');
    });

    it('is a poll session’s for as long as that lasts, and a first poll’s that waits', async () => {
      const poll = new PollClient(gateway.publicPort, 'quiet:poll?user=p');
      const first = poll.poll();
      await untilUsers(other, 'quiet:poll', 'p');
      await gateway.publish('quiet:poll', 'x');
      const { headers, text } = await first;
      const client = headers['longwire-client'];
      assert.equal(JSON.parse(text).client, client);
      assert.deepEqual(Object.keys(await membersOf(other, 'quiet:poll')), [client]);
      for (let i = 0; i < 3; i++) assert.equal((await poll.poll('timeout=0.4')).headers['longwire-client'], client);
      assert.deepEqual(await usersOf(other, 'quiet:poll'), ['p']);
      const abandoned = new PollClient(gateway.publicPort, 'quiet:abandoned?user=q');
      const waiting = abandoned.poll();
      await untilUsers(other, 'quiet:abandoned', 'q');
      abandoned.close();
      await assert.rejects(waiting);
      await untilUsers(other, 'quiet:abandoned');
      poll.close();
      await untilUsers(other, 'quiet:poll');
    });

    it('goes along with connections that move: nobody comes and nobody goes', async () => {
      const witness = await open('room:moved?user=witness', 'sse', other);
      await untilTold(witness, '+witness');
      const held: Held[] = [];
      const told = ['+witness'];
      for (const { name } of TRANSPORTS) {
        held.push(await open(`room:moved?user=${name}`, name));
        told.push(`+${name}`);
        await untilTold(witness, ...told);
      }
      const before = await membersOf(other, 'room:moved');
      await operation(gateway, '/workers/replace');
      // Longer than an entry lasts that nobody renews.
      const until = performance.now() + 3_000;
      await waitUntil(async () => {
        assert.deepEqual(await membersOf(other, 'room:moved'), before);
        return performance.now() > until;
      }, 'that time to pass');
      await gateway.publish('room:moved', 'after');
      await untilTold(witness, ...told, 'after');
      const client = Object.values(before).find(({ user }) => user === 'sse')?.client;
      await gateway.api('disconnect', { client });
      assert.equal(await held[0]?.goodbye(), 'the end');
      await untilTold(witness, ...told, 'after', '-sse');
      for (const each of [...held, witness]) each.close();
      await untilUsers(other, 'room:moved');
    });

    it('ends when their worker is killed, and is told to those who stay', async () => {
      const held = await Promise.all(Array.from({ length: 20 }, (_, i) => open(`room:killed?user=u${i}`)));
      await untilUsers(gateway, 'room:killed', ...held.map((_, i) => `u${i}`).sort());
      await operation(gateway, '/workers/rebalance');
      await gateway.metricReaches('longwire_connections', { transport: 'sse' }, held.length);
      const [victim] = await gateway.workerPids();
      process.kill(victim ?? assert.fail(), 'SIGKILL');
      const { alive, dead } = await waitForDeaths(held);
      const [witness] = alive;
      assert.ok(witness !== undefined && dead.length > 0);
      await untilUsers(other, 'room:killed', ...alive.map((each) => `u${held.indexOf(each)}`).sort());
      await waitUntil(
        async () => (await comingsTo(witness)).filter((text) => text.startsWith('-')).length === dead.length,
        'all who went to be told',
      );
      assert.deepEqual(
        (await comingsTo(witness)).filter((text) => text.startsWith('-')).sort(),
        dead.map((each) => `-u${held.indexOf(each)}`).sort(),
      );
      for (const each of alive) each.close();
      await untilUsers(other, 'room:killed');
    });

    /** Resolves once as many of them have ended as their worker held. */
    async function waitForDeaths(held: readonly Held[]): Promise<{ alive: Held[]; dead: Held[] }> {
      await waitUntil(() => held.some(({ connection }) => connection.ending !== 'none'), 'the first to end');
      await waitUntil(async () => (await gateway.workers()).every(({ state }) => state === 'ready'), 'a new worker');
      await waitUntil(async () => {
        const workers = await gateway.workers();
        const open = workers.reduce((sum, { connections }) => sum + (connections.sse ?? 0), 0);
        return open === held.filter(({ connection }) => connection.ending === 'none').length;
      }, 'those who stay to be counted');
      const alive = held.filter(({ connection }) => connection.ending === 'none');
      return { alive, dead: held.filter((each) => !alive.includes(each)) };
    }

    it('is refused where it makes no sense', async () => {
      for (const query of [
        `user=${'x'.repeat(256)}`,
        'user=a%0Ab',
        'info=%7B',
        `info=%22${'x'.repeat(1_023)}%22`,
        'info=%5B%0A1%5D',
        'user=a&user=b',
        'user=&us%65r=b',
        'info=1&info=1',
      ]) {
        for (const path of ['sse', 'stream', 'poll', 'ws']) {
          const answer = await ask(
            gateway.publicPort,
            `GET /${path}/a?${query} HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n`,
          );
          assert.equal(answer.status, 400, `${path} ${query}`);
          assert.match(answer.text, /(user|info) must/);
        }
      }
      for (const method of ['presence', 'presence_stats']) {
        for (const [body, code] of [
          [{ channel: 'plain' }, 108],
          [{ channel: '' }, 107],
          [{}, 107],
        ] as const) {
          assert.equal(JSON.parse((await gateway.api(method, body)).text).error.code, code);
        }
        assert.equal((await gateway.api(method, { channel: 'quiet:nobody' })).status, 200);
      }
    });

    it('costs nobody anything who is not known', async () => {
      const held = await Promise.all(TRANSPORTS.map(({ name }) => open('plain', name)));
      await gateway.metricReaches('longwire_known_clients', {}, 0);
      for (const each of held) {
        assert.doesNotMatch(each.head, /longwire-client/i);
        assert.deepEqual(await toldTo(each), []);
        each.close();
      }
    });
  });
}

describe('presence and a Redis that is killed', () => {
  it('is told again once Redis is back without what it knew, and nobody is disconnected', async () => {
    const redis = await startRedis();
    const gateway = await startGateway({ env: { ...ENVIRONMENT, REDIS_URL: redis.url } });
    try {
      const held: Held[] = [];
      for (const { name, open } of TRANSPORTS)
        held.push(await open(gateway.publicPort, `room:z?user=${name}&format=json`));
      await untilUsers(gateway, 'room:z', 'poll', 'sse', 'stream', 'websocket');
      const before = await membersOf(gateway, 'room:z');
      await redis.kill();
      await waitUntil(
        async () => (await gateway.api('presence', { channel: 'room:z' })).status === 503,
        'it to be away',
      );
      await redis.restart();
      await waitUntil(async () => {
        const { status, text } = await gateway.api('presence', { channel: 'room:z' });
        return status === 200 && Object.keys(JSON.parse(text).result.presence).length === held.length;
      }, 'all to be told again');
      assert.deepEqual(await membersOf(gateway, 'room:z'), before);
      for (const each of held) each.close();
      await untilUsers(gateway, 'room:z');
    } finally {
      await gateway.kill();
      await redis.stop();
    }
  });
});

describe('presence of a gateway that is killed', () => {
  it('ends for the others on the same Redis, and they are told', async () => {
    const redis = await startRedis();
    const env = { ...ENVIRONMENT, REDIS_URL: redis.url };
    const [one, two] = await Promise.all([startGateway({ env }), startGateway({ env })]);
    try {
      const sse = TRANSPORTS[0] ?? assert.fail();
      const witness = await sse.open(two.publicPort, 'room:x?user=witness&format=json');
      await untilTold(witness, '+witness');
      await sse.open(one.publicPort, 'room:x?user=gone');
      await untilTold(witness, '+witness', '+gone');
      await untilUsers(two, 'room:x', 'gone', 'witness');
      for (const pid of await one.workerPids()) process.kill(pid, 'SIGKILL');
      await one.kill();
      await untilUsers(two, 'room:x', 'witness');
      await untilTold(witness, '+witness', '+gone', '-gone');
    } finally {
      await Promise.all([one.kill(), two.kill()]);
      await redis.stop();
    }
  });

  it('ends at once where it is stopped in order', async () => {
    const redis = await startRedis();
    const env = {
      ...ENVIRONMENT,
      LONGWIRE_PRESENCE_SECONDS: '3600',
      REDIS_URL: redis.url,
      LONGWIRE_DRAIN_SECONDS: '0',
    };
    const [one, two] = await Promise.all([startGateway({ env }), startGateway({ env })]);
    try {
      for (const { name, open } of TRANSPORTS) await open(one.publicPort, `room:y?user=${name}`);
      await untilUsers(two, 'room:y', 'poll', 'sse', 'stream', 'websocket');
      await one.stop();
      await untilUsers(two, 'room:y');
    } finally {
      await Promise.all([one.kill(), two.kill()]);
      await redis.stop();
    }
  });
});
