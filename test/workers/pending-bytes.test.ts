// What all unfinished requests and messages of a worker may hold together: beyond it a peer is told 503 or 1013, and nothing
// stays counted.

import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { PENDING_LIMIT_BYTES } from '../../workers/pending-request.ts';
import { API_KEY, makeGateway, type TestGateway } from './gateways.ts';
import { get, Peer, publishRequest, rejectedOf } from './peers.ts';
import { clientFrame, TEXT } from './websocket/client-frames.ts';

let test: TestGateway;

beforeEach(() => {
  test = makeGateway();
});

describe('bytes of unfinished requests', () => {
  it('are counted while a request is cut, and no longer', async () => {
    const head = new Peer(test.gateway);
    head.send('GET /healthz HT');
    const body = new Peer(test.gateway);
    body.send(publishRequest('a', 'x'.repeat(5_000)).slice(0, -1_000));
    assert.ok(test.gateway.pendingBytes > 4_000);
    head.send('TP/1.1\r\nHost: a\r\n\r\n');
    body.send('x'.repeat(998), '"}');
    await Promise.all([head.settle(), body.settle()]);
    assert.deepEqual([head.statuses, body.statuses], [[200], [200]]);
    assert.equal(test.gateway.pendingBytes, 0);
  });

  it('are given back by peers that vanish in the middle', () => {
    const peers = Array.from({ length: 20 }, () => new Peer(test.gateway));
    for (const peer of peers) peer.send('POST /api/publish HTTP/1.1\r\nHost');
    assert.ok(test.gateway.pendingBytes > 0);
    for (const peer of peers) peer.connection.onWireClosed('ECONNRESET');
    assert.equal(test.gateway.pendingBytes, 0);
  });

  it('beyond the limit are refused with 503, and others are served', async () => {
    const head = `POST /api/publish HTTP/1.1\r\nHost: a\r\nX-API-Key: ${API_KEY}\r\nContent-Length: 2000000\r\n\r\n`;
    const chunk = Buffer.alloc(60_000, 0x20);
    const peers: Peer[] = [];
    while (peers.every(({ text }) => text === '') && peers.length < 100) {
      const peer = new Peer(test.gateway);
      peers.push(peer);
      peer.send(head);
      for (let sent = 0; sent < 1_900_000 && peer.text === ''; sent += chunk.length) peer.send(chunk);
    }
    const refused = peers.at(-1);
    assert.deepEqual(refused?.statuses, [503]);
    assert.ok(test.gateway.pendingBytes <= PENDING_LIMIT_BYTES);
    const other = new Peer(test.gateway);
    other.send(get('/healthz'));
    await other.settle();
    assert.deepEqual(other.statuses, [200]);
    for (const peer of peers) peer.connection.close('client-left');
    assert.equal(test.gateway.pendingBytes, 0);
  });
});

describe('bytes of unfinished WebSocket messages', () => {
  const HANDSHAKE = get(
    '/ws/a',
    'Upgrade: websocket',
    'Connection: Upgrade',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  );

  function open(): Peer {
    const peer = new Peer(test.gateway);
    peer.send(HANDSHAKE);
    assert.equal(peer.state, 'open');
    return peer;
  }

  it('are counted while a message is cut, and no longer', () => {
    const peer = open();
    assert.equal(test.gateway.pendingBytes, 0);
    const frame = clientFrame(TEXT, JSON.stringify({ ping: 'x'.repeat(5_000) }));
    peer.send(frame.subarray(0, 3));
    const begun = test.gateway.pendingBytes;
    assert.ok(begun > 0);
    peer.send(frame.subarray(3, 4_000));
    assert.ok(test.gateway.pendingBytes > begun + 3_900);
    peer.send(frame.subarray(4_000));
    assert.equal(test.gateway.pendingBytes, 0);
    assert.match(peer.text, /"pong":"x{5000}"/);
    peer.send(Buffer.concat([clientFrame(TEXT, '{"ping":1}'), frame.subarray(0, 100)]));
    assert.ok(test.gateway.pendingBytes > 0);
    peer.send(frame.subarray(100));
    assert.equal(test.gateway.pendingBytes, 0);
  });

  it('are given back when the connection ends, whoever ends it and wherever the message stands', () => {
    const half = clientFrame(TEXT, 'x'.repeat(1_000)).subarray(0, 500);
    const endings: ((peer: Peer) => void)[] = [
      (peer) => peer.send('reset'),
      (peer) => peer.send('end'),
      (peer) => peer.connection.finish('drained'),
      (peer) => peer.connection.close('slow-consumer'),
      // A fault in what follows the half: unmasked bytes would still be payload, so it is the next frame.
      (peer) => peer.send(Buffer.concat([clientFrame(TEXT, 'x'.repeat(1_000)).subarray(500), Buffer.of(0xff, 0xff)])),
    ];
    for (const end of endings) {
      const peer = open();
      peer.send(half);
      assert.ok(test.gateway.pendingBytes > 500);
      end(peer);
      assert.notEqual(peer.state, 'open');
      assert.equal(test.gateway.pendingBytes, 0);
    }
  });

  it('beyond the limit close the one that passed it with 1013, and nobody else', () => {
    const others = Array.from({ length: 20 }, open);
    for (const peer of others) peer.send(clientFrame(TEXT, 'x'.repeat(16_000)).subarray(0, 15_000));
    const counted = test.gateway.pendingBytes;
    test.gateway.pendingBytes = PENDING_LIMIT_BYTES - 1_000;
    const peer = open();
    peer.send(clientFrame(TEXT, 'x'.repeat(16_000)).subarray(0, 15_000));
    assert.deepEqual([peer.state, rejectedOf(test.gateway)], ['closing', ['capacity']]);
    const text = 'too many unfinished messages at this worker';
    const close = Buffer.concat([Buffer.of(0x88, 2 + text.length, 1013 >> 8, 1013 & 0xff), Buffer.from(text)]);
    assert.deepEqual(peer.wire.received.subarray(-close.length), close);
    assert.equal(test.gateway.pendingBytes, PENDING_LIMIT_BYTES - 1_000);
    test.gateway.pendingBytes = counted;
    for (const other of others) {
      assert.equal(other.state, 'open');
      other.send('reset');
    }
    assert.equal(test.gateway.pendingBytes, 0);
  });
});
