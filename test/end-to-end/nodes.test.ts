// `/api/info` and `/api/channels`: the workers of all gateways on a broker and the channels that are held there, when workers come,
// die, hang and move; over Redis with two gateways.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { PollClient } from '../harness/poll-client.ts';
import { type RedisServer, startRedis } from '../harness/redis.ts';
import { openStreams } from '../harness/sse-client.ts';
import { waitUntil } from '../harness/wait.ts';
import { projectFile } from '../project.ts';

interface Node {
  uid: string;
  name: string;
  version: string;
  num_clients: number;
  num_users: number;
  num_subs: number;
  num_channels: number;
  uptime: number;
}

for (const broker of ['embedded', 'Redis']) {
  describe(`the workers and their channels, ${broker} broker`, () => {
    let redis: RedisServer | null = null;
    let gateways: GatewayProcess[];
    const workers = broker === 'Redis' ? 4 : 2;

    before(async () => {
      redis = broker === 'Redis' ? await startRedis() : null;
      const env = { REDIS_URL: redis?.url ?? '', LONGWIRE_HANG_SECONDS: '0', LONGWIRE_POLL_EXPIRY_SECONDS: '60' };
      gateways = await Promise.all(Array.from({ length: workers / 2 }, () => startGateway({ env })));
    });
    after(async () => {
      await Promise.all(gateways.map((gateway) => gateway.kill()));
      await redis?.stop();
    });

    const first = (): GatewayProcess => gateways[0] ?? assert.fail();
    const last = (): GatewayProcess => gateways.at(-1) ?? assert.fail();

    async function call<Result>(method: string, body: object = {}): Promise<Result> {
      const answer = await first().api(method, body);
      assert.equal(answer.status, 200, answer.text);
      return JSON.parse(answer.text).result;
    }
    const nodes = async (): Promise<Node[]> => (await call<{ nodes: Node[] }>('info')).nodes;
    const channels = async (pattern?: string): Promise<Record<string, number>> => {
      const result = await call<{ channels: Record<string, { num_clients: number }> }>(
        'channels',
        pattern === undefined ? {} : { pattern },
      );
      return Object.fromEntries(Object.entries(result.channels).map(([name, { num_clients }]) => [name, num_clients]));
    };

    /** Whichever worker answers. */
    async function untilAll(what: string, condition: (all: Node[]) => boolean): Promise<Node[]> {
      let all: Node[] = [];
      let times = 0;
      await waitUntil(
        async () => {
          all = await nodes();
          times = condition(all) ? times + 1 : 0;
          return times === 10;
        },
        () => `${what}: ${JSON.stringify(all)}`,
      );
      return all;
    }

    it('are all there, each once', async () => {
      const { version } = JSON.parse(projectFile('package.json'));
      const all = await untilAll('all to be there', ({ length }) => length === workers);
      assert.equal(new Set(all.map(({ uid }) => uid)).size, workers);
      for (const node of all) {
        assert.match(node.name, /-worker-[12]$/);
        assert.deepEqual(
          { ...node, uid: '', name: '', uptime: 0 },
          {
            uid: '',
            name: '',
            version,
            num_clients: 0,
            num_users: 0,
            num_subs: 0,
            num_channels: 0,
            uptime: 0,
          },
        );
      }
      assert.deepEqual(await channels(), {});
    });

    it('are counted over all workers and gateways, by pattern too', async () => {
      const held = (
        await Promise.all(
          gateways.map((gateway) =>
            openStreams(
              gateway.publicPort,
              ...Array.from({ length: 10 }, (_, i) => `/sse/chat:${i % 2}?channel=__proto__&user=u${i}`),
            ),
          ),
        )
      ).flat();
      const poll = new PollClient(last().publicPort, 'polled');
      await poll.poll('timeout=0');
      const each = 5 * gateways.length;
      const expected = { 'chat:0': each, 'chat:1': each, ['__proto__']: 2 * each, polled: 1 };
      assert.deepEqual(await channels(), expected);
      assert.deepEqual(await channels('chat:*'), { 'chat:0': each, 'chat:1': each });
      assert.deepEqual(await channels('p?lled'), { polled: 1 });
      assert.deepEqual(await channels('none'), {});
      const sum = (all: Node[], of: 'num_clients' | 'num_subs' | 'num_users'): number =>
        all.reduce((total, node) => total + node[of], 0);
      const all = await untilAll('all to be counted', (now) => sum(now, 'num_clients') === held.length + 1);
      assert.equal(sum(all, 'num_subs'), 2 * held.length + 1);
      assert.equal(sum(all, 'num_users'), held.length);
      for (const client of held) client.close();
      poll.close();
      await first().api('disconnect', { channel: 'polled' });
      await waitUntil(async () => Object.keys(await channels()).length === 0, 'all to be gone');
    });

    it('are more than one answer holds only where a narrower pattern is asked for', async () => {
      const names = Array.from({ length: 170 }, (_, socket) =>
        Array.from({ length: 62 }, (_, i) => `channel=many:${socket * 62 + i}`).join('&'),
      );
      const held = await openStreams(last().publicPort, ...names.map((query) => `/sse?${query}`));
      const answer = await first().api('channels', { pattern: 'many:*' });
      assert.deepEqual([answer.status, JSON.parse(answer.text).error?.code], [413, 106]);
      assert.equal(Object.keys(await channels('many:1???')).length, 1_000);
      for (const client of held) client.close();
    });

    it('are told without one that was killed, and with the one that came in its place', async () => {
      const before = (await nodes()).map(({ uid }) => uid);
      const [pid] = await last().workerPids();
      process.kill(pid ?? assert.fail(), 'SIGKILL');
      await untilAll('it to be forgotten', (all) => {
        return all.length === workers && all.filter(({ uid }) => before.includes(uid)).length === workers - 1;
      });
      // Whichever worker is asked may have heard the dead one later than the others did.
      await waitUntil(async () => (await first().api('channels', {})).status === 200, 'all to have forgotten it');
    });

    it('are not told as if that were all when one hangs', async () => {
      const [, pid = assert.fail()] = await last().workerPids();
      // The call must come to a worker that lives: the other gateway's, or the one of this that is not stopped.
      process.kill(pid, 'SIGSTOP');
      try {
        const answers = await Promise.all(
          Array.from({ length: 4 }, () => Promise.race([first().api('channels', {}), after3s()])),
        );
        const failed = answers.filter((answer) => answer !== null);
        assert.ok(failed.length > 0);
        for (const { status, text } of failed) {
          const { error } = JSON.parse(text);
          assert.deepEqual([status, error.code], [503, 503]);
          assert.match(
            error.message,
            broker === 'Redis' ? /not all have answered in time: .*-worker-2/ : /answered|behind/,
          );
        }
      } finally {
        process.kill(pid, 'SIGCONT');
      }
      await waitUntil(async () => (await first().api('channels', {})).status === 200, 'it to answer again');
    });

    it('are replaced by others without a word too many', async () => {
      const { operation } = JSON.parse((await last().command('/workers/replace')).text);
      await waitUntil(
        async () => JSON.parse((await last().admin(`/operations/${operation}`)).text).state === 'done',
        'it',
      );
      // Those that left have said so: they need not be forgotten.
      await untilAll('the new ones alone', ({ length }) => length === workers);
      assert.deepEqual(await channels(), {});
    });

    it('are asked for in words that make sense', async () => {
      for (const body of [{ pattern: 7 }, { pattern: 'x'.repeat(256) }]) {
        assert.equal(JSON.parse((await first().api('channels', body)).text).error.code, 107);
      }
    });

    it('cannot be told while Redis is away', { skip: broker !== 'Redis' }, async () => {
      await redis?.kill();
      for (const method of ['info', 'channels']) {
        await waitUntil(async () => (await first().api(method, {})).status === 503, `${method} to fail`);
      }
      await redis?.restart();
      await waitUntil(async () => {
        const { status, text } = await first().api('info', {});
        return status === 200 && JSON.parse(text).result.nodes.length === workers;
      }, 'all to be heard again');
    });
  });
}

function after3s(): Promise<null> {
  return new Promise((resolve) => setTimeout(() => resolve(null), 3_000).unref());
}
