// The embedded broker, a worker's end: publications go to the primary and come back from there to every worker.
//
// The primary's relay (src/primary/relay.ts) is the one place where publications are put in order; a worker delivers only
// what came back from it, its own included. The link (relay-link.ts) is first in, first out, so all workers see one
// sequence, and a call is answered after the publisher's own worker has seen what it published.
//
// There is nothing to reconnect to: a worker whose primary is gone goes too, and its clients come back to another.
// The way to the primary is a port that the worker's main passes in, so that nothing here touches sockets or `process`.
//
// Cost a publication: its bytes are copied to the primary once and from there once to each worker. Made for trying the
// gateway and for one box with modest traffic; Redis is for the rest.

import { LongwireError } from '../errors.ts';
import type { Publication } from '../publication.ts';
import type { BrokerState } from '../stats.ts';
import type { Broker, BrokerReceiver, HistoryStore, Taken } from './broker.ts';
import { type Batch, Calls } from './calls.ts';
import { packedBytes, packPublications, unpackPublications } from './packed.ts';
import { type FrameKind, FrameWriter } from './relay-frames.ts';
import type { FramePort } from './relay-link.ts';

export class MemoryBroker implements Broker {
  readonly name = 'memory';
  readonly history: HistoryStore | null = null;
  readonly #port: FramePort;
  readonly #frames = new FrameWriter();
  readonly #receiver: BrokerReceiver;
  readonly #calls: Calls;
  readonly #deliver: (publication: Publication) => void;
  #state: BrokerState = 'connecting';
  #stopped = false;
  #roundTripSeconds = 0;

  constructor(port: FramePort, receiver: BrokerReceiver) {
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

  publish(publications: readonly Publication[]): Promise<Taken> {
    if (this.#state !== 'up') {
      return Promise.reject(new LongwireError('unavailable', 'the broker is not up; nothing was published'));
    }
    return this.#calls.publish(publications);
  }

  /** Takes a frame from the primary. Nothing is delivered after `stop`. */
  receive(kind: FrameKind, call: number, body: Buffer): void {
    if (this.#stopped) return;
    if (kind === 'publications') {
      unpackPublications(body, this.#deliver);
    } else if (kind === 'published') {
      const batch = this.#calls.take(call);
      if (batch === null) return;
      this.#roundTripSeconds = (performance.now() - batch.sentAt) / 1000;
      const refusal = body.toString();
      this.#calls.settleBatch(batch, refusal === '' ? null : new LongwireError('unavailable', refusal));
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#state = 'down';
    this.#calls.failAll('the broker was stopped');
  }

  #send(batch: Batch): void {
    const publications = batch.calls.flatMap((call) => call.publications);
    for (const call of batch.calls) call.publications = NONE;
    packPublications(this.#frames.add('publish', batch.number, packedBytes(publications)), publications);
    if (!this.#port.send(this.#frames.take())) this.#frames.leave();
  }

  #setState(state: BrokerState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#receiver.onState(state);
  }
}

const NONE: readonly Publication[] = [];
