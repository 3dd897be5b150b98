// Objects that there are a hundred thousand of keep one hidden class all their life: fields are set in the constructor, in
// one order, and never change their representation for good. A second shape would cost each of them a lookup on every hot
// path (and more memory), without any test of behaviour noticing.
//
// V8 says whether two objects have the same one (`%HaveSameMap`). A first life warms up: V8 learns what a field may hold.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { Publication } from '../../src/publication.ts';
import { Connection } from '../../workers/connection.ts';
import { HandleWire } from '../../workers/wire/handle-wire.ts';
import { Listener } from '../../workers/wire/listener.ts';
import { chooseWire } from '../../workers/wire/probe.ts';
import { DRAIN_MARK_BYTES, type Wire } from '../../workers/wire/wire.ts';
import { waitUntil } from '../harness/wait.ts';
import { makeGateway } from './gateways.ts';
import { MemoryWire } from './memory-wire.ts';
import { get, Peer, publishRequest } from './peers.ts';

setFlagsFromString('--allow-natives-syntax');
const haveSameMap = new Function('a', 'b', 'return %HaveSameMap(a, b)') as (a: object, b: object) => boolean;

const MEBIBYTE = 1_048_576;

it('V8 tells shapes apart', () => {
  assert.equal(haveSameMap({ a: 1, b: 2 }, { b: 2, a: 1 }), false);
  assert.equal(haveSameMap(new MemoryWire(), new MemoryWire()), true);
});

describe('a connection', () => {
  it('has one shape in all its states, whatever its life', async () => {
    const { gateway } = makeGateway({ outboxLimitBytes: 4_096 });
    const lives: [string, string[], fill?: boolean][] = [
      ['fresh', []],
      ['in a head', ['GET /hea']],
      ['in a body', [publishRequest('a', 'x').slice(0, -1)]],
      ['being served', [publishRequest('a', 'x')]],
      ['idle', [get('/healthz')]],
      ['blocked', [get('/healthz').repeat(2_000)], true],
      ['held', [get('/sse/a')]],
      ['held in json', [get('/sse/a?format=json')]],
      ['held on many channels', [get('/sse/a?channel=b&channel=c')]],
      ['held with a full outbox', [get('/sse/a')], true],
      ['a poll that waits', [get('/poll/b')]],
      ['a poll that was answered', [get('/poll/a')]],
      ['a poll with the next request behind it', [get('/poll/b') + get('/healthz')]],
      ['closing', ['NONSENSE\r\n\r\n']],
      ['closed', ['GET /', 'end']],
      ['closed while held', [get('/sse/a'), 'end']],
    ];
    let peers: [string, Peer][] = [];
    for (let life = 0; life < 3; life++) {
      peers = lives.map(([name, sent, full]) => {
        const peer = new Peer(gateway);
        peer.wire.full = full === true;
        peer.send(...sent);
        return [name, peer];
      });
      gateway.onPublication(new Publication('a', Buffer.from('x')));
      const fresh = new Connection(gateway, new MemoryWire());
      // What is checked is the last life, as it stands: some are in the middle of something.
      for (const [name, { connection }] of life < 2 ? [] : peers) assert.ok(haveSameMap(connection, fresh), name);
      for (const [, peer] of peers) {
        await peer.settle();
        peer.connection.close('finished');
      }
    }
    const fresh = new Connection(gateway, new MemoryWire());
    for (const [name, { connection }] of peers) assert.ok(haveSameMap(connection, fresh), `${name}, then closed`);
  });
});

describe('a bare handle’s wire', () => {
  let listener: Listener;
  let port = 0;
  const accepted: Wire[] = [];

  before(async () => {
    await chooseWire('handle');
    const options = { host: '127.0.0.1', port: 0, reusePort: false, kind: 'handle' } as const;
    listener = new Listener(options, (wire) => accepted.push(wire));
    ({ port } = await listener.listen());
  });
  after(() => listener.close());

  async function pair(): Promise<{ client: Socket; wire: HandleWire; drained: () => number }> {
    const client = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    client.on('error', () => {});
    await once(client, 'connect');
    await waitUntil(() => accepted.length > 0, 'the connection to be accepted');
    const wire = accepted.shift();
    assert.ok(wire instanceof HandleWire);
    let drained = 0;
    wire.attach({ onWireRead() {}, onWireEnd() {}, onWireClosed() {}, onWireDrained: () => drained++ });
    return { client, wire, drained: () => drained };
  }

  /** A whole life: idle, written to, with an outbox that fills and drains, ended, destroyed. */
  async function live(look: (wire: HandleWire, when: string) => void): Promise<void> {
    const { client, wire, drained } = await pair();
    look(wire, 'fresh');
    wire.write(Buffer.from('x'));
    look(wire, 'written');
    client.pause();
    while (wire.outboxBytes < DRAIN_MARK_BYTES) wire.write(Buffer.alloc(MEBIBYTE));
    wire.write(Buffer.alloc(MEBIBYTE));
    look(wire, 'with a full outbox');
    client.resume();
    await waitUntil(() => drained() > 0, 'the outbox to drain');
    look(wire, 'drained');
    wire.pause();
    wire.resume();
    wire.end();
    look(wire, 'ended');
    wire.destroy();
    look(wire, 'destroyed');
    client.destroy();
  }

  it('has one shape all its life', async () => {
    await live(() => {});
    const reference = await pair();
    await live((wire, when) => assert.ok(haveSameMap(wire, reference.wire), when));
    reference.wire.destroy();
    reference.client.destroy();
  });
});
