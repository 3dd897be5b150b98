// The fleet: what can be done to all workers together while they serve. Each is an operation (operations.ts).
//
//   replace    each worker by one with the code and the configuration that are now on disk, one after the other or all at once
//   scale      to another number of them: new ones take their share, those that leave give theirs away
//   replacePrimary   the primary too, and so all workers (replacement.ts)
//   rebalance  from workers that hold more than their share to those that hold less
//
// Invariant: a step that fails ends the operation and leaves in service what is in service.

import type { Config } from '../../config/config.ts';
import { LongwireError } from '../errors.ts';
import type { Share } from '../ipc.ts';
import type { Log } from '../log.ts';
import { collectGarbage } from './garbage.ts';
import { type Operation, Operations, type Work } from './operations.ts';
import type { Supervisor } from './supervisor.ts';
import { heldBy } from './watch.ts';
import type { WorkerTable } from './worker-table.ts';

/** Reads what is on disk now; the text says what is wrong with it. */
export type ReadConfig = () => Promise<{ config: Config } | { fault: string }>;

/** Beyond this a worker is too busy to say, and is taken to hold what it held. */
const NUMBERS_LIMIT_MS = 2_000;
const LOOK_AGAIN_MS = 10;

export class Fleet {
  readonly operations: Operations;
  readonly #supervisor: Supervisor;
  readonly #table: WorkerTable;
  readonly #readConfig: ReadConfig;
  readonly #replacePrimary: Work;

  /** @param replacePrimary Does what `replacePrimary` begins. */
  constructor(
    supervisor: Supervisor,
    table: WorkerTable,
    readConfig: ReadConfig,
    log: Log,
    replacePrimary: Work = noReplacement,
  ) {
    this.operations = new Operations(log, collectGarbage);
    this.#supervisor = supervisor;
    this.#table = table;
    this.#readConfig = readConfig;
    this.#replacePrimary = replacePrimary;
  }

  /** Replaces every worker; `atOnce`, all at the same time, which is quicker and needs twice the memory. */
  replace(atOnce: boolean): Operation {
    return this.operations.begin('replace', async (operation) => {
      const read = await this.#readConfig();
      if ('fault' in read) throw new LongwireError('unavailable', read.fault);
      const former = this.#supervisor.slots.setConfig(read.config);
      const slots = this.#supervisor.slots.ready;
      operation.workers = slots.length;
      try {
        if (atOnce) await allEnded(slots.map((id) => this.#replaceOne(operation, id)));
        else for (const id of slots) await this.#replaceOne(operation, id);
      } catch (thrown) {
        // Whoever dies from now on comes back as those are that serve.
        if (operation.workersDone === 0) this.#supervisor.slots.setConfig(former);
        throw thrown;
      }
    });
  }

  /** Replaces one worker, on the configuration that is in service. */
  replaceOne(id: number): Operation {
    return this.operations.begin('replace', async (operation) => {
      operation.workers = 1;
      await this.#replaceOne(operation, id);
    });
  }

  async #replaceOne(operation: Operation, id: number): Promise<void> {
    const { moved, stayed } = await this.#supervisor.succession.replace(id);
    operation.moved += moved;
    operation.stayed += stayed;
    operation.workersDone++;
  }

  /** Has another primary, with what is now on disk, take over from this one. */
  replacePrimary(): Operation {
    return this.operations.begin('replace-primary', this.#replacePrimary);
  }

  /** From now on so many workers, or so many as it is worked out from those there are when its turn has come. */
  scale(wanted: number | ((present: number) => number)): Operation {
    return this.operations.begin('scale', async (operation) => {
      const workers = typeof wanted === 'number' ? wanted : wanted(this.#supervisor.slots.count);
      operation.workers = Math.abs(workers - this.#supervisor.slots.count);
      while (this.#supervisor.slots.count > workers) {
        const { moved, stayed } = await this.#supervisor.succession.removeSlot();
        operation.moved += moved;
        operation.stayed += stayed;
        operation.workersDone++;
      }
      if (this.#supervisor.slots.count === workers) return;
      while (this.#supervisor.slots.count < workers) {
        await this.#supervisor.succession.addSlot();
        operation.workersDone++;
      }
      await this.#evenOut(operation);
    });
  }

  /** Moves held connections from those that have more than the mean to those that have less, `most` from each. */
  rebalance(most: number = Number.POSITIVE_INFINITY): Operation {
    return this.operations.begin('rebalance', async (operation) => {
      operation.workers = this.#supervisor.slots.ready.length;
      await this.#evenOut(operation, most);
      operation.workersDone = operation.workers;
    });
  }

  async #evenOut(operation: Operation, most: number = Number.POSITIVE_INFINITY): Promise<void> {
    await this.#freshNumbers();
    const held = this.#supervisor.slots.ready.map((id) => ({ id, held: this.#heldBy(id) }));
    for (const { from, shares } of evenShares(held, most)) {
      const { moved, stayed } = await this.#supervisor.succession.give(from, shares);
      operation.moved += moved;
      operation.stayed += stayed;
    }
  }

  /** Has all workers push their numbers, and waits for those that do. */
  async #freshNumbers(): Promise<void> {
    const askedAtMs = this.#table.nowMs();
    this.#supervisor.slots.askForNumbers();
    const ready = this.#table.inState('ready');
    const fresh = (): boolean => ready.every((row) => row.state !== 'ready' || (row.snapshotAtMs ?? 0) >= askedAtMs);
    while (!fresh() && this.#table.nowMs() - askedAtMs < NUMBERS_LIMIT_MS) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
    }
  }

  #heldBy(id: number): number {
    const row = this.#table.rows[id - 1];
    return row === undefined ? 0 : heldBy(row);
  }
}

function noReplacement(): Promise<void> {
  return Promise.reject(new LongwireError('unavailable', 'this primary cannot be replaced'));
}

/** As `Promise.all`, but an operation is not over before all its parts are, whatever becomes of one. */
async function allEnded(parts: readonly Promise<void>[]): Promise<void> {
  for (const outcome of await Promise.allSettled(parts)) if (outcome.status === 'rejected') throw outcome.reason;
}

/** Who gives how many to whom, so that each has the mean, give or take one; or on the way there, `most` from each. */
export function evenShares(
  workers: readonly { id: number; held: number }[],
  most: number,
): { from: number; shares: Share[] }[] {
  const total = workers.reduce((sum, { held }) => sum + held, 0);
  const mean = Math.floor(total / Math.max(1, workers.length));
  const takers = workers.map(({ id, held }) => ({ to: id, room: Math.max(0, mean - held) }));
  return workers.flatMap(({ id, held }) => {
    let excess = Math.min(most, held - mean);
    const shares: Share[] = [];
    for (const taker of takers) {
      const count = Math.min(excess, taker.room);
      if (count <= 0) continue;
      excess -= count;
      taker.room -= count;
      shares.push({ to: taker.to, count });
    }
    return shares.length > 0 ? [{ from: id, shares }] : [];
  });
}
