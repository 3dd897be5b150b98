// The slots, and what all workers share: which are ready, what those that start run on, and what is asked of all at once. How a
// single one lives is in supervisor.ts, how a slot passes from one to the next in succession.ts.
//
// Invariant of accepting: while some ready worker has room nobody is refused, and when none has, exactly one has been
// told that it is the last, so that it goes on listening and clients hear 503 instead of nothing. While a replacement
// starts, clients wait for its room in the kernel's queue instead, unless there already is a last one.

import type { Config } from '../../config/config.ts';
import type { TlsIdentity } from '../ipc.ts';
import { appointLast } from './last.ts';
import { makeSlot, type Slot } from './slot.ts';
import type { Succession } from './succession.ts';
import type { WorkerProcess } from './worker-process.ts';

export interface SlotsOptions {
  /** How many there are at first: from 1 to this. */
  count: number;
  config: Config;
  tls: TlsIdentity | null;
  /** Most connections of one worker, of so many. */
  connectionLimit(workers: number): number;
}

export class Slots {
  /** By number, without a hole. The succession adds and takes the last. */
  readonly list: Slot[];
  readonly #connectionLimit: (workers: number) => number;
  #config: Config;
  #tls: TlsIdentity | null;
  #onAllGone: (() => void) | null = null;
  /** Who stands beside them, and whose poll sessions are where. */
  #succession: Pick<Succession, 'processes' | 'sharesSessions'> = { processes: [], sharesSessions: () => false };

  constructor({ count, config, tls, connectionLimit }: SlotsOptions) {
    this.list = Array.from({ length: count }, (_, index) => makeSlot(index + 1));
    this.#config = config;
    this.#tls = tls;
    this.#connectionLimit = connectionLimit;
  }

  /** Called once, before any worker is forked. */
  join(succession: Pick<Succession, 'processes' | 'sharesSessions'>): void {
    this.#succession = succession;
  }

  get count(): number {
    return this.list.length;
  }

  /** The slots that have a ready worker. */
  get ready(): number[] {
    return this.list.flatMap(({ id }) => (this.readyWorker(id) === null ? [] : [id]));
  }

  readyWorker(id: number): WorkerProcess | null {
    const worker = this.list[id - 1]?.worker ?? null;
    return worker?.row.state === 'ready' ? worker : null;
  }

  /** The slot that this worker is in. */
  of(worker: WorkerProcess): Slot {
    const slot = this.list[worker.id - 1];
    if (slot === undefined) throw new RangeError(`there is no slot ${worker.id}`);
    return slot;
  }

  /** All workers there are, in their slots and beside them. */
  get processes(): WorkerProcess[] {
    return [...this.list.flatMap(({ worker }) => worker ?? []), ...this.#succession.processes];
  }

  // ---- what workers run on

  /** What is in force: what the workers that started last run on. */
  get config(): Config {
    return this.#config;
  }

  /** What workers that start from now on run on, replacements of those that die included. Returns what it was before. */
  setConfig(config: Config): Config {
    const former = this.#config;
    this.#config = config;
    return former;
  }

  /** What workers run on now, beside `config`. */
  get tls(): TlsIdentity | null {
    return this.#tls;
  }

  /** Gives all workers, those that are still to be started included, another certificate for new connections. */
  renewTls(identity: TlsIdentity): void {
    this.#tls = identity;
    // One that is not assigned yet will be assigned this.
    for (const { worker, assigned } of this.list) if (assigned) worker?.send({ type: 'tls', identity });
    for (const worker of this.#succession.processes) worker.send({ type: 'tls', identity });
  }

  /** Most connections of each. */
  get connectionLimit(): number {
    return this.#connectionLimit(this.list.length);
  }

  // ---- what is asked of all

  /** There are more of them or fewer: each has another share. */
  shareConnections(): void {
    for (const worker of this.processes) worker.send({ type: 'limit', connectionLimit: this.connectionLimit });
  }

  /** Has the ready workers push their numbers at once. */
  askForNumbers(): void {
    for (const id of this.ready) this.readyWorker(id)?.send({ type: 'report' });
  }

  /** Tells all workers whether those of another primary, in the same slots, have poll sessions that they have not. */
  shareSessions(shared: boolean): void {
    for (const id of this.ready) {
      const present = shared || this.#succession.sharesSessions(id);
      this.readyWorker(id)?.send({ type: 'predecessor', present });
    }
  }

  /** Ends a ready worker at once, connections and all; it is replaced as any that dies. */
  kill(id: number): void {
    this.readyWorker(id)?.kill();
  }

  appointLast(): void {
    const ready = this.list.flatMap(({ worker }) => (worker?.row.state === 'ready' ? [worker] : []));
    appointLast(
      ready,
      this.list.some(({ worker }) => worker?.row.state === 'starting'),
    );
  }

  // ---- until nobody is left

  /** Resolves when no worker is left, or at the deadline. */
  async allGone(deadlineMs: number): Promise<void> {
    if (this.processes.length === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, deadlineMs);
      this.#onAllGone = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#onAllGone = null;
  }

  /** A process is gone. */
  left(): void {
    if (this.processes.length === 0) this.#onAllGone?.();
  }
}
