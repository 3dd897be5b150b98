// Clients that take their time: heads and bodies that never end, connections that ask nothing, five thousand of them at
// once. Each has its deadline; until then, and while all of them are being thrown out, others are served.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { API_KEY, type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { ask, RawClient } from '../harness/raw-client.ts';
import { SseClient } from '../harness/sse-client.ts';
import { WIRES } from './setups.ts';

const HEALTH = 'GET /healthz HTTP/1.1\r\nHost: g\r\n\r\n';
const CLOSING = 'GET /healthz HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n';
const CROWD = 5_000;
/** How fast they come; a client that connects has its answer from the kernel long before the gateway's. */
const WAVE = 500;
/** Far above the deadline of 1 s, so that it holds on a busy machine too; far below what no deadline would be. */
const GONE_WITHIN_MS = 60_000;

for (const wire of WIRES) {
  describe(`deadlines, ${wire} wire`, () => {
    let gateway: GatewayProcess;
    let port = 0;

    before(async () => {
      gateway = await startGateway({
        env: { LONGWIRE_WIRE: wire, LONGWIRE_HEAD_DEADLINE_SECONDS: '1', LONGWIRE_KEEPALIVE_SECONDS: '0.5' },
      });
      port = gateway.publicPort;
    });

    after(() => gateway.kill());

    it('a connection that says nothing is closed without a word', async () => {
      const client = new RawClient(port);
      await client.end();
      assert.equal(client.text, '');
    });

    it('half a head, and half a body, are answered with 408', async () => {
      const head = `POST /api/publish HTTP/1.1\r\nHost: g\r\nX-API-Key: ${API_KEY}\r\n`;
      const parts = [
        'G',
        HEALTH.slice(0, -1),
        `${head}Content-Length: 9\r\n\r\n{`,
        `${head}Transfer-Encoding: chunked\r\n\r\n5`,
      ];
      const answered = async (part: string): Promise<void> => {
        const client = new RawClient(port);
        client.write(part);
        assert.equal(await client.end(), 'fin', part);
        const [answer] = await client.answers(1);
        assert.deepEqual([answer?.status, answer?.headers.connection], [408, 'close'], part);
      };
      await Promise.all(parts.map(answered));
    });

    it('a connection that is kept alive is closed when nothing more is asked, and not before', async () => {
      const client = new RawClient(port);
      for (let calls = 1; calls <= 3; calls++) {
        client.write(HEALTH);
        await client.answers(calls);
      }
      const answeredAt = performance.now();
      assert.equal(await client.end(), 'fin');
      // The answer was on its way for a moment before we had it; a deadline is never early otherwise.
      assert.ok(client.endedAt - answeredAt > 400, `${client.endedAt - answeredAt} ms`);
      await gateway.metricReaches('longwire_closed_total', { reason: 'idle' }, 1);
    });

    it('an open stream has no such deadline', async () => {
      const stream = await new SseClient(port, '/sse/alice').opened();
      const silent = new RawClient(port);
      await silent.end();
      const idle = new RawClient(port);
      idle.write(HEALTH);
      await idle.end();
      assert.equal(stream.connection.ending, 'none');
      stream.close();
    });

    it(`${CROWD} connections that never finish their head are gone by the deadline, while others are served`, async () => {
      const closed = { reason: 'head-timeout' };
      await gateway.metricReaches('longwire_connections', {}, 0);
      const before = (await gateway.metrics()).value('longwire_closed_total', closed);
      const stream = await new SseClient(port, '/sse/alice').opened();
      const crowd: RawClient[] = [];
      for (let index = 0; index < CROWD; index += WAVE) {
        const wave = Array.from({ length: WAVE }, () => new RawClient(port));
        await Promise.all(wave.map((client) => new Promise((resolve) => client.socket.once('connect', resolve))));
        for (const client of wave) {
          // A third says nothing, a third half a head, a third goes on byte by byte until it is closed.
          if (crowd.length % 3 === 1) client.write('GET /sse/alice HTTP/1.1\r\nHost: g\r\n');
          crowd.push(client);
        }
      }
      const trickling = setInterval(() => {
        for (const [index, client] of crowd.entries())
          if (index % 3 === 2 && client.ending === 'none') client.write('G');
      }, 100);

      let served = 0;
      const left = () => crowd.filter(({ ending }) => ending === 'none').length;
      const deadline = performance.now() + GONE_WITHIN_MS;
      do {
        assert.equal((await ask(port, CLOSING)).status, 200);
        await gateway.publish('alice', served);
        served++;
        await stream.data(served);
        assert.ok(performance.now() < deadline, `${left()} are still there`);
      } while (left() > 0);
      clearInterval(trickling);

      assert.equal(stream.events.length, served);
      stream.close();
      await gateway.metricReaches('longwire_closed_total', closed, before + CROWD);
      const halves = crowd.filter((_, index) => index % 3 === 1);
      assert.ok(halves.every(({ text }) => text.startsWith('HTTP/1.1 408 ')));
      for (const client of crowd) client.close();
    });
  });
}
