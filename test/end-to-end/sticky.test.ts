// LONGWIRE_ACCEPT=sticky from outside: polls reach the worker of their session on whatever connection they come, however
// their head is cut; all else is spread by what workers hold; no byte is lost between two processes that could read the same socket;
// and the primary holds nothing for longer than its deadlines.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { slotOf } from '../../workers/poll/sid.ts';
import { API_KEY, type GatewayProcess, runGateway, startGateway } from '../harness/gateway.ts';
import { type Answer, ask, RawClient } from '../harness/raw-client.ts';
import { SseClient } from '../harness/sse-client.ts';
import { TRANSPORTS } from '../harness/transports.ts';
import { waitUntil } from '../harness/wait.ts';

const WORKERS = 3;
const HEALTH = 'GET /healthz HTTP/1.1\r\nHost: g\r\n\r\n';
const CLOSING = 'GET /healthz HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n';
const STICKY = { LONGWIRE_ACCEPT: 'sticky', LONGWIRE_WORKERS: `${WORKERS}`, LONGWIRE_DRAIN_SECONDS: '0' };

const gateways: GatewayProcess[] = [];

after(async () => {
  for (const gateway of gateways) await gateway.kill();
});

async function start(env: Record<string, string> = {}): Promise<GatewayProcess> {
  const gateway = await startGateway({ env: { ...STICKY, ...env } });
  gateways.push(gateway);
  return gateway;
}

function pollRequest(channel: string, query: string, timeoutSeconds = 0): string {
  return `GET /poll/${channel}?timeout=${timeoutSeconds}${query} HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n`;
}

interface Polled {
  status: number;
  sid: string;
  since: string;
  data: string[];
}

function polled({ status, headers, text }: Answer): Polled {
  const publications: { data: string }[] = status === 200 ? JSON.parse(text).publications : [];
  return {
    status,
    sid: headers['longwire-sid'] ?? '',
    since: headers['longwire-since'] ?? '',
    data: publications.map(({ data }) => data),
  };
}

function bodyRequest(body: string, ...fields: string[]): string {
  return `${['POST /api/publish HTTP/1.1', 'Host: g', `X-API-Key: ${API_KEY}`, ...fields].join('\r\n')}\r\n\r\n${body}`;
}

function spread(counts: readonly number[]): number {
  return Math.max(...counts) - Math.min(...counts);
}

