// What all unfinished requests of a worker may hold together: beyond it a peer is told 503, and nothing stays counted.

import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { PENDING_LIMIT_BYTES } from '../../workers/pending-request.ts';
import { API_KEY, makeGateway, type TestGateway } from './gateways.ts';
import { get, Peer, publishRequest } from './peers.ts';

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
