// The cap on connections, seen from outside: as many are held as may be, whoever comes on top is told why and when to come
// back, and nobody is refused while there is room anywhere.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type GatewayProcess, startGateway, type WorkerInfo } from '../harness/gateway.ts';
import { RawClient } from '../harness/raw-client.ts';
import { waitUntil } from '../harness/wait.ts';
import { WIRES } from './setups.ts';

const CAP = 40;
const ROUNDS = 4;

// Side by side, since most of the time goes by in waiting for numbers, which come once a second.
describe('capacity', { concurrency: WIRES.length }, () => {
  for (const wire of WIRES) describesCapacity(wire);
});

function describesCapacity(wire: string): void {
  describe(`a gateway at its cap, ${wire} wire`, { concurrency: 1 }, () => {
    let gateway: GatewayProcess;
    const held: RawClient[] = [];
    let left = 0;

    before(async () => {
      gateway = await startGateway({ env: { LONGWIRE_WIRE: wire, LONGWIRE_MAX_CONNECTIONS: `${CAP}` } });
    });

    after(async () => {
      for (const client of held) client.close();
      await gateway.kill();
    });

    /** Asks for a stream and resolves with the status of the answer; 0 when there was none. */
    async function come(): Promise<{ status: number; client: RawClient }> {
      const client = new RawClient(gateway.publicPort);
      client.write('GET /sse/alice HTTP/1.1\r\nHost: gateway\r\n\r\n');
      await waitUntil(() => client.receivedBytes > 0 || client.ending !== 'none', 'an answer');
      const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(client.text)?.[1] ?? 0);
      if (status === 200) held.push(client);
      return { status, client };
    }

    /** Resolves when the gateway has seen all of them go: its count of those is exact, and only grows. */
    async function leave(count: number): Promise<void> {
      for (const client of held.splice(0, count)) client.close();
      left += count;
      await gateway.metricReaches('longwire_closed_total', { reason: 'client-left' }, left);
    }

    it('holds that many, and tells the next one why not and when to come back', async () => {
      for (let index = 0; index < CAP; index++) assert.equal((await come()).status, 200, `connection ${index + 1}`);
      const { status, client } = await come();
      assert.equal(status, 503);
      assert.equal(await client.end(), 'fin');
      const [answer = assert.fail()] = await client.answers(1);
      assert.equal(answer.headers['retry-after'], '5');
      assert.equal(answer.headers.connection, 'close');
      assert.match(answer.text, /holds as many connections as it may/);
      await gateway.metricReaches('longwire_rejected_total', { reason: 'capacity' }, 1);
      assert.equal(await gateway.readiness(), 503);
    });

    it('holds new ones when some have left, and publishes to all of them', async () => {
      await leave(10);
      await waitUntil(async () => (await gateway.readiness()) === 200, 'the gateway to be ready again');
      for (let index = 0; index < 10; index++) assert.equal((await come()).status, 200, `connection ${index + 1}`);
    });

    it(`nobody is refused while there is room, in ${ROUNDS} rounds`, async () => {
      for (let round = 0; round < ROUNDS; round++) {
        const leaving = 1 + ((round * 7) % 20);
        await leave(leaving);
        const statuses = await Promise.all(Array.from({ length: leaving }, async () => (await come()).status));
        assert.deepEqual(statuses, Array<number>(leaving).fill(200), `round ${round}`);
      }
      await gateway.metricReaches('longwire_connections', { transport: 'sse' }, CAP);
    });

    it('of many who come at once to an empty gateway, as many as may be are held and all others told so', async () => {
      for (let round = 0; round < ROUNDS; round++) {
        await leave(held.length);
        const statuses = await Promise.all(Array.from({ length: CAP * 2 }, async () => (await come()).status));
        const count = (status: number) => statuses.filter((each) => each === status).length;
        assert.deepEqual({ held: count(200), told: count(503) }, { held: CAP, told: CAP }, `round ${round}`);
      }
    });

    it('a worker that dies takes its own connections alone; others come in their place, at the same address', async () => {
      for (const accept of ['rejecting', 'full']) {
        let dying: WorkerInfo | undefined;
        await waitUntil(async () => {
          dying = (await gateway.workers()).find((worker) => worker.accept === accept);
          return dying?.pid != null;
        }, `a worker that is ${accept}`);
        process.kill(dying?.pid ?? assert.fail(), 'SIGKILL');
        await waitUntil(
          () => held.filter(({ ending }) => ending !== 'none').length === CAP / 2,
          'half of them to be cut',
        );
        const cut = held.filter(({ ending }) => ending !== 'none');
        held.splice(0, held.length, ...held.filter(({ ending }) => ending === 'none'));
        // As clients do: again and again, for the gateway is at its cap until the replacement is ready.
        for (let index = 0; index < cut.length; index++) {
          let status = 0;
          await waitUntil(async () => {
            ({ status } = await come());
            assert.notEqual(status, 0, 'neither refused nor reset');
            return status === 200;
          }, 'to be held again');
        }
        assert.deepEqual(
          held.filter(({ ending }) => ending !== 'none'),
          [],
        );
      }
    });
  });
}
