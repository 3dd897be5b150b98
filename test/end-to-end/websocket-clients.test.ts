// WebSockets with clients that are not ours: `ws` from npm, Debian's python3-websockets, and a real Chromium, which also
// opens an EventSource and reads a stream with fetch. Each subscribes, is published to, pings, sends fragments, and is told
// to come back when the gateway drains.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, it } from 'node:test';
import { WebSocket } from 'ws';
import { BrowserPage } from '../harness/chromium.ts';
import { ForeignProgram, missing } from '../harness/foreign.ts';
import { type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { waitUntil } from '../harness/wait.ts';
import { PROJECT_ROOT } from '../project.ts';
import { NASTY_PAYLOADS } from '../workers/payloads.ts';
import { WIRES } from './setups.ts';

const PYTHON = '/usr/bin/python3';
/** Drains at once; a client that is busy with a mebibyte is not taken for a slow consumer. */
const PATIENT = { LONGWIRE_DRAIN_SECONDS: '0', LONGWIRE_OUTBOX_LIMIT_BYTES: '67108864' };
const COME_BACK = { code: 1012, reason: 'come back' };

interface Seen {
  binary: boolean;
  data: Buffer;
}

for (const wire of WIRES) {
  describe(`ws from npm, ${wire} wire`, () => {
    let gateway: GatewayProcess;

    before(async () => {
      gateway = await startGateway({ env: { LONGWIRE_WIRE: wire, ...PATIENT } });
    });

    after(() => gateway.kill());

    async function open(target: string): Promise<{ socket: WebSocket; seen: Seen[] }> {
      const socket = new WebSocket(`ws://127.0.0.1:${gateway.publicPort}${target}`);
      const seen: Seen[] = [];
      socket.on('message', (data: Buffer, binary: boolean) => seen.push({ binary, data }));
      await once(socket, 'open');
      return { socket, seen };
    }

    it('gets every payload: text as text, the rest as binary frames or base64', async () => {
      const raw = await open('/ws/nasty?format=raw');
      const json = await open('/ws/nasty');
      assert.equal(raw.socket.extensions, '');
      const payloads = Object.entries(NASTY_PAYLOADS);
      for (const [, payload] of payloads) await gateway.publish('nasty', payload);
      await waitUntil(() => Math.min(raw.seen.length, json.seen.length) >= payloads.length, 'all payloads', 30_000);
      for (const [index, [name, payload]] of payloads.entries()) {
        const text = payload.equals(Buffer.from(payload.toString()));
        assert.equal(raw.seen[index]?.binary, !text, name);
        assert.ok(raw.seen[index].data.equals(payload), name);
        const { channel, data, encoding } = JSON.parse(String(json.seen[index]?.data));
        assert.equal(channel, 'nasty');
        assert.ok(Buffer.from(data, encoding ?? 'utf8').equals(payload), name);
      }
      raw.socket.terminate();
      json.socket.terminate();
    });

    it('pings, sends fragments, changes its channels and closes', async () => {
      const { socket, seen } = await open('/ws/alice');
      const pong = once(socket, 'pong');
      socket.ping('are you there?');
      assert.equal(String((await pong)[0]), 'are you there?');
      socket.send('{"subscribe":', { fin: false });
      socket.ping();
      socket.send('"b', { fin: false });
      socket.send('ob"}', { fin: true });
      await waitUntil(() => seen.length >= 1, 'the reply');
      await gateway.publish('bob', 'hello');
      await waitUntil(() => seen.length >= 2, 'the publication');
      assert.deepEqual(
        seen.map(({ data }) => JSON.parse(String(data))),
        [{ subscribed: ['bob'] }, { channel: 'bob', data: 'hello' }],
      );
      socket.close(4001, 'bye');
      const [code] = await once(socket, 'close');
      assert.equal(code, 4001);
    });

    it('is told why it is closed: what it said, and that the gateway drains', async () => {
      const large = await open('/ws/alice');
      large.socket.send(Buffer.alloc(100_000, ' ').toString());
      const [code] = await once(large.socket, 'close');
      assert.equal(code, 1009);

      const { socket } = await open('/ws/alice');
      const closed = once(socket, 'close');
      await gateway.stop();
      const [drained, reason] = await closed;
      assert.deepEqual({ code: drained, reason: String(reason) }, COME_BACK);
    });
  });
}

describe('python3-websockets', { skip: missing(PYTHON, '-c', 'import websockets') }, () => {
  it('subscribes, pings, sends fragments, reads a mebibyte, closes; and is told to come back', async (t) => {
    const gateway = await startGateway({ env: PATIENT });
    t.after(() => gateway.kill());
    const script = `${PROJECT_ROOT}/test/fixtures/websocket_client.py`;
    const start = (): ForeignProgram =>
      new ForeignProgram(PYTHON, [script, `ws://127.0.0.1:${gateway.publicPort}/ws/alice?format=raw`]);
    const told = (client: ForeignProgram): Record<string, unknown>[] =>
      client.out
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line));
    const tells = (client: ForeignProgram, count: number): Promise<void> =>
      waitUntil(
        () => told(client).length >= count || client.exited,
        () => `${count} lines; there came ${client.out.slice(0, 1_000)} ${client.errors}`,
        30_000,
      );
    const clients = [start(), start()];
    t.after(() => Promise.all(clients.map((client) => client.stop())));
    const [first, second] = clients as [ForeignProgram, ForeignProgram];
    await Promise.all(clients.map((client) => tells(client, 1)));

    first.say('{"subscribe":"bob"}');
    await tells(first, 2);
    first.say('ping');
    await tells(first, 3);
    first.say('fragments');
    await tells(first, 4);
    const large = '🦊'.repeat(262_144);
    await gateway.publish('bob', large);
    await gateway.publish('alice', Buffer.of(0xff, 0x00));
    await tells(first, 6);
    first.say('bye');
    await tells(first, 7);
    assert.deepEqual(told(first), [
      { opened: true },
      { binary: false, text: '{"subscribed":["bob"]}' },
      { pong: true },
      { binary: false, text: '{"pong":"in pieces"}' },
      { binary: false, text: large },
      { binary: true, text: 'ff00' },
      { closed: 4001, reason: '' },
    ]);

    await gateway.stop();
    await tells(second, 3);
    assert.deepEqual(told(second).at(-1), { closed: COME_BACK.code, reason: COME_BACK.reason });
  });
});

