// The end of a token that somebody is held with, on clocks that the test moves: the wheel's, and the time of day apart from it.

import assert from 'node:assert/strict';
import { beforeEach, describe, it, mock } from 'node:test';
import { Publication } from '../../../src/publication.ts';
import { TICK_MS } from '../../../workers/timing-wheel.ts';
import { ENDS_A_TICK } from '../../../workers/token/ends.ts';
import { Tokens } from '../../../workers/token/tokens.ts';
import { verifierFor } from '../../../workers/token/verifier.ts';
import { makeToken, TOKEN_SECRET } from '../../harness/tokens.ts';
import { handshake } from '../../harness/websocket-client.ts';
import { makeGateway, type TestGateway } from '../gateways.ts';
import { closedOf, get, Peer } from '../peers.ts';
import { clientFrame, PONG, TEXT } from '../websocket/client-frames.ts';

const HEARTBEAT_MS = 25_000;
/** Of a day in 2033, in milliseconds. */
const START_MS = 2_000_000_000_000;

let nowMs = 0;
/** How far the time of day is from where it began, beside what has passed. */
let shiftMs = 0;
mock.method(performance, 'now', () => nowMs);
mock.method(Date, 'now', () => START_MS + nowMs + shiftMs);

const tokens = new Tokens(
  { tokenRequired: 'auto', tokenAudience: '' },
  verifierFor({ algorithm: 'HS256', key: TOKEN_SECRET }),
);

let test: TestGateway;

beforeEach(() => {
  shiftMs = 0;
  test = makeGateway({ heartbeatSeconds: HEARTBEAT_MS / 1_000, pollWaitSeconds: 60 }, tokens);
});

/** A token that ends so many milliseconds from now. */
function tokenFor(leftMs: number, sub = 'u'): string {
  return makeToken({ sub, exp: (Date.now() + leftMs) / 1_000 });
}

function pass(ms: number, each: () => void = () => {}): void {
  for (const end = nowMs + ms; nowMs < end; ) {
    nowMs = Math.min(end, nowMs + TICK_MS);
    each();
    test.gateway.wheel.advance();
  }
}

/** Held until then, and gone a tick later. */
function endsIn(peer: Peer, ms: number, each?: () => void): void {
  pass(ms - 1, each);
  assert.ok(['open', 'waiting'].includes(peer.state), `${peer.state} before ${ms} ms`);
  pass(1 + 2 * TICK_MS, each);
  assert.ok(!['open', 'waiting'].includes(peer.state), `${peer.state} after ${ms} ms`);
}

function open(path: string, token: string): Peer {
  const peer = new Peer(test.gateway);
  peer.send(path.startsWith('/ws') ? handshake(`${path}?token=${token}`) : get(`${path}?token=${token}`));
  assert.ok(['open', 'waiting'].includes(peer.state), peer.text);
  return peer;
}

function pong(peer: Peer): () => void {
  return () => peer.send(Buffer.from(clientFrame(PONG, '')));
}

