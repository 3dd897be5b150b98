// Operations: what an operator asks for that takes a while, one after the other: replacing workers, changing their number, evening
// out what they hold.
//
// An operation is told apart by its number, can be looked at while it runs and for a while after, and logs how far it is each
// second. It ends `done`, or `failed` with a text for the operator; what it had done until then stays.
//
// Bounds: one runs, `WAITING_LIMIT` wait, `KEPT_LIMIT` that are over are remembered.

import { errorText, LongwireError } from '../errors.ts';
import type { Log } from '../log.ts';

export const OPERATION_KINDS = ['replace', 'scale', 'rebalance', 'replace-primary'] as const;
export type OperationKind = (typeof OPERATION_KINDS)[number];
export type OperationOutcome = 'done' | 'failed';

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
  readonly #onOver: () => void;
  readonly #known: Operation[] = [];
  #number = 0;
  #last: Promise<void> = Promise.resolve();
  readonly #ended = new Map<string, number>();

  /** @param onOver Called when an operation is over, whatever became of it. */
  constructor(log: Log, onOver: () => void = () => {}) {
    this.#log = log;
    this.#onOver = onOver;
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

  /** Goes on with those of another primary, of which the newest runs here now: nothing else does before it is over. */
  adopt(operations: readonly Operation[], work: Work): void {
    const running = operations.at(-1);
    if (running === undefined) return;
    this.#number = running.id;
    this.#known.push(...operations.map((operation) => ({ ...operation })));
    const here = this.#known.at(-1) as Operation;
    here.startedAtMs = performance.now() - 1000 * here.seconds;
    this.#last = this.#finish(here, work);
  }

  /** How many of a kind have ended so. */
  endedCount(kind: OperationKind, outcome: OperationOutcome): number {
    return this.#ended.get(`${kind} ${outcome}`) ?? 0;
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
    await this.#finish(operation, work);
    clearInterval(progress);
  }

  async #finish(operation: Operation, work: Work): Promise<void> {
    try {
      await work(operation);
      this.#end(operation, 'done');
      this.#log.info('operation is done', facts(operation));
    } catch (thrown) {
      this.#end(operation, 'failed');
      operation.reason = errorText(thrown);
      this.#log.error('operation has failed', facts(operation));
    }
    this.#onOver();
  }

  #end(operation: Operation, outcome: OperationOutcome): void {
    tick(operation);
    operation.state = outcome;
    const ended = `${operation.kind} ${outcome}`;
    this.#ended.set(ended, (this.#ended.get(ended) ?? 0) + 1);
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
