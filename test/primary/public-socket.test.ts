// The primary's listening socket: found or refused before any worker is forked.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { describe, it } from 'node:test';
import { PublicSocket } from '../../src/primary/public-socket.ts';

describe('the public socket', () => {
  for (const host of ['', '127.0.0.1', 'localhost']) {
    it(`takes a free port of ${host || 'all addresses'}`, async () => {
      const socket = await PublicSocket.open({ host, port: 0 });
      assert.ok(socket.port > 0);
      socket.close();
    });
  }

  it('may be another copy of one that is there', async () => {
    const socket = await PublicSocket.open({ host: '127.0.0.1', port: 0 });
    assert.equal(new PublicSocket(socket.descriptor).port, socket.port);
    socket.close();
  });

  it('is refused, with what to do about it, where another program listens', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    const port = typeof address === 'string' || address === null ? 0 : address.port;
    await assert.rejects(PublicSocket.open({ host: '127.0.0.1', port }), {
      kind: 'unavailable',
      message: `port ${port} is taken by another program; PORT chooses another one`,
    });
    server.close();
  });

  it('is refused on an address of another machine, and on none at all', async () => {
    await assert.rejects(PublicSocket.open({ host: '192.0.2.1', port: 0 }), /192\.0\.2\.1 is not an address of this/);
    await assert.rejects(PublicSocket.open({ host: 'no.such.host.invalid', port: 0 }), /no\.such\.host\.invalid/);
  });
});
