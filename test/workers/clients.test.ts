// Who the clients are, over wires that say what the test wants: peers that are gone already, and what is kept of whom.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { makeGateway, type TestGateway } from './gateways.ts';
import { closedOf, get, Peer, rejectedOf } from './peers.ts';

const TRUSTED = '10.0.0.0/8';
const PROXY = '10.1.2.3';

function gatewayBehindProxies(): TestGateway {
  return makeGateway({ proxyProtocol: 'on', trustedProxies: [TRUSTED] });
}

function header(client: string): string {
  return `PROXY TCP4 ${client} 192.0.2.1 1024 443\r\n`;
}

describe('a connection with a PROXY header', () => {
  it('is its client’s for as long as it lives', () => {
    const { gateway, lines } = gatewayBehindProxies();
    const peer = new Peer(gateway, PROXY);
    assert.equal(gateway.clients?.addressOf(peer.connection), PROXY, 'before it has said so');
    peer.send(header('203.0.113.9'), get('/sse/a'), '\r\n');
    assert.equal(gateway.clients?.addressOf(peer.connection), '203.0.113.9');
    peer.send('more than line ends');
    assert.equal(gateway.clients?.addressOf(peer.connection), '203.0.113.9', 'while it is closing');
    peer.send('end');
    assert.equal(peer.state, 'closed');
    assert.equal(gateway.clients?.addressOf(peer.connection), PROXY, 'nothing is kept');
    assert.deepEqual(lines, [], 'lines of each connection are for debug alone');
  });

  it('that was reset before it was looked at has no word to say', () => {
    const { gateway } = gatewayBehindProxies();
    const peer = new Peer(gateway, '');
    peer.send(header('203.0.113.9') + get('/healthz'));
    assert.deepEqual([peer.state, peer.text, closedOf(gateway)], ['closed', '', ['client-left']]);
    assert.deepEqual(rejectedOf(gateway), []);
  });

  it('that another worker has let in is not asked for its header again', () => {
    const { gateway } = gatewayBehindProxies();
    const peer = new Peer(gateway, PROXY, '203.0.113.9');
    peer.send(get('/healthz'));
    assert.deepEqual(peer.statuses, [200]);
    assert.equal(gateway.clients?.addressOf(peer.connection), '203.0.113.9');
  });
});

it('without a knob that asks for addresses nothing is kept', () => {
  assert.equal(makeGateway().gateway.clients, null);
});

it('at debug the log says of each client what became of it', () => {
  const { gateway, lines } = makeGateway({ logLevel: 'debug' });
  const peer = new Peer(gateway, '::ffff:198.51.100.7');
  peer.send(get('/sse/a'), 'end');
  new Peer(gateway, '2001:DB8::1').send('NONSENSE\r\n\r\n');
  assert.deepEqual(
    lines.map(({ text, client, reason, status, transport }) => [text, client, status ?? transport ?? reason]),
    [
      ['opened', '198.51.100.7', 'sse'],
      ['closed', '198.51.100.7', 'client-left'],
      ['rejected', '2001:db8::1', 400],
      ['closed', '2001:db8::1', 'malformed'],
    ],
  );
});
