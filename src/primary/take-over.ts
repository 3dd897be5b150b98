// Taking over: the next primary's part, once its workers are ready (replacement.ts has the former one's).
//
//   ready ─▶ the former one's workers give everything to ours ─▶ over ─▶ the order of publications is ours ─▶ the admin port too ─▶ done
//
// It is the same operation in both primaries, under one number: the former one answers for it until it is over, this one from then
// on, and nothing else is begun here before. When the former one dies on the way, this one goes on with what it has by then.

import { LongwireError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { AdminServer } from './admin.ts';
import type { FormerPrimary } from './former-primary.ts';
import type { Operation, Operations } from './operations.ts';
import type { Following } from './relay-following.ts';
import type { ServiceManager } from './service-manager.ts';
import type { Supervisor } from './supervisor.ts';
import type { WorkerTable } from './worker-table.ts';

export interface TakeOverOptions {
  former: FormerPrimary;
  /** Null where publications go by Redis. */
  following: Following | null;
  supervisor: Supervisor;
  table: WorkerTable;
  admin: AdminServer;
  manager: ServiceManager;
  operations: Operations;
  log: Log;
}

/**
 * Our workers are ready: tells the former primary so, and goes on when it has given everything.
 *
 * @throws LongwireError `unavailable` when not all of them are: then nothing goes on here.
 */
export function takeOver(options: TakeOverOptions): void {
  const { former, supervisor, operations } = options;
  const { ready, count } = supervisor.slots;
  if (ready.length < count) {
    throw new LongwireError('unavailable', `${count - ready.length} of ${count} workers do not start`);
  }
  former.ready(count);
  operations.adopt(former.inheritance.operations, (operation) => goOn(operation, options));
}

async function goOn(
  operation: Operation,
  { former, following, supervisor, table, admin, manager, log }: TakeOverOptions,
): Promise<void> {
  const over = await former.over;
  if (supervisor.stopping) throw new LongwireError('unavailable', 'the gateway is stopping');
  if (over === null) await following?.ended();
  else await following?.yield(() => former.kill());
  supervisor.passing.other.disconnect();
  supervisor.slots.shareSessions(false);
  if (over !== null) table.inherit(over.totals);
  const { address, port } = await admin.listen();
  manager.ready(`${supervisor.slots.count} workers on port ${supervisor.publicPort.number}`);
  log.info('this primary has taken over', { pid: process.pid, adminAddress: address, adminPort: port });
  if (over === null) {
    await manager.isNow(process.pid);
    throw new LongwireError('unavailable', 'the former primary died before it had given everything');
  }
  operation.moved = over.moved;
  operation.stayed = over.stayed;
  operation.workersDone = operation.workers;
  former.done();
}
