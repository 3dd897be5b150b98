// Who the clients are, over wires that say what the test wants: peers that are gone already, and what is kept of whom.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Config } from '../../config/config.ts';
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

describe('a limit of connections an address', () => {
  const LIMIT = 2;

  function limited(more: Partial<Config> = {}): TestGateway {
    return makeGateway({ maxConnectionsPerAddress: LIMIT, ...more });
  }

  it('turns away the one too many, with 429 and a time to come back, and counts it', () => {
    const { gateway, lines } = limited();
    const peers = Array.from({ length: LIMIT }, () => new Peer(gateway, '198.51.100.7'));
    const late = new Peer(gateway, '198.51.100.7');
    const [answer = assert.fail()] = late.answers;
    assert.deepEqual([answer.status, answer.headers['retry-after'], answer.headers.connection], [429, '5', 'close']);
    assert.deepEqual(rejectedOf(gateway), ['too-many']);
    assert.equal(lines.at(-1)?.client, '198.51.100.7');
    new Peer(gateway, '198.51.100.8').send(get('/sse/a'));
    for (const peer of peers) peer.send(get('/sse/a'));
    assert.deepEqual(rejectedOf(gateway), ['too-many'], 'others, and those that were let in, are served');
  });

  it('counts a connection from its accept to its close, whatever becomes of it, and once', () => {
    const { gateway } = limited();
    const ways: ((peer: Peer) => void)[] = [
      (peer) => peer.send('end'),
      (peer) => peer.send('reset'),
      (peer) => peer.send(get('/sse/a'), 'end'),
      (peer) => peer.send(get('/sse/a'), 'nonsense', 'end'),
      (peer) => peer.send('NONSENSE\r\n\r\n', 'end'),
      (peer) => peer.send(get('/healthz'), get('/healthz'), 'end'),
      (peer) => peer.send(get('/healthz', 'Connection: close'), 'end'),
      (peer) => peer.connection.close('drained'),
      (peer) => peer.connection.leaveToAnother(),
    ];
    for (let round = 0; round < 3; round++) {
      for (const way of ways) {
        const first = new Peer(gateway, '198.51.100.7');
        const second = new Peer(gateway, '198.51.100.7');
        const third = new Peer(gateway, '198.51.100.7');
        assert.deepEqual([first.statuses, second.statuses, third.statuses], [[], [], [429]], String(way));
        third.send('end');
        assert.deepEqual(new Peer(gateway, '198.51.100.7').statuses, [429], 'who was turned away has freed nothing');
        way(first);
        assert.equal(first.state, 'closed');
        const fourth = new Peer(gateway, '198.51.100.7');
        assert.deepEqual(fourth.statuses, [], String(way));
        for (const peer of [second, fourth]) peer.connection.close('drained');
      }
    }
  });

  it('knows an IPv4 client in both of its forms, and an IPv6 client by its /64', () => {
    const { gateway } = limited();
    const statuses = [
      ...['198.51.100.7', '::ffff:198.51.100.7', '198.51.100.7'],
      ...['2001:db8:0:1::1', '2001:db8:0:1:ffff::2', '2001:db8:0:1::3', '2001:db8:0:2::3'],
    ].map((address) => new Peer(gateway, address).statuses);
    assert.deepEqual(statuses, [[], [], [429], [], [], [429], []]);
  });

  it('holds for whom a PROXY header names, and not for the proxy', () => {
    const { gateway } = limited({ proxyProtocol: 'on', trustedProxies: [TRUSTED] });
    const come = (client: string): number[] => {
      const peer = new Peer(gateway, PROXY);
      peer.send(client === '' ? 'PROXY UNKNOWN\r\n' : header(client), get('/sse/a'));
      return peer.statuses;
    };
    assert.deepEqual(['203.0.113.9', '203.0.113.9', '203.0.113.9', '203.0.113.8', '', '', ''].map(come), [
      [200],
      [200],
      [429],
      [200],
      [200],
      [200],
      [200],
    ]);
  });

  it('holds for whom a trusted proxy forwards, for as long as its exchange takes', () => {
    const { gateway } = limited({ trustedProxies: [TRUSTED] });
    const ask = (peer: Peer, client: string, path = '/sse/a'): number | undefined => {
      peer.send(get(path, `X-Forwarded-For: 192.0.2.77, ${client}, ${PROXY}`));
      return peer.statuses.at(-1);
    };
    const held = Array.from({ length: LIMIT }, () => new Peer(gateway, PROXY));
    assert.deepEqual(
      held.map((peer) => ask(peer, '203.0.113.9')),
      [200, 200],
    );
    const kept = new Peer(gateway, PROXY);
    assert.equal(ask(kept, '203.0.113.8', '/healthz'), 200);
    assert.equal(gateway.clients?.addressOf(kept.connection), PROXY, 'between requests it is nobody’s');
    assert.deepEqual(
      Array.from({ length: LIMIT * 2 }, () => ask(kept, '203.0.113.8', '/healthz')),
      [200, 200, 200, 200],
      'one connection asks for one client at a time',
    );
    assert.equal(ask(kept, '203.0.113.9', '/healthz'), 429);
    assert.equal(kept.state, 'closing');
    held[0]?.send('end');
    assert.equal(ask(new Peer(gateway, PROXY), '203.0.113.9'), 200);
    const own = Array.from({ length: LIMIT * 2 }, () => new Peer(gateway, PROXY));
    for (const peer of own) peer.send(get('/healthz'));
    assert.deepEqual(
      own.flatMap(({ statuses }) => statuses),
      [200, 200, 200, 200],
      'proxies are not counted',
    );
  });

  it('is not moved by what a client forwards that nobody trusts', () => {
    const { gateway } = limited({ trustedProxies: [TRUSTED] });
    const statuses = ['1', '2', '3'].map((last) => {
      const peer = new Peer(gateway, '198.51.100.7');
      peer.send(get('/sse/a', `X-Forwarded-For: 203.0.113.${last}`, `Forwarded: for=203.0.113.${last}`));
      return peer.statuses;
    });
    assert.deepEqual(statuses, [[200], [200], [429]]);
  });

  it('lets in what another worker hands over, and counts it', () => {
    const { gateway } = limited();
    const peers = Array.from({ length: LIMIT + 1 }, () => new Peer(gateway, '192.0.2.1', '203.0.113.9'));
    for (const peer of peers) peer.send(get('/healthz'));
    assert.deepEqual(
      peers.flatMap(({ statuses }) => statuses),
      [200, 200, 200],
    );
    assert.deepEqual(new Peer(gateway, '203.0.113.9').statuses, [429]);
    for (const peer of peers.slice(1)) peer.send('end');
    assert.deepEqual(new Peer(gateway, '203.0.113.9').statuses, []);
  });
});

it('a list from a trusted proxy that cannot be read is answered 400', () => {
  const { gateway } = makeGateway({ trustedProxies: [TRUSTED] });
  const peer = new Peer(gateway, PROXY);
  peer.send(get('/healthz', 'X-Forwarded-For: somebody'));
  assert.deepEqual([peer.statuses, rejectedOf(gateway)], [[400], ['malformed']]);
  const head = new Peer(gateway, PROXY);
  head.send('HEAD /sse/a HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: somebody\r\n\r\n');
  assert.match(head.text, /^HTTP\/1\.1 400 [\s\S]*\r\n\r\n$/);
});
