// What comes when a turn has served for long enough: it waits for a later one, in order, and is not lost, whatever else happens.

import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { Turns } from '../../workers/turns.ts';
import { makeGateway, type TestGateway } from './gateways.ts';
import { closedOf, get, Peer } from './peers.ts';

let test: TestGateway;

beforeEach(() => {
  test = makeGateway();
  // Every turn is over with the first that it serves.
  test.gateway.turns = new Turns(0);
});

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('a crowd that comes in one turn', () => {
  it('is served over the next ones, in its order, and not read meanwhile', async () => {
    const peers = Array.from({ length: 5 }, () => new Peer(test.gateway));
    for (const peer of peers) peer.send(get('/healthz'));
    assert.deepEqual(
      peers.map(({ state, wire }) => [state, wire.paused]),
      [['idle', false], ...Array.from({ length: 4 }, () => ['postponed', true])],
    );
    for (let served = 1; served <= 5; served++) {
      assert.deepEqual(
        peers.map(({ statuses }) => statuses.length),
        peers.map((_, i) => (i < served ? 1 : 0)),
      );
      await turn();
    }
    for (const { statuses, state, wire } of peers) {
      assert.deepEqual([statuses, state, wire.paused], [[200], 'idle', false]);
    }
  });

  it('has what it sent kept as it was, cut in the middle of a head too', async () => {
    new Peer(test.gateway).send(get('/healthz'));
    const whole = new Peer(test.gateway);
    const cut = new Peer(test.gateway);
    whole.send(get('/healthz') + get('/healthz'));
    // The wire's buffer is overwritten behind the call.
    cut.send('GET /healthz HTTP/1.1\r\nHo');
    for (let i = 0; i < 4; i++) await turn();
    cut.send('st: a\r\n\r\n');
    for (let i = 0; i < 4; i++) await turn();
    assert.deepEqual([whole.statuses, cut.statuses], [[200, 200], [200]]);
  });

  it('may hold streams, and be gone before its turn has come', async () => {
    new Peer(test.gateway).send(get('/healthz'));
    const stays = new Peer(test.gateway);
    const gone = new Peer(test.gateway);
    for (const peer of [stays, gone]) peer.send(get('/sse/a'));
    gone.connection.close('client-left');
    for (let i = 0; i < 4; i++) await turn();
    assert.deepEqual([stays.state, gone.state, test.gateway.hub.subscriptionCount], ['open', 'closed', 1]);
  });

  it('is told when the gateway drains before its turn has come', async () => {
    new Peer(test.gateway).send(get('/healthz'));
    const late = new Peer(test.gateway);
    late.send(get('/sse/a'));
    test.gateway.draining = true;
    for (let i = 0; i < 4; i++) await turn();
    assert.deepEqual(late.statuses, [503]);
  });

  it('is served at once where more is kept already than may be', () => {
    const turns = new Turns(0);
    const bytes = Buffer.alloc(1024 * 1024);
    const connection = { onRequestTurn() {}, onEndTurn() {} };
    let kept = 0;
    while (kept < 100 && (turns.postponeRequest(connection, bytes, bytes.length) || kept === 0)) kept++;
    assert.equal(kept, 33);
  });
});

describe('a crowd that goes in one turn', () => {
  it('is seen off over the next ones, each once', async () => {
    const peers = Array.from({ length: 4 }, () => new Peer(test.gateway));
    for (const peer of peers) {
      peer.send(get('/sse/a'));
      await turn();
      await turn();
    }
    assert.equal(test.gateway.hub.subscriptionCount, 4);
    const [first, second, third, fourth] = peers as [Peer, Peer, Peer, Peer];
    first.wire.send('end');
    second.wire.send('end');
    third.wire.send('reset');
    fourth.wire.send('end');
    assert.deepEqual(
      peers.map(({ state }) => state),
      ['closed', 'open', 'open', 'open'],
    );
    // One of them is closed for another reason meanwhile.
    fourth.connection.close('slow-consumer');
    for (let i = 0; i < 6; i++) await turn();
    assert.equal(test.gateway.hub.subscriptionCount, 0);
    assert.deepEqual(closedOf(test.gateway).sort(), ['client-left', 'client-left', 'client-left', 'slow-consumer']);
  });
});
