// The history through the backend's API, on both brokers: places of publications, pages of them, and honest errors.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { type RedisServer, startRedis } from '../harness/redis.ts';

interface Page {
  publications: { data: string; offset: number; encoding?: string; event?: string; id?: string }[];
  offset: number;
  epoch: string;
}

for (const broker of ['embedded', 'Redis']) {
  describe(`history through the API, ${broker} broker`, () => {
    const folder = mkdtempSync(join(tmpdir(), 'longwire-history-'));
    const file = join(folder, 'namespaces.json');
    writeFileSync(file, '{"namespaces":{"chat":{"history_size":5,"history_ttl_seconds":60}}}');
    let redis: RedisServer | null = null;
    let gateway: GatewayProcess;

    before(async () => {
      redis = broker === 'Redis' ? await startRedis() : null;
      gateway = await startGateway({ env: { REDIS_URL: redis?.url ?? '', LONGWIRE_NAMESPACES: file } });
    });
    after(async () => {
      await gateway.kill();
      await redis?.stop();
      rmSync(folder, { recursive: true, force: true });
    });

    async function call<Result>(method: string, body: object): Promise<Result> {
      const answer = await gateway.api(method, body);
      assert.equal(answer.status, 200, answer.text);
      return JSON.parse(answer.text).result;
    }

    async function refused(method: string, body: object, code: number, status: number, problem: RegExp): Promise<void> {
      const answer = await gateway.api(method, body);
      const { error } = JSON.parse(answer.text);
      assert.deepEqual([error?.code, answer.status], [code, status], answer.text);
      assert.match(error.message, problem);
    }

    const data = (page: Page): string[] => page.publications.map((publication) => publication.data);

    it('says where each publication is', async () => {
      const first = await call<Page>('publish', { channel: 'chat:a', data: '1', event: 'e', id: 'i' });
      assert.ok(first.offset > 0 && first.epoch.length > 0);
      const { responses } = await call<{ responses: object[] }>('broadcast', {
        channels: ['chat:a', 'plain', 'chat:b'],
        data: '2',
      });
      assert.deepEqual(responses, [
        { result: { offset: first.offset + 1, epoch: first.epoch } },
        { result: {} },
        { result: { offset: first.offset + 2, epoch: first.epoch } },
      ]);
      const page = await call<Page>('history', { channel: 'chat:a', limit: -1 });
      assert.deepEqual(page, {
        publications: [
          { data: '1', offset: first.offset, event: 'e', id: 'i' },
          { data: '2', offset: first.offset + 1 },
        ],
        offset: first.offset + 2,
        epoch: first.epoch,
      });
    });

    it('gives pages: a limit, from a position on, and from the newest back', async () => {
      const since: { offset: number; epoch: string }[] = [];
      for (const text of ['1', '2', '3', '4', '5', '6'])
        since.push(await call('publish', { channel: 'chat:p', data: text }));
      const page = (query: object) => call<Page>('history', { channel: 'chat:p', ...query });
      assert.deepEqual(data(await page({})), []);
      assert.deepEqual(data(await page({ limit: -1 })), ['2', '3', '4', '5', '6']);
      assert.deepEqual(data(await page({ limit: 2 })), ['2', '3']);
      assert.deepEqual(data(await page({ limit: 2, reverse: true })), ['6', '5']);
      assert.deepEqual(data(await page({ limit: 2, since: since[2] })), ['4', '5']);
      assert.deepEqual(data(await page({ limit: 2, since: since[3], reverse: true })), ['3', '2']);
      assert.deepEqual(data(await page({ limit: -1, since: since[5] })), []);
      assert.deepEqual(data(await page({ limit: -1, since: since[0] })), ['2', '3', '4', '5', '6']);
      await call('publish', { channel: 'chat:p', data: '7' });
      await refused('history', { channel: 'chat:p', limit: -1, since: since[0] }, 112, 409, /no longer in the history/);
      await refused('history', { channel: 'chat:p', since: { offset: 1, epoch: 'other' } }, 112, 409, /no longer/);
    });

    it('gives bytes in base64', async () => {
      await gateway.publish('chat:bytes', Buffer.from([0xff]));
      const page = await call<Page>('history', { channel: 'chat:bytes', limit: 1 });
      assert.deepEqual([page.publications[0]?.data, page.publications[0]?.encoding], ['/w==', 'base64']);
    });

    it('publishes once what is published twice with one key', async () => {
      for (const channel of ['chat:key', 'plain:key']) {
        const call1 = await call('publish', { channel, data: '1', idempotency_key: 'k' });
        assert.deepEqual(await call('publish', { channel, data: '2', idempotency_key: 'k' }), call1);
      }
      const keyed = { channels: ['chat:key', 'chat:key2'], data: '3', idempotency_key: 'k' };
      assert.deepEqual(await call('broadcast', keyed), await call('broadcast', keyed));
      assert.deepEqual(data(await call('history', { channel: 'chat:key', limit: -1 })), ['1']);
      assert.deepEqual(data(await call('history', { channel: 'chat:key2', limit: -1 })), ['3']);
      await refused(
        'publish',
        { channel: 'chat:key', data: 'x', idempotency_key: 'x'.repeat(256) },
        107,
        400,
        /at most 255/,
      );
    });

    it('takes several calls in one', async () => {
      for (const parallel of [false, true]) {
        const channel = `chat:batch${parallel}`;
        const answer = await gateway.api('batch', {
          parallel,
          commands: [
            { publish: { channel, data: '1' } },
            { history: { channel: 'plain' } },
            { none: {} },
            { publish: {}, history: {} },
            7,
            { broadcast: { channels: [channel], data: '2' } },
          ],
        });
        assert.equal(answer.status, 200);
        const { replies } = JSON.parse(answer.text);
        assert.ok(replies[0].publish.offset > 0);
        assert.deepEqual(
          replies.slice(1, 5).map((reply: { error: { code: number } }) => reply.error.code),
          [108, 104, 107, 107],
        );
        assert.ok(replies[5].broadcast.responses[0].result.offset > 0);
      }
      await refused('batch', { commands: [] }, 107, 400, /1 to 1000/);
      await refused('batch', { commands: [{}], parallel: 1 }, 107, 400, /parallel/);
    });

    it('forgets a channel when told to', async () => {
      const first = await call<Page>('publish', { channel: 'chat:r', data: '1' });
      await call('publish', { channel: 'chat:r', data: '2' });
      assert.deepEqual(await call('history_remove', { channel: 'chat:r' }), {});
      assert.deepEqual(data(await call('history', { channel: 'chat:r', limit: -1 })), []);
      await refused('history', { channel: 'chat:r', limit: -1, since: first }, 112, 409, /no longer/);
    });

    it('refuses what has no history or makes no sense', async () => {
      for (const method of ['history', 'history_remove']) {
        await refused(method, { channel: 'plain' }, 108, 400, /has no history/);
        await refused(method, { channel: '' }, 107, 400, /must not be empty/);
      }
      for (const [query, problem] of [
        [{ limit: 1.5 }, /limit/],
        [{ limit: -2 }, /limit/],
        [{ limit: '1' }, /limit/],
        [{ reverse: 1 }, /reverse/],
        [{ since: 7 }, /since/],
        [{ since: { offset: -1, epoch: 'e' } }, /since/],
        [{ since: { offset: 1 } }, /since/],
      ] as const) {
        await refused('history', { channel: 'chat:a', ...query }, 107, 400, problem);
      }
    });
  });
}
