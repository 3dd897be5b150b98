// Connections handed from worker to worker: the real primary's parts, real workers, real descriptors, on both wires.

import assert from 'node:assert/strict';
import { readdirSync, readlinkSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { loadConfig } from '../../config/load.ts';
import type { Cargo, Descriptor, ToWorker } from '../../src/ipc.ts';
import { createLog } from '../../src/log.ts';
import { HandOvers } from '../../src/primary/hand-overs.ts';
import { Relay } from '../../src/primary/relay.ts';
import { Supervisor } from '../../src/primary/supervisor.ts';
import { type WorkerRow, WorkerTable } from '../../src/primary/worker-table.ts';
import { isAlive } from '../harness/alive.ts';
import { API_KEY } from '../harness/gateway.ts';
import { ask } from '../harness/raw-client.ts';
import { openStreams, SseClient } from '../harness/sse-client.ts';
import { waitUntil } from '../harness/wait.ts';

const EXEC = fileURLToPath(new URL('../fixtures/handing-worker.js', import.meta.url));
const SSE = 1;

for (const wire of ['handle', 'socket']) {
  describe(`hand-over between workers, ${wire} wire`, () => {
    const table = new WorkerTable(2);
    let supervisor: Supervisor;
    let port = 0;

    const row = (id: number): WorkerRow => table.rows[id - 1] as WorkerRow;
    const pid = (id: number): number => row(id).pid as number;
    const holds = (id: number, count: number): Promise<void> =>
      waitUntil(
        () => row(id).gauges.connections[SSE] === count,
        () => `worker ${id} to hold ${count}; it holds ${row(id).gauges.connections}`,
      );

    async function publish(channel: string, data: string): Promise<void> {
      const body = JSON.stringify({ channel, data });
      const head = `POST /api/publish HTTP/1.1\r\nHost: a\r\nX-API-Key: ${API_KEY}\r\nConnection: close\r\nContent-Length: ${body.length}`;
      assert.equal((await ask(port, `${head}\r\n\r\n${body}`)).status, 200);
    }

    before(async () => {
      const loaded = loadConfig({
        PORT: '0',
        LONGWIRE_HOST: '127.0.0.1',
        LONGWIRE_WORKERS: '2',
        LONGWIRE_WIRE: wire,
        LONGWIRE_API_KEY: API_KEY,
      });
      assert.ok('config' in loaded);
      const log = createLog('error', 'primary', () => {});
      supervisor = new Supervisor({
        exec: EXEC,
        execArgv: [],
        config: { ...loaded.config, logLevel: 'error' },
        connectionLimit: () => 1_000,
        table,
        relay: new Relay(log),
        log,
      });
      ({ port } = await supervisor.start());
    });

    after(async () => {
      supervisor.killAll();
      await waitUntil(() => table.inState('gone').length === 2, 'workers to be gone');
    });

    it('a request is answered by the worker that it was handed to, which serves the connection from then on', async () => {
      const clients = await openStreams(port, ...Array.from({ length: 20 }, () => '/sse/give-2'));
      await holds(2, 20);
      await holds(1, 0);
      await publish('give-2', 'hello');
      for (const client of clients) assert.deepEqual(await client.data(1), ['hello']);
      for (const client of clients) client.close();
      await holds(2, 0);
    });

    it('no process keeps a copy of a descriptor', async () => {
      const count = (): number[] => [process.pid, pid(1), pid(2)].map(openSockets);
      const before = count();
      const clients = await openStreams(port, ...Array.from({ length: 200 }, (_, i) => `/sse/give-${1 + (i % 2)}`));
      await holds(1, 100);
      await holds(2, 100);
      for (const client of clients) client.close();
      await waitUntil(
        () => count().every((open, i) => open <= (before[i] as number)),
        () => `descriptors to close: ${before} before, ${count()} now`,
      );
      await holds(1, 0);
      await holds(2, 0);
    });

    it('a connection outlives the giver', async () => {
      const client = await new SseClient(port, '/sse/give-2').opened();
      const other = await new SseClient(port, '/sse/give-1').opened();
      await holds(2, 1);
      await holds(1, 1);
      const killed = pid(1);
      process.kill(killed, 'SIGKILL');
      await waitUntil(() => row(1).pid !== killed && row(1).state === 'ready', 'the replacement');
      await waitUntil(() => other.connection.ending !== 'none', 'the killed worker’s own connection to end');
      await publish('give-2', 'still here');
      assert.deepEqual(await client.data(1), ['still here']);
      client.close();
      await holds(2, 0);
    });

    it('what is on its way to a worker that dies is closed, or served here if it was not sent, and nothing stays open', async () => {
      const before = openSockets(process.pid);
      const killed = pid(2);
      process.kill(killed, 'SIGSTOP');
      // Whichever of the two that listen accepts: those that the stopped one has are in its queue, and die with it.
      const clients = Array.from({ length: 8 }, () => new SseClient(port, '/sse/give-2'));
      await waitUntil(() => openSockets(process.pid) > before + clients.length, 'descriptors to be with the primary');
      process.kill(killed, 'SIGKILL');
      await waitUntil(() => !isAlive(killed), 'the taker to be gone');
      await waitUntil(
        () => clients.every(({ connection, head }) => connection.ending !== 'none' || head !== ''),
        () => `all to be closed or served: ${clients.map(({ connection }) => connection.ending)}`,
      );
      for (const client of clients) client.close();
      await waitUntil(() => row(2).pid !== killed && row(2).state === 'ready', 'the replacement');
      await waitUntil(() => openSockets(process.pid) <= before, 'the primary’s copies to be closed');
    });

    it('where there is no such worker the request is served by the one that has it', async () => {
      const client = await new SseClient(port, '/sse/give-7').opened();
      await publish('give-7', 'served here');
      assert.deepEqual(await client.data(1), ['served here']);
      client.close();
    });
  });
}

describe('the primary’s part', () => {
  function rig() {
    const sent: { to: string; message: ToWorker }[] = [];
    const party = (name: string, connected = true) => ({
      send: (message: ToWorker) => void sent.push({ to: name, message }),
      give: (number: number, cargo: Cargo | Buffer) => {
        if (connected) sent.push({ to: name, message: { type: 'take', number, cargo: cargo as Cargo } });
        return connected;
      },
    });
    let open = 0;
    const descriptor = (): Descriptor => {
      open++;
      return { close: () => void open-- };
    };
    return { sent, party, descriptor, open: () => open };
  }
  const cargo = { kind: 'request' as const, bytes: Buffer.from('GET'), hops: 1, client: '' };

  it('answers `lost` when the taker has not answered in time, and closes its copy', async () => {
    const { sent, party, descriptor, open } = rig();
    const handOvers = new HandOvers(20);
    handOvers.pass(party('giver'), 7, party('taker'), cargo, descriptor());
    assert.equal(open(), 1);
    await waitUntil(() => handOvers.underWayCount === 0, 'the deadline');
    assert.equal(open(), 0);
    assert.deepEqual(sent.at(-1), { to: 'giver', message: { type: 'handed-over', numbers: [7], outcome: 'lost' } });
  });

  it('answers `nobody` without a taker, `returned` when it could not be sent or was refused, by the taker alone', () => {
    const { sent, party, descriptor, open } = rig();
    const handOvers = new HandOvers();
    const taker = party('taker');
    handOvers.pass(party('giver'), 1, null, cargo, descriptor());
    handOvers.pass(party('giver'), 2, party('gone', false), cargo, descriptor());
    handOvers.pass(party('giver'), 3, taker, cargo, null);
    handOvers.pass(party('giver'), 4, taker, cargo, descriptor());
    const take = sent.at(-1)?.message;
    assert.ok(take?.type === 'take');
    handOvers.taken(party('stranger'), [take.number], []);
    assert.equal(handOvers.underWayCount, 1);
    handOvers.taken(taker, [], [take.number]);
    handOvers.taken(taker, [take.number], []);
    const outcomes = sent.flatMap(({ message }) =>
      message.type === 'handed-over' ? message.numbers.map((number) => [number, message.outcome]) : [],
    );
    assert.deepEqual(outcomes, [[1, 'nobody'], ...[2, 3, 4].map((number) => [number, 'returned'])]);
    assert.equal(open(), 0);
  });
});

/** Sockets that a process has open, of any kind. */
function openSockets(pid: number): number {
  const folder = `/proc/${pid}/fd`;
  return readdirSync(folder).filter((name) => {
    try {
      return readlinkSync(`${folder}/${name}`).startsWith('socket:');
    } catch {
      return false; // closed since it was listed
    }
  }).length;
}
