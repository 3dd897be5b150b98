// Publish calls on their way to the broker: gathered for one turn of the event loop, bounded, and settled exactly once.
//
// Both brokers publish through this: what many requests publish in one turn leaves as one batch (one IPC message, one write
// to Redis), in the order of the calls. A call is refused at once when too much is in flight, and fails with `unavailable`
// when its batch has had no answer for `PUBLISH_DEADLINE_MS`.
//
// Invariant: a call's promise settles once, whichever comes first of the answer, the deadline and `failAll`. Its bytes count as
// in flight until the answer or `failAll`, also beyond the deadline: they still lie in a socket or channel, and a publisher
// who tries again and again must not fill memory with what nobody takes.
//
// Cost: an object and a promise a call; a timer, an immediate and an object a batch, so once a turn at most.

import { LongwireError } from '../errors.ts';
import type { Publication } from '../publication.ts';
import { PUBLISH_DEADLINE_MS, type Taken } from './broker.ts';

/**
 * Most bytes of publications that one worker has on their way to the broker, and so the most one call may carry. It is
 * what a broker on the same network takes in well under the deadline: 32 MiB in 2 s is 134 Mbit/s.
 */
export const IN_FLIGHT_LIMIT_BYTES = 32 * 1024 * 1024;

/** Most publish calls of one worker that wait for the broker: 10,000 in 2 s is 5,000 requests a second, each its own call. */
export const IN_FLIGHT_LIMIT_CALLS = 10_000;

/** What a publication costs on its way beyond its bytes: arrays, strings and a command object, roughly. */
const PUBLICATION_OVERHEAD_BYTES = 128;

export interface Call {
  /** Whoever has sent them may let go of them, so that they do not outlive the turn. */
  publications: readonly Publication[];
  readonly bytes: number;
  /** How many publications it has. */
  readonly count: number;
  state: 'waiting' | 'settled';
  readonly resolve: (taken: Taken) => void;
  readonly reject: (error: LongwireError) => void;
}

export interface Batch {
  /** Counts from 1; what the answer names. */
  readonly number: number;
  readonly calls: Call[];
  /** `performance.now()` when it was sent; 0 before. */
  sentAt: number;
  deadline: NodeJS.Timeout | null;
}

/** Bytes that a publication takes on its way, for limits. */
export function publicationBytes(channel: string, payloadBytes: number): number {
  return PUBLICATION_OVERHEAD_BYTES + 2 * channel.length + payloadBytes;
}

/** What calls answer whose publications have no place: reading beyond its end says null of each. */
const NOWHERE: Taken = [];

export class Calls {
  readonly #send: (batch: Batch) => void;
  readonly #batches = new Map<number, Batch>();
  #gathering: Batch | null = null;
  #immediate: NodeJS.Immediate | null = null;
  #batchNumber = 0;
  #callsInFlight = 0;
  #bytesInFlight = 0;

  /**
   * @param send Sends a batch; called once for each, from an immediate. It may settle the batch during the call.
   */
  constructor(send: (batch: Batch) => void) {
    this.#send = send;
  }

  /**
   * Takes a call into this turn's batch.
   *
   * @returns a promise that settles with the broker's answer.
   * @throws LongwireError, as a rejection: `unavailable` when too much is in flight, `limit-exceeded` when the call could
   * never be taken because it alone is over `IN_FLIGHT_LIMIT_BYTES`.
   */
  publish(publications: readonly Publication[]): Promise<Taken> {
    let bytes = 0;
    for (const publication of publications)
      bytes += publicationBytes(publication.channel, publication.payload.byteLength);
    if (bytes > IN_FLIGHT_LIMIT_BYTES) {
      const text = `one call may publish ${IN_FLIGHT_LIMIT_BYTES} bytes at most, this one has ${bytes}; nothing was published`;
      return Promise.reject(new LongwireError('limit-exceeded', text));
    }
    if (
      this.#callsInFlight >= IN_FLIGHT_LIMIT_CALLS ||
      (this.#bytesInFlight > 0 && this.#bytesInFlight + bytes > IN_FLIGHT_LIMIT_BYTES)
    ) {
      const text = `the broker is behind: ${this.#callsInFlight} calls with ${this.#bytesInFlight} bytes are waiting for it; nothing was published`;
      return Promise.reject(new LongwireError('unavailable', text));
    }
    if (publications.length === 0) return Promise.resolve(NOWHERE);

    this.#callsInFlight++;
    this.#bytesInFlight += bytes;
    return new Promise((resolve, reject) => {
      this.#gathered().calls.push({
        publications,
        bytes,
        count: publications.length,
        state: 'waiting',
        resolve,
        reject,
      });
    });
  }

  /** The batch that `number` names, if it has not been answered or given up yet; it counts as answered from now on. */
  take(number: number): Batch | null {
    const batch = this.#batches.get(number);
    if (batch === undefined) return null;
    this.#batches.delete(number);
    if (batch.deadline !== null) clearTimeout(batch.deadline);
    this.#release(batch);
    return batch;
  }

  /** Settles every call of a batch alike; `error` is null when the broker has taken its publications. */
  settleBatch(batch: Batch, error: LongwireError | null): void {
    for (const call of batch.calls) this.settle(call, error);
  }

  /** Settles one call; `taken` may be left out where none of its channels has history. */
  settle(call: Call, error: LongwireError | null, taken: Taken = NOWHERE): void {
    if (call.state === 'settled') return;
    call.state = 'settled';
    if (error === null) call.resolve(taken);
    else call.reject(error);
  }

  /** Fails everything that waits, sent or not: the broker is gone. */
  failAll(text: string): void {
    if (this.#immediate !== null) clearImmediate(this.#immediate);
    this.#immediate = null;
    const unsent = this.#gathering;
    this.#gathering = null;
    for (const batch of [...this.#batches.values()]) {
      this.take(batch.number);
      const error = new LongwireError('unavailable', `${text}; what was published may or may not have been taken`);
      this.settleBatch(batch, error);
    }
    if (unsent !== null) {
      this.#release(unsent);
      this.settleBatch(unsent, new LongwireError('unavailable', `${text}; nothing was published`));
    }
  }

  #gathered(): Batch {
    if (this.#gathering !== null) return this.#gathering;
    const batch: Batch = { number: ++this.#batchNumber, calls: [], sentAt: 0, deadline: null };
    this.#gathering = batch;
    // An immediate runs after all reads of this turn, a microtask after each of them.
    this.#immediate = setImmediate(() => this.#flush(batch));
    return batch;
  }

  #flush(batch: Batch): void {
    this.#gathering = null;
    this.#immediate = null;
    batch.sentAt = performance.now();
    batch.deadline = setTimeout(() => this.#expire(batch), PUBLISH_DEADLINE_MS);
    this.#batches.set(batch.number, batch);
    this.#send(batch);
  }

  #release(batch: Batch): void {
    this.#callsInFlight -= batch.calls.length;
    for (const call of batch.calls) this.#bytesInFlight -= call.bytes;
  }

  #expire(batch: Batch): void {
    const text = `the broker has not answered for ${PUBLISH_DEADLINE_MS} ms; what was published may or may not have been taken`;
    this.settleBatch(batch, new LongwireError('unavailable', text));
  }
}
