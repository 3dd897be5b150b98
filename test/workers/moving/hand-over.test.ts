// Handing a request over when nobody is there to take it: the connection goes on here, with each byte read once. Over a real
// socket, whose stream may hold more than its connection was told. The rest: moves.test.ts, test/end-to-end/poll-workers.test.ts.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { describe, it } from 'node:test';
import type { Descriptor, ToPrimary } from '../../../src/ipc.ts';
import { Connection } from '../../../workers/connection.ts';
import { HandOver } from '../../../workers/moving/hand-over.ts';
import { makeSid } from '../../../workers/poll/sid.ts';
import { SOCKET_OPTIONS, SocketWire } from '../../../workers/wire/socket-wire.ts';
import { RawClient } from '../../harness/raw-client.ts';
import { waitUntil } from '../../harness/wait.ts';
import { makeGateway } from '../gateways.ts';
import { MemoryWire } from '../memory-wire.ts';
import { get } from '../peers.ts';

const OTHER_SLOT = 2;
/** What comes of it is the wire that the test holds. */
const DESCRIPTOR: Descriptor = { close() {} };

describe('a request that nobody is there to take', () => {
  it('is answered here, and what its socket had read beyond it is read once', async () => {
    const { gateway } = makeGateway();
    const sent: ToPrimary[] = [];
    const handOver = new HandOver(gateway, {
      send: (message) => sent.push(message),
      adopt: () => assert.fail('nothing is given to this worker'),
      admit: () => null,
      takeHeld: () => false,
    });
    const server = createServer(SOCKET_OPTIONS).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') assert.fail();
    const client = new RawClient(address.port);
    const [socket] = (await once(server, 'connection')) as [Socket];
    const connection = new Connection(gateway, new SocketWire(socket));
    connection.start();
    // Two chunks in the socket's own buffer: it tells the first when it is read again, and has the second then.
    connection.wire.pause();
    await waitUntil(() => socket.isPaused(), 'the socket to be paused');
    socket.push(`GET /poll/a?sid=${makeSid(OTHER_SLOT)}&since=0 HTTP/1.1\r\nHost: g\r\n\r\n`);
    socket.push('GET /healthz HTTP/1.1\r\nHost: g\r\n\r\n');
    connection.wire.resume();
    await waitUntil(() => sent.length === 1, 'the hand-over');
    const [given] = sent;
    if (given?.type !== 'hand-over' || given.cargo.kind !== 'request') assert.fail();
    assert.match(Buffer.from(given.cargo.bytes).toString(), /healthz/, 'the other worker would have had all of it');
    handOver.onOutcomes([given.number], 'nobody');
    client.write('GET /nowhere HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n');
    await client.end();
    assert.deepEqual(
      (await client.answers(3)).map(({ status }) => status),
      [410, 200, 404],
    );
    server.close();
  });
});

describe('a request that other workers had', () => {
  it('goes on while somebody may have what it asks for, and is answered here once it has been to all', async () => {
    for (const hops of [1, 2, 3]) {
      const { gateway } = makeGateway();
      const sent: ToPrimary[] = [];
      const wire = new MemoryWire();
      const handOver = new HandOver(gateway, {
        send: (message) => sent.push(message),
        adopt: () => wire,
        admit: (admitted) => new Connection(gateway, admitted),
        takeHeld: () => false,
      });
      const bytes = Buffer.from(get(`/poll/a?sid=${makeSid(OTHER_SLOT)}&since=0`));
      handOver.take(1, { kind: 'request', bytes, hops, client: '192.0.2.1' }, DESCRIPTOR);
      const given = sent.find((message) => message.type === 'hand-over');
      if (hops < 3) {
        assert.ok(given?.type === 'hand-over' && given.cargo.kind === 'request');
        assert.deepEqual([given.to, given.cargo.hops], [OTHER_SLOT, hops + 1]);
      } else {
        assert.equal(given, undefined);
        assert.match(wire.received.toString(), /^HTTP\/1.1 410 /);
      }
      await waitUntil(() => sent.some(({ type }) => type === 'taken'), 'the word that it was taken');
    }
  });
});
