// The supervisor with real forks and the real channel; the workers are stand-ins (test/fixtures/stand-in-worker.ts).
//
// Waits of the back-off are read from the log, not measured.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createConnection, createServer, type Socket } from 'node:net';
import { afterEach, describe, it, mock } from 'node:test';
import { fileURLToPath } from 'node:url';
import { loadConfig } from '../../config/load.ts';
import { LongwireError } from '../../src/errors.ts';
import type { Cargo, Descriptor } from '../../src/ipc.ts';
import { createLog } from '../../src/log.ts';
import { Fleet } from '../../src/primary/fleet.ts';
import { reusePortFault } from '../../src/primary/reuse-port.ts';
import { Supervisor } from '../../src/primary/supervisor.ts';
import type { WorkerProcess } from '../../src/primary/worker-process.ts';
import { type WorkerRow, WorkerTable } from '../../src/primary/worker-table.ts';
import { logLines } from '../broker/log-lines.ts';
import { isAlive } from '../harness/alive.ts';
import { waitUntil } from '../harness/wait.ts';

interface LogLine {
  level: string;
  text: string;
  [field: string]: unknown;
}

interface Rig {
  table: WorkerTable;
  supervisor: Supervisor;
  lines: LogLine[];
  /** Calls of the relay: '+1' when worker 1 joined, '-1' when it left. */
  relayed: string[];
  row(id: number): WorkerRow;
}

interface RigOptions {
  /** Of slots 1, 2, …: see the fixture. */
  behaviours: string[];
  accept?: 'shared' | 'reuseport';
  readyDeadlineMs?: number;
  killGraceMs?: number;
}

const EXEC = fileURLToPath(new URL('../fixtures/stand-in-worker.js', import.meta.url));
const rigs: Rig[] = [];

function rig({ behaviours, accept = 'shared', ...deadlines }: RigOptions): Rig {
  for (const [index, behaviour] of behaviours.entries()) process.env[`STAND_IN_${index + 1}`] = behaviour;
  const loaded = loadConfig({
    PORT: '0',
    LONGWIRE_HOST: '127.0.0.1',
    LONGWIRE_WORKERS: `${behaviours.length}`,
    LONGWIRE_ACCEPT: accept,
  });
  assert.ok('config' in loaded);
  const lines: LogLine[] = [];
  const relayed: string[] = [];
  const table = new WorkerTable(behaviours.length);
  const supervisor = new Supervisor({
    exec: EXEC,
    execArgv: [],
    config: loaded.config,
    connectionLimit: (workers) => Math.floor(200 / workers),
    table,
    relay: {
      join: (id) => relayed.push(`+${id}`),
      leave: (id) => relayed.push(`-${id}`),
      receive: () => {},
    },
    log: createLog('debug', 'primary', (line) => lines.push(JSON.parse(line))),
    ...deadlines,
  });
  const row = (id: number): WorkerRow => {
    const found = table.rows[id - 1];
    assert.ok(found !== undefined);
    return found;
  };
  const made = { table, supervisor, lines, relayed, row };
  rigs.push(made);
  return made;
}

function pidOf(row: WorkerRow): number {
  assert.ok(row.pid !== null);
  return row.pid;
}

/** The pids of the first worker in each slot, as soon as they are there. */
async function forked(table: WorkerTable): Promise<number[]> {
  await waitUntil(() => table.rows.every(({ generation }) => generation > 0), 'the first forks');
  return table.rows.map(pidOf);
}

async function whoAnswers(port: number): Promise<string> {
  const socket = createConnection({ host: '127.0.0.1', port });
  let text = '';
  socket.setEncoding('utf8').on('data', (chunk) => {
    text += chunk;
  });
  await once(socket, 'close');
  return text;
}

function rejectsWith(pattern: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof LongwireError);
    assert.match(error.message, pattern);
    return true;
  };
}

afterEach(async () => {
  for (const { supervisor, table } of rigs.splice(0)) {
    supervisor.killAll();
    await waitUntil(() => table.inState('gone').length === table.rows.length, 'workers to be gone');
  }
  for (const name of Object.keys(process.env)) if (name.startsWith('STAND_IN')) delete process.env[name];
});