describe('the end of a token', () => {
  for (const leftMs of [50, 100, 1_000, 24_999, 25_000, 25_001, 60_000, 3_600_000]) {
    it(`comes ${leftMs} ms after it was shown, and not before`, () => {
      const sse = open('/sse/a', tokenFor(leftMs));
      endsIn(sse, leftMs);
      assert.deepEqual(closedOf(test.gateway), ['token-expired']);
      const socket = open('/ws/a', tokenFor(leftMs));
      endsIn(socket, leftMs, pong(socket));
      assert.ok(socket.text.endsWith('token-expired'), 'and is said in the close frame');
      assert.deepEqual(closedOf(test.gateway), ['token-expired', 'token-expired']);
    });
  }

  it('is never where a token has none, nor for whom there is none', () => {
    const optional = new Tokens(
      { tokenRequired: 'off', tokenAudience: '' },
      verifierFor({ algorithm: 'HS256', key: TOKEN_SECRET }),
    );
    test = makeGateway({ heartbeatSeconds: HEARTBEAT_MS / 1_000 }, optional);
    const peers = [
      open('/sse/a', makeToken({ sub: 'u' })),
      open('/sse/a', makeToken({ exp: 1e300 })),
      open('/sse/a', ''),
    ];
    pass(10 * HEARTBEAT_MS);
    for (const peer of peers) {
      assert.equal(peer.state, 'open');
      // Each comment ends with an empty line.
      const beats = peer.text.split(':\n\n').length - 1;
      assert.ok(beats >= 9 && beats <= 11, `${beats} heartbeats`);
    }
  });

  it('leaves the heartbeats before it as they are', () => {
    const peer = open('/sse/a', tokenFor(10 * HEARTBEAT_MS));
    pass(9.5 * HEARTBEAT_MS);
    const beats = peer.text.split(':\n\n').length - 1;
    assert.ok(beats >= 8 && beats <= 10, `${beats} heartbeats`);
  });

  it('is counted by the clock of the wheel, whatever becomes of the time of day', () => {
    for (const shift of [-3_600_000, -10, 10, 3_600_000]) {
      const socket = open('/ws/a', tokenFor(60_000));
      shiftMs += shift;
      endsIn(socket, 60_000, pong(socket));
    }
    assert.deepEqual(new Set(closedOf(test.gateway)), new Set(['token-expired']));
  });

  it('is told to a poll that waits, and ends neither its connection nor its session', async () => {
    const peer = open('/poll/a', tokenFor(30_000));
    test.gateway.broadcast(new Publication('a', Buffer.from('1')));
    await peer.settle();
    const { headers } = peer.answers[0] ?? {};
    const cursor = `sid=${headers?.['longwire-sid']}&since=${headers?.['longwire-since']}`;
    const next = (token: string) => get(`/poll/a?${cursor}&token=${token}`);
    peer.send(next(tokenFor(5_000)));
    endsIn(peer, 5_000);
    assert.deepEqual([peer.statuses, peer.state], [[200, 401], 'idle']);
    assert.equal(JSON.parse(peer.answers[1]?.text ?? '').error.code, 109);
    peer.send(next(tokenFor(5_000, 'v')));
    peer.send(next(tokenFor(5_000)));
    assert.deepEqual(peer.statuses, [200, 401, 410]);
    test.gateway.broadcast(new Publication('a', Buffer.from('2')));
    await peer.settle();
    assert.equal(JSON.parse(peer.answers[3]?.text ?? '').publications[0].data, '2');
  });

  it('is told to a first poll that waits, of which nothing stays', () => {
    const peer = open('/poll/a', tokenFor(5_000));
    endsIn(peer, 5_000);
    assert.deepEqual([peer.statuses, test.gateway.presence.identities.size], [[401], 0]);
    assert.equal(test.gateway.hub.channelNames().length ?? 0, 0);
  });

  it('does not cut a poll short that asks to wait for less', () => {
    const peer = new Peer(test.gateway);
    peer.send(get(`/poll/a?timeout=2&token=${tokenFor(5_000)}`));
    endsIn(peer, 2_000);
    assert.deepEqual(peer.statuses, [204]);
  });

  it('is that of the next one on a WebSocket, later or sooner', () => {
    const socket = open('/ws/a', tokenFor(10_000));
    const refresh = (token: string) => socket.send(Buffer.from(clientFrame(TEXT, JSON.stringify({ refresh: token }))));
    pass(5_000, pong(socket));
    refresh(tokenFor(100_000));
    pass(50_000, pong(socket));
    assert.equal(socket.state, 'open');
    refresh(tokenFor(3_000));
    endsIn(socket, 3_000, pong(socket));
    assert.deepEqual(closedOf(test.gateway), ['token-expired']);
  });

  it('comes for one that moves, from the moment at which it is served again', () => {
    const peer = open('/sse/a', tokenFor(5_000));
    for (const passed of [1_000, 10_000]) {
      peer.connection.setOut(test.gateway.order);
      pass(passed);
      assert.equal(peer.state, 'moving');
      peer.connection.goOn(HEARTBEAT_MS);
    }
    pass(2 * TICK_MS);
    assert.deepEqual([closedOf(test.gateway), peer.text.includes('"token-expired"')], [['token-expired'], true]);
  });

  it('that comes for many at once is spread, some a tick, in which all else goes on', () => {
    const count = 3 * ENDS_A_TICK + 10;
    const peers = Array.from({ length: count }, () => open('/sse/a', tokenFor(5_000)));
    const poll = open('/poll/b', tokenFor(60_000));
    const ended = () => peers.filter(({ state }) => state !== 'open').length;
    pass(5_000 - 1);
    assert.equal(ended(), 0);
    const seen: number[] = [];
    pass(1 + 6 * TICK_MS, () => seen.push(ended()));
    assert.deepEqual([...new Set([...seen, ended()])], [0, 1, 2, 3].map((times) => times * ENDS_A_TICK).concat(count));
    assert.equal(poll.state, 'waiting');
    const late = open('/sse/a', tokenFor(1_000));
    endsIn(late, 1_000);
  });
});
