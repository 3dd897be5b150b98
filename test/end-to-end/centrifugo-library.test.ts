// A published client library of Centrifugo's HTTP API, `cent.js`, as it comes from the registry: every method of it that the gateway
// has, against its own idea of the answers.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { CentClient, CentMethods } from 'cent.js';
import { API_KEY, type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { ask } from '../harness/raw-client.ts';
import { SseClient } from '../harness/sse-client.ts';
import { waitUntil } from '../harness/wait.ts';

describe('cent.js', () => {
  const folder = mkdtempSync(join(tmpdir(), 'longwire-cent-'));
  let gateway: GatewayProcess;
  let cent: CentClient;

  before(async () => {
    const file = join(folder, 'namespaces.json');
    const options = { history_size: 10, history_ttl_seconds: 60, presence: true };
    writeFileSync(file, JSON.stringify({ namespaces: { chat: options } }));
    gateway = await startGateway({ env: { LONGWIRE_NAMESPACES: file } });
    cent = new CentClient({ url: `http://127.0.0.1:${gateway.publicPort}/api`, apiKey: API_KEY });
  });
  after(async () => {
    await gateway.kill();
    rmSync(folder, { recursive: true, force: true });
  });

  it('publishes, broadcasts and reads the history', async () => {
    const first = await cent.publish({ channel: 'chat:a', data: { n: 1 } });
    assert.ok((first.offset ?? 0) > 0 && (first.epoch ?? '') !== '');
    assert.deepEqual(await cent.publish({ channel: 'plain', data: { n: 1 } }), {});
    const answer: unknown = await cent.broadcast({ channels: ['chat:a', 'plain'], data: { n: 2 } });
    assert.deepEqual(answer, {
      responses: [{ result: { epoch: first.epoch, offset: (first.offset ?? 0) + 1 } }, { result: {} }],
    });
    const page = await cent.getHistory({ channel: 'chat:a', limit: 10 });
    assert.equal(page.epoch, first.epoch);
    assert.deepEqual(
      page.publications.map(({ data, offset }) => [data, offset]),
      [
        ['{"n":1}', first.offset],
        ['{"n":2}', (first.offset ?? 0) + 1],
      ],
    );
    assert.deepEqual(await cent.removeHistory({ channel: 'chat:a' }), {});
    assert.deepEqual((await cent.getHistory({ channel: 'chat:a', limit: 10 })).publications, []);
  });

  it('tells who is there, and disconnects a client or a user', async () => {
    const open = async (query: string) => {
      const client = await new SseClient(gateway.publicPort, `/sse/chat:b?${query}`).opened();
      await waitUntil(() => client.notices.length > 0, 'the id');
      return { client, id: JSON.parse(client.notices[0]?.data ?? '').client as string };
    };
    const one = await open('user=u&info=%7B%22name%22:%22One%22%7D');
    const two = await open('user=u');
    const members = (await cent.getPresence({ channel: 'chat:b' })).presence;
    assert.deepEqual(members, {
      [one.id]: { client: one.id, user: 'u', conn_info: { name: 'One' } },
      [two.id]: { client: two.id, user: 'u' },
    });
    assert.deepEqual(await cent.getPresenceStats({ channel: 'chat:b' }), { num_clients: 2, num_users: 1 });
    assert.deepEqual(await cent.getChannels({ pattern: 'chat:*' }), { channels: { 'chat:b': { num_clients: 2 } } });
    assert.deepEqual(await cent.disconnect({ user: 'u', client: one.id }), {});
    assert.equal(await one.client.connection.end(), 'fin');
    assert.deepEqual(await cent.disconnect({ user: 'u' }), {});
    assert.equal(await two.client.connection.end(), 'fin');
  });

  it('tells of the workers', async () => {
    await waitUntil(async () => (await cent.getInfo()).nodes.length === 2, 'both to be heard');
    for (const { uid, name, version, num_clients, num_channels, uptime } of (await cent.getInfo()).nodes) {
      assert.deepEqual([typeof uid, typeof name, typeof version], ['string', 'string', 'string']);
      for (const number of [num_clients, num_channels, uptime]) assert.ok(Number.isInteger(number));
    }
  });

  it('sends several commands at once', async () => {
    const answers = await cent.pipeline([
      { method: CentMethods.Publish, params: { channel: 'plain', data: { n: 1 } } },
      { method: CentMethods.PresenceStats, params: { channel: 'chat:nobody' } },
      { method: CentMethods.Publish, params: { channel: '', data: {} } },
    ] as Parameters<typeof cent.pipeline>[0]);
    assert.deepEqual(answers, [{}, { num_clients: 0, num_users: 0 }, undefined]);
  });

  it('hears of errors, a wrong key and methods that are not there', async () => {
    await assert.rejects(cent.publish({ channel: ':own', data: {} }));
    await assert.rejects(cent.getPresence({ channel: 'plain' }));
    await assert.rejects(cent.subscribe({ user: 'u', channel: 'plain' }));
    const stranger = new CentClient({ url: `http://127.0.0.1:${gateway.publicPort}/api`, apiKey: 'wrong' });
    await assert.rejects(stranger.publish({ channel: 'plain', data: {} }));
  });
});

describe('POST /api', () => {
  let gateway: GatewayProcess;
  before(async () => {
    gateway = await startGateway({ env: { LONGWIRE_API_ERRORS: 'body' } });
  });
  after(() => gateway.kill());

  const post = (body: string) =>
    ask(
      gateway.publicPort,
      `POST /api HTTP/1.1\r\nHost: g\r\nX-API-Key: ${API_KEY}\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );

  it('answers a line for a line, and a fault of one is no other’s', async () => {
    const lines = [
      '{"method":"publish","params":{"channel":"a","data":"x"}}',
      '{"method":"none","params":{}}',
      '{"params":{}}',
      '{"method":"info"}',
      '{"method":"publish","params":[]}',
      'x',
      '[]',
      '{"method":"publish","params":{"channel":""}}',
    ];
    const { status, text } = await post(`${lines.join('\n')}\n\n`);
    assert.equal(status, 200);
    const replies: { result?: object; error?: { code: number } }[] = text.split('\n').map((line) => JSON.parse(line));
    assert.deepEqual(
      replies.map(({ result, error }) => (result === undefined ? error?.code : 'result')),
      ['result', 104, 104, 'result', 107, 107, 107, 107],
    );
  });

  it('takes neither nothing nor too much at once', async () => {
    for (const body of ['\n', '{"method":"info"}\n'.repeat(1_001)]) {
      assert.equal(JSON.parse((await post(body)).text).error.code, 107);
    }
  });

  it('answers 200 with the error in the body alone where LONGWIRE_API_ERRORS says so', async () => {
    for (const [method, body, code] of [
      ['publish', {}, 107],
      ['none', {}, 104],
      ['presence', { channel: 'a' }, 108],
      ['publish', 'x', 107],
    ] as const) {
      const answer = await gateway.api(method, body);
      assert.deepEqual([answer.status, JSON.parse(answer.text).error.code], [200, code], method);
    }
    assert.equal((await gateway.api('publish', {}, '')).status, 401);
  });
});