describe('start', () => {
  it('resolves when all workers are ready, on one port', async () => {
    const { supervisor, table, relayed, row } = rig({ behaviours: ['serve', 'serve', 'serve'] });
    await supervisor.start();
    assert.equal(table.inState('ready').length, 3);
    const ports = new Set(table.rows.map(({ address }) => address?.port));
    assert.equal(ports.size, 1);
    assert.equal(new Set(table.rows.map(pidOf)).size, 3);
    assert.deepEqual([...relayed].sort(), ['+1', '+2', '+3']);
    assert.match(await whoAnswers(row(1).address?.port ?? 0), /^worker [123]\n$/);
    await waitUntil(() => table.rows.every(({ gauges }) => gauges.channels > 0), 'the first snapshots');
    assert.deepEqual(
      table.rows.map(({ gauges }) => gauges.channels),
      [1, 2, 3],
      'each worker was told its slot',
    );
    assert.equal(row(2).gauges.connectionLimit, 66);
    assert.equal(row(2).brokerState, 'up');
  });

  it('puts workers with a socket each on one port', async (context) => {
    const fault = await reusePortFault();
    if (fault !== null) {
      context.skip(fault);
      return;
    }
    const { supervisor, table } = rig({ behaviours: ['serve', 'serve', 'serve'], accept: 'reuseport' });
    await supervisor.start();
    assert.equal(table.inState('ready').length, 3);
    assert.equal(new Set(table.rows.map(({ address }) => address?.port)).size, 1);
  });

  it('rejects with the reason, and leaves nobody behind, when a worker cannot start', async () => {
    const { supervisor, table } = rig({ behaviours: ['fail', 'fail'] });
    const rejected = assert.rejects(supervisor.start(), rejectsWith(/port 0 is taken by another program/));
    const pids = await forked(table);
    await rejected;
    assert.deepEqual(pids.filter(isAlive), []);
  });

  it('rejects when workers die five times in a row', async () => {
    const { supervisor, lines, table } = rig({ behaviours: ['crash'] });
    await assert.rejects(supervisor.start(), rejectsWith(/worker 1 died 5 times before it was ready \(exit code 9\)/));
    assert.equal(lines.filter(({ text }) => text === 'worker died').length, 5);
    assert.equal(table.restarts(1), 4);
  });

  it('rejects when a worker does not become ready', async () => {
    const { supervisor, table } = rig({ behaviours: ['mute'], readyDeadlineMs: 300 });
    const rejected = assert.rejects(supervisor.start(), rejectsWith(/worker 1 was not ready within 0\.3 seconds/));
    const pids = await forked(table);
    await rejected;
    assert.deepEqual(pids.filter(isAlive), []);
  });

  it('resolves when one worker serves and another was tried in vain, and goes on trying', async () => {
    const { supervisor, row } = rig({ behaviours: ['serve', 'mute'], readyDeadlineMs: 2_000 });
    await supervisor.start();
    assert.equal(row(1).generation, 1);
    process.env.STAND_IN_2 = 'serve';
    await waitUntil(() => row(2).state === 'ready', 'worker 2');
  });
});

