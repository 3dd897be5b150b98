// Limits by the client's own address, from outside: direct, and through nginx and haproxy that name their clients, which
// their clients cannot talk them out of.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { missing } from '../harness/foreign.ts';
import { type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { NAMES_CLIENTS, PROXIES, type ProxyName, type RunningProxy, startProxy } from '../harness/proxies.ts';
import { ask, RawClient } from '../harness/raw-client.ts';
import { waitUntil } from '../harness/wait.ts';

const LIMIT = 3;
const ALICE = '127.0.0.5';
const BOB = '127.0.0.6';

interface Front {
  name: string;
  skip: string | false;
  wire: string;
  env: Record<string, string>;
  /** What stands in front of the gateway; null for nothing. */
  start(gatewayPort: number): Promise<RunningProxy | null>;
}

const FRONTS: Front[] = [
  ...['handle', 'socket'].map((wire) => ({
    name: 'nothing',
    skip: false as const,
    wire,
    env: {},
    start: () => Promise.resolve(null),
  })),
  ...(Object.keys(PROXIES) as ProxyName[]).map((name) => ({
    name,
    skip: missing(name, ...PROXIES[name]),
    wire: 'auto',
    env: { LONGWIRE_TRUSTED_PROXIES: '127.0.0.1' },
    start: (gatewayPort: number) => startProxy(name, gatewayPort, NAMES_CLIENTS[name]),
  })),
  {
    name: 'haproxy, with Forwarded',
    skip: missing('haproxy', ...PROXIES.haproxy),
    wire: 'auto',
    env: { LONGWIRE_TRUSTED_PROXIES: '127.0.0.1', LONGWIRE_FORWARDED_HEADER: 'forwarded' },
    start: (gatewayPort) => startProxy('haproxy', gatewayPort, 'http-request add-header Forwarded for=%[src]'),
  },
];

for (const { name, skip, wire, env, start } of FRONTS) {
  describe(`an address’ connections, in front of the gateway: ${name}, ${wire} wire`, { skip }, () => {
    let gateway: GatewayProcess;
    let front: RunningProxy | null;
    let port = 0;

    before(async () => {
      gateway = await startGateway({
        env: {
          // One, so that all connections are counted together.
          LONGWIRE_WORKERS: '1',
          LONGWIRE_WIRE: wire,
          // haproxy notices that a client has left when it has something to pass on to it.
          LONGWIRE_HEARTBEAT_SECONDS: '0.3',
          LONGWIRE_LOG_LEVEL: 'debug',
          LONGWIRE_MAX_CONNECTIONS_PER_ADDRESS: `${LIMIT}`,
          ...env,
        },
      });
      front = await start(gateway.publicPort);
      port = front?.port ?? gateway.publicPort;
    });

    after(async () => {
      await front?.stop();
      await gateway?.kill();
    });

    /** Asks for a stream as somebody who says to be somebody else. */
    async function come(address: string, claim: number): Promise<{ status: number; client: RawClient }> {
      const client = new RawClient(port, { localAddress: address });
      client.write(
        `GET /sse/a HTTP/1.1\r\nHost: g\r\nX-Forwarded-For: 203.0.113.${claim}\r\nForwarded: for=203.0.113.${claim}\r\n\r\n`,
      );
      await waitUntil(() => client.receivedBytes > 0 || client.ending !== 'none', 'an answer');
      return { status: Number(/^HTTP\/1\.1 (\d{3})/.exec(client.text)?.[1] ?? 0), client };
    }

    it('are limited, whoever they say they are, and let in again when one has left', async () => {
      const held: RawClient[] = [];
      for (let count = 0; count < LIMIT; count++) {
        const { status, client } = await come(ALICE, count);
        assert.equal(status, 200);
        held.push(client);
      }
      const late = await come(ALICE, LIMIT);
      assert.equal(late.status, 429);
      assert.match(late.client.text, /\r\nretry-after: 5\r\n/i);
      const other = await come(BOB, 0);
      assert.equal(other.status, 200);
      const seen = gateway.logged('opened').map(({ client }) => client);
      assert.deepEqual(seen, [ALICE, ALICE, ALICE, BOB]);

      for (let round = 0; round < 3; round++) {
        held.shift()?.close();
        await waitUntil(async () => {
          const { status, client } = await come(ALICE, round);
          if (status === 200) held.push(client);
          return status === 200;
        }, 'the place to be free');
        assert.equal((await come(ALICE, round)).status, 429);
      }
      for (const client of [...held, other.client]) client.close();
      await gateway.metricReaches('longwire_connections', { transport: 'sse' }, 0);
    });

    it('are not used up by requests that are over', async () => {
      const request = 'GET /healthz HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n';
      for (let count = 0; count < LIMIT * 5; count++) {
        assert.equal((await ask(port, request, { localAddress: ALICE })).status, 200, `request ${count}`);
      }
      const kept = new RawClient(port, { localAddress: BOB });
      for (let count = 1; count <= LIMIT * 5; count++) {
        kept.write('GET /healthz HTTP/1.1\r\nHost: g\r\n\r\n');
        assert.equal((await kept.answers(count)).at(-1)?.status, 200, `request ${count} of one connection`);
      }
      kept.close();
      const rejected = (await gateway.metrics()).value('longwire_rejected_total');
      assert.equal(rejected, (await gateway.metrics()).value('longwire_rejected_total', { reason: 'too-many' }));
    });

    it('are counted by the worker that they move to, under the same address', async () => {
      const held = [];
      for (let count = 0; count < LIMIT; count++) held.push(await come(ALICE, count));
      assert.deepEqual(
        held.map(({ status }) => status),
        Array<number>(LIMIT).fill(200),
      );
      await gateway.metricReaches('longwire_connections', { transport: 'sse' }, LIMIT);
      const [former = assert.fail()] = await gateway.workers();
      gateway.signal('SIGHUP');
      await waitUntil(async () => {
        const [worker] = await gateway.workers();
        return worker?.pid !== former.pid && worker?.connections.sse === LIMIT;
      }, 'all of them to be held by the next worker');
      await gateway.metricReaches('longwire_moved_total', { direction: 'in' }, (moved) => moved >= LIMIT);
      assert.equal((await come(ALICE, 0)).status, 429);
      assert.equal((await come(BOB, 0)).status, 200);
      for (const { client } of held) {
        assert.equal(client.ending, 'none');
        client.close();
      }
      await waitUntil(async () => (await come(ALICE, 0)).status === 200, 'the place to be free');
      assert.ok(gateway.logged('closed').some(({ client, reason }) => client === ALICE && reason === 'client-left'));
    });
  });
}
