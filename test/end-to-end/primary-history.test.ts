// A primary that is replaced while it keeps more history than any frame or backlog may hold: all of it goes to the next one, and
// publishing is accepted all the while.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { replacePrimary } from '../harness/operations.ts';

const MIB = 1024 * 1024;
/** One channel of 200 MiB: more than the longest frame, and than what may wait for a worker. */
const KEPT = 200;

const folder = mkdtempSync(join(tmpdir(), 'longwire-history-'));
const namespaces = join(folder, 'namespaces.json');
writeFileSync(namespaces, JSON.stringify({ default: { history_size: 10_000, history_ttl_seconds: 600 } }));
let gateway: GatewayProcess | null = null;
after(async () => {
  await gateway?.kill();
  rmSync(folder, { recursive: true, force: true });
});

interface Page {
  publications: { data: string; offset: number }[];
  offset: number;
  epoch: string;
}

it('hands over a channel of 200 MiB, and refuses no publication meanwhile', async () => {
  gateway = await startGateway({
    env: { LONGWIRE_NAMESPACES: namespaces, LONGWIRE_HISTORY_LIMIT_BYTES: String(256 * MIB) },
  });
  const { publish } = gateway;
  const history = async (body: object): Promise<Page> => {
    const answer = await (gateway as GatewayProcess).api('history', { channel: 'big', ...body });
    assert.equal(answer.status, 200, answer.text.slice(0, 200));
    return JSON.parse(answer.text).result;
  };
  for (let i = 1; i <= KEPT; i++) await publish.call(gateway, 'big', String(i).padEnd(MIB, '.'));
  const before = await history({ limit: 0 });
  let count = KEPT;
  let state: 'replacing' | 'replaced' = 'replacing';
  const replaced = replacePrimary(gateway).then(() => {
    state = 'replaced';
  });
  while (state === 'replacing') await publish.call(gateway, 'big', String(++count));
  await replaced;
  assert.ok(count - KEPT > 3, `${count - KEPT} were published meanwhile`);
  const now = await history({ limit: 0 });
  assert.equal(now.epoch, before.epoch);
  const numbers: number[] = [];
  for (let offset = before.offset - KEPT; offset < now.offset; ) {
    const { publications } = await history({ limit: 100, since: { offset, epoch: before.epoch } });
    numbers.push(...publications.map(({ data }) => Number.parseInt(data, 10)));
    offset = publications.at(-1)?.offset ?? now.offset;
  }
  assert.deepEqual(
    numbers,
    Array.from({ length: count }, (_, i) => i + 1),
  );
});
