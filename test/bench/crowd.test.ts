// The load generator end to end: it must see what a good server does, and just as well what a bad one does wrong.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { type WebSocket, WebSocketServer } from 'ws';
import { nowMs, sleep } from '../../bench/clock.ts';
import { Crowd } from '../../bench/crowd.ts';
import { channelName } from '../../bench/load/orders.ts';
import { makePayload } from '../../bench/load/payload.ts';
import { TRANSPORTS } from '../../bench/load/transports.ts';
import { httpPublisher } from '../../bench/publisher.ts';
import { type Subject, startSubject } from '../../bench/subjects/subject.ts';
import { planOf, type SubjectSettings } from '../../bench/subjects/subjects.ts';

const CONNECTIONS = 60;
const LIMIT_MS = 20_000;
const SETTINGS: SubjectSettings = { node: process.execPath, nodeFlags: [], workers: 1, redisUrl: '' };

describe('clients of the node:http reference', () => {
  let subject: Subject;
  let crowd: Crowd;

  before(async () => {
    subject = await startSubject(await planOf('http', SETTINGS));
    crowd = await Crowd.start(CONNECTIONS);
  });

  after(async () => {
    await crowd.stop();
    await subject.stop();
  });

  it('connect, get every publication once, and let go', async () => {
    const connected = await crowd.connect(subject.plan.port, 'test-', false, 16, LIMIT_MS);
    assert.deepEqual([connected.open, connected.refused], [CONNECTIONS, 0]);
    const publisher = httpPublisher(subject.plan, 32);
    try {
      for (const sequence of [1, 2]) {
        const began = await publisher.each('test-', CONNECTIONS, sequence);
        const round = await crowd.round(sequence, LIMIT_MS);
        assert.equal(round.reached, CONNECTIONS);
        assert.ok(round.firstAtMs >= began && round.lastAtMs >= round.firstAtMs);
        assert.ok((round.latencies[0] ?? -1) >= 0);
      }
      await publisher.one(channelName('test-', 3), 3);
      assert.equal((await crowd.round(3, 200)).reached, 1);
    } finally {
      publisher.close();
    }
    const { tally } = await crowd.report();
    const expected = { open: CONNECTIONS, refused: 0, closed: 0, faulty: 0, received: 2 * CONNECTIONS + 1 };
    assert.deepEqual(tally, { ...expected, doubled: 0, overtaken: 0, samples: [] });
  });
});

for (const wire of ['auto', 'tls'] as const)
  describe(`clients of the gateway, wire ${wire}`, () => {
    const HEARTBEAT_SECONDS = 0.3;
    let subject: Subject;

    before(async () => {
      const plan = await planOf('longwire', SETTINGS, wire);
      subject = await startSubject({
        ...plan,
        env: { ...plan.env, LONGWIRE_HEARTBEAT_SECONDS: String(HEARTBEAT_SECONDS) },
      });
    });

    after(() => subject.stop());

    for (const transport of wire === 'tls' ? (['sse'] as const) : TRANSPORTS) {
      it(`get every publication over ${transport}, and outlast its heartbeats`, async () => {
        const crowd = await Crowd.start(CONNECTIONS, transport, subject.plan.secure);
        const publisher = httpPublisher(subject.plan, 32);
        try {
          const connected = await crowd.connect(subject.plan.port, `${transport}-`, false, 16, LIMIT_MS);
          assert.deepEqual([connected.open, connected.refused], [CONNECTIONS, 0]);
          for (const sequence of [1, 2]) {
            await sleep(HEARTBEAT_SECONDS * 3_000);
            await publisher.each(`${transport}-`, CONNECTIONS, sequence);
            assert.equal((await crowd.round(sequence, LIMIT_MS)).reached, CONNECTIONS);
          }
          const { tally } = await crowd.report();
          const expected = { open: CONNECTIONS, refused: 0, closed: 0, faulty: 0, received: 2 * CONNECTIONS };
          assert.deepEqual(tally, { ...expected, doubled: 0, overtaken: 0, samples: [] });
        } finally {
          publisher.close();
          await crowd.stop();
        }
      });
    }
  });

