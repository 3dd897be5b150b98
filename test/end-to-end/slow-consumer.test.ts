// Subscribers that do not read: closed when their outbox passes its limit or stands still too long, counted, and forgotten
// with all their memory; everybody else on the same channel gets everything.
//
// What the kernels of both sides take (some megabytes over loopback) is not in the outbox: the tests publish until the
// gateway acts, within a bound that no kernel's buffers reach.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { RawClient } from '../harness/raw-client.ts';
import { SseClient } from '../harness/sse-client.ts';
import { waitUntil } from '../harness/wait.ts';
import { WIRES } from './setups.ts';

const MEBIBYTE = 1024 * 1024;
/** In publications of a mebibyte, or what comes to that: loopback holds 36 MiB where buffers are as large as they may be. */
const ENOUGH_MEBIBYTES = 96;
const SLOW = { reason: 'slow-consumer' };

/** A stream whose bytes nobody reads from now on. */
async function stopReading(port: number, target: string): Promise<RawClient> {
  const client = new RawClient(port, { keep: false });
  client.write(`GET ${target} HTTP/1.1\r\nHost: g\r\n\r\n`);
  await waitUntil(() => client.receivedBytes > 0, 'the stream to open');
  client.socket.pause();
  return client;
}

for (const wire of WIRES) {
  describe(`a subscriber that stops reading, ${wire} wire`, () => {
    const gateways: GatewayProcess[] = [];

    async function start(env: Record<string, string>): Promise<GatewayProcess> {
      const gateway = await startGateway({ env: { LONGWIRE_WIRE: wire, LONGWIRE_WORKERS: '1', ...env } });
      gateways.push(gateway);
      return gateway;
    }

    after(async () => {
      for (const gateway of gateways) await gateway.kill();
    });

    describe('over the outbox limit', () => {
      let gateway: GatewayProcess;

      before(async () => {
        gateway = await start({
          LONGWIRE_OUTBOX_LIMIT_BYTES: '262144',
          LONGWIRE_PAYLOAD_LIMIT_BYTES: '65536',
          LONGWIRE_STALL_SECONDS: '600',
        });
      });

      it('is closed and counted, and everybody else gets everything', async () => {
        const slow = await stopReading(gateway.publicPort, '/sse/busy');
        const others = await Promise.all(
          Array.from({ length: 5 }, () => new SseClient(gateway.publicPort, '/sse/busy').opened()),
        );
        const payload = 'x'.repeat(65_536 - 10);
        let published = 0;
        const closed = async () => (await gateway.metrics()).value('longwire_closed_total', SLOW);
        do {
          for (let times = 0; times < 16; times++) await gateway.publish('busy', `${published++} ${payload}`);
          assert.ok(published < ENOUGH_MEBIBYTES * 16, `${published} publications and still there`);
        } while ((await closed()) === 0);
        await gateway.publish('busy', 'last');
        for (const other of others) {
          const data = await other.data(published + 1);
          assert.deepEqual(
            data.map((text) => text.split(' ')[0]),
            [...Array.from({ length: published }, (_, index) => `${index}`), 'last'],
          );
          other.close();
        }
        assert.equal(await closed(), 1);
        // What was on its way is still read, then the end: a client that wakes up knows that it has missed something.
        slow.socket.resume();
        await slow.end();
        slow.close();
        await gateway.metricReaches('longwire_subscriptions', {}, 0);
      });

      it('reads on in time and keeps its stream', async () => {
        const before = (await gateway.metrics()).value('longwire_closed_total', SLOW);
        const slow = await new SseClient(gateway.publicPort, '/sse/patient').opened();
        for (let round = 1; round <= 5; round++) {
          slow.connection.socket.pause();
          for (let times = 0; times < 3; times++) await gateway.publish('patient', 'x'.repeat(60_000));
          slow.connection.socket.resume();
          assert.equal((await slow.data(round * 3)).length, round * 3);
        }
        slow.close();
        await gateway.metricReaches('longwire_closed_total', SLOW, before);
      });
    });

    describe('below the outbox limit', () => {
      let gateway: GatewayProcess;

      before(async () => {
        gateway = await start({
          LONGWIRE_OUTBOX_LIMIT_BYTES: `${256 * MEBIBYTE}`,
          LONGWIRE_STALL_SECONDS: '1',
          LONGWIRE_HEARTBEAT_SECONDS: '0.3',
        });
      });

      it('is closed when nothing has moved for the stall deadline, and its memory comes back', async () => {
        const slow = await stopReading(gateway.publicPort, '/sse/stalled');
        const other = await new SseClient(gateway.publicPort, '/sse/stalled').opened();
        const payload = 'x'.repeat(MEBIBYTE);
        let closed = 0;
        let published = 0;
        let most = 0;
        const look = async (): Promise<boolean> => {
          const metrics = await gateway.metrics();
          closed = metrics.value('longwire_closed_total', SLOW);
          most = Math.max(most, metrics.value('longwire_worker_memory_bytes', { kind: 'array_buffers' }));
          return closed === 1;
        };
        while (published < ENOUGH_MEBIBYTES && !(await look())) {
          for (let times = 0; times < 4; times++) await gateway.publish('stalled', payload);
          published += 4;
        }
        await waitUntil(look, 'the subscriber to be closed');
        assert.equal((await other.data(published)).length, published);
        assert.ok(other.events.every(({ data }) => data.length === MEBIBYTE));
        assert.ok(most > 4 * MEBIBYTE, `the outbox was in memory: ${most}`);
        // Buffers go when the collector runs, and that is when there is something new to make room for.
        await waitUntil(
          async () => {
            await gateway.publish('nobody', payload);
            const memory = (await gateway.workers())[0]?.memory ?? assert.fail();
            return memory.arrayBuffersBytes < most / 2;
          },
          'the memory of the outbox to come back',
          30_000,
        );
        assert.equal(other.connection.ending, 'none');
        slow.close();
        other.close();
        await gateway.metricReaches('longwire_connections', {}, 0);
      });

      it('with nothing but heartbeats to take, is closed as well once the kernel takes no more', async () => {
        const before = (await gateway.metrics()).value('longwire_closed_total', SLOW);
        const slow = await stopReading(gateway.publicPort, '/sse/fed-once');
        // One fan-out fills the kernel's buffers and leaves something in the outbox; from then on there are heartbeats alone.
        for (let times = 0; times < ENOUGH_MEBIBYTES / 2; times++) {
          await gateway.publish('fed-once', 'x'.repeat(MEBIBYTE));
        }
        await gateway.metricReaches('longwire_closed_total', SLOW, before + 1);
        slow.close();
      });
    });
  });
}
