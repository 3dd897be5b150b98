// `/api/disconnect`: everybody who holds a channel is closed, on all workers, with the reason in each transport's own way.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { PollClient } from '../harness/poll-client.ts';
import { type RedisServer, startRedis } from '../harness/redis.ts';
import { openStreams, SseClient } from '../harness/sse-client.ts';
import { TRANSPORTS } from '../harness/transports.ts';
import { waitUntil } from '../harness/wait.ts';
import { WebSocketClient } from '../harness/websocket-client.ts';

for (const broker of ['embedded', 'Redis']) {
  describe(`disconnect, ${broker} broker`, () => {
    let redis: RedisServer | null = null;
    let gateway: GatewayProcess;

    before(async () => {
      redis = broker === 'Redis' ? await startRedis() : null;
      gateway = await startGateway({ env: { REDIS_URL: redis?.url ?? '' } });
    });
    after(async () => {
      await gateway.kill();
      await redis?.stop();
    });

    it('closes all who hold the channel, many on each worker, and nobody else', async () => {
      const held = await openStreams(gateway.publicPort, ...Array.from({ length: 40 }, () => '/sse/alice'));
      const [both, other] = (await openStreams(gateway.publicPort, '/sse/bob?channel=alice', '/sse/bob')) as [
        SseClient,
        SseClient,
      ];
      const answer = await gateway.api('disconnect', { channel: 'alice', reason: 'logged out', reconnect: false });
      assert.deepEqual([answer.status, answer.text], [200, '{"result":{}}']);
      for (const client of [...held, both]) {
        assert.equal(await client.connection.end(), 'fin');
        assert.deepEqual(
          client.notices.map(({ data }) => JSON.parse(data)),
          [{ disconnect: { reason: 'logged out', reconnect: false } }],
        );
      }
      await gateway.publish('bob', 'x');
      assert.deepEqual(await other.data(1), ['x']);
      other.close();
      await gateway.metricReaches('longwire_closed_total', { reason: 'disconnected' }, 41);
    });

    it('says why and whether to come back in each transport', async () => {
      const stream = TRANSPORTS.find(({ name }) => name === 'stream') ?? assert.fail();
      const lines = await stream.open(gateway.publicPort, 'carol');
      const sockets = await Promise.all(
        [1, 2].map(() => new WebSocketClient(gateway.publicPort, '/ws/carol').opened()),
      );
      await gateway.api('disconnect', { channel: 'carol', disconnect: { code: 3500, reason: 'why' } });
      assert.equal(await lines.goodbye(), 'the last chunk');
      assert.deepEqual((await lines.received(1)).map(String), ['{"disconnect":{"reason":"why","reconnect":false}}']);
      for (const socket of sockets) assert.deepEqual(await socket.end(), { code: 4000, reason: 'why' });
      const again = await new WebSocketClient(gateway.publicPort, '/ws/carol').opened();
      await gateway.api('disconnect', { channel: 'carol' });
      assert.deepEqual(await again.end(), { code: 1012, reason: '' });
    });

    const known = async (target: string) => {
      const client = await new SseClient(gateway.publicPort, target).opened();
      await waitUntil(() => client.notices.length > 0, 'the id');
      return { client, id: JSON.parse(client.notices[0]?.data ?? '').client as string };
    };
    const farewells = ({ notices }: SseClient) => notices.slice(1).map(({ data }) => JSON.parse(data).disconnect);

    it('closes one client by its id, and all of a user but those that are spared', async () => {
      const [one, two, three] = await Promise.all([
        known('/sse/x?user=u'),
        known('/sse/y?user=u'),
        known('/sse/x?user=u'),
      ]);
      const other = await known('/sse/x?user=v');
      await gateway.api('disconnect', { client: one.id, user: 'v', reason: 'no' });
      await gateway.api('disconnect', { client: one.id, reason: 'one' });
      assert.equal(await one.client.connection.end(), 'fin');
      assert.deepEqual(farewells(one.client), [{ reason: 'one', reconnect: true }]);
      await gateway.api('disconnect', {
        client: '',
        user: 'u',
        whitelist: [three.id],
        disconnect: { code: 4500, reason: 'two' },
      });
      assert.equal(await two.client.connection.end(), 'fin');
      assert.deepEqual(farewells(two.client), [{ reason: 'two', reconnect: false }]);
      await gateway.publish('x', 'still here');
      for (const { client } of [three, other]) {
        assert.deepEqual(await client.data(1), ['still here']);
        client.close();
      }
    });

    it('finds a client by its id although it is on its way to another worker', async () => {
      const held = await Promise.all(Array.from({ length: 200 }, (_, i) => known(`/sse/moving?user=m${i}`)));
      const { operation } = JSON.parse((await gateway.command('/workers/replace')).text);
      for (const { id } of held) {
        await gateway.api('disconnect', { client: id, reason: 'found', reconnect: false });
      }
      for (const { client } of held) {
        assert.equal(await client.connection.end(), 'fin');
        assert.deepEqual(farewells(client), [{ reason: 'found', reconnect: false }]);
      }
      await waitUntil(
        async () => JSON.parse((await gateway.admin(`/operations/${operation}`)).text).state === 'done',
        'the workers to be replaced',
      );
    });

    it('ends poll sessions: the poll that waits is told, a first poll, and the next poll of one that is between two', async () => {
      const polls = ['user=waits', 'user=first', 'user=between'].map(
        (query) => new PollClient(gateway.publicPort, `polled?${query}`),
      );
      const [waits, first, between] = polls as [PollClient, PollClient, PollClient];
      const { headers } = await between.poll('timeout=0');
      await waits.poll('timeout=0');
      const waiting = [waits.poll(), first.poll()];
      await gateway.metricReaches('longwire_connections', { transport: 'poll' }, 2);
      await gateway.api('disconnect', { channel: 'polled', reason: 'why', reconnect: false });
      const answers = [...(await Promise.all(waiting)), await between.poll()];
      for (const { status, text } of answers) {
        assert.equal(status, 410);
        const { error, disconnect } = JSON.parse(text);
        assert.deepEqual([error.code, disconnect], [410, { reason: 'why', reconnect: false }]);
      }
      for (const poll of [waits, between]) {
        const { status, text } = await poll.poll();
        assert.deepEqual([status, JSON.parse(text).error.code], [410, 110]);
      }
      await gateway.metricReaches('longwire_poll_sessions', {}, 0);
      await gateway.metricReaches('longwire_known_clients', {}, 0);
      await gateway.api('disconnect', { client: headers['longwire-client'], reason: 'nobody any more' });
      const again = new PollClient(gateway.publicPort, 'polled?user=again');
      const id = (await again.poll('timeout=0')).headers['longwire-client'];
      await gateway.api('disconnect', { client: id });
      assert.deepEqual(JSON.parse((await again.poll()).text).disconnect, { reason: '', reconnect: true });
      for (const poll of [...polls, again]) poll.close();
    });

    it('is refused where it makes no sense', async () => {
      for (const [body, code] of [
        [{}, 107],
        [{ channel: ':own' }, 107],
        [{ channel: 'a', user: '42' }, 107],
        [{ user: 42 }, 107],
        [{ client: 'x'.repeat(256) }, 107],
        [{ client: '', user: '' }, 107],
        [{ user: 'u', whitelist: 'x' }, 107],
        [{ user: 'u', whitelist: [1] }, 107],
        [{ channel: 'a', reason: 'x'.repeat(124) }, 107],
        [{ channel: 'a', reconnect: 1 }, 107],
      ] as const) {
        assert.equal(JSON.parse((await gateway.api('disconnect', body)).text).error.code, code, JSON.stringify(body));
      }
      await waitUntil(
        async () => (await gateway.api('disconnect', { channel: 'nobody' })).status === 200,
        'it to be taken',
      );
    });
  });
}
