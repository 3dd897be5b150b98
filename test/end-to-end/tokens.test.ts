// Tokens from outside: who comes in with one, who does not and what it is told, who it is then, and when it has to go. Every transport,
// both wires, both ways of accepting, both brokers.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { EventSource } from 'eventsource';
import { TOKEN_REFUSALS } from '../../src/close-reason.ts';
import { type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { operate, replacePrimary } from '../harness/operations.ts';
import { PollClient } from '../harness/poll-client.ts';
import { type Answer, ask, RawClient } from '../harness/raw-client.ts';
import { type RedisServer, startRedis } from '../harness/redis.ts';
import { type Claims, makeKeyPair, makeToken, secondsFromNow, TOKEN_SECRET } from '../harness/tokens.ts';
import { type Held, TRANSPORTS, type TransportUnderTest } from '../harness/transports.ts';
import { waitUntil } from '../harness/wait.ts';
import { WebSocketClient } from '../harness/websocket-client.ts';

const folder = mkdtempSync(join(tmpdir(), 'longwire-tokens-'));
const namespaces = join(folder, 'namespaces.json');
writeFileSync(
  namespaces,
  JSON.stringify({
    namespaces: {
      room: { presence: true, join_leave: true },
      quiet: { presence: true },
      kept: { presence: true, history_size: 10, history_ttl_seconds: 60 },
    },
  }),
);
after(() => rmSync(folder, { recursive: true, force: true }));

const ENVIRONMENT = {
  LONGWIRE_NAMESPACES: namespaces,
  LONGWIRE_TOKEN_HMAC_SECRET: TOKEN_SECRET,
  LONGWIRE_LOG_LEVEL: 'debug',
  LONGWIRE_HEARTBEAT_SECONDS: '0.5',
  LONGWIRE_RETRY_MILLISECONDS: '100',
};

const bearer = (token: string): string => `Authorization: Bearer ${token}\r\n`;
/** A target that asks for JSON and shows a token. */
const withToken = (target: string, claims: Claims): string =>
  `${target}${target.includes('?') ? '&' : '?'}format=json&token=${makeToken(claims)}`;

interface Member {
  client: string;
  user: string;
  conn_info?: unknown;
}

async function membersOf(gateway: GatewayProcess, channel: string): Promise<Member[]> {
  const answer = await gateway.api('presence', { channel });
  assert.equal(answer.status, 200, answer.text);
  const { presence } = JSON.parse(answer.text).result as { presence: Record<string, Member> };
  return Object.values(presence).sort((a, b) => (a.user < b.user ? -1 : 1));
}

async function untilUsers(gateway: GatewayProcess, channel: string, ...users: string[]): Promise<Member[]> {
  let members: Member[] = [];
  await waitUntil(
    async () => {
      members = await membersOf(gateway, channel);
      return members.length === users.length;
    },
    () => `${users} to be in ${channel}; there are ${JSON.stringify(members)}`,
  );
  assert.deepEqual(
    members.map(({ user }) => user),
    users,
  );
  return members;
}

async function toldTo(held: Held): Promise<Record<string, unknown>[]> {
  return (await held.received(0)).map((bytes) => JSON.parse(String(bytes)));
}

/** One request, and its answer once the connection is over. */
function request(gateway: GatewayProcess, transport: TransportUnderTest, target: string, fields = ''): Promise<Answer> {
  return ask(gateway.publicPort, transport.request(target, `${fields}Connection: close\r\n`));
}

async function statusOfHead(gateway: GatewayProcess, target: string): Promise<number> {
  const client = new RawClient(gateway.publicPort);
  client.write(`HEAD ${target} HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n`);
  await client.end();
  assert.match(client.text, /^HTTP\/1\.1 \d{3} [\s\S]*\r\n\r\n$/);
  return Number(client.text.slice(9, 12));
}

function errorOf({ status, headers, text }: Answer): { code: number; message: string } {
  assert.equal(headers['content-type'], 'application/json', `${status} ${text}`);
  return JSON.parse(text).error;
}

for (const [wire, accept, broker] of [
  ['handle', 'shared', 'embedded'],
  ['socket', 'sticky', 'Redis'],
] as const) {
  describe(`tokens, ${wire} wire, ${accept}, ${broker} broker`, () => {
    let redis: RedisServer | null = null;
    let gateway: GatewayProcess;
    /** Every token that was shown. */
    const shown: string[] = [];

    before(async () => {
      redis = broker === 'Redis' ? await startRedis() : null;
      const env = { ...ENVIRONMENT, LONGWIRE_WIRE: wire, LONGWIRE_ACCEPT: accept, REDIS_URL: redis?.url ?? '' };
      gateway = await startGateway({ env });
    });
    after(async () => {
      await gateway.kill();
      await redis?.stop();
    });

    it('say who somebody is, in the query or in a field, on every transport', async () => {
      const held: Held[] = [];
      for (const { name, open } of TRANSPORTS) {
        const claims = { sub: `${name}-q`, info: { name: 'Åsa' }, exp: secondsFromNow(600), channels: ['room:all'] };
        held.push(await open(gateway.publicPort, withToken('room:all', claims)));
        const token = makeToken({ ...claims, sub: `${name}-f` });
        shown.push(token);
        const target = 'room:all?format=json';
        held.push(await open(gateway.publicPort, target, `authorization:  bEARER ${token}\r\n`));
      }
      const users = TRANSPORTS.flatMap(({ name }) => [`${name}-q`, `${name}-f`]).sort();
      const members = await untilUsers(gateway, 'room:all', ...users);
      for (const { conn_info } of members) assert.deepEqual(conn_info, { name: 'Åsa' });
      const joins = async () => (await toldTo(held[0] as Held)).flatMap(({ join }) => (join ? [join] : []));
      await waitUntil(async () => (await joins()).length === users.length, 'all to be told');
      for (const join of await joins()) {
        const { channel, info } = join as { channel: string; info: Member };
        assert.equal(channel, 'room:all');
        assert.deepEqual(
          info,
          members.find(({ client }) => client === info.client),
        );
      }
      await gateway.publish('room:all', 'hello');
      for (const each of held) {
        await waitUntil(async () => (await toldTo(each)).some(({ data }) => data === 'hello'), 'the publication');
      }
      await gateway.api('disconnect', { user: 'websocket-q', reason: 'out' });
      assert.equal(await held[TRANSPORTS.length * 2 - 2]?.goodbye(), '1012 out');
      for (const each of held) each.close();
    });

    it('are demanded, and told what is wrong with them only where the backend has signed them', async () => {
      const past = { sub: 'a', exp: secondsFromNow(-1) };
      const cases: [query: string, fields: string, code: number, text: RegExp, challenge: string | null][] = [
        ['', '', 101, /^this needs a token/, null],
        ['token=', '', 101, /^this needs a token/, null],
        ['', 'Authorization: Basic YTpi\r\n', 101, /^this needs a token/, null],
        ['', 'Authorization: Bearer\r\n', 101, /^this needs a token/, null],
        ['token=x', '', 101, /^the token is not valid$/, 'invalid_token'],
        ['', bearer('x.y.z'), 101, /^the token is not valid$/, 'invalid_token'],
        [
          `token=${makeToken({ sub: 'a' }, { secret: 'guessed' })}`,
          '',
          101,
          /^the token is not valid$/,
          'invalid_token',
        ],
        [`token=${makeToken(past, { secret: 'guessed' })}`, '', 101, /^the token is not valid$/, 'invalid_token'],
        [`token=${'x'.repeat(5_000)}`, '', 101, /^the token is not valid$/, 'invalid_token'],
        [`token=${makeToken(past)}`, '', 109, /^the token has expired$/, 'invalid_token'],
        ['', bearer(makeToken(past)), 109, /^the token has expired$/, 'invalid_token'],
        [`token=${makeToken({ nbf: secondsFromNow(60) })}`, '', 101, /^the token is not valid yet$/, 'invalid_token'],
        [`token=${makeToken({ sub: 7 })}`, '', 101, /its sub must be a string/, 'invalid_token'],
        [`token=${makeToken({ aud: 'other' })}`, '', 101, /made out to another service/, 'invalid_token'],
      ];
      for (const transport of TRANSPORTS) {
        for (const [query, fields, code, text, challenge] of cases) {
          const answer = await request(gateway, transport, `a?${query}`, fields);
          assert.equal(answer.status, 401, `${transport.name} ${query}${fields} ${answer.text}`);
          const error = errorOf(answer);
          assert.equal(error.code, code);
          assert.match(error.message, text);
          const expected = `Bearer realm="longwire"${challenge === null ? '' : `, error="${challenge}"`}`;
          assert.equal(answer.headers['www-authenticate'], expected);
          assert.equal(answer.headers['cache-control'], 'no-store');
        }
      }
      const transports = TRANSPORTS.length;
      const counted = { missing: 4, invalid: 5, expired: 2, early: 1, claims: 1, audience: 1, channel: 0, user: 0 };
      for (const reason of TOKEN_REFUSALS) {
        await gateway.metricReaches('longwire_tokens_refused_total', { reason }, counted[reason] * transports);
      }
      await gateway.metricReaches('longwire_rejected_total', { reason: 'not-allowed' }, cases.length * transports);
      await gateway.metricReaches('longwire_known_clients', {}, (value) => value < 9);
    });

    it('are looked at for a HEAD as well, which opens nothing', async () => {
      for (const path of ['sse', 'stream', 'poll']) {
        assert.deepEqual(await statusOfHead(gateway, `/${path}/a`), 401);
        assert.deepEqual(await statusOfHead(gateway, `/${path}/a?token=${makeToken({})}`), 200);
      }
    });

    it('are shown once, and nobody says by itself who it is', async () => {
      const token = makeToken({ sub: 'alice' });
      for (const transport of TRANSPORTS) {
        for (const [query, fields, text] of [
          [`token=${token}&token=${token}`, '', /one token/],
          [`token=${token}`, bearer(token), /one token/],
          [`token=${token}&user=admin`, '', /user and info are what a token says/],
          [`user=admin&token=${token}`, '', /user and info are what a token says/],
          ['user=admin', bearer(token), /user and info are what a token says/],
          ['info=%7B%7D', bearer(token), /user and info are what a token says/],
          ['user=', bearer(token), /user and info are what a token says/],
          ['us%65r=admin', '', /user and info are what a token says/],
          ['user=admin', '', /user and info are what a token says/],
        ] as const) {
          const answer = await request(gateway, transport, `room:own?${query}`, fields);
          assert.equal(answer.status, 400, `${transport.name} ${query}`);
          assert.match(answer.text, text);
        }
        const twice = bearer(token) + bearer(token);
        assert.equal((await request(gateway, transport, 'room:own', twice)).status, 401, transport.name);
      }
      assert.deepEqual(await membersOf(gateway, 'room:own'), []);
    });

    it('say what their clients may hold, later as well', async () => {
      const claims = { sub: 'a', channels: ['quiet:x', 'y', 'y/ü'] };
      const token = makeToken(claims);
      for (const transport of TRANSPORTS) {
        for (const target of ['quiet:z', 'Y', 'y%20', 'quiet:x?channel=z', 'y?channel=quiet%3Ax&channel=quiet:xx']) {
          const joint = target.includes('?') ? '&' : '?';
          const answer = await request(gateway, transport, `${target}${joint}token=${token}`);
          assert.equal(answer.status, 403, `${transport.name} ${target}`);
          assert.deepEqual(errorOf(answer), {
            code: 103,
            message: 'the token does not allow one of these channels',
          });
          assert.equal(answer.headers['www-authenticate'], 'Bearer realm="longwire", error="insufficient_scope"');
        }
        const held = await transport.open(gateway.publicPort, withToken('quiet:x?channel=y&channel=y/%C3%BC', claims));
        held.close();
      }
      const socket = await new WebSocketClient(gateway.publicPort, `/ws/y?token=${token}`).opened();
      await socket.received(1);
      for (const wish of ['z', ['quiet:x', 'z'], ['y', 'quiet:z']]) {
        assert.deepEqual(await socket.reply({ subscribe: wish }), {
          error: { code: 103, message: 'the token does not allow one of these channels' },
        });
      }
      const { subscribed } = (await socket.reply({ subscribe: ['quiet:x', 'y'] })) as { subscribed: string[] };
      assert.deepEqual(subscribed, ['quiet:x', 'y']);
      // The poll's session and the socket.
      await untilUsers(gateway, 'quiet:x', 'a', 'a');
      await gateway.metricReaches('longwire_tokens_refused_total', { reason: 'channel' }, 5 * TRANSPORTS.length + 3);
      socket.close();
    });

    it('end: a stream with the hint to come back, a poll with 401, and its session goes on with the next token', async () => {
      const streams = TRANSPORTS.filter(({ polls }) => !polls);
      const exp = secondsFromNow(1.5);
      const held = await Promise.all(
        streams.map(({ name, open }) => open(gateway.publicPort, withToken('room:end', { sub: name, exp }))),
      );
      const first = new PollClient(gateway.publicPort, withToken('first', { sub: 'p', exp }));
      const poll = new PollClient(gateway.publicPort, withToken('kept:end', { sub: 'p', exp }));
      const { headers } = await poll.poll('timeout=0');
      const waiting = [poll.poll(), first.poll()];
      assert.deepEqual(await Promise.all(held.map((each) => each.goodbye())), [
        'the end',
        'the last chunk',
        '4001 token-expired',
      ]);
      assert.ok(secondsFromNow(0) >= exp && secondsFromNow(0) < exp + 1.5, 'in time');
      for (const each of held.slice(0, 2)) {
        assert.deepEqual((await toldTo(each)).at(-1), { disconnect: { reason: 'token-expired', reconnect: true } });
      }
      for (const answer of await Promise.all(waiting)) {
        assert.equal(answer.status, 401, answer.text);
        assert.deepEqual(errorOf(answer), { code: 109, message: 'the token has expired' });
        assert.equal(answer.headers.connection, 'keep-alive');
      }
      await untilUsers(gateway, 'room:end');
      await gateway.metricReaches('longwire_closed_total', { reason: 'token-expired' }, streams.length);
      assert.equal((await poll.poll()).status, 401);
      // What came meanwhile is not lost.
      await gateway.publish('kept:end', 'meanwhile');
      const { sid, since } = poll;
      const next = async (claims: Claims) => {
        const client = new PollClient(gateway.publicPort, withToken('kept:end', claims));
        Object.assign(client, { sid, since });
        const answer = await client.poll('timeout=0');
        client.close();
        return answer;
      };
      const others = await next({ sub: 'somebody else' });
      assert.ok(
        others.status < 300 && others.headers['longwire-sid'] !== sid,
        'another session, for that is another client',
      );
      const own = await next({ sub: 'p', exp: secondsFromNow(600) });
      assert.deepEqual([own.status, own.headers['longwire-client']], [200, headers['longwire-client']]);
      assert.equal(JSON.parse(own.text).sid, sid);
      assert.equal(JSON.parse(own.text).publications[0].data, 'meanwhile');
      for (const each of [first, poll]) each.close();
    });

    it('are renewed on a WebSocket that is open, which then goes on', async () => {
      const claims = { sub: 'r', channels: ['quiet:r', 'other'] };
      const first = makeToken({ ...claims, exp: secondsFromNow(2) });
      const socket = await new WebSocketClient(gateway.publicPort, `/ws/quiet:r?token=${first}`).opened();
      await socket.received(1);
      const [member] = await untilUsers(gateway, 'quiet:r', 'r');
      const expires = Math.floor(secondsFromNow(600));
      for (const [token, code] of [
        ['x', 101],
        [makeToken({ ...claims, exp: secondsFromNow(-1) }), 109],
        [makeToken({ ...claims, sub: 'somebody else' }), 103],
        [makeToken({ ...claims, channels: ['other'] }), 103],
        [7, 107],
        [{ token: makeToken(claims) }, 107],
      ] as const) {
        const { error } = (await socket.reply({ refresh: token })) as { error: { code: number } };
        assert.equal(error.code, code, `${token}`);
      }
      const next = makeToken({ ...claims, channels: ['quiet:r'], info: { other: 1 }, exp: expires });
      assert.deepEqual(await socket.reply({ refresh: next }), { refreshed: { expires } });
      const bystander = await new WebSocketClient(gateway.publicPort, `/ws/other?token=${first}`).opened();
      assert.deepEqual(await bystander.end(), { code: 4001, reason: 'token-expired' });
      const { error } = (await socket.reply({ subscribe: 'other' })) as { error: { code: number } };
      assert.equal(error.code, 103, 'the new one allows less');
      assert.deepEqual(await membersOf(gateway, 'quiet:r'), [member]);
      const forEver = (await socket.reply({ refresh: makeToken(claims) })) as object;
      assert.deepEqual(forEver, { refreshed: {} });
      const soon = secondsFromNow(0.5);
      await socket.reply({ refresh: makeToken({ ...claims, exp: soon }) });
      assert.deepEqual(await socket.end(), { code: 4001, reason: 'token-expired' });
      assert.ok(secondsFromNow(0) >= soon);
    });

    it('that is another’s does not open a poll session, and does not end it', async () => {
      const poll = new PollClient(gateway.publicPort, withToken('plain', { sub: 'owner' }));
      await poll.poll('timeout=0');
      const waiting = poll.poll();
      await gateway.metricReaches('longwire_connections', { transport: 'poll' }, 1);
      for (const claims of [{ sub: 'thief' }, {}, { sub: 'Owner' }]) {
        const thief = new PollClient(gateway.publicPort, withToken('plain', claims));
        Object.assign(thief, { sid: poll.sid, since: poll.since });
        const answer = await thief.poll();
        assert.deepEqual([answer.status, errorOf(answer).code], [410, 110]);
        thief.close();
      }
      await gateway.publish('plain', 'to its owner');
      assert.equal(JSON.parse((await waiting).text).publications[0].data, 'to its owner');
      poll.close();
    });

    it('go along with their connections to other workers: who it is, what it may hold, and the end of it', async () => {
      const exp = secondsFromNow(8);
      const claims = { exp, info: { n: 1 }, channels: ['room:moved', 'also'] };
      const held = await Promise.all(
        TRANSPORTS.map(({ name, open }) => open(gateway.publicPort, withToken('room:moved', { ...claims, sub: name }))),
      );
      const before = await untilUsers(gateway, 'room:moved', 'poll', 'sse', 'stream', 'websocket');
      const socket = await new WebSocketClient(
        gateway.publicPort,
        `/ws/also?token=${makeToken({ ...claims, sub: 'ws' })}`,
      ).opened();
      const moved = (await gateway.metrics()).value('longwire_moved_total', { direction: 'in' });
      await operate(gateway, '/workers/replace');
      if (accept === 'shared') await replacePrimary(gateway);
      assert.ok(secondsFromNow(0) < exp, 'moved before the end');
      assert.deepEqual(await membersOf(gateway, 'room:moved'), before);
      const refused = (await socket.reply({ subscribe: 'elsewhere' })) as { error: { code: number } };
      assert.equal(refused.error.code, 103);
      const ends = await Promise.all(held.map((each) => each.goodbye()));
      assert.deepEqual(ends, ['the end', 'the last chunk', '401', '4001 token-expired']);
      assert.deepEqual(await socket.end(), { code: 4001, reason: 'token-expired' });
      assert.ok(secondsFromNow(0) >= exp, 'and not before');
      // All but the poll, which may have been between two.
      await gateway.metricReaches('longwire_moved_total', { direction: 'in' }, (value) => value >= moved + held.length);
    });

    it('come with a position as well: who comes back is known, and gets what it has missed', async () => {
      const claims = { sub: 'back', exp: secondsFromNow(600), channels: ['kept:back'] };
      const [sse] = TRANSPORTS;
      const first = (await sse?.open(gateway.publicPort, withToken('kept:back', claims))) ?? assert.fail();
      await untilUsers(gateway, 'kept:back', 'back');
      first.close();
      await untilUsers(gateway, 'kept:back');
      await gateway.publish('kept:back', 'missed');
      const page = JSON.parse((await gateway.api('history', { channel: 'kept:back', limit: -1 })).text).result;
      const since = `${page.epoch}.${page.publications[0].offset - 1}`;
      const target = withToken(`kept:back?since=${since}`, claims);
      for (const { open } of TRANSPORTS.filter(({ polls }) => !polls)) {
        const held = await open(gateway.publicPort, target);
        await waitUntil(async () => (await toldTo(held)).some(({ data }) => data === 'missed'), 'what was missed');
        held.close();
      }
      const poll = new PollClient(gateway.publicPort, target);
      assert.equal(JSON.parse((await poll.poll()).text).publications[0].data, 'missed');
      assert.deepEqual(
        (await membersOf(gateway, 'kept:back')).filter(({ user }) => user !== 'back'),
        [],
      );
      poll.close();
    });

    it('end an EventSource for good, and its page begins another that misses nothing', async () => {
      const address = (claims: Claims, since: string) =>
        `http://127.0.0.1:${gateway.publicPort}/sse/kept:es?token=${makeToken({ sub: 'es', ...claims })}${since}`;
      const seen: string[] = [];
      let lastId = '';
      const follow = (url: string): EventSource => {
        const source = new EventSource(url);
        source.onmessage = ({ data, lastEventId }) => {
          seen.push(data);
          lastId = lastEventId;
        };
        return source;
      };
      const first = follow(address({ exp: secondsFromNow(1.5) }, ''));
      await untilUsers(gateway, 'kept:es', 'es');
      await gateway.publish('kept:es', '1');
      await waitUntil(() => first.readyState === EventSource.CLOSED, 'the EventSource to give up');
      assert.deepEqual(seen, ['1']);
      await gateway.publish('kept:es', '2');
      const next = follow(address({ exp: secondsFromNow(600) }, `&since=${lastId}`));
      await gateway.publish('kept:es', '3');
      await waitUntil(() => seen.length >= 3, 'what was missed');
      assert.deepEqual(seen, ['1', '2', '3']);
      next.close();
    });

    it('stay out of the log, and so does their secret', async () => {
      for (const transport of TRANSPORTS) {
        for (const token of [makeToken({ sub: 'logged' }), makeToken({ sub: 'logged' }, { secret: 'x' })]) {
          shown.push(token);
          for (const [query, fields] of [
            [`?token=${token}`, ''],
            ['', bearer(token)],
            [`?token=${token}&format=none`, ''],
            [`?token=${token}&user=x`, ''],
            [`?token=${token}%`, ''],
          ] as const) {
            const answer = await request(gateway, transport, `:own${query}`, fields);
            assert.equal(answer.status, 400);
            assert.ok(!answer.text.includes(token) && !answer.head.includes(token));
          }
        }
      }
      assert.ok(gateway.logged('rejected').length > 0, 'the log tells of each');
      const printed = gateway.out + gateway.log;
      assert.ok(!printed.includes(TOKEN_SECRET));
      for (const token of shown) {
        for (const part of token.split('.').slice(1)) assert.ok(!printed.includes(part), part);
      }
    });
  });
}

describe('tokens that nobody has to have', () => {
  it('say who somebody is; whoever has none is nobody, and cannot say otherwise', async () => {
    const gateway = await startGateway({ env: { ...ENVIRONMENT, LONGWIRE_TOKEN_REQUIRED: 'off' } });
    try {
      const held: Held[] = [];
      for (const transport of TRANSPORTS) {
        const { name, open } = transport;
        held.push(await open(gateway.publicPort, 'room:open?format=json'));
        held.push(await open(gateway.publicPort, withToken('room:open', { sub: name })));
        assert.equal((await request(gateway, transport, 'room:open?user=root')).status, 400);
        assert.equal((await request(gateway, transport, 'room:open?token=x')).status, 401);
        assert.equal((await request(gateway, transport, 'room:open', bearer('x'))).status, 401);
      }
      await untilUsers(gateway, 'room:open', '', '', '', '', 'poll', 'sse', 'stream', 'websocket');
      const poll = new PollClient(gateway.publicPort, withToken('plain', { sub: 'owner' }));
      await poll.poll('timeout=0');
      const nobody = new PollClient(gateway.publicPort, 'plain');
      Object.assign(nobody, { sid: poll.sid, since: poll.since });
      assert.equal((await nobody.poll('timeout=0')).status, 410);
      Object.assign(nobody, { sid: '', since: '' });
      assert.equal((await nobody.poll('timeout=0')).status, 204);
      assert.equal((await nobody.poll('timeout=0')).status, 204, 'its own');
      const owner = new PollClient(gateway.publicPort, withToken('plain', { sub: 'owner' }));
      Object.assign(owner, { sid: nobody.sid, since: nobody.since });
      assert.equal((await owner.poll('timeout=0')).status, 410);
      for (const each of [...held, poll, nobody, owner]) each.close();
    } finally {
      await gateway.kill();
    }
  });
});

describe('tokens for a public key', () => {
  it('are taken, and where the key changes new ones are; who is held stays', async () => {
    const [rsa, ec] = [makeKeyPair('RS256'), makeKeyPair('ES256')];
    const key = join(folder, 'key.pem');
    writeFileSync(key, rsa.publicPem);
    const gateway = await startGateway({
      env: {
        LONGWIRE_NAMESPACES: namespaces,
        LONGWIRE_TOKEN_PUBLIC_KEY: key,
        LONGWIRE_TOKEN_AUDIENCE: 'push',
      },
    });
    try {
      const sse = TRANSPORTS[0] ?? assert.fail();
      const tokens = [rsa, ec].map((pair) => pair.makeToken({ sub: pair.algorithm, aud: ['push'] }));
      const [old = '', fresh = ''] = tokens;
      const all = [
        ...tokens,
        makeToken({ aud: 'push' }),
        makeToken({ aud: 'push' }, { secret: rsa.publicPem }),
        rsa.makeToken({}),
      ];
      const statuses = () => Promise.all(all.map((token) => statusOfHead(gateway, `/sse/a?token=${token}`)));
      assert.deepEqual(await statuses(), [200, 401, 401, 401, 401]);
      const held = await sse.open(gateway.publicPort, `room:key?format=json&token=${old}`);
      writeFileSync(key, ec.publicPem);
      await operate(gateway, '/workers/replace');
      assert.deepEqual(await statuses(), [401, 200, 401, 401, 401]);
      const another = await sse.open(gateway.publicPort, `room:key?format=json&token=${fresh}`);
      await untilUsers(gateway, 'room:key', 'ES256', 'RS256');
      await gateway.publish('room:key', 'still here');
      await waitUntil(async () => (await toldTo(held)).some(({ data }) => data === 'still here'), 'the publication');
      for (const each of [held, another]) each.close();
    } finally {
      await gateway.kill();
    }
  });

  it('need one that can be read, or the gateway does not start', async () => {
    const { privatePem } = makeKeyPair('ES256');
    const key = join(folder, 'private.pem');
    writeFileSync(key, privatePem);
    await assert.rejects(startGateway({ env: { LONGWIRE_TOKEN_PUBLIC_KEY: key } }), (error: Error) => {
      assert.match(error.message, /LONGWIRE_TOKEN_PUBLIC_KEY=.* must hold a public key, and not the private one/);
      assert.ok(!error.message.includes(privatePem.slice(40, 80)));
      return true;
    });
  });
});
