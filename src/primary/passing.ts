// Passing: what workers give to each other goes through the primary, whether the taker is a worker of this one or of another
// primary that takes over.
//
// Who takes what is for a slot: its worker, or whom the succession names; beyond `OTHER_SLOTS` the other primary's worker, and ours
// again when that primary is gone. What was for a slot of ours that has nobody may be there: a poll session, for example.
//
// Bounds are those of hand-overs and batches.

import { type BatchStep, type Cargo, type Descriptor, OTHER_SLOTS } from '../ipc.ts';
import { Batches } from './batches.ts';
import { HandOvers, type Party } from './hand-overs.ts';
import { OtherPrimary } from './other-primary.ts';
import type { Succession } from './succession.ts';
import type { WorkerProcess } from './worker-process.ts';

export class Passing {
  /** Another primary that takes over from this one, or that this one takes over from. */
  readonly other: OtherPrimary;
  readonly #succession: Pick<Succession, 'takerFor' | 'isHeir'>;
  readonly #handOvers = new HandOvers();
  readonly #batches = new Batches();

  constructor(succession: Pick<Succession, 'takerFor' | 'isHeir'>) {
    this.#succession = succession;
    this.other = new OtherPrimary(this.#handOvers, this.#batches, (slot) => this.#takerFor(slot, null));
  }

  /** A worker gives a connection; `cargo` is packed where it came so. */
  handOver(
    giver: WorkerProcess,
    number: number,
    to: number,
    cargo: Cargo | Buffer,
    descriptor: Descriptor | null,
  ): void {
    this.#handOvers.pass(giver, number, this.#takerFor(to, giver), cargo, descriptor);
  }

  /** What became of connections that a worker was given. */
  taken(taker: WorkerProcess, taken: readonly number[], refused: readonly number[]): void {
    this.#handOvers.taken(taker, taken, refused);
  }

  /** A giver or a taker says a step of a batch. */
  batch(from: WorkerProcess, batch: string, to: number, step: BatchStep): void {
    this.#batches.pass(from, batch, step, this.#takerFor(to, from));
  }

  /** The process is gone. */
  left(worker: WorkerProcess): void {
    this.#handOvers.leave(worker);
    this.#batches.takerLeft(worker);
  }

  /**
   * And all that it said has been read. What it has given may still be on its way, by other links than messages, and a taker that
   * hears that it is over takes no more.
   */
  settled(worker: WorkerProcess): void {
    this.#handOvers.afterLast(worker, () => this.#batches.giverLeft(worker));
  }

  #takerFor(slot: number, giver: WorkerProcess | null): Party | null {
    const own = slot > OTHER_SLOTS ? slot - OTHER_SLOTS : slot;
    const here = (): Party | null => this.#succession.takerFor(own, giver);
    // What comes from there is not sent back.
    const there = giver === null || !this.other.listening ? null : this.other.party(own);
    // Whoever has a slot's sessions in its hands and not this one is about to get it from there.
    const isHeir = giver !== null && this.#succession.isHeir(own, giver);
    return slot > OTHER_SLOTS || isHeir ? (there ?? here()) : (here() ?? there);
  }
}
