// A connection from its first byte to its end, over a wire that the test holds: who is answered what, what is read when,
// and that it ends once, for the reason that was first.

import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { Publication } from '../../src/publication.ts';
import { transportIndex } from '../../src/stats.ts';
import { Connection } from '../../workers/connection.ts';
import { DRAIN_MARK_BYTES } from '../../workers/wire/wire.ts';
import { makeGateway, type TestGateway } from './gateways.ts';
import { MemoryWire } from './memory-wire.ts';
import { apiRequest, closedOf, get, Peer, publishRequest, rejectedOf } from './peers.ts';

const OUTBOX_LIMIT_BYTES = 10_000;

let test: TestGateway;
let closedCount = 0;

beforeEach(() => {
  test = makeGateway({ outboxLimitBytes: OUTBOX_LIMIT_BYTES, bodyLimitBytes: 5_000 });
  closedCount = 0;
  test.gateway.onConnectionClosed = () => closedCount++;
});

function broadcast(channel: string, text: string): void {
  test.gateway.onPublication(new Publication(channel, Buffer.from(text)));
}

/** Connections that are held as event streams, and those that are not. */
function held(): { http: number; sse: number } {
  const { connections } = test.gateway;
  return { http: connections[transportIndex.http] ?? 0, sse: connections[transportIndex.sse] ?? 0 };
}

describe('requests on one connection', () => {
  it('are answered one after the other, and the connection is kept', async () => {
    const peer = new Peer(test.gateway);
    peer.send(get('/healthz'));
    assert.deepEqual([peer.statuses, peer.state], [[200], 'idle']);
    peer.send(publishRequest('a', '1'));
    assert.equal(peer.state, 'busy');
    await peer.settle();
    assert.deepEqual([peer.statuses, peer.state, peer.wire.paused], [[200, 200], 'idle', false]);
    peer.send('OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n');
    assert.deepEqual(peer.statuses, [200, 200, 204]);
    for (const { headers } of peer.answers) assert.equal(headers.connection, 'keep-alive');
    assert.deepEqual([closedOf(test.gateway), rejectedOf(test.gateway), closedCount], [[], [], 0]);
  });

  it('that come together are answered in their order, though some take longer', async () => {
    const releases: (() => void)[] = [];
    test.broker.onPublish = () => new Promise((resolve) => releases.push(resolve));
    const peer = new Peer(test.gateway);
    peer.send([publishRequest('a', '1'), get('/healthz'), publishRequest('a', '2'), get('/healthz')].join(''));
    assert.deepEqual([peer.statuses, peer.wire.paused], [[], true]);
    // More comes while the first is being served; it is not read.
    peer.send(publishRequest('a', '3'));
    for (const expected of [
      [200, 200],
      [200, 200, 200, 200],
      [200, 200, 200, 200, 200],
    ]) {
      assert.equal(releases.length, 1, 'one call at a time');
      releases.shift()?.();
      while (peer.statuses.length < expected.length) {
        await new Promise((resolve) => setImmediate(resolve));
        peer.wire.pump();
      }
      assert.deepEqual(peer.statuses, expected);
    }
    assert.deepEqual(
      test.broker.published.map(({ payload }) => payload.toString()),
      ['1', '2', '3'],
    );
    assert.deepEqual([peer.state, peer.wire.paused], ['idle', false]);
  });

  it('end with the one that says close, and what comes behind it is not read', async () => {
    for (const last of [
      get('/healthz', 'Connection: close'),
      'GET /healthz HTTP/1.0\r\n\r\n',
      publishRequest('a', '1', 'Connection: close'),
    ]) {
      const peer = new Peer(test.gateway);
      peer.send(last + get('/healthz'));
      await peer.settle();
      assert.deepEqual([peer.statuses, peer.state, peer.wire.state], [[200], 'closing', 'ended']);
      assert.equal(peer.answers[0]?.headers.connection, 'close');
    }
    assert.deepEqual(closedOf(test.gateway), ['finished', 'finished', 'finished']);
  });

  it('on HTTP/1.0 are kept when both want it', () => {
    const peer = new Peer(test.gateway);
    peer.send('GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n');
    peer.send('GET /healthz HTTP/1.0\r\n\r\n');
    assert.deepEqual(
      peer.answers.map(({ headers }) => headers.connection),
      ['keep-alive', 'close'],
    );
  });

  it('a HEAD has a head for an answer', () => {
    const peer = new Peer(test.gateway);
    peer.send('HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n');
    assert.match(peer.text, /^HTTP\/1\.1 200 OK\r\n.*Content-Length: 3\r\n.*\r\n\r\n$/s);
    assert.equal(peer.state, 'idle');
  });

  it('a client that waits with its body is told to go on, one that has sent it is served', async () => {
    const peer = new Peer(test.gateway);
    const [head, body] = publishRequest('a', 'x', 'Expect: 100-continue').split('\r\n\r\n') as [string, string];
    peer.send(`${head}\r\n\r\n`);
    assert.equal(peer.text, 'HTTP/1.1 100 Continue\r\n\r\n');
    peer.send(body);
    await peer.settle();
    assert.deepEqual(peer.statuses, [100, 200]);
  });

  it('with a body over the limit are refused before it is sent', () => {
    const peer = new Peer(test.gateway);
    const [head] = publishRequest('a', 'x'.repeat(6_000), 'Expect: 100-continue').split('\r\n\r\n');
    peer.send(`${head}\r\n\r\n`);
    assert.deepEqual([peer.statuses, peer.state], [[413], 'closing']);
  });

  it('once the worker drains, are answered a last time', async () => {
    const peer = new Peer(test.gateway);
    peer.send(get('/healthz'));
    test.gateway.draining = true;
    peer.send(publishRequest('a', '1') + get('/healthz'));
    await peer.settle();
    assert.deepEqual(peer.statuses, [200, 200]);
    assert.equal(peer.answers[1]?.headers.connection, 'close');
    assert.equal(peer.state, 'closing');
  });
});

