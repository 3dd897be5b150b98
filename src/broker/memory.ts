// The embedded broker, a worker's end: publications go to the primary over IPC and come back from there to every worker.
//
// The primary's relay (src/primary/relay.ts) is the one place where publications are put in order; a worker delivers only
// what came back from it, its own included. IPC is first in, first out, so all workers see one sequence, and a call is
// answered after the publisher's own worker has seen what it published.
//
// There is nothing to reconnect to: a worker whose primary is gone goes too, and its clients come back to another.
// The channel to the primary is a port that the worker's main passes in, so that nothing here touches `process`.
//
// Cost a publication: its bytes are copied to the primary once and from there once to each worker. Made for trying the
// gateway and for one box with modest traffic; Redis is for the rest.

import type { SendHandle } from 'node:child_process';
import { LongwireError } from '../errors.ts';
import type { Descriptor, ToPrimary, ToWorker } from '../ipc.ts';
import type { Publication } from '../publication.ts';
import type { BrokerState } from '../stats.ts';
import type { Broker, BrokerReceiver } from './broker.ts';
import { type Batch, Calls } from './calls.ts';
import { packPublications, unpackPublications } from './packed.ts';

/** The way to the primary. */
export interface PrimaryPort {
  /** Sends in order, with a connection's descriptor or without; false when the channel is gone and nothing was taken. */
  send(message: ToPrimary, descriptor?: Descriptor): boolean;
}

/** The part of `process` in a forked worker that `portToPrimary` needs. */
export interface IpcToPrimary {
  readonly connected: boolean;
  send?(
    message: ToPrimary,
    handle: SendHandle | undefined,
    options: undefined,
    callback: (error: Error | null) => void,
  ): boolean;
}

/** A port over a worker's IPC channel: pass it `process`. */
export function portToPrimary(worker: IpcToPrimary): PrimaryPort {
  return {
    send(message, descriptor) {
      if (!worker.connected || worker.send === undefined) return false;
      // Its return value tells of backlog, not of failure. The callback keeps a late failure from being thrown as an
      // 'error' event: whoever waits for an answer has a deadline.
      // Its types name the objects that Node makes of descriptors; it takes the handle beneath them as well.
      worker.send(message, descriptor as SendHandle | undefined, undefined, ignore);
      return true;
    },
  };
}

export class MemoryBroker implements Broker {
  readonly name = 'memory';
  readonly #port: PrimaryPort;
  readonly #receiver: BrokerReceiver;
  readonly #calls: Calls;
  readonly #deliver: (publication: Publication) => void;
  #state: BrokerState = 'connecting';
  #stopped = false;
  #roundTripSeconds = 0;

  constructor(port: PrimaryPort, receiver: BrokerReceiver) {
    this.#port = port;
    this.#receiver = receiver;
    this.#deliver = (publication) => receiver.onPublication(publication);
    this.#calls = new Calls((batch) => this.#send(batch));
  }

  get state(): BrokerState {
    return this.#state;
  }

  /** Of the last publish call: to the primary, through its relay, and back. */
  get roundTripSeconds(): number {
    return this.#roundTripSeconds;
  }

  async start(): Promise<void> {
    this.#setState('up');
  }

  publish(publications: readonly Publication[]): Promise<void> {
    if (this.#state !== 'up') {
      return Promise.reject(new LongwireError('unavailable', 'the broker is not up; nothing was published'));
    }
    return this.#calls.publish(publications);
  }

  /** Takes what the primary sent; messages that are not the broker's are ignored. Nothing is delivered after `stop`. */
  receive(message: ToWorker): void {
    if (this.#stopped) return;
    if (message.type === 'publications') {
      for (const packed of message.packed) unpackPublications(packed, this.#deliver);
    } else if (message.type === 'published') {
      const batch = this.#calls.take(message.call);
      if (batch === null) return;
      this.#roundTripSeconds = (performance.now() - batch.sentAt) / 1000;
      this.#calls.settleBatch(batch, message.error === null ? null : new LongwireError('unavailable', message.error));
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#state = 'down';
    this.#calls.failAll('the broker was stopped');
  }

  #send(batch: Batch): void {
    const packed = packPublications(batch.calls.flatMap((call) => call.publications));
    for (const call of batch.calls) call.publications = NONE;
    if (this.#port.send({ type: 'publish', call: batch.number, packed })) return;
    this.#calls.take(batch.number);
    this.#calls.settleBatch(batch, new LongwireError('unavailable', 'the primary is gone; nothing was published'));
    this.#setState('down');
  }

  #setState(state: BrokerState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#receiver.onState(state);
  }
}

const NONE: readonly Publication[] = [];

function ignore(): void {}
