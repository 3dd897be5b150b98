// The sticky front by itself, with no worker to give anything to: what it holds is bounded, has a deadline, and is counted.
// test/end-to-end/sticky.test.ts has it with workers.

import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { loadConfig } from '../../config/load.ts';
import { StickyFront } from '../../src/primary/sticky-front.ts';
import { FRONT_STATES, WorkerTable } from '../../src/primary/worker-table.ts';
import { closeReasonIndex, rejectionIndex } from '../../src/stats.ts';
import { type LogLine, logLines } from '../broker/log-lines.ts';
import { ask, RawClient } from '../harness/raw-client.ts';
import { waitUntil } from '../harness/wait.ts';

const HEAD_LIMIT_BYTES = 1_048_576;

interface Rig {
  front: StickyFront;
  table: WorkerTable;
  lines: LogLine[];
  port: number;
}

const fronts: StickyFront[] = [];

async function rig(descriptorLimit: number, headDeadlineSeconds = 60): Promise<Rig> {
  const loaded = loadConfig({
    PORT: '0',
    LONGWIRE_HOST: '127.0.0.1',
    LONGWIRE_WORKERS: '1',
    LONGWIRE_ACCEPT: 'sticky',
    LONGWIRE_HEAD_DEADLINE_SECONDS: `${headDeadlineSeconds}`,
    LONGWIRE_HEAD_LIMIT_BYTES: `${HEAD_LIMIT_BYTES}`,
  });
  assert.ok('config' in loaded);
  const config = { ...loaded.config, port: 0 };
  const { log, lines } = logLines();
  const table = new WorkerTable(1);
  const front = new StickyFront({ config, connectionLimit: () => 100, descriptorLimit, table, log });
  fronts.push(front);
  const { port } = await front.listen();
  return { front, table, lines, port };
}

function held({ table }: Rig): number {
  return FRONT_STATES.reduce((sum, state) => sum + table.front.sockets[state], 0);
}

afterEach(() => {
  for (const front of fronts.splice(0)) front.stop();
});

describe('the sticky front', () => {
  it('holds as many sockets as half its descriptors and no more, each up to its deadline, and counts them', async () => {
    const test = await rig(8, 1);
    const { counters, sockets } = test.table.front;
    const silent = Array.from({ length: 4 }, () => new RawClient(test.port));
    await waitUntil(() => sockets.head === silent.length, 'them to be held');
    const late = new RawClient(test.port);
    await late.end();
    assert.equal(late.text, '');
    assert.equal(counters.rejected[rejectionIndex.capacity], 1);
    assert.equal(test.lines[0]?.level, 'warn');
    for (const client of silent) await client.end();
    assert.equal(counters.closed[closeReasonIndex['head-timeout']], silent.length);
    assert.equal(counters.accepted, silent.length + 1);
    assert.equal(held(test), 0);
  });

  it('says so when there is no worker with room', async () => {
    const test = await rig(1_000);
    const answer = await ask(test.port, 'GET /sse/a HTTP/1.1\r\nHost: g\r\n\r\n');
    assert.deepEqual([answer.status, answer.headers['retry-after'], answer.headers.connection], [503, '5', 'close']);
    await waitUntil(() => held(test) === 0, 'it to be gone');
    const { counters } = test.table.front;
    assert.deepEqual([counters.accepted, counters.rejected[rejectionIndex.capacity]], [1, 1]);
  });

  it('keeps no more of unfinished heads than it may: who brings more is told so', async () => {
    const test = await rig(1_000);
    const most = Buffer.from(`GET / HTTP/1.1\r\nX: ${'x'.repeat(HEAD_LIMIT_BYTES - 100)}`);
    const clients = Array.from({ length: 40 }, () => {
      const client = new RawClient(test.port);
      client.write(most);
      return client;
    });
    const told = () => clients.filter(({ text }) => text.includes('too many unfinished requests')).length;
    // 32 MiB are 32 of them and a little.
    await waitUntil(() => told() >= 7, 'those beyond the limit to be told so');
    await waitUntil(() => test.table.front.sockets.head === clients.length - told(), 'the others to be held');
    for (const client of clients) client.close();
    await waitUntil(() => held(test) === 0, 'all to be gone');
  });
});