describe('clients of a WebSocket server that is not ours', () => {
  const sockets: WebSocket[] = [];
  const paths = new Set<string>();
  let server: WebSocketServer;
  let crowd: Crowd;

  before(async () => {
    server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
    server.on('connection', (socket, request) => {
      sockets.push(socket);
      paths.add(request.url ?? '');
    });
    await once(server, 'listening');
    crowd = await Crowd.start(CONNECTIONS, 'websocket');
  });

  after(async () => {
    await crowd.stop();
    server.close();
  });

  it('shake hands, get what is sent, answer pings and notice a close', { timeout: LIMIT_MS }, async () => {
    const address = server.address();
    assert.ok(address !== null && typeof address === 'object');
    const connected = await crowd.connect(address.port, 'test-', false, 16, LIMIT_MS);
    assert.deepEqual([connected.open, connected.refused], [CONNECTIONS, 0]);
    assert.ok(paths.has(`/ws/${channelName('test-', 7)}?format=raw`));
    const pongs = sockets.map((socket) => once(socket, 'pong'));
    for (const socket of sockets) {
      socket.ping('still there?');
      socket.send(makePayload(1, nowMs(), 0));
    }
    assert.equal((await crowd.round(1, LIMIT_MS)).reached, CONNECTIONS);
    for (const [payload] of await Promise.all(pongs)) assert.equal(String(payload), 'still there?');
    sockets[0]?.close(1012);
    for (const socket of sockets.slice(1)) socket.send(makePayload(2, nowMs(), 300));
    assert.equal((await crowd.round(2, LIMIT_MS)).reached, CONNECTIONS - 1);
    const { tally } = await crowd.report();
    const expected = { open: CONNECTIONS - 1, refused: 0, closed: 1, faulty: 0, received: 2 * CONNECTIONS - 1 };
    assert.deepEqual(tally, { ...expected, doubled: 0, overtaken: 0, samples: ['the server closed with 1012'] });
  });
});

describe('clients of a server that does wrong', () => {
  const sockets = new Map<string, Socket>();
  let server: Server;
  let crowd: Crowd;
  const event = (sequence: number) => `data: ${makePayload(sequence, nowMs(), 0)}\n\n`;

  before(async () => {
    server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', (head) => {
        const number = Number(/-(\d+) /.exec(head.toString())?.[1]);
        if (number === 5) return socket.end('HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n');
        if (number === 6) return socket.destroy();
        sockets.set(String(number), socket);
        return socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n');
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    crowd = await Crowd.start(7);
  });

  after(async () => {
    await crowd.stop();
    server.close();
  });

  it('count what was refused, lost, doubled, overtaken, closed and not published', async () => {
    const address = server.address();
    assert.ok(address !== null && typeof address === 'object');
    const connected = await crowd.connect(address.port, 'test-', false, 7, LIMIT_MS);
    assert.deepEqual([connected.open, connected.refused], [5, 2]);
    sockets.get('0')?.write(event(1) + event(2));
    sockets.get('1')?.write(event(1) + event(1) + event(2));
    sockets.get('2')?.write(event(2) + event(1));
    sockets.get('3')?.write(`data: what is this\n\n${event(1)}`);
    sockets.get('4')?.end(event(1));
    assert.equal((await crowd.round(1, LIMIT_MS)).reached, 5);
    assert.equal((await crowd.round(2, 300)).reached, 3);
    const { tally } = await crowd.report();
    assert.deepEqual(
      { ...tally, samples: tally.samples.length },
      { open: 4, refused: 2, closed: 1, faulty: 1, received: 8, doubled: 1, overtaken: 1, samples: 3 },
    );
  });
});