describe('a worker that dies', () => {
  it('is replaced in its slot while the others serve, and totals do not go backwards', async () => {
    const { supervisor, table, row, lines, relayed } = rig({ behaviours: ['serve', 'serve'] });
    await supervisor.start();
    await waitUntil(() => row(1).counters.accepted >= 3, 'some snapshots');
    const { port } = row(1).address ?? { port: 0 };
    let total = table.totals().accepted;
    process.kill(pidOf(row(1)), 'SIGKILL');
    await waitUntil(() => {
      const now = table.totals().accepted;
      assert.ok(now >= total, `${now} after ${total}`);
      total = now;
      return row(1).generation === 2 && row(1).state === 'ready';
    }, 'a replacement');
    assert.equal(row(2).generation, 1);
    assert.equal(table.restarts(1), 1);
    assert.equal(row(1).address?.port, port);
    assert.deepEqual(relayed.slice(-2), ['-1', '+3']);
    const death = lines.find(({ text }) => text === 'worker died');
    assert.equal(death?.signal, 'SIGKILL');
    assert.equal(death?.worker, 1);
    assert.equal(death?.replacedInMs, 0);
  });

  it('comes back on the same port when it was the only one and the port was found', async () => {
    const { supervisor, row } = rig({ behaviours: ['serve'] });
    await supervisor.start();
    const port = row(1).address?.port ?? 0;
    process.kill(pidOf(row(1)), 'SIGKILL');
    await waitUntil(() => row(1).generation === 2 && row(1).state === 'ready', 'a replacement');
    assert.equal(row(1).address?.port, port);
    assert.equal(await whoAnswers(port), 'worker 1\n');
  });

  it('keeps nobody from coming when it was the only one: who comes meanwhile waits for the next', async () => {
    const { supervisor, row } = rig({ behaviours: ['serve'] });
    await supervisor.start();
    const port = row(1).address?.port ?? 0;
    process.kill(pidOf(row(1)), 'SIGKILL');
    await waitUntil(() => row(1).generation === 2, 'it to be gone');
    assert.equal(row(1).state, 'starting', 'nobody listens now');
    assert.equal(await whoAnswers(port), 'worker 1\n');
    await supervisor.stop(0);
    await assert.rejects(whoAnswers(port), { code: 'ECONNREFUSED' });
  });

  it('is replaced when what it sends the relay is no frame; the others stay', async () => {
    const { supervisor, row, lines } = rig({ behaviours: ['serve', 'garble'] });
    await supervisor.start();
    const told = () => lines.filter(({ text }) => text === 'a worker sent the relay what is no frame');
    await waitUntil(() => told().length > 0, 'the fault to be logged');
    process.env.STAND_IN_2 = 'serve';
    assert.deepEqual(
      told()
        .slice(0, 1)
        .map(({ level, worker, fault }) => [level, worker, fault]),
      [['error', 2, 'a frame of 4 bytes']],
    );
    await waitUntil(() => row(2).generation >= 2 && row(2).state === 'ready', 'another worker 2');
    assert.equal(row(1).generation, 1);
  });

  it('is tried again when its replacement cannot start', async () => {
    const { supervisor, row, lines } = rig({ behaviours: ['serve', 'serve'] });
    await supervisor.start();
    process.env.STAND_IN_2 = 'fail';
    process.kill(pidOf(row(2)), 'SIGKILL');
    await waitUntil(() => lines.some(({ text }) => text === 'worker cannot start'), 'a replacement that fails');
    await waitUntil(() => row(2).generation >= 3, 'another one');
    process.env.STAND_IN_2 = 'serve';
    await waitUntil(() => row(2).state === 'ready', 'worker 2');
    assert.equal(row(1).generation, 1);
  });

  it('is replaced later and later when it keeps dying', async () => {
    const { supervisor, lines } = rig({ behaviours: ['serve', 'crash'] });
    await supervisor.start();
    const deaths = () => lines.filter(({ text }) => text === 'worker died');
    await waitUntil(() => deaths().length >= 4, 'four deaths');
    const waits = deaths().map(({ replacedInMs }) => Number(replacedInMs));
    for (const [index, [least, most]] of [
      [0, 0] as const,
      [50, 100] as const,
      [100, 200] as const,
      [200, 400] as const,
    ].entries()) {
      const wait = waits[index] ?? -1;
      assert.ok(wait >= least && wait <= most, `death ${index + 1}: ${wait}`);
    }
    assert.deepEqual(deaths()[0]?.code, 9);
  });
});

describe('the last worker with room', () => {
  const told = ({ table }: Rig) => table.rows.filter(({ last }) => last).map(({ id }) => id);
  const toggle = (row: WorkerRow) => process.kill(pidOf(row), 'SIGUSR2');

  it('is told so; when all are full exactly one answers for them', async () => {
    const made = rig({ behaviours: ['serve', 'serve', 'serve'] });
    const { supervisor, row, table } = made;
    const states = () => table.rows.map((each) => each.acceptState).join(' ');
    await supervisor.start();
    await waitUntil(() => states() === 'listening listening listening', 'all to listen');
    assert.deepEqual(told(made), []);
    toggle(row(1));
    await waitUntil(() => states() === 'full listening listening', states);
    assert.deepEqual(told(made), []);
    toggle(row(2));
    await waitUntil(() => told(made).join() === '3', 'worker 3 to be told');
    toggle(row(3));
    await waitUntil(() => states() === 'full full rejecting', states);
    assert.deepEqual(told(made), [3]);
    toggle(row(1));
    await waitUntil(() => states() === 'listening full full', states);
    assert.deepEqual(told(made), [1], 'who has room takes over');
    toggle(row(1));
    await waitUntil(() => states() === 'rejecting full full', states);
    toggle(row(2));
    toggle(row(1));
    await waitUntil(() => states() === 'listening listening full', states);
    assert.deepEqual(told(made), []);
  });

  it('is another one when it dies and its replacement does not come up; until then clients wait for that', async () => {
    const made = rig({ behaviours: ['serve', 'serve'] });
    const { supervisor, row, table } = made;
    await supervisor.start();
    toggle(row(1));
    toggle(row(2));
    await waitUntil(() => table.rows.every(({ room }) => !room), 'both to be full');
    const [dying] = told(made);
    assert.ok(dying === 1 || dying === 2);
    const other = 3 - dying;
    process.env[`STAND_IN_${dying}`] = 'mute';
    process.kill(pidOf(row(dying)), 'SIGKILL');
    await waitUntil(() => row(dying).generation === 2, 'the replacement to be on its way');
    assert.deepEqual(told(made), []);
    process.kill(pidOf(row(dying)), 'SIGKILL');
    await waitUntil(() => told(made).join() === `${other}`, 'the other one to be told');
    await waitUntil(() => row(other).acceptState === 'rejecting', 'the other one to hear it');
  });

  it('is the only worker from the start', async () => {
    const made = rig({ behaviours: ['serve'] });
    await made.supervisor.start();
    assert.deepEqual(told(made), [1]);
    toggle(made.row(1));
    await waitUntil(() => made.row(1).acceptState === 'rejecting', 'worker 1 to answer 503');
  });
});

