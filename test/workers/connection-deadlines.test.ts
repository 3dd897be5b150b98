// How long a connection may stay in each of its states, on a clock that the test moves: what the wheel does to it.

import assert from 'node:assert/strict';
import { beforeEach, describe, it, mock } from 'node:test';
import { Publication } from '../../src/publication.ts';
import { TICK_MS } from '../../workers/timing-wheel.ts';
import { makeGateway, type TestGateway } from './gateways.ts';
import { closedOf, get, Peer, publishRequest } from './peers.ts';

const HEAD_MS = 10_000;
const KEEP_ALIVE_MS = 60_000;
const HEARTBEAT_MS = 25_000;
const STALL_MS = 30_000;
const BUSY_MS = 60_000;
const LINGER_MS = 2_000;

let nowMs = 0;
mock.method(performance, 'now', () => nowMs);

let test: TestGateway;

beforeEach(() => {
  test = makeGateway({
    headDeadlineSeconds: HEAD_MS / 1_000,
    keepAliveSeconds: KEEP_ALIVE_MS / 1_000,
    heartbeatSeconds: HEARTBEAT_MS / 1_000,
    stallSeconds: STALL_MS / 1_000,
  });
});

function pass(ms: number, each: () => void = () => {}): void {
  for (const end = nowMs + ms; nowMs < end; ) {
    nowMs = Math.min(end, nowMs + TICK_MS);
    each();
    test.gateway.wheel.advance();
    if (nowMs % 1_000 === 0) test.gateway.stalls.sweep();
  }
}

/** Connections in the wheel. */
function waiting(): number {
  let count = 0;
  test.gateway.wheel.forEach(() => {
    count++;
  });
  return count;
}

/** It lives until the deadline, and is gone from its state a tick later. */
function leavesAt(peer: Peer, deadlineMs: number, each?: () => void): void {
  const { state } = peer;
  pass(deadlineMs - TICK_MS, each);
  assert.equal(peer.state, state, `before ${deadlineMs} ms`);
  pass(2 * TICK_MS, each);
  assert.notEqual(peer.state, state, `after ${deadlineMs} ms`);
}

describe('the head deadline', () => {
  it('closes one that says nothing, without a word', () => {
    const peer = new Peer(test.gateway);
    leavesAt(peer, HEAD_MS);
    assert.deepEqual([peer.state, peer.text, closedOf(test.gateway)], ['closed', '', ['head-timeout']]);
  });

  it('is not put off by bytes that trickle in; the peer is told 408', () => {
    const peer = new Peer(test.gateway);
    peer.send('GET /healthz?');
    leavesAt(peer, HEAD_MS, () => peer.send('x'));
    assert.deepEqual([peer.statuses, peer.state, closedOf(test.gateway)], [[408], 'closing', ['head-timeout']]);
  });

  it('is one for a PROXY header and the head behind it', () => {
    test = makeGateway({ proxyProtocol: 'on', trustedProxies: ['192.0.2.0/24'], headDeadlineSeconds: HEAD_MS / 1_000 });
    const peer = new Peer(test.gateway);
    pass(HEAD_MS / 2);
    peer.send('PROXY TCP4 203.0.113.9 192.0.2.1 1 1\r\n');
    pass(HEAD_MS / 4);
    peer.send('GET ');
    leavesAt(peer, HEAD_MS / 4);
    assert.deepEqual([peer.statuses, peer.state, closedOf(test.gateway)], [[408], 'closing', ['head-timeout']]);
    const silent = new Peer(test.gateway);
    leavesAt(silent, HEAD_MS);
    assert.deepEqual([silent.state, silent.text], ['closed', '']);
  });

  it('holds for a body anew, and not for each of its bytes', () => {
    const peer = new Peer(test.gateway);
    const [head, body] = publishRequest('a', 'x'.repeat(1_000)).split('\r\n\r\n') as [string, string];
    pass(HEAD_MS / 2);
    peer.send(`${head}\r\n\r\n`);
    let at = 0;
    leavesAt(peer, HEAD_MS, () => peer.send(body.charAt(at++)));
    assert.deepEqual([peer.statuses, peer.state, closedOf(test.gateway)], [[408], 'closing', ['head-timeout']]);
    assert.deepEqual(test.broker.published, []);
  });

  it('begins with the first byte of each further request', () => {
    const peer = new Peer(test.gateway);
    peer.send(get('/healthz'));
    pass(HEAD_MS * 2);
    peer.send('G');
    leavesAt(peer, HEAD_MS);
    assert.deepEqual(peer.statuses, [200, 408]);
  });

  it('does not hold for a request that is whole', () => {
    const peer = new Peer(test.gateway);
    pass(HEAD_MS - TICK_MS);
    peer.send(get('/healthz'));
    pass(HEAD_MS);
    assert.deepEqual([peer.statuses, peer.state], [[200], 'idle']);
  });

  it('finds 5,000 of them at once', () => {
    const peers = Array.from({ length: 5_000 }, (_, i) => {
      const peer = new Peer(test.gateway);
      if (i % 2 === 0) peer.send('GET /sse/a HTTP/1.1\r\nHost:');
      return peer;
    });
    pass(HEAD_MS + LINGER_MS + 2 * TICK_MS);
    assert.ok(peers.every(({ state }) => state === 'closed'));
    assert.equal(closedOf(test.gateway).length, 5_000);
  });
});

