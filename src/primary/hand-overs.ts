// Hand-overs, the primary's part: passes a connection's descriptor from one worker to another and says what became of it.
//
// Invariants: every hand-over is answered once: `taken` or `returned` as the taker says, `returned` when it was never
// sent, `nobody` when there was no taker, `lost` when it was sent and the taker left or let `DEADLINE_MS` pass. The primary's own copy of a descriptor is
// closed in every case, and in none before node:child_process is done with it: a copy that stays open holds the connection
// open after both workers have let go of it.
//
// Bound: workers have 64 each on their way (workers/moving/hand-over.ts); one object each, and one timer for all.

import { closeSent } from '../descriptor-link.ts';
import type { Cargo, Descriptor, HandOverOutcome, ToWorker } from '../ipc.ts';

/** A worker that hangs for longer than this is about to be replaced. */
const DEADLINE_MS = 5_000;

/** A worker as a giver or taker. */
export interface Party {
  send(message: ToWorker): void;
  /** Has it take a connection, whose cargo is packed where it came so. False when nothing was sent. */
  give(number: number, cargo: Cargo | Buffer, descriptor: Descriptor): boolean;
}

interface HandOver {
  readonly giver: Party;
  /** The giver's name for it. */
  readonly givenNumber: number;
  readonly taker: Party;
  readonly descriptor: Descriptor;
  readonly sentAtMs: number;
}

export class HandOvers {
  readonly #deadlineMs: number;
  readonly #underWay = new Map<number, HandOver>();
  /** What is to be done when nothing of a giver that is gone is under way any more. */
  readonly #afterwards = new Map<Party, () => void>();
  #number = 0;
  /** Runs while something is under way. */
  #timer: NodeJS.Timeout | null = null;

  constructor(deadlineMs: number = DEADLINE_MS) {
    this.#deadlineMs = deadlineMs;
  }

  get underWayCount(): number {
    return this.#underWay.size;
  }

  /**
   * Passes on what `giver` gives.
   *
   * @param taker Null when there is nobody who could take it.
   * @param descriptor Null when it did not arrive here; the giver has its own still.
   */
  pass(giver: Party, given: number, taker: Party | null, cargo: Cargo | Buffer, descriptor: Descriptor | null): void {
    const number = ++this.#number;
    if (taker === null || descriptor === null || !taker.give(number, cargo, descriptor)) {
      descriptor?.close();
      answer(giver, [given], taker === null ? 'nobody' : 'returned');
      return;
    }
    this.#underWay.set(number, { giver, givenNumber: given, taker, descriptor, sentAtMs: performance.now() });
    this.#timer ??= setTimeout(() => this.#lookForLost(), this.#deadlineMs);
  }

  /** Those that were not answered in time, in the order in which they were sent: one timer for all, or each leaves garbage. */
  #lookForLost(): void {
    this.#timer = null;
    const due = performance.now() - this.#deadlineMs;
    const lost: number[] = [];
    for (const [number, { sentAtMs }] of this.#underWay) {
      if (sentAtMs > due) {
        this.#timer = setTimeout(() => this.#lookForLost(), sentAtMs - due + 1);
        break;
      }
      lost.push(number);
    }
    this.#endAll(lost, 'lost');
  }

  /** The taker's word. */
  taken(taker: Party, taken: readonly number[], refused: readonly number[]): void {
    this.#endAll(taken.filter(this.#isOf(taker)), 'taken');
    this.#endAll(refused.filter(this.#isOf(taker)), 'returned');
  }

  /** What became of some that were passed to a worker of another primary, as that one says. */
  answered(taker: Party, numbers: readonly number[], outcome: HandOverOutcome): void {
    this.#endAll(numbers.filter(this.#isOf(taker)), outcome);
  }

  /** A worker's process is gone: what was on its way to it is lost, what it gave arrives or does not, and nobody asks. */
  leave(party: Party): void {
    this.#endAll([...this.#underWay.keys()].filter(this.#isOf(party)), 'lost');
  }

  /** Calls back once nothing that `giver` gave is under way any more: descriptors and messages do not wait for each other. */
  afterLast(giver: Party, then: () => void): void {
    this.#afterwards.set(giver, then);
    this.#lookAfter(giver);
  }

  #lookAfter(giver: Party): void {
    const then = this.#afterwards.get(giver);
    if (then === undefined) return;
    for (const handOver of this.#underWay.values()) if (handOver.giver === giver) return;
    this.#afterwards.delete(giver);
    then();
  }

  #isOf(party: Party): (number: number) => boolean {
    return (number) => this.#underWay.get(number)?.taker === party;
  }

  /** One message to each giver, whatever number of them have the same outcome. */
  #endAll(numbers: readonly number[], outcome: HandOverOutcome): void {
    const ended = new Map<Party, number[]>();
    for (const number of numbers) {
      const handOver = this.#underWay.get(number);
      if (handOver === undefined) continue;
      const { giver, givenNumber, descriptor } = handOver;
      this.#underWay.delete(number);
      // Not before: while it waits in the taker's channel it must be open.
      closeSent(descriptor);
      const givens = ended.get(giver);
      if (givens === undefined) ended.set(giver, [givenNumber]);
      else givens.push(givenNumber);
    }
    for (const [giver, givens] of ended) {
      answer(giver, givens, outcome);
      this.#lookAfter(giver);
    }
  }
}

function answer(giver: Party, numbers: readonly number[], outcome: HandOverOutcome): void {
  giver.send({ type: 'handed-over', numbers, outcome });
}