describe('a held connection', () => {
  it('gets what is published, and is no longer subscribed once its peer has ended or reset', () => {
    for (const ending of ['end', 'reset']) {
      const peer = new Peer(test.gateway);
      peer.send(get('/sse/a?channel=b'));
      assert.deepEqual([peer.state, held()], ['open', { http: 0, sse: 1 }]);
      assert.equal(test.gateway.hub.subscriptionCount, 2);
      broadcast('a', '1');
      broadcast('b', '2');
      broadcast('c', '3');
      assert.match(peer.text, /retry: 2000\n\ndata: 1\n\ndata: 2\n\n$/);
      peer.send(ending);
      assert.deepEqual([peer.state, peer.wire.state], ['closed', 'destroyed']);
      assert.deepEqual([test.gateway.hub.subscriptionCount, test.gateway.hub.channelCount], [0, 0]);
      test.gateway.connections.fill(0);
    }
    assert.deepEqual(closedOf(test.gateway), ['client-left', 'client-left']);
    assert.deepEqual([test.gateway.counters.deliveries, test.gateway.counters.deliveredBytes], [4, 4 * 9]);
    assert.equal(closedCount, 2);
  });

  it('forgives stray line ends; anything else ends it', () => {
    const peer = new Peer(test.gateway);
    peer.send(`${get('/sse/a')}\r\n`);
    peer.send('\r\n', '\n');
    assert.equal(peer.state, 'open');
    peer.send('\r\nx');
    assert.deepEqual([peer.state, peer.wire.state, held()], ['closing', 'ended', { http: 1, sse: 0 }]);
    const before = peer.text;
    broadcast('a', '1');
    assert.equal(peer.text, before, 'no frame behind the end');
    assert.deepEqual(closedOf(test.gateway), ['unexpected-input']);
  });

  it('that came behind a call on the same connection is read from, so that its end is noticed', async () => {
    const peer = new Peer(test.gateway);
    peer.send(publishRequest('a', '1') + get('/sse/a'));
    await peer.settle();
    assert.deepEqual([peer.state, peer.wire.paused], ['open', false]);
    peer.send('end');
    assert.equal(peer.state, 'closed');
  });

  it('is closed as a slow consumer when its outbox passes the limit; one frame always fits', () => {
    const peer = new Peer(test.gateway);
    peer.send(get('/sse/a'));
    peer.wire.full = true;
    broadcast('a', 'x'.repeat(2 * OUTBOX_LIMIT_BYTES));
    assert.equal(peer.state, 'open');
    assert.equal(test.gateway.stalls.size, 1);
    broadcast('a', 'y');
    assert.deepEqual([peer.state, closedOf(test.gateway)], ['closed', ['slow-consumer']]);
    assert.deepEqual([test.gateway.stalls.size, test.gateway.hub.subscriptionCount], [0, 0]);
  });

  it('pays in its outbox for each buffer too, not for bytes alone', () => {
    const peer = new Peer(test.gateway);
    peer.send(get('/sse/a'));
    peer.wire.full = true;
    let count = 0;
    while (peer.state === 'open') {
      broadcast('a', '');
      count++;
    }
    assert.ok(count < OUTBOX_LIMIT_BYTES / 100, `${count} frames of 8 bytes`);
    assert.deepEqual(closedOf(test.gateway), ['slow-consumer']);
  });

  it('does not keep another from being delivered to when it is closed in the middle of a fan-out', () => {
    const peers = Array.from({ length: 5 }, () => new Peer(test.gateway));
    for (const peer of peers) peer.send(get('/sse/a'));
    for (const peer of peers.slice(1, 3)) peer.wire.full = true;
    broadcast('a', 'x'.repeat(OUTBOX_LIMIT_BYTES));
    broadcast('a', 'last');
    for (const [i, { state, text }] of peers.entries()) {
      assert.equal(state, i === 1 || i === 2 ? 'closed' : 'open');
      assert.equal(text.endsWith('data: last\n\n'), state === 'open');
    }
  });
});