describe('the sticky primary', () => {
  let gateway: GatewayProcess;
  let port = 0;

  before(async () => {
    gateway = await start();
    port = gateway.publicPort;
  });

  it('is in the start-up text, with why the wire is a socket', () => {
    assert.match(gateway.out, /accepting from the primary, .+LONGWIRE_ACCEPT=sticky/);
    assert.match(gateway.out, /wire +socket \(LONGWIRE_ACCEPT=sticky\)/);
  });

  for (const { name, open } of TRANSPORTS) {
    it(`${name}: a client is held and has what is published`, async () => {
      const client = await open(port, 'alice?format=json');
      const payloads = ['one', 'x'.repeat(300_000), '\0\r\n'];
      for (const payload of payloads) await gateway.publish('alice', payload);
      const received = await client.received(payloads.length);
      assert.deepEqual(
        received.map((each) => JSON.parse(String(each)).data),
        payloads,
      );
      client.close();
    });
  }

  it('gives 200 sessions’ polls to their workers, on a new connection each, and loses nothing of what is published meanwhile', async () => {
    const CLIENTS = 200;
    const PUBLICATIONS = 6;
    const before = (await gateway.metrics()).value('longwire_moved_total');
    const first = await Promise.all(
      Array.from({ length: CLIENTS }, async (_, i) => polled(await ask(port, pollRequest(`poll-${i % 10}`, '')))),
    );
    const perWorker = Array.from(
      { length: WORKERS },
      (_, i) => first.filter(({ sid }) => slotOf(sid) === i + 1).length,
    );
    assert.ok(spread(perWorker) < CLIENTS / 10, `sessions are spread: ${perWorker}`);

    const publishing = (async () => {
      for (let count = 0; count < PUBLICATIONS; count++) {
        for (let channel = 0; channel < 10; channel++) await gateway.publish(`poll-${channel}`, `${count}`);
      }
    })();
    const everything = Array.from({ length: PUBLICATIONS }, (_, i) => `${i}`);
    await Promise.all(
      first.map(async ({ sid, since: begun }, i) => {
        const got: string[] = [];
        let since = begun;
        while (got.length < PUBLICATIONS) {
          const answer = polled(await ask(port, pollRequest(`poll-${i % 10}`, `&sid=${sid}&since=${since}`, 10)));
          assert.equal(answer.status, 200, `client ${i} after ${got}`);
          got.push(...answer.data);
          since = answer.since;
        }
        assert.deepEqual(got, everything, `client ${i}`);
      }),
    );
    await publishing;
    await gateway.metricReaches('longwire_poll_sessions', {}, (sessions) => sessions >= CLIENTS);
    assert.equal((await gateway.metrics()).value('longwire_moved_total'), before, 'no poll had to be handed over');
  });

  it('finds the session of a head that comes byte by byte', async () => {
    const before = (await gateway.metrics()).value('longwire_moved_total');
    const sessions = new Map<number, string>();
    await waitUntil(async () => {
      const { sid } = polled(await ask(port, pollRequest('cut', '')));
      sessions.set(slotOf(sid), sid);
      return sessions.size === WORKERS;
    }, 'a session on each worker');
    for (const sid of sessions.values()) {
      const client = new RawClient(port);
      await once(client.socket, 'connect');
      for (const byte of Buffer.from(pollRequest('cut', `&sid=${sid}`))) {
        client.write(Buffer.from([byte]));
        await new Promise((resolve) => setImmediate(resolve));
      }
      assert.equal((await client.answers(1))[0]?.status, 204);
      client.close();
    }
    assert.equal((await gateway.metrics()).value('longwire_moved_total'), before);
  });

  it('loses no byte of what follows the first head at once, or the first answer', async () => {
    const CLIENTS = 200;
    const ROUNDS = 10;
    const clients = Array.from({ length: CLIENTS }, () => new RawClient(port));
    await Promise.all(
      clients.map(async (client, i) => {
        await once(client.socket, 'connect');
        // Asked while the socket is on its way from one process to the other.
        client.write(HEALTH);
        for (let late = 1; late < 4; late++) {
          await new Promise((resolve) => setTimeout(resolve, i % 5));
          client.write(HEALTH);
        }
        for (let round = 0; round < ROUNDS; round++) {
          await client.answers(4 + round);
          client.write(HEALTH);
        }
        const answers = await client.answers(4 + ROUNDS);
        assert.ok(answers.every(({ status }) => status === 200));
      }),
    );
    for (const client of clients) client.close();
  });

  it('spreads what has no session by what workers hold, and evens it out when some have left', async () => {
    await gateway.metricReaches('longwire_connections', {}, 0);
    // Sessions count as well: this gateway is to have none.
    const fresh = await start();
    const come = async (count: number): Promise<SseClient[]> =>
      Promise.all(Array.from({ length: count }, () => new SseClient(fresh.publicPort, '/sse/a').opened()));
    const counts = async (): Promise<number[]> =>
      (await fresh.workers()).map(({ connections }) => connections.sse ?? 0);
    const held = await come(300);
    await fresh.metricReaches('longwire_connections', { transport: 'sse' }, 300);
    const even = await counts();
    assert.ok(spread(even) <= 6, `held by each: ${even}`);
    // One worker loses all it has: those that come fill it up first.
    const [victim = assert.fail()] = await fresh.workers();
    process.kill(victim.pid ?? assert.fail(), 'SIGKILL');
    await waitUntil(
      () => held.filter(({ connection }) => connection.ending !== 'none').length > 90,
      'its clients to be cut',
    );
    await waitUntil(async () => (await fresh.workers()).every(({ state }) => state === 'ready'), 'its replacement');
    await come(90);
    await fresh.metricReaches('longwire_connections', { transport: 'sse' }, (value) => value >= 285);
    const again = await counts();
    assert.ok(spread(again) <= 15, `held by each: ${again}`);
    await fresh.kill();
  });
});