describe('the idle limit', () => {
  it('closes a kept connection on which nothing is asked, and begins anew with each request', async () => {
    const peer = new Peer(test.gateway);
    for (let i = 0; i < 3; i++) {
      peer.send(i === 1 ? publishRequest('a', '1') : get('/healthz'));
      await peer.settle();
      pass(KEEP_ALIVE_MS - TICK_MS);
      assert.equal(peer.state, 'idle');
    }
    peer.send(get('/healthz'));
    leavesAt(peer, KEEP_ALIVE_MS);
    assert.deepEqual([peer.state, closedOf(test.gateway)], ['closed', ['idle']]);
  });
});

describe('a held connection', () => {
  it('has a heartbeat each interval, the first in its second half', () => {
    const peers = Array.from({ length: 200 }, () => new Peer(test.gateway));
    for (const peer of peers) peer.send(get('/sse/a'));
    const beats = (peer: Peer) => peer.text.split(':\n\n').length - 1;
    pass(HEARTBEAT_MS / 2 - TICK_MS);
    assert.ok(peers.every((peer) => beats(peer) === 0));
    pass(HEARTBEAT_MS / 4);
    const early = peers.filter((peer) => beats(peer) === 1).length;
    assert.ok(early > 50 && early < 150, `${early} of 200 in the third quarter: they are spread`);
    pass(HEARTBEAT_MS / 4 + 2 * TICK_MS);
    assert.ok(peers.every((peer) => beats(peer) === 1));
    pass(10 * HEARTBEAT_MS);
    for (const peer of peers) {
      // Each is up to a tick late.
      assert.ok(beats(peer) === 10 || beats(peer) === 11, `${beats(peer)} beats`);
      assert.equal(peer.state, 'open');
    }
  });

  it('that does not take what it is sent is closed at the stall deadline, heartbeats or not', () => {
    const peer = new Peer(test.gateway);
    peer.send(get('/sse/a'));
    peer.wire.full = true;
    test.gateway.onPublication(new Publication('a', Buffer.from('x')));
    pass(STALL_MS - 2_000);
    assert.equal(peer.state, 'open');
    pass(4_000);
    assert.deepEqual([peer.state, closedOf(test.gateway)], ['closed', ['slow-consumer']]);
  });

  it('that does not take its heartbeats is closed as well', () => {
    const peer = new Peer(test.gateway);
    peer.send(get('/sse/a'));
    peer.wire.full = true;
    pass(HEARTBEAT_MS + STALL_MS + 2_000);
    assert.deepEqual([peer.state, closedOf(test.gateway)], ['closed', ['slow-consumer']]);
  });

  it('is closed by a heartbeat that passes the outbox limit, and the beat goes on for nobody', () => {
    test = makeGateway({ outboxLimitBytes: 1_024, heartbeatSeconds: 1, stallSeconds: 3_600 });
    const peer = new Peer(test.gateway);
    peer.send(get('/sse/a'));
    peer.wire.full = true;
    pass(60_000);
    assert.deepEqual([peer.state, closedOf(test.gateway)], ['closed', ['slow-consumer']]);
    assert.equal(waiting(), 0);
  });
});

describe('a peer that does not read its answers', () => {
  it('is closed as a slow consumer at the stall deadline', () => {
    const peer = new Peer(test.gateway);
    peer.wire.full = true;
    peer.send(get('/healthz').repeat(2_000));
    assert.equal(peer.state, 'blocked');
    leavesAt(peer, STALL_MS);
    assert.deepEqual([peer.state, closedOf(test.gateway)], ['closed', ['slow-consumer']]);
  });

  it('is waited for as long when the last one ends the connection', () => {
    const peer = new Peer(test.gateway);
    peer.wire.full = true;
    peer.send(get('/healthz', 'Connection: close'));
    leavesAt(peer, STALL_MS);
    assert.deepEqual([peer.state, closedOf(test.gateway)], ['closed', ['finished']]);
  });
});

describe('the end', () => {
  it('waits two seconds for the peer to end too', () => {
    const peer = new Peer(test.gateway);
    peer.send(get('/healthz', 'Connection: close'));
    leavesAt(peer, LINGER_MS, () => peer.send('x'));
    assert.deepEqual([peer.state, peer.wire.state], ['closed', 'destroyed']);
    assert.deepEqual(closedOf(test.gateway), ['finished']);
  });

  it('comes for a call that is lost', () => {
    test.broker.onPublish = () => new Promise(() => {});
    const peer = new Peer(test.gateway);
    peer.send(publishRequest('a', '1'));
    leavesAt(peer, BUSY_MS);
    assert.deepEqual([peer.state, closedOf(test.gateway)], ['closed', ['error']]);
  });

  it('leaves nothing in the wheel', () => {
    const peers = Array.from({ length: 50 }, () => new Peer(test.gateway));
    for (const [i, peer] of peers.entries()) {
      if (i % 5 === 1) peer.send(get('/sse/a'));
      if (i % 5 === 2) peer.send(get('/healthz'));
      if (i % 5 === 3) peer.send('GET /');
      if (i % 5 === 4) peer.send('NONSENSE\r\n\r\n');
    }
    assert.equal(waiting(), 50);
    for (const peer of peers) peer.send('end');
    assert.equal(waiting(), 0);
  });
});