describe('Chromium', { skip: missing('chromium', '--version') }, () => {
  it('reads all transports, changes its channels, and closes in order; a page of another origin may not', async (t) => {
    const page = new BrowserPage();
    t.after(() => page.stop());
    const origin = await page.listen();
    const gateway = await startGateway({ env: { LONGWIRE_CORS_ORIGINS: origin, LONGWIRE_DRAIN_SECONDS: '0' } });
    t.after(() => gateway.kill());
    const strict = await startGateway({ env: { LONGWIRE_WORKERS: '1' } });
    t.after(() => strict.kill());
    const at = `127.0.0.1:${gateway.publicPort}`;
    page.run(
      `const source = new EventSource('http://${at}/sse/alice');
       source.onopen = () => report('sse opened');
       source.onmessage = ({ data }) => report({ from: 'sse', data });`,
      `const response = await fetch('http://${at}/stream/alice');
       report('stream opened');
       let text = '';
       for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
         text += part;
         const lines = text.split('\\n');
         text = lines.pop();
         for (const line of lines) if (line !== '') report({ from: 'stream', ...JSON.parse(line) });
       }
       report('stream ended');`,
      `const socket = new WebSocket('ws://${at}/ws/elsewhere');
       socket.onopen = () => socket.send(JSON.stringify({ subscribe: ['alice', 'bob'] }));
       socket.onmessage = ({ data }) => report({ from: 'websocket', ...JSON.parse(data) });
       socket.onclose = ({ code, reason, wasClean }) => report({ from: 'websocket', code, reason, wasClean });`,
      `const bytes = new WebSocket('ws://${at}/ws/alice?format=raw');
       bytes.binaryType = 'arraybuffer';
       bytes.onopen = () => report('raw opened');
       bytes.onmessage = ({ data }) => {
         report({ from: 'raw', data: typeof data === 'string' ? data : [...new Uint8Array(data)] });
         if (typeof data !== 'string') bytes.close(4002, 'enough');
       };
       bytes.onclose = ({ code, wasClean }) => report({ from: 'raw', code, wasClean });`,
      `const refused = new WebSocket('ws://127.0.0.1:${strict.publicPort}/ws/alice');
       refused.onopen = () => report({ fault: 'a page of another origin was let in' });
       refused.onclose = ({ code }) => report({ from: 'refused', code });
       fetch('http://127.0.0.1:${strict.publicPort}/stream/alice').then(
         () => report({ fault: 'a page of another origin may read' }),
         () => report({ from: 'forbidden' }),
       );`,
    );
    const has = (wanted: object | string) =>
      page.reported((report) => JSON.stringify(report) === JSON.stringify(wanted), JSON.stringify(wanted));

    await Promise.all(['sse opened', 'stream opened', 'raw opened'].map(has));
    await has({ from: 'websocket', subscribed: ['alice', 'bob'] });
    await has({ from: 'refused', code: 1006 });
    await has({ from: 'forbidden' });
    await gateway.publish('alice', 'two\nlines 🦊');
    await gateway.publish('alice', Buffer.of(0xff, 0x00));
    await gateway.publish('bob', 'for bob');
    await has({ from: 'sse', data: 'two\nlines 🦊' });
    await has({ from: 'stream', channel: 'alice', data: 'two\nlines 🦊' });
    await has({ from: 'raw', data: 'two\nlines 🦊' });
    await has({ from: 'raw', data: [255, 0] });
    await has({ from: 'raw', code: 4002, wasClean: true });
    await has({ from: 'websocket', channel: 'alice', data: '/wA=', encoding: 'base64' });
    await has({ from: 'websocket', channel: 'bob', data: 'for bob' });
    await gateway.stop();
    await has({ from: 'websocket', ...COME_BACK, wasClean: true });
    await has('stream ended');
    assert.deepEqual(
      page.reports.filter((report) => typeof report === 'object' && report !== null && 'fault' in report),
      [],
    );
  });
});
