// Batches of moving connections, the primary's part: passes their steps between giver and taker, and speaks for one that is gone.
//
// A giver whose taker is gone hears `refused`, and goes on with what it has not given; a taker whose giver is gone hears
// `over`, after the last descriptor that the giver had sent: the giver counts as gone when its channel has closed, not before.
//
// Bound: one entry a batch under way; workers have a few each (workers/moving/).

import type { BatchStep } from '../ipc.ts';
import type { Party } from './hand-overs.ts';

interface Batch {
  readonly giver: Party;
  readonly taker: Party;
}

export class Batches {
  readonly #underWay = new Map<string, Batch>();

  get underWayCount(): number {
    return this.#underWay.size;
  }

  /** A step said by `from`. @param taker Whom an offer is for; null when there is nobody. */
  pass(from: Party, batch: string, step: BatchStep, taker: Party | null): void {
    if (step.kind === 'offer') {
      if (taker === null || taker === from) {
        from.send({ type: 'batch', batch, step: { kind: 'refused', why: 'there is no such worker' } });
        return;
      }
      this.#underWay.set(batch, { giver: from, taker });
      taker.send({ type: 'batch', batch, step });
      return;
    }
    const underWay = this.#underWay.get(batch);
    if (underWay === undefined) return;
    if (from === underWay.giver) underWay.taker.send({ type: 'batch', batch, step });
    else if (from === underWay.taker) underWay.giver.send({ type: 'batch', batch, step });
    if (step.kind === 'over') this.#underWay.delete(batch);
  }

  /** The process is gone: nothing is taken any more. */
  takerLeft(party: Party): void {
    for (const [batch, { giver, taker }] of this.#underWay) {
      if (taker !== party) continue;
      this.#underWay.delete(batch);
      giver.send({ type: 'batch', batch, step: { kind: 'refused', why: 'the other worker is gone' } });
    }
  }

  /** The process is gone and all that it said has been read: nothing is given any more. */
  giverLeft(party: Party): void {
    for (const [batch, { giver, taker }] of this.#underWay) {
      if (giver !== party) continue;
      this.#underWay.delete(batch);
      taker.send({ type: 'batch', batch, step: { kind: 'over' } });
    }
  }
}
