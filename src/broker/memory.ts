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

import { type Namespaces, NamespaceTable, NO_NAMESPACES } from '../../config/namespaces.ts';
import { LongwireError } from '../errors.ts';
import type { HistoryState } from '../history.ts';
import type { Position } from '../position.ts';
import type { Publication } from '../publication.ts';
import type { BrokerState } from '../stats.ts';
import type { Broker, BrokerReceiver, HistoryStore, PresenceStore, Taken } from './broker.ts';
import { type Batch, Calls } from './calls.ts';
import { MemoryHistory } from './memory-history.ts';
import { MemoryPresence } from './memory-presence.ts';
import { MemoryQuestions } from './memory-questions.ts';
import { packedBytes, packPublications, type Retention, unpackPublications } from './packed.ts';
import { type FrameKind, FrameWriter } from './relay-frames.ts';
import type { FramePort } from './relay-link.ts';

export class MemoryBroker implements Broker {
  readonly name = 'memory';
  readonly #port: FramePort;
  readonly #frames = new FrameWriter();
  readonly #namespaces: NamespaceTable;
  readonly #questions: MemoryQuestions;
  readonly #history: MemoryHistory;
  readonly #presence: MemoryPresence;
  /** Of the primary's history. */
  #epoch = '';
  readonly #receiver: BrokerReceiver;
  readonly #calls: Calls;
  readonly #deliver: (publication: Publication) => void;
  #state: BrokerState = 'connecting';
  #stopped = false;
  #roundTripSeconds = 0;

  constructor(port: FramePort, receiver: BrokerReceiver, namespaces: Namespaces = NO_NAMESPACES) {
    this.#port = port;
    this.#receiver = receiver;
    this.#namespaces = new NamespaceTable(namespaces);
    this.#questions = new MemoryQuestions(port, this.#frames);
    this.#history = new MemoryHistory(this.#questions);
    this.#presence = new MemoryPresence(this.#questions);
    this.#deliver = (publication) => receiver.onPublication(publication);
    this.#calls = new Calls((batch) => this.#send(batch));
  }

  get history(): HistoryStore | null {
    return this.#namespaces.hasHistory ? this.#history : null;
  }

  get presence(): PresenceStore | null {
    return this.#namespaces.hasPresence ? this.#presence : null;
  }

  get state(): BrokerState {
    return this.#state;
  }

  /** Of the last publish call: to the primary, through its relay, and back. */
  get roundTripSeconds(): number {
    return this.#roundTripSeconds;
  }

  /** Where there is history, resolves once it is known where that stands: what comes before is for nobody here. */
  async start(): Promise<void> {
    while (this.#namespaces.hasHistory && this.#epoch === '') {
      await this.#history.where((state) => this.#connected(state)).catch(ignore);
    }
    this.#setState('up');
  }

  #connected(state: HistoryState): void {
    this.#epoch = state.epoch;
    this.#receiver.onHistory(state);
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
      if (this.#namespaces.hasHistory && this.#epoch === '') return;
      unpackPublications(body, this.#deliver, this.#epoch);
    } else if (kind === 'published' || kind === 'placed') {
      const batch = this.#calls.take(call);
      if (batch === null) return;
      this.#roundTripSeconds = (performance.now() - batch.sentAt) / 1000;
      if (kind === 'placed') this.#settlePlaced(batch, body);
      else this.#settle(batch, body.toString());
    } else if (kind === 'told') {
      this.#questions.receive(call, body);
    }
  }

  #settle(batch: Batch, refusal: string): void {
    this.#calls.settleBatch(batch, refusal === '' ? null : new LongwireError('unavailable', refusal));
  }

  /** Every publication has its offset in `body`, in their order. */
  #settlePlaced({ calls }: Batch, body: Buffer): void {
    let at = 0;
    for (const call of calls) {
      const taken: (Position | null)[] = [];
      for (const end = at + 8 * call.count; at < end; at += 8) {
        const offset = body.readDoubleLE(at);
        taken.push(offset === 0 ? null : { epoch: this.#epoch, offset });
      }
      this.#calls.settle(call, null, taken);
    }
  }

  /** Does nothing: publishers wait for answers that come behind the publications, so they are slowed as it is. */
  setPaused(_paused: boolean): void {}

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#state = 'down';
    this.#calls.failAll('the broker was stopped');
  }

  #send(batch: Batch): void {
    const publications = batch.calls.flatMap((call) => call.publications);
    for (const call of batch.calls) call.publications = NONE;
    const stores = publications.some(({ channel, idempotencyKey }) => {
      return idempotencyKey !== null || this.#retentionOf(channel) !== null;
    });
    const bytes = packedBytes(publications, this.#retentionOf);
    const body = this.#frames.add(stores ? 'store' : 'publish', batch.number, bytes);
    packPublications(body, publications, this.#retentionOf);
    if (!this.#port.send(this.#frames.take())) this.#frames.leave();
  }

  readonly #retentionOf = (channel: string): Retention | null => {
    const options = this.#namespaces.of(channel);
    return options.historySize > 0 ? options : null;
  };

  #setState(state: BrokerState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#receiver.onState(state);
  }
}

const NONE: readonly Publication[] = [];

/** It is asked again. */
function ignore(): void {}
