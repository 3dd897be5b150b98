// The other primary, while one takes over from the other: what workers here give to workers there, and the other way round.
//
// Each worker there is a party as workers here are (hand-overs.ts, batches.ts), under its slot there. So a connection that goes from a
// worker of the one to a worker of the other passes two primaries, each of which answers for its own side: what has become of a
// descriptor is told by whoever has it, and a primary that dies is a taker, or a giver, that is gone.
//
// Bound: as for workers; a party each slot.

import { type Descriptor, OTHER_SLOTS } from '../ipc.ts';
import type { Batches } from './batches.ts';
import type { HandOvers, Party } from './hand-overs.ts';
import type { BetweenWorkers, PrimaryChannel } from './primaries.ts';

export class OtherPrimary {
  readonly #handOvers: HandOvers;
  readonly #batches: Batches;
  readonly #takerFor: (slot: number) => Party | null;
  #channel: PrimaryChannel | null = null;
  readonly #parties = new Map<number, Party>();

  /** @param takerFor Who takes here what is for a slot. */
  constructor(handOvers: HandOvers, batches: Batches, takerFor: (slot: number) => Party | null) {
    this.#handOvers = handOvers;
    this.#batches = batches;
    this.#takerFor = takerFor;
  }

  /** Whether there is one. */
  get present(): boolean {
    return this.#channel !== null;
  }

  /** Whether it takes what is for its workers. */
  get listening(): boolean {
    return this.#channel?.listening === true;
  }

  connect(channel: PrimaryChannel): void {
    this.#channel = channel;
  }

  /** It is gone, and all that it said has been read. */
  disconnect(): void {
    this.#channel = null;
    for (const party of this.#parties.values()) {
      this.#handOvers.leave(party);
      this.#batches.takerLeft(party);
      // What it has given is still on its way, by other links than messages.
      this.#handOvers.afterLast(party, () => this.#batches.giverLeft(party));
    }
    this.#parties.clear();
  }

  /** The worker there in that slot, whether there is one or not; null when there is no other primary. */
  party(slot: number): Party | null {
    if (this.#channel === null) return null;
    const known = this.#parties.get(slot);
    if (known !== undefined) return known;
    const party = this.#makeParty(slot);
    this.#parties.set(slot, party);
    return party;
  }

  /** What a worker there says, or is told. `descriptor` is null where none came along. */
  receive(slot: number, message: BetweenWorkers, descriptor: Descriptor | null): void {
    const party = this.party(slot);
    if (party === null) {
      descriptor?.close();
      return;
    }
    switch (message.type) {
      case 'take':
        this.#handOvers.pass(party, message.number, this.#takerFor(slot), message.cargo, descriptor);
        break;
      case 'handed-over':
        this.#handOvers.answered(party, message.numbers, message.outcome);
        break;
      case 'batch':
        this.#batches.pass(party, message.batch, message.step, this.#takerFor(slot));
        break;
    }
  }

  #makeParty(slot: number): Party {
    const send = (message: BetweenWorkers, descriptor?: Descriptor): boolean =>
      this.#channel?.send({ type: 'worker', slot, message }, descriptor) ?? false;
    return {
      send: (message) => void send(message as BetweenWorkers),
      give: (number, cargo, descriptor) => {
        if (!Buffer.isBuffer(cargo)) return send({ type: 'take', number, cargo }, descriptor);
        if (this.#channel?.descriptors?.send(slot, number, cargo, descriptor) === true) return true;
        // A copy: it may wait for the descriptors before it, and what it lies in is read into again.
        return send({ type: 'take', number, cargo: Buffer.from(cargo) }, descriptor);
      },
    };
  }
}

/** What workers are told to give to the other primary's workers: everything, beginning with the one of the same slot. */
export function sharesBeyond(slot: number, slots: number): { to: number; count: null }[] {
  return Array.from({ length: slots }, (_, i) => ({ to: OTHER_SLOTS + heirOf(slot + i, slots), count: null }));
}

/** The slot, of so many, that has the poll sessions of one that is not there any more. */
export function heirOf(slot: number, slots: number): number {
  return ((slot - 1) % slots) + 1;
}