describe('stop', () => {
  it('drains all workers, replaces none, and keeps their very last numbers', async () => {
    const { supervisor, table, row, lines } = rig({ behaviours: ['serve', 'serve'] });
    await supervisor.start();
    await waitUntil(() => row(1).counters.accepted > 0 && row(2).counters.accepted > 0, 'the first snapshots');
    const pids = table.rows.map(pidOf);
    const stopping = supervisor.stop(1);
    assert.equal(supervisor.stopping, true);
    assert.equal(table.inState('draining').length, 2);
    assert.equal(supervisor.stop(1), stopping);
    assert.equal(await stopping, 0);
    assert.deepEqual(pids.filter(isAlive), []);
    assert.equal(table.inState('gone').length, 2);
    assert.equal(lines.filter(({ text }) => text === 'worker has left').length, 2);
    assert.equal(table.restarts(1) + table.restarts(2), 0);
    await waitUntil(() => table.totals().accepted > 2_000, 'the last numbers of both');
  });

  it('kills those that stay', async () => {
    const { supervisor, table, lines } = rig({ behaviours: ['stay', 'stay'], killGraceMs: 50 });
    await supervisor.start();
    const pids = table.rows.map(pidOf);
    assert.equal(await supervisor.stop(0), 2);
    assert.deepEqual(pids.filter(isAlive), []);
    assert.equal(lines.filter(({ level, text }) => level === 'error' && text.includes('killed')).length, 2);
  });

  it('ends a start that is under way', async () => {
    const { supervisor, table } = rig({ behaviours: ['mute', 'mute'] });
    const rejected = assert.rejects(supervisor.start());
    const pids = await forked(table);
    const [killed] = await Promise.all([supervisor.stop(10), rejected]);
    assert.equal(killed, 0);
    assert.deepEqual(pids.filter(isAlive), []);
  });

  it('ends a start that has forked nobody yet', async () => {
    const { supervisor, table } = rig({ behaviours: ['serve'] });
    const rejected = assert.rejects(supervisor.start());
    assert.equal(await supervisor.stop(10), 0);
    await rejected;
    assert.equal(table.rows[0]?.generation, 0);
  });

  it('does not wait for a replacement that was still to come', async () => {
    const { supervisor, table, lines } = rig({ behaviours: ['serve', 'crash'] });
    await supervisor.start();
    await waitUntil(() => lines.filter(({ text }) => text === 'worker died').length >= 4, 'four deaths');
    await waitUntil(() => row2().state === 'gone', 'the wait before the next replacement');
    function row2(): WorkerRow {
      const row = table.rows[1];
      assert.ok(row !== undefined);
      return row;
    }
    const { generation } = row2();
    assert.equal(await supervisor.stop(1), 0);
    assert.equal(row2().generation, generation);
  });
});

