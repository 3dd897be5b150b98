// `/api/disconnect`: everybody who holds a channel is closed, on all workers, with the reason in each transport's own way.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { type RedisServer, startRedis } from '../harness/redis.ts';
import { openStreams, type SseClient } from '../harness/sse-client.ts';
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

    it('is refused where it makes no sense', async () => {
      for (const [body, code] of [
        [{}, 107],
        [{ channel: ':own' }, 107],
        [{ user: '42' }, 108],
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
