// Hand-over: connections on their way to another worker, alive, and those that come in. One descriptor, one message.
//
//   this worker ──hand-over──▶ primary ──take──▶ the other: serves it, and says `taken`
//        ◀──handed-over: taken, returned or lost──┘
//
// Invariant: a connection is served by one worker at a time. This one stops reading before it sends and keeps its copy of
// the descriptor, unused, until the primary says what became of it: taken, the copy is closed; returned (the other never
// had it, or refused), this one goes on; lost (sent, never answered), the connection is closed, since the other may have served it.
//
// Bounds: `IN_FLIGHT_LIMIT` connections on their way, `WAITING_LIMIT` behind them with `WAITING_LIMIT_BYTES`, each for `DEADLINE_MS`
// at most. node:child_process sends one descriptor at a time a channel and keeps the rest, and every message behind them,
// waiting: what waits there is what the first limit bounds.

import type { Cargo, Descriptor, HandOverOutcome, ToPrimary } from '../../src/ipc.ts';
import type { Connection } from '../connection.ts';
import type { Gateway } from '../gateway.ts';
import type { Wire } from '../wire/wire.ts';
import type { Movable } from './movable.ts';

/** Enough to keep two channels busy (measured: 64 move 6,000 a second), few enough that other messages wait 10 ms. */
const IN_FLIGHT_LIMIT = 64;
/** A burst: all long polls of a worker that has some thousands come back at once after a broadcast. */
const WAITING_LIMIT = 4_096;
const WAITING_LIMIT_BYTES = 8 * 1024 * 1024;
/** Beyond the primary's own limit (src/primary/hand-overs.ts), which is the one that decides. */
const DEADLINE_MS = 10_000;

export interface HandOverOptions {
  /** Sends to the primary, with a descriptor for `hand-over`. */
  send(message: ToPrimary, descriptor?: Descriptor): boolean;
  /** Makes a wire of a descriptor that has come. */
  adopt(descriptor: Descriptor): Wire;
  /** A connection for that wire; null when there is no room. */
  admit(wire: Wire): Connection | null;
}

interface Waiting {
  readonly connection: Movable;
  readonly slot: number;
  readonly descriptor: Descriptor;
  readonly cargo: Cargo;
}

export class HandOver {
  private readonly gateway: Gateway;
  private readonly options: HandOverOptions;
  private readonly inFlight: Map<number, Movable>;
  private readonly waiting: Waiting[];
  private waitingBytes: number;
  private number: number;

  constructor(gateway: Gateway, options: HandOverOptions) {
    this.gateway = gateway;
    this.options = options;
    this.inFlight = new Map();
    this.waiting = [];
    this.waitingBytes = 0;
    this.number = 0;
    gateway.handOver = (connection, slot, bytes) => this.giveRequest(connection, slot, bytes);
  }

  /** See `HandOverFunction`. */
  giveRequest(connection: Movable, slot: number, bytes: Uint8Array): boolean {
    const { waiting, inFlight } = this;
    if (waiting.length >= WAITING_LIMIT || this.waitingBytes + bytes.length > WAITING_LIMIT_BYTES) return false;
    const shared = connection.wire.share();
    if (shared === null) return false;
    // A copy: they lie where the next read goes, and the message may have to wait.
    const all = Buffer.concat(shared.unread === null ? [bytes] : [bytes, shared.unread]);
    connection.state = 'moving';
    this.gateway.wheel.schedule(connection, DEADLINE_MS);
    const client = this.gateway.clients?.ownAddressOf(connection) ?? '';
    const cargo = { kind: 'request' as const, bytes: all, client };
    const given = { connection, slot, descriptor: shared.descriptor, cargo };
    if (inFlight.size < IN_FLIGHT_LIMIT) {
      this.send(given);
    } else {
      waiting.push(given);
      this.waitingBytes += all.length;
    }
    return true;
  }

  private send({ connection, slot, descriptor, cargo }: Waiting): void {
    const number = ++this.number;
    this.inFlight.set(number, connection);
    // A channel that is gone takes this process with it.
    this.options.send({ type: 'hand-over', to: slot, number, cargo }, descriptor);
  }

  private sendNext(): void {
    while (this.inFlight.size < IN_FLIGHT_LIMIT) {
      const next = this.waiting.shift();
      if (next === undefined) return;
      this.waitingBytes -= next.cargo.bytes.length;
      if (next.connection.state === 'moving') this.send(next);
    }
  }

  /** The primary says what became of one that was given. */
  onOutcome(number: number, outcome: HandOverOutcome): void {
    const connection = this.inFlight.get(number);
    this.inFlight.delete(number);
    this.sendNext();
    // It may have been closed meanwhile, by its deadline for example.
    if (connection?.state !== 'moving') return;
    if (outcome === 'taken') {
      connection.leftForAnother();
    } else if (outcome === 'lost') {
      connection.close('lost');
    } else {
      connection.wire.resume();
      connection.reject(503, 'the worker that holds this cannot be reached; begin anew', 'draining');
    }
  }

  /** Takes in what another worker gives. `descriptor` is null when it did not arrive: this process had no room for it. */
  take(number: number, cargo: Cargo, descriptor: Descriptor | null): void {
    const wire = descriptor === null ? null : this.options.adopt(descriptor);
    const connection = wire === null ? null : this.options.admit(wire);
    this.options.send({ type: 'taken', number, taken: connection !== null });
    if (connection === null) {
      wire?.destroy();
      return;
    }
    connection.startKnown(cargo.client);
    const bytes = Buffer.from(cargo.bytes.buffer, cargo.bytes.byteOffset, cargo.bytes.byteLength);
    if (bytes.length > 0) connection.onWireRead(bytes, bytes.length);
  }
}
