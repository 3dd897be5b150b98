// Operations: what an operator asks for that takes a while, one after the other: replacing workers, changing their number, evening
// out what they hold.
//
// An operation is told apart by its number, can be looked at while it runs and for a while after, and logs how far it is each
// second. It ends `done`, or `failed` with a text for the operator; what it had done until then stays.
//
// Bounds: one runs, `WAITING_LIMIT` wait, `KEPT_LIMIT` that are over are remembered.

import { errorText, LongwireError } from '../errors.ts';
import type { Log } from '../log.ts';

export type OperationKind = 'replace' | 'scale' | 'rebalance';

export interface Operation {
  readonly id: number;
  readonly kind: OperationKind;
  state: 'waiting' | 'running' | 'done' | 'failed';
  /** Workers that it concerns, and how many of those are done with. */
  workers: number;
  workersDone: number;
  /** Held connections that moved, and those that could not and were drained or stayed. */
  moved: number;
  stayed: number;
  /** Why it failed. */
  reason: string | null;
  startedAtMs: number;
  /** How long it took; grows until it is over. */
  seconds: number;
}

/** Does the work and keeps the operation's numbers up to date. */
export type Work = (operation: Operation) => Promise<void>;

const WAITING_LIMIT = 8;
const KEPT_LIMIT = 32;
const PROGRESS_MS = 1_000;

export class Operations {
  readonly #log: Log;
  readonly #known: Operation[] = [];
  #number = 0;
  #last: Promise<void> = Promise.resolve();

  constructor(log: Log) {
    this.#log = log;
  }

  /** The newest last. */
  get all(): readonly Operation[] {
    for (const operation of this.#known) tick(operation);
    return this.#known;
  }

  /** Whether nothing runs and nothing waits. */
  get idle(): boolean {
    return this.#known.every(({ state }) => state === 'done' || state === 'failed');
  }

  find(id: number): Operation | null {
    return this.all.find((operation) => operation.id === id) ?? null;
  }

  /**
   * Begins an operation, or has it wait for those before it.
   *
   * @throws LongwireError `unavailable` when too many wait already.
   */
  begin(kind: OperationKind, work: Work): Operation {
    if (this.#known.filter(({ state }) => state === 'waiting').length >= WAITING_LIMIT) {
      throw new LongwireError('unavailable', `${WAITING_LIMIT} operations are waiting already`);
    }
    const operation: Operation = {
      id: ++this.#number,
      kind,
      state: 'waiting',
      workers: 0,
      workersDone: 0,
      moved: 0,
      stayed: 0,
      reason: null,
      startedAtMs: performance.now(),
      seconds: 0,
    };
    this.#known.push(operation);
    if (this.#known.length > KEPT_LIMIT) this.#known.shift();
    this.#last = this.#last.then(() => this.#run(operation, work));
    return operation;
  }

  async #run(operation: Operation, work: Work): Promise<void> {
    operation.state = 'running';
    operation.startedAtMs = performance.now();
    this.#log.info('operation begins', facts(operation));
    const progress = setInterval(() => this.#log.info('operation goes on', facts(operation)), PROGRESS_MS);
    try {
      await work(operation);
      tick(operation);
      operation.state = 'done';
      this.#log.info('operation is done', facts(operation));
    } catch (thrown) {
      tick(operation);
      operation.state = 'failed';
      operation.reason = errorText(thrown);
      this.#log.error('operation has failed', facts(operation));
    } finally {
      clearInterval(progress);
    }
  }
}

/** What is said of it, in the log and on the admin port. */
export function facts(operation: Operation): Record<string, string | number | null> {
  tick(operation);
  const { id, kind, state, workers, workersDone, moved, stayed, seconds, reason } = operation;
  return { operation: id, kind, state, workers, workersDone, moved, stayed, seconds, reason };
}

function tick(operation: Operation): void {
  if (operation.state === 'running') operation.seconds = Math.round(performance.now() - operation.startedAtMs) / 1000;
}
