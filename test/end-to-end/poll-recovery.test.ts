// Polls of channels with history: the session may die, with its time or with its worker, and the position lives. What was missed
// comes from the history, once each and in order, or there is word of a gap. Both brokers, two workers, each poll anywhere.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { HistoryClient } from '../harness/history-client.ts';
import { type Answer, ask } from '../harness/raw-client.ts';
import { startRedis } from '../harness/redis.ts';
import { waitUntil } from '../harness/wait.ts';

const NAMESPACES = {
  namespaces: {
    chat: { history_size: 1_000, history_ttl_seconds: 60 },
    short: { history_size: 3, history_ttl_seconds: 60 },
  },
};

interface Told {
  sid: string;
  since: string;
  publications: ({ channel: string; data: string; position?: string } | { gap?: string[]; recovered?: string[] })[];
}

for (const broker of ['embedded', 'redis'] as const) {
  describe(`polls of channels with history, ${broker}`, () => {
    const folder = mkdtempSync(join(tmpdir(), 'longwire-polls-'));
    let gateway: GatewayProcess;
    let stopRedis: () => Promise<void> = async () => {};
    let made = 0;

    before(async () => {
      const file = join(folder, 'namespaces.json');
      writeFileSync(file, JSON.stringify(NAMESPACES));
      const env: Record<string, string> = { LONGWIRE_NAMESPACES: file, LONGWIRE_POLL_EXPIRY_SECONDS: '0.5' };
      if (broker === 'redis') {
        const redis = await startRedis();
        env.REDIS_URL = redis.url;
        stopRedis = redis.stop;
      }
      gateway = await startGateway({ env });
    });
    after(async () => {
      await gateway.kill();
      await stopRedis();
      rmSync(folder, { recursive: true, force: true });
    });

    const fresh = (namespace: string): string => `${namespace}:${++made}`;
    const poll = (target: string, fields = ''): Promise<Answer> =>
      ask(gateway.publicPort, `GET /poll/${target} HTTP/1.0\r\nHost: gateway\r\n${fields}\r\n`);
    const told = async (target: string, fields = ''): Promise<Told> => {
      const { status, headers, head, text } = await poll(target, fields);
      assert.ok(status === 200 || status === 204, `${head}\n${text}`);
      const { 'longwire-sid': sid = '', 'longwire-since': since = '' } = headers;
      if (status === 204) return { sid, since, publications: [] };
      const body: Told = JSON.parse(text);
      assert.deepEqual([body.sid, body.since], [sid, since]);
      return body;
    };
    /** Payloads and notices, in order. */
    const said = ({ publications }: Told): string[] =>
      publications.map((each) =>
        'data' in each
          ? each.data
          : `${'gap' in each ? `gap ${each.gap}` : ''}${'recovered' in each ? `recovered ${each.recovered}` : ''}`,
      );
    /** Polls on from there until something was said of the history, and gives all that was said. */
    const recovered = async (target: string, cursor: string): Promise<{ all: string[]; last: Told }> => {
      const all: string[] = [];
      let last = await told(`${target}${target.includes('?') ? '&' : '?'}timeout=5&${cursor}`);
      for (let polls = 0; ; polls++) {
        all.push(...said(last));
        if (all.some((text) => text.startsWith('recovered'))) return { all, last };
        assert.ok(polls < 100, `there came ${all}`);
        const next = `timeout=5&sid=${last.sid}&since=${last.since}`;
        last = await told(`${target}${target.includes('?') ? '&' : '?'}${next}`);
      }
    };
    /** Resolves once the session has expired. One that lives refuses another channel, and is not kept alive by that. */
    const expired = (sid: string): Promise<void> =>
      waitUntil(async () => (await poll(`another?sid=${sid}`)).status === 410, 'the session to expire');

    it('whose session has expired get what they missed, and another session', async () => {
      const channel = fresh('chat');
      const first = await told(`${channel}?timeout=0`);
      await gateway.publish(channel, '1');
      const second = await told(`${channel}?sid=${first.sid}&since=${first.since}`);
      assert.deepEqual([said(second), second.sid], [['1'], first.sid]);
      await expired(first.sid);
      for (const data of ['2', '3']) await gateway.publish(channel, data);
      const { all, last } = await recovered(channel, `sid=${second.sid}&since=${second.since}`);
      assert.deepEqual(all, ['2', '3', `recovered ${channel}`]);
      assert.notEqual(last.sid, first.sid);
      // Its mailbox is in use from here on: a session that began with a recovery is no other kind.
      await gateway.publish(channel, '4');
      assert.deepEqual(said(await told(`${channel}?sid=${last.sid}&since=${last.since}`)), ['4']);
    });

    it('do so with their ETag alone, and again where the answer was lost', async () => {
      const channel = fresh('chat');
      const { headers } = await poll(`${channel}?timeout=0`);
      await gateway.publish(channel, '1');
      await expired(headers['longwire-sid'] ?? '');
      for (let i = 0; i < 2; i++) {
        const back = await told(`${channel}?timeout=5`, `If-None-Match: ${headers.etag}\r\n`);
        assert.deepEqual(said(back), ['1', `recovered ${channel}`]);
      }
    });

    it('come with the position of a stream, and a stream with theirs', async () => {
      const channel = fresh('chat');
      const stream = await new HistoryClient('stream', gateway.publicPort, [channel]).opened();
      stream.close();
      await gateway.publish(channel, '1');
      const { all, last } = await recovered(channel, `since=${stream.position}`);
      assert.deepEqual(all, ['1', `recovered ${channel}`]);
      await gateway.publish(channel, '2');
      const [epoch, offset] = last.since.split('.');
      const back = new HistoryClient('sse', gateway.publicPort, [channel], `${epoch}.${offset}`);
      assert.deepEqual((await back.outcome()).recovered, [channel]);
      assert.deepEqual(await back.data(1), ['2']);
      back.close();
    });

    it('are told of a gap where the history no longer has it, or the position says nothing', async () => {
      const channel = fresh('short');
      const first = await told(`${channel}?timeout=0`);
      await expired(first.sid);
      for (const data of ['1', '2', '3', '4']) await gateway.publish(channel, data);
      for (const cursor of [`sid=${first.sid}&since=${first.since}`, 'since=other.1', 'since=what', 'since=']) {
        const back = await told(`${channel}?timeout=5&${cursor}`);
        assert.deepEqual(said(back), [`gap ${channel}`], cursor);
        await gateway.publish(channel, 'x');
        assert.deepEqual(said(await told(`${channel}?sid=${back.sid}&since=${back.since}`)), ['x']);
      }
    });

    it('with several channels get one order, and word of those that have no history when their session is gone', async () => {
      const [a, b] = [fresh('chat'), fresh('chat')];
      const target = `${a}?channel=${b}&channel=plain`;
      const first = await told(`${target}&timeout=0`);
      for (const [channel, data] of [
        [a, '1'],
        [b, '2'],
        [a, '3'],
      ] as const)
        await gateway.publish(channel, data);
      await expired(first.sid);
      const { all } = await recovered(target, `sid=${first.sid}&since=${first.since}`);
      assert.deepEqual(all, ['gap plain', '1', '2', '3', `recovered ${a},${b}`]);
    });

    it('go on in positions although nothing is published in their channels', async () => {
      const [quiet, busy] = [fresh('chat'), fresh('chat')];
      const first = await told(`${quiet}?timeout=0`);
      await gateway.publish(busy, 'x');
      const offset = ({ since }: Told): number => Number(since.split('.')[1]);
      let last = first;
      await waitUntil(async () => {
        last = await told(`${quiet}?timeout=0&sid=${last.sid}&since=${last.since}`);
        return offset(last) > offset(first);
      }, 'a position behind what others published');
    });

    it('get more than a mailbox holds as they take it', async () => {
      const channel = fresh('chat');
      const first = await told(`${channel}?timeout=0`);
      const payload = '.'.repeat(100_000);
      for (let i = 0; i < 40; i++) await gateway.publish(channel, `${i} ${payload}`);
      await expired(first.sid);
      const { all } = await recovered(channel, `since=${first.since}`);
      assert.deepEqual(
        all.map((text) => text.split(' ')[0]),
        [...Array.from({ length: 40 }, (_, i) => String(i)), 'recovered'],
      );
    });

    it('whose position stands in a session that has moved, whose worker is then killed, lose nothing', async () => {
      const channel = fresh('chat');
      let last = await told(`${channel}?timeout=0`);
      const { sid } = last;
      await gateway.publish(channel, '1');
      const before = await gateway.workerPids();
      gateway.signal('SIGHUP');
      const all: string[] = [];
      await waitUntil(async () => {
        // So that it does not expire meanwhile. While the session is on its way it is answered 503.
        const again = await told(`${channel}?timeout=0&sid=${last.sid}&since=${last.since}`).catch(() => last);
        if (again !== last) all.push(...said(again));
        last = again;
        const now = await gateway.workers();
        return now.length === 2 && now.every(({ state, pid }) => state === 'ready' && !before.includes(pid ?? 0));
      }, 'all workers to be replaced');
      last = await told(`${channel}?timeout=0&sid=${last.sid}&since=${last.since}`);
      assert.deepEqual([all, last.sid], [['1'], sid]);
      assert.equal(last.since.split('.').length, 3);
      const killed = await gateway.workerPids();
      for (const pid of killed) process.kill(pid, 'SIGKILL');
      await waitUntil(async () => {
        const now = await gateway.workers();
        return now.every(({ state, pid }) => state === 'ready' && !killed.includes(pid ?? 0));
      }, 'others to be ready');
      for (const data of ['2', '3']) await gateway.publish(channel, data);
      const back = await recovered(channel, `sid=${last.sid}&since=${last.since}`);
      assert.deepEqual(back.all, ['2', '3', `recovered ${channel}`]);
    });

    it('of channels without history are told that their session is gone, as before', async () => {
      const first = await told('plain?timeout=0');
      assert.match(first.since, /^\d+$/);
      await expired(first.sid);
      assert.equal((await poll(`plain?sid=${first.sid}&since=${first.since}`)).status, 410);
      const raw = await poll(`${fresh('chat')}?timeout=0&format=raw`);
      assert.match(raw.headers['longwire-since'] ?? '', /^\d+$/);
    });
  });
}