describe('a peer that asks without reading', () => {
  it('is not read from until it has read, and is then answered in full', async () => {
    const peer = new Peer(test.gateway);
    peer.wire.full = true;
    const asked = 2_000;
    peer.send(get('/healthz').repeat(asked));
    assert.deepEqual([peer.state, peer.wire.paused], ['blocked', true]);
    assert.ok(peer.wire.outboxBytes < DRAIN_MARK_BYTES + 1_000, `${peer.wire.outboxBytes} bytes wait`);
    peer.send(publishRequest('a', 'behind'));
    peer.wire.drain();
    await peer.settle();
    assert.equal(peer.statuses.length, asked + 1);
    assert.deepEqual([peer.state, peer.wire.paused], ['idle', false]);
    assert.equal(test.broker.published.length, 1);
  });

  it('may end what it sends: the answers are written before the connection goes', async () => {
    for (const unfinished of ['', 'GET /heal']) {
      const peer = new Peer(test.gateway);
      peer.wire.full = true;
      peer.send(get('/healthz') + unfinished, 'end');
      assert.deepEqual([peer.state, peer.wire.state], ['closing', 'ending']);
      peer.wire.drain();
      assert.deepEqual([peer.statuses, peer.wire.state, peer.state], [[200], 'destroyed', 'closed']);
    }
    assert.deepEqual(closedOf(test.gateway), ['client-left', 'client-left']);
  });
});