describe('the succession', () => {
  it('sees whoever it finds in the slot leave, also one that took the place of a dead one meanwhile', async () => {
    const { supervisor, table, row } = rig({ behaviours: ['serve'] });
    await supervisor.start();
    const former = pidOf(row(1));
    const replacing = supervisor.succession.replace(1);
    const next = table.lives.find(({ pid }) => pid !== former);
    assert.ok(next !== undefined);
    process.kill(pidOf(next), 'SIGSTOP');
    process.kill(former, 'SIGKILL');
    await waitUntil(() => row(1).state === 'ready' && row(1).pid !== former, 'the replacement of the dead one');
    const between = pidOf(row(1));
    process.kill(pidOf(next), 'SIGCONT');
    await replacing;
    assert.equal(row(1).pid, next.pid);
    await waitUntil(() => !isAlive(between), 'the one between to be gone');
    assert.deepEqual(table.lives, [row(1)]);
    assert.equal(row(1).state, 'ready');
  });

  it('ends an operation on all workers at once when all of it is over, although one has failed', async () => {
    const { supervisor, table, row } = rig({ behaviours: ['serve', 'serve'] });
    await supervisor.start();
    const config = { ...supervisor.slots.config, drainSeconds: 1 };
    const fleet = new Fleet(supervisor, table, async () => ({ config }), logLines().log);
    process.env.STAND_IN_1 = 'fail';
    const former = table.rows.map(pidOf);
    const operation = fleet.replace(true);
    const started = () => table.lives.filter(({ pid }) => pid !== null && !former.includes(pid));
    await waitUntil(() => started().length === 2, 'both next ones');
    const slow = started().find(({ id }) => id === 2) as WorkerRow;
    process.kill(pidOf(slow), 'SIGSTOP');
    await waitUntil(() => table.lives.filter(({ id }) => id === 1).length === 1, 'the one that fails to be gone');
    assert.equal(operation.state, 'running');
    process.kill(pidOf(slow), 'SIGCONT');
    await waitUntil(() => operation.state === 'failed', 'the operation to end');
    assert.deepEqual([row(1).pid, row(2).pid], [former[0], slow.pid]);
    assert.equal(operation.workersDone, 1);
    assert.equal(supervisor.slots.config, config, 'what one runs on by now');
  });

  it('shares the connections out anew when there are more workers or fewer', async () => {
    const { supervisor, table } = rig({ behaviours: ['serve', 'serve'] });
    await supervisor.start();
    const limits = () => table.rows.map(({ gauges }) => gauges.connectionLimit);
    await waitUntil(
      () => limits().every((limit) => limit === 100),
      () => `a half each: ${limits()}`,
    );
    await supervisor.succession.addSlot();
    await waitUntil(
      () => limits().length === 3 && limits().every((limit) => limit === 66),
      () => `a third: ${limits()}`,
    );
    await supervisor.succession.removeSlot();
    await supervisor.succession.removeSlot();
    await waitUntil(
      () => limits().length === 1 && limits()[0] === 200,
      () => `all for one: ${limits()}`,
    );
  });

  it('gives up no slot while none of the others is ready', async () => {
    const { supervisor, row } = rig({ behaviours: ['serve', 'serve'] });
    await supervisor.start();
    process.kill(pidOf(row(1)), 'SIGKILL');
    await waitUntil(() => row(1).state !== 'ready', 'the other one to be gone');
    await assert.rejects(supervisor.succession.removeSlot(), rejectsWith(/no other worker is ready/));
    assert.equal(supervisor.slots.count, 2);
    assert.equal(row(2).state, 'ready');
  });

  it('ends no worker that drains, and starts none, once all are stopped', async () => {
    const { supervisor, table, row } = rig({ behaviours: ['stay', 'stay'], killGraceMs: 200 });
    await supervisor.start();
    const stopping = supervisor.stop(0);
    const { succession } = supervisor;
    for (const step of [succession.removeSlot(), succession.addSlot(), succession.replace(1)]) {
      await assert.rejects(step, rejectsWith(/is stopping/));
    }
    assert.deepEqual([row(1), row(2)].map(pidOf).filter(isAlive).length, 2);
    assert.equal(table.lives.length, 2);
    await stopping;
  });
});

describe('a worker that is killed', () => {
  it('before it has acknowledged a descriptor is settled all the same: nothing of it is waited for any more', async () => {
    const { supervisor, table } = rig({ behaviours: ['serve', 'serve'] });
    await supervisor.start();
    const [victim = 0] = table.rows.map(pidOf);
    process.kill(victim, 'SIGSTOP');
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const [[accepted], client] = await Promise.all([
      once(server, 'connection') as Promise<[Socket]>,
      createConnection((server.address() as AddressInfo).port, '127.0.0.1'),
    ]);
    const { _handle: descriptor } = accepted as unknown as { _handle: Descriptor };
    const settled = mock.method(supervisor.passing, 'settled');
    const nobody = { send: () => {} } as unknown as WorkerProcess;
    const cargo: Cargo = { kind: 'request', bytes: Buffer.alloc(0), hops: 0, client: '' };
    supervisor.passing.handOver(nobody, 1, 1, cargo, descriptor);
    process.kill(victim, 'SIGKILL');
    await waitUntil(() => settled.mock.callCount() === 1, 'it to be settled');
    client.destroy();
    accepted.destroy();
    server.close();
  });
});
