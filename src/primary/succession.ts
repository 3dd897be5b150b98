// Succession: processes that stand beside the slots' own. The next one of a slot, until it is ready, and those that leave,
// until they are gone.
//
// Invariants: what goes wrong with a next one concerns nobody else: the slot's worker stays in service. One that leaves is
// not replaced when it dies. Every wait is bounded: the deadline for becoming ready; `GIVE_LIMIT_MS`, the drain's seconds and a
// grace for leaving; then SIGKILL.

import { LongwireError } from '../errors.ts';
import type { Share } from '../ipc.ts';
import type { WorkerProcess } from './worker-process.ts';

/** For giving everything away: 100,000 connections at 2,500 a second, and what is waited for at the end. */
const GIVE_LIMIT_MS = 60_000;

/** What a worker gave to others. */
export interface Given {
  /** Held connections that moved. */
  moved: number;
  /** Those that could not. */
  stayed: number;
}

interface Next {
  readonly deadline: NodeJS.Timeout;
  readonly resolve: () => void;
  readonly reject: (error: LongwireError) => void;
}

interface Giving {
  readonly worker: WorkerProcess;
  readonly resolve: (given: Given) => void;
  readonly reject: (error: LongwireError) => void;
}

interface Leaving {
  deadline: NodeJS.Timeout;
  readonly gone: () => void;
}

export class Succession {
  readonly #killGraceMs: number;
  readonly #next = new Map<WorkerProcess, Next>();
  readonly #giving = new Map<number, Giving>();
  readonly #leaving = new Map<WorkerProcess, Leaving>();
  #number = 0;

  constructor(killGraceMs: number) {
    this.#killGraceMs = killGraceMs;
  }

  /** All that stand beside the slots. */
  get processes(): WorkerProcess[] {
    return [...this.#next.keys(), ...this.#leaving.keys()];
  }

  isNext(worker: WorkerProcess): boolean {
    return this.#next.has(worker);
  }

  isLeaving(worker: WorkerProcess): boolean {
    return this.#leaving.has(worker);
  }

  /** The one that gives away what it had in that slot; null where there is none. */
  leavingFrom(id: number): WorkerProcess | null {
    return [...this.#leaving.keys()].find((worker) => worker.id === id && worker.row.state === 'leaving') ?? null;
  }

  /** Resolves when `worker` has said that it is ready, through `ready`. */
  expect(worker: WorkerProcess, deadlineMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const deadline = setTimeout(() => {
        this.failed(worker, `it was not ready within ${deadlineMs / 1000} seconds`);
        worker.kill();
      }, deadlineMs);
      this.#next.set(worker, { deadline, resolve, reject });
    });
  }

  ready(worker: WorkerProcess): void {
    const next = this.#next.get(worker);
    if (next === undefined) return;
    clearTimeout(next.deadline);
    this.#next.delete(worker);
    next.resolve();
  }

  /** The next one does not become ready: it is leaving, whether it knows it or not. */
  failed(worker: WorkerProcess, why: string): void {
    const next = this.#next.get(worker);
    if (next === undefined) return;
    clearTimeout(next.deadline);
    this.#next.delete(worker);
    this.#leaving.set(worker, { deadline: setTimeout(() => worker.kill(), this.#killGraceMs), gone: () => {} });
    next.reject(new LongwireError('unavailable', `the new worker ${worker.id} does not start: ${why}`));
  }

  /** One that nobody needs and that holds nothing yet. */
  discard(worker: WorkerProcess): void {
    this.#leaving.set(worker, { deadline: setTimeout(() => worker.kill(), 0), gone: () => {} });
  }

  /** Has a worker give shares of its connections away, and stay. */
  give(worker: WorkerProcess, shares: Share[]): Promise<Given> {
    const operation = ++this.#number;
    return new Promise((resolve, reject) => {
      this.#giving.set(operation, { worker, resolve, reject });
      worker.send({ type: 'give', operation, shares, leave: null });
    });
  }

  /** Has a worker give everything away and leave; what cannot go is drained. Resolves when it is gone. */
  leave(worker: WorkerProcess, shares: Share[], drainSeconds: number): Promise<Given> {
    const operation = ++this.#number;
    const limitMs = GIVE_LIMIT_MS + drainSeconds * 1000 + this.#killGraceMs;
    return new Promise((resolve) => {
      let outcome: Given = { moved: 0, stayed: 0 };
      const keep = (given: Given): void => {
        outcome = given;
      };
      this.#giving.set(operation, { worker, resolve: keep, reject: () => {} });
      this.#leaving.set(worker, { deadline: this.#deadline(worker, limitMs), gone: () => resolve(outcome) });
      worker.send({ type: 'give', operation, shares, leave: { seconds: drainSeconds } });
    });
  }

  /** Kills a worker that does not leave. One whose broker is away cannot give anything: it is given the time again. */
  #deadline(worker: WorkerProcess, limitMs: number): NodeJS.Timeout {
    return setTimeout(() => {
      const leaving = this.#leaving.get(worker);
      if (worker.row.brokerState === 'up' || leaving === undefined) worker.kill();
      else leaving.deadline = this.#deadline(worker, limitMs);
    }, limitMs);
  }

  gave(operation: number, given: Given): void {
    const giving = this.#giving.get(operation);
    this.#giving.delete(operation);
    giving?.resolve(given);
  }

  /** The process is gone. True when it stood beside the slots, and so is to be replaced by nobody. */
  exit(worker: WorkerProcess, ending: string): boolean {
    for (const [operation, giving] of this.#giving) {
      if (giving.worker !== worker) continue;
      this.#giving.delete(operation);
      giving.reject(new LongwireError('unavailable', `worker ${worker.id} died while it gave its connections away`));
    }
    const beside = this.#next.has(worker) || this.#leaving.has(worker);
    this.failed(worker, ending);
    const leaving = this.#leaving.get(worker);
    this.#leaving.delete(worker);
    if (leaving !== undefined) {
      clearTimeout(leaving.deadline);
      leaving.gone();
    }
    return beside;
  }
}
