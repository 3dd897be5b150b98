// The primary's listening sockets: had or refused before anybody is forked.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { describe, it } from 'node:test';
import { BoundSocket } from '../../src/primary/bound-socket.ts';

describe('a bound socket', () => {
  for (const host of ['', '127.0.0.1', 'localhost']) {
    it(`takes a free port of ${host || 'all addresses'}`, async () => {
      const socket = await BoundSocket.open(host, 0);
      assert.ok(socket.port > 0);
      socket.close();
    });
  }

  it('may be another copy of one that is there', async () => {
    const socket = await BoundSocket.open('127.0.0.1', 0);
    assert.equal(new BoundSocket(socket.descriptor).port, socket.port);
    socket.close();
  });

  it('is refused where another program listens', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    const port = typeof address === 'string' || address === null ? 0 : address.port;
    await assert.rejects(BoundSocket.open('127.0.0.1', port), { code: 'EADDRINUSE' });
    server.close();
  });

  it('is refused on an address of another machine, and on none at all', async () => {
    await assert.rejects(BoundSocket.open('192.0.2.1', 0), { code: 'EADDRNOTAVAIL' });
    await assert.rejects(BoundSocket.open('no.such.host.invalid', 0), /no\.such\.host\.invalid/);
  });
});