describe('requests with a body, through the sticky primary', () => {
  let gateway: GatewayProcess;
  let port = 0;
  let stream: SseClient;

  before(async () => {
    gateway = await start({ LONGWIRE_BODY_LIMIT_BYTES: '200000' });
    port = gateway.publicPort;
    stream = await new SseClient(port, '/sse/a').opened();
  });

  it('arrive whole, in however many pieces, by length and in chunks', async () => {
    const body = JSON.stringify({ channel: 'a', data: 'y'.repeat(150_000) });
    const length = `Content-Length: ${body.length}`;
    const half = Math.floor(body.length / 2);
    const chunked = [body.slice(0, half), body.slice(half), ''].map(
      (part) => `${part.length.toString(16)}\r\n${part}\r\n`,
    );
    const requests = [
      bodyRequest(body, length),
      bodyRequest(chunked.join(''), 'Transfer-Encoding: chunked'),
      bodyRequest(body, length, 'Connection: keep-alive'),
    ];
    for (const [index, request] of requests.entries()) {
      for (const pieces of [1, 7]) {
        const client = new RawClient(port);
        const size = Math.ceil(request.length / pieces);
        for (let at = 0; at < request.length; at += size) {
          client.write(request.slice(at, at + size));
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
        const [answer = assert.fail()] = await client.answers(1);
        assert.deepEqual([answer.status, answer.headers.connection], [200, 'close'], `request ${index}`);
        assert.equal(await client.end(), 'fin');
        client.close();
      }
    }
    assert.equal(
      (await stream.data(requests.length * 2)).every((data) => data.length === 150_000),
      true,
    );
    await gateway.metricReaches('longwire_connections', { transport: 'http' }, 0);
    await gateway.metricReaches('longwire_sticky_sockets', {}, 0);
  });

  it('are asked for when they wait to be, and may end their side before the answer', async () => {
    const body = '{"channel":"b","data":"z"}';
    const client = new RawClient(port);
    client.write(bodyRequest('', `Content-Length: ${body.length}`, 'Expect: 100-continue'));
    await client.sees('100 Continue');
    client.write(body);
    client.socket.end();
    assert.deepEqual(
      (await client.answers(2)).map(({ status }) => status),
      [100, 200],
    );
    client.close();
  });

  it('that are too large are told so, and what still comes is for nobody', async () => {
    const client = new RawClient(port);
    client.write(bodyRequest('', 'Transfer-Encoding: chunked'));
    const chunk = `10000\r\n${'x'.repeat(65_536)}\r\n`;
    // A little more than the limit; with twice as much the primary would not wait for the worker's word.
    client.write(chunk.repeat(4));
    await client.sees('413');
    client.write(chunk);
    await waitUntil(() => client.socket.closed, 'the connection to be closed');
    await gateway.metricReaches('longwire_sticky_sockets', {}, 0);
  });

  it('whose client vanishes are given up by the worker too', async () => {
    const client = new RawClient(port);
    client.write(bodyRequest('{', 'Content-Length: 100'));
    await gateway.metricReaches('longwire_connections', { transport: 'http' }, 1);
    client.socket.resetAndDestroy();
    await gateway.metricReaches('longwire_connections', { transport: 'http' }, 0);
    await gateway.metricReaches('longwire_sticky_sockets', {}, 0);
  });

  it('are all that passes through it: nothing is held there that only looks like one', async () => {
    for (const fields of ['Content-Length: 0', 'X-Note: content-length: 5', 'X-Note: Transfer-Encoding: none']) {
      for (const path of ['/sse/a', '/stream/a', '/poll/a']) {
        const answer = await ask(port, `GET ${path} HTTP/1.1\r\nHost: g\r\n${fields}\r\n\r\n`);
        assert.equal(answer.status, 400, `${path} with ${fields}`);
      }
    }
    const upgrade =
      'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==';
    const handshake = await ask(port, `GET /ws/a HTTP/1.1\r\nHost: g\r\n${upgrade}\r\nContent-Length: 0\r\n\r\n`);
    assert.equal(handshake.status, 400, 'a WebSocket with Content-Length: 0');
    await gateway.metricReaches('longwire_sticky_sockets', {}, 0);
  });

  it('whose worker dies are told that nobody knows', async () => {
    const client = new RawClient(port);
    client.write(bodyRequest('{', 'Content-Length: 100'));
    await gateway.metricReaches('longwire_connections', { transport: 'http' }, 1);
    const serving = (await gateway.workers()).find(({ connections }) => connections.http === 1);
    process.kill(serving?.pid ?? assert.fail(), 'SIGKILL');
    const [answer = assert.fail()] = await client.answers(1);
    assert.equal(answer.status, 503);
    assert.match(answer.text, /whether it was done is not known/);
    client.close();
  });
});

describe('what the sticky primary does not wait for', () => {
  let gateway: GatewayProcess;
  let port = 0;

  before(async () => {
    gateway = await start({ LONGWIRE_HEAD_DEADLINE_SECONDS: '1', LONGWIRE_MAX_CONNECTIONS: '6' });
    port = gateway.publicPort;
  });

  it('a head that does not come, or not to its end', async () => {
    const before = (await gateway.metrics()).value('longwire_closed_total', { reason: 'head-timeout' });
    const clients = ['', 'G', HEALTH.slice(0, -1)].map((bytes) => {
      const client = new RawClient(port);
      client.write(bytes);
      return client;
    });
    await gateway.metricReaches('longwire_sticky_sockets', { state: 'head' }, clients.length);
    for (const client of clients) await client.end();
    await gateway.metricReaches('longwire_closed_total', { reason: 'head-timeout' }, before + clients.length);
    await gateway.metricReaches('longwire_sticky_sockets', {}, 0);
  });

  it('a head longer than any may be: its worker says so', async () => {
    const answer = await ask(port, `GET /${'x'.repeat(5_000)} HTTP/1.1\r\nHost: g\r\nX: ${'y'.repeat(20_000)}\r\n\r\n`);
    assert.equal(answer.status, 431);
  });

  it('clients that leave in the middle of theirs', async () => {
    const left = (await gateway.metrics()).value('longwire_closed_total', { reason: 'client-left' });
    const clients = Array.from({ length: 20 }, (_, i) => {
      const client = new RawClient(port);
      client.socket.once('connect', () => {
        client.write('GET /');
        if (i % 2 === 0) client.socket.end();
        else client.socket.resetAndDestroy();
      });
      return client;
    });
    await gateway.metricReaches('longwire_closed_total', { reason: 'client-left' }, left + clients.length);
    await gateway.metricReaches('longwire_sticky_sockets', {}, 0);
    for (const client of clients) client.close();
  });

  it('its own end: who has not said what it wants is told so', async () => {
    const silent = connect(port, '127.0.0.1');
    const half = new RawClient(port);
    half.write('GET /');
    await gateway.metricReaches('longwire_sticky_sockets', { state: 'head' }, 2);
    const ending = gateway.stop();
    await half.sees('503');
    assert.match(half.text, /shutting down/);
    silent.destroy();
    half.close();
    assert.deepEqual(await ending, { code: 0, signal: null });
  });
});

// A gateway of its own: what other cases have closed would be held for a moment longer than any number says.
describe('room behind the sticky primary', () => {
  it('is filled worker by worker to the cap, who comes on top is told why, and let in when one has left', async (context) => {
    const gateway = await start({ LONGWIRE_MAX_CONNECTIONS: '6' });
    const port = gateway.publicPort;
    context.after(() => gateway.kill());
    const first = await Promise.all(Array.from({ length: 6 }, () => new SseClient(port, '/sse/a').opened()));
    const held = first.map(({ connection }) => connection);
    await gateway.metricReaches('longwire_connections', { transport: 'sse' }, 6);
    assert.deepEqual(
      (await gateway.workers()).map(({ connections }) => connections.sse),
      [2, 2, 2],
    );
    const rejected = (await gateway.metrics()).value('longwire_rejected_total', { reason: 'capacity' });
    for (let count = 1; count <= 3; count++) {
      const answer = await ask(port, CLOSING);
      assert.deepEqual([answer.status, answer.headers['retry-after']], [503, '5']);
    }
    await gateway.metricReaches('longwire_rejected_total', { reason: 'capacity' }, rejected + 3);
    for (let round = 0; round < 3; round++) {
      held.shift()?.close();
      await waitUntil(async () => {
        const client = new RawClient(port);
        client.write('GET /sse/a HTTP/1.1\r\nHost: g\r\n\r\n');
        await client.sees('\r\n\r\n');
        if (!client.text.startsWith('HTTP/1.1 200 ')) return false;
        held.push(client);
        return true;
      }, 'a place');
    }
    for (const client of held) client.close();
  });
});

describe('a worker that dies behind the sticky primary', () => {
  it('takes its sessions with it: their polls are told so, those of others go on, and new ones begin', async () => {
    const gateway = await start();
    const port = gateway.publicPort;
    const sessions = await Promise.all(
      Array.from({ length: 30 }, async () => polled(await ask(port, pollRequest('a', '')))),
    );
    const [victim = assert.fail()] = await gateway.workers();
    process.kill(victim.pid ?? assert.fail(), 'SIGKILL');
    await waitUntil(async () => {
      const [worker] = await gateway.workers();
      return worker?.state === 'ready' && worker.pid !== victim.pid;
    }, 'its replacement');
    await gateway.publish('a', 'after');
    for (const { sid, since } of sessions) {
      const answer = polled(await ask(port, pollRequest('a', `&sid=${sid}&since=${since}`)));
      if (slotOf(sid) === victim.id) assert.equal(answer.status, 410);
      else assert.deepEqual([answer.status, answer.data], [200, ['after']]);
    }
    const begun = await Promise.all(
      Array.from({ length: 30 }, async () => polled(await ask(port, pollRequest('a', '')))),
    );
    assert.ok(
      begun.some(({ sid }) => slotOf(sid) === victim.id),
      'its replacement is chosen too',
    );
  });
});

describe('workers that are replaced behind the sticky primary', () => {
  it('give their connections on, alive, and new ones go to those that have come', async () => {
    const gateway = await start();
    const port = gateway.publicPort;
    const held = await Promise.all(Array.from({ length: 60 }, () => new SseClient(port, '/sse/a').opened()));
    const sessions = await Promise.all(
      Array.from({ length: 30 }, async () => polled(await ask(port, pollRequest('a', '')))),
    );
    await gateway.metricReaches('longwire_connections', { transport: 'sse' }, held.length);
    const former = (await gateway.workers()).map(({ pid }) => pid);
    gateway.signal('SIGHUP');
    let coming = true;
    const arriving = (async () => {
      let count = 0;
      for (; coming; count++) assert.equal((await ask(port, CLOSING)).status, 200);
      return count;
    })();
    await waitUntil(
      async () => (await gateway.workers()).every(({ pid, state }) => state === 'ready' && !former.includes(pid)),
      'all workers to be replaced',
      30_000,
    );
    coming = false;
    assert.ok((await arriving) > 0);
    await gateway.publish('a', 'after');
    for (const client of held) assert.deepEqual(await client.data(1), ['after']);
    await gateway.metricReaches('longwire_moved_total', {}, held.length * 2);
    for (const { sid, since } of sessions) {
      const answer = polled(await ask(port, pollRequest('a', `&sid=${sid}&since=${since}`)));
      assert.deepEqual([answer.status, answer.data], [200, ['after']], 'sessions go along');
    }
    await gateway.metricReaches('longwire_deliveries_total', {}, (count) => count >= held.length + sessions.length);
    const moved = (await gateway.metrics()).value('longwire_moved_total');
    assert.equal(moved, held.length * 2, 'and are found where they are now');
    for (const client of held) client.close();
  });
});

it('says whose port it is when it is taken', async () => {
  const holder = await start();
  const late = runGateway({ env: { ...STICKY, PORT: `${holder.publicPort}` } });
  assert.deepEqual(await late.ended, { code: 1, signal: null });
  assert.match(late.log, /is taken by another program/);
});
