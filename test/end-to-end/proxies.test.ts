// Every transport through nginx and haproxy as Debian has them, with their default settings: what is published arrives at
// once and not when a buffer is full, heartbeats pass, an end is an end, and a client that leaves is noticed.
//
// nginx buffers answers unless it is told not to, which X-Accel-Buffering in the gateway's answers does; and it asks with
// HTTP/1.0, so streams come without chunks from the gateway, and end with the connection.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { missing } from '../harness/foreign.ts';
import { type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { PROXIES, type ProxyName, type RunningProxy, startProxy } from '../harness/proxies.ts';
import { TRANSPORTS } from '../harness/transports.ts';
import { waitUntil } from '../harness/wait.ts';

/** What polls were asked on, a proxy keeps for the next. */
async function nothingIsHeld(gateway: GatewayProcess): Promise<void> {
  for (const { name } of TRANSPORTS) await gateway.metricReaches('longwire_connections', { transport: name }, 0);
}

for (const name of Object.keys(PROXIES) as ProxyName[]) {
  describe(`through ${name}`, { skip: missing(name, ...PROXIES[name]) }, () => {
    let gateway: GatewayProcess;
    let proxy: RunningProxy;

    before(async () => {
      gateway = await startGateway({
        env: {
          LONGWIRE_HEARTBEAT_SECONDS: '0.3',
          LONGWIRE_POLL_WAIT_SECONDS: '0.3',
          LONGWIRE_POLL_EXPIRY_SECONDS: '3',
          LONGWIRE_MAILBOX_LIMIT_BYTES: '4194304',
          LONGWIRE_DRAIN_SECONDS: '0',
        },
      });
      proxy = await startProxy(name, gateway.publicPort);
    });

    after(async () => {
      await proxy?.stop();
      await gateway?.kill();
    });

    for (const { name: transport, open } of TRANSPORTS) {
      it(`${transport}: publications arrive as they are made, small and large, and heartbeats between them`, async () => {
        const client = await open(proxy.port, 'alice?format=json');
        for (let count = 1; count <= 10; count++) {
          await gateway.publish('alice', `${count}`);
          // The next is published only when this one has come: a proxy that waits for more fails here.
          const received = await client.received(count);
          assert.deepEqual(JSON.parse(String(received[count - 1])), { channel: 'alice', data: `${count}` });
        }
        const large = 'x'.repeat(1_000_000);
        await gateway.publish('alice', large);
        assert.equal(JSON.parse(String((await client.received(11))[10])).data, large);
        const before = client.heartbeats;
        await waitUntil(() => client.heartbeats >= before + 2, 'two heartbeats');
        client.close();
      });
    }

    it('clients of all transports are held, and each that leaves is noticed', async () => {
      await nothingIsHeld(gateway);
      const channels = ['a', 'a', 'b', 'c'];
      const clients = await Promise.all(
        TRANSPORTS.flatMap(({ open }) => channels.map((channel) => open(proxy.port, channel))),
      );
      for (const { name: transport } of TRANSPORTS) {
        await gateway.metricReaches('longwire_connections', { transport }, channels.length);
      }
      for (const [index, client] of clients.entries()) {
        if (index % 2 === 0) client.close();
        else client.vanish();
      }
      await nothingIsHeld(gateway);
      for (const gauge of ['channels', 'subscriptions']) await gateway.metricReaches(`longwire_${gauge}`, {}, 0);
    });

    it('a page of the host that the browser knows may open a WebSocket, another may not', async () => {
      const websocket = TRANSPORTS.find(({ path }) => path === 'ws') ?? assert.fail();
      (await websocket.open(proxy.port, 'alice', 'Origin: http://gateway\r\n')).close();
      await assert.rejects(websocket.open(proxy.port, 'alice', 'Origin: http://elsewhere\r\n'), /HTTP\/1\.1 403 /);
    });

    it('a drain ends every stream, in order', async () => {
      const clients = await Promise.all(TRANSPORTS.map(({ open }) => open(proxy.port, 'alice')));
      const goodbyes = Promise.all(clients.map((client) => client.goodbye()));
      await gateway.stop();
      const [sse, stream, poll, websocket] = await goodbyes;
      // A proxy may put chunks of its own around what has none, and keep its client's connection behind the last of them.
      assert.ok(sse === 'the end' || sse === 'the last chunk', sse);
      assert.ok(stream === 'the end' || stream === 'the last chunk', stream);
      // A poll was answered; its client asked the proxy again, which has nobody to ask, or was told of the end.
      assert.match(poll ?? '', /^50[234]$|^204, and the end$|the connection's end \(fin\)$/);
      assert.equal(websocket, '1012 come back');
    });
  });
}