describe('the end of a connection', () => {
  it('that we began waits for the peer, takes no more bytes seriously, and is counted once', () => {
    const peer = new Peer(test.gateway);
    peer.send('NONSENSE\r\n\r\n');
    assert.deepEqual([peer.statuses, peer.state, peer.wire.state], [[400], 'closing', 'ended']);
    peer.send(get('/healthz'), get('/sse/a'));
    assert.deepEqual([peer.statuses, closedCount], [[400], 0]);
    peer.connection.finish('drained');
    peer.send('end');
    peer.connection.close('error');
    assert.deepEqual([peer.state, closedCount], ['closed', 1]);
    assert.deepEqual([closedOf(test.gateway), rejectedOf(test.gateway)], [['malformed'], ['malformed']]);
  });

  it('by the peer, in the middle of a head, a body or a call', async () => {
    for (const [sent, ending] of [
      ['', 'end'],
      ['GET /hea', 'end'],
      [publishRequest('a', '1').slice(0, -1), 'end'],
      [publishRequest('a', '1').slice(0, -1), 'reset'],
      [publishRequest('a', '1'), 'reset'],
    ] as const) {
      const peer = new Peer(test.gateway);
      if (sent !== '') peer.send(sent);
      peer.send(ending);
      await peer.settle();
      assert.equal(peer.state, 'closed', sent);
    }
    assert.deepEqual(closedOf(test.gateway), Array(5).fill('client-left'));
  });

  it('while a call is being served: its answer goes nowhere, and nothing is thrown', async () => {
    let release = (): void => {};
    test.broker.onPublish = () => new Promise((resolve) => (release = resolve));
    const peer = new Peer(test.gateway);
    peer.send(publishRequest('a', '1'));
    peer.connection.close('drained');
    release();
    await peer.settle();
    assert.deepEqual([peer.statuses, peer.state, closedOf(test.gateway)], [[], 'closed', ['drained']]);
    assert.deepEqual(test.lines, []);
  });

  it('of one that is turned away: told why, then ended', () => {
    const wire = new MemoryWire();
    const connection = new Connection(test.gateway, wire);
    connection.turnAway('capacity', 'full');
    wire.send(get('/healthz'));
    assert.match(wire.received.toString(), /^HTTP\/1\.1 503 .*Retry-After: .*full\n$/s);
    assert.deepEqual([connection.state, rejectedOf(test.gateway)], ['closing', ['capacity']]);
  });
});

describe('a fault of ours', () => {
  it('in a call closes that connection alone', async () => {
    const [bad, good] = [new Peer(test.gateway), new Peer(test.gateway)];
    test.broker.onPublish = () => Promise.reject(new TypeError('a broken broker'));
    bad.send(publishRequest('a', '1'));
    await bad.settle();
    test.broker.onPublish = () => Promise.resolve();
    good.send(publishRequest('a', '2'));
    await good.settle();
    assert.deepEqual([bad.state, bad.statuses, good.state, good.statuses], ['closed', [], 'idle', [200]]);
    assert.deepEqual(closedOf(test.gateway), ['error']);
    assert.deepEqual(
      test.lines.map(({ level, text, error }) => [level, text, error]),
      [['error', 'an API call failed', 'a broken broker']],
    );
  });

  it('in reading closes that connection alone, and leaves nothing of it behind', () => {
    const { hub } = test.gateway;
    const [bad, good] = [new Peer(test.gateway), new Peer(test.gateway)];
    const { subscribe } = hub;
    hub.subscribe = () => {
      throw new TypeError('a broken hub');
    };
    bad.send(get('/sse/a'));
    hub.subscribe = subscribe;
    good.send(get('/sse/a'));
    assert.deepEqual([bad.state, good.state, held()], ['closed', 'open', { http: 1, sse: 1 }]);
    assert.deepEqual([hub.subscriptionCount, closedOf(test.gateway)], [1, ['error']]);
    assert.equal(test.lines[0]?.text, 'serving a request failed');
  });

  it('is not what a peer can bring about with a call that is wrong', async () => {
    for (const body of [
      '',
      'x',
      'null',
      '[]',
      '1',
      '{}',
      '{"channel":"a"}',
      '\u00ff',
      '{"channel":"a","data":"\\ud800"}',
    ]) {
      const peer = new Peer(test.gateway);
      for (const method of ['publish', 'broadcast', 'toString', '__proto__', '', 'a/b']) {
        peer.send(apiRequest(method, body));
        await peer.settle();
      }
      assert.deepEqual([peer.statuses, peer.state], [[400, 400, 404, 404, 404, 404], 'idle'], body);
    }
    assert.deepEqual(test.lines, []);
  });
});
