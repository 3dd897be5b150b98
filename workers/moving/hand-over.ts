// Hand-over: connections on their way to another worker, alive, and those that come in. One descriptor, one message.
//
//   this worker ──hand-over──▶ primary ──take──▶ the other: serves it, and says `taken`
//        ◀──handed-over: taken, returned, nobody or lost──┘
//
// Invariant: a connection is served by one worker at a time. This one stops reading before it sends and keeps its copy of
// the descriptor, unused, until the primary says what became of it: taken, the copy is closed; returned (the other never
// had it, or refused), this one goes on; nobody (there is no such worker), a request is read again here; lost (sent, never answered), the connection is closed, since the other may have served it.
//
// Bounds: `IN_FLIGHT_LIMIT` connections on their way, `WAITING_LIMIT` behind them with `WAITING_LIMIT_BYTES`, each for `DEADLINE_MS`
// at most. Held connections go by the descriptor link (src/descriptor-link.ts) where there is one. On node:cluster's channel one descriptor
// goes at a time, and the rest and every message behind them wait: what waits there is what the first limit bounds.

import type { Cargo, CargoOfKind, Descriptor, HandOverOutcome, ToPrimary } from '../../src/ipc.ts';
import type { Connection } from '../connection.ts';
import type { Gateway } from '../gateway.ts';
import { pollEncoding } from '../transports/poll-encoder.ts';
import type { Wire } from '../wire/wire.ts';
import type { HandedOver, Movable } from './movable.ts';

/** Enough to keep both ways busy, few enough that on the channel other messages wait 20 ms. */
const IN_FLIGHT_LIMIT = 64;
/** A burst: all long polls of a worker that has some thousands come back at once after a broadcast. */
const WAITING_LIMIT = 4_096;
const WAITING_LIMIT_BYTES = 8 * 1024 * 1024;
/**
 * The right worker, the one before it in its slot, and once again because the session has moved in between. Where a session goes there
 * is a place for it before it is given up where it was: whoever has come so far in vain asks for one that is nowhere.
 */
const HOPS_LIMIT = 3;
/** Beyond the primary's own limit (src/primary/hand-overs.ts), which is the one that decides. */
const DEADLINE_MS = 10_000;
/**
 * For the primary's word. node:child_process drops a descriptor that the other process has no room for, and the message with it,
 * after four tries and without a word: who waits for that would wait for ever.
 */
const ANSWER_LIMIT_MS = 10_000;
/**
 * Words to the primary about what has come wait for so many or so long, to be said in one message: descriptors come one by one,
 * and a message each there and on to the giver is a third of what a move costs. A quarter of what is in flight.
 */
export const ANSWERS_AT_ONCE = 16;
const ANSWERS_WAIT_MS = 1;

export interface HandOverOptions {
  /** Sends to the primary, with a descriptor for `hand-over`. */
  send(message: ToPrimary, descriptor?: Descriptor): void;
  /** Sends a held connection by the descriptor link; false where there is none, and it must go the other way. */
  sendHeld?: ((slot: number, number: number, cargo: Cargo, descriptor: Descriptor) => boolean) | undefined;
  /** Makes a wire of a descriptor that has come. */
  adopt(descriptor: Descriptor): Wire;
  /** A connection for that wire; null when there is no room. */
  admit(wire: Wire): Connection | null;
  /** Gives a wire to the held connection that waits for it; false when there is none. */
  takeHeld(cargo: Extract<Cargo, { kind: 'held' }>, wire: Wire): boolean;
  /** For tests. */
  answerLimitMs?: number | undefined;
}

/** Told once, what became of a connection that is still 'moving'; it must go on from 'returned'. */
type OnOutcome = (outcome: HandOverOutcome) => void;

interface Given {
  readonly connection: Movable;
  readonly slot: number;
  readonly descriptor: Descriptor;
  readonly cargo: Cargo;
  readonly onOutcome: OnOutcome;
  sentAtMs: number;
}

export class HandOver {
  private readonly gateway: Gateway;
  private readonly options: HandOverOptions;
  private readonly inFlight: Map<number, Given>;
  private readonly waiting: Given[];
  private waitingBytes: number;
  private number: number;
  /** Runs while something is in flight. */
  private timer: NodeJS.Timeout | null;
  private readonly answerLimitMs: number;
  /** Numbers of `take` that are still to be answered. */
  private taken: number[];
  private refused: number[];
  private answering: NodeJS.Timeout | null;
  /** Of the request that is being read, from how many workers it came. */
  private hops: number;

  constructor(gateway: Gateway, options: HandOverOptions) {
    this.gateway = gateway;
    this.options = options;
    this.inFlight = new Map();
    this.waiting = [];
    this.waitingBytes = 0;
    this.number = 0;
    this.timer = null;
    this.answerLimitMs = options.answerLimitMs ?? ANSWER_LIMIT_MS;
    this.taken = [];
    this.refused = [];
    this.answering = null;
    this.hops = 0;
    gateway.handOver = (connection, slot, bytes) => this.giveRequest(connection, slot, bytes);
  }

  /** See `HandOverFunction`. */
  private giveRequest(connection: Movable, slot: number, bytes: Uint8Array): HandedOver {
    const hops = this.hops + 1;
    if (hops > HOPS_LIMIT) return 'sought';
    let request = NOTHING;
    const given = this.give(
      connection,
      slot,
      (unread) => {
        // A copy: they lie where the next read goes, and the message may have to wait.
        request = Buffer.from(bytes);
        return { kind: 'request', bytes: Buffer.concat([request, unread]), hops };
      },
      (outcome) => {
        if (outcome === 'nobody') {
          this.gateway.goneSlot = slot;
          // Without what was unread: the wire still has that, and tells it next.
          connection.readAgain(request);
          this.gateway.goneSlot = 0;
        } else if (outcome === 'returned') {
          connection.wire.resume();
          connection.reject(503, 'the worker that holds this has no room for the connection; try again', 'capacity');
        }
      },
    );
    if (!given) return 'kept';
    this.gateway.wheel.schedule(connection, DEADLINE_MS);
    return 'given';
  }

  /**
   * Gives a connection away, and sets its state to 'moving'. What it had subscribed to and its deadline are the caller's.
   *
   * @param load Makes the cargo, of what was read from the wire and not told to the connection.
   * @param onOutcome Called once, later. `taken` and `lost` have been dealt with already.
   * @returns false when it cannot be given away, and then nothing has changed.
   */
  give(connection: Movable, slot: number, load: (unread: Buffer) => CargoOfKind, onOutcome: OnOutcome): boolean {
    if (this.waiting.length >= WAITING_LIMIT || this.waitingBytes > WAITING_LIMIT_BYTES) return false;
    const shared = connection.wire.share();
    if (shared === null) return false;
    const client = this.gateway.clients?.ownAddressOf(connection) ?? '';
    const cargo: Cargo = { ...load(shared.unread ?? NOTHING), client };
    const given = { connection, slot, descriptor: shared.descriptor, cargo, onOutcome, sentAtMs: 0 };
    connection.state = 'moving';
    if (this.inFlight.size < IN_FLIGHT_LIMIT) {
      this.send(given);
    } else {
      this.waiting.push(given);
      this.waitingBytes += cargoBytes(cargo);
    }
    return true;
  }

  private send(given: Given): void {
    const number = ++this.number;
    this.inFlight.set(number, given);
    given.sentAtMs = performance.now();
    this.timer ??= setTimeout(() => this.lookForLost(), this.answerLimitMs).unref();
    const { slot, cargo, descriptor } = given;
    if (cargo.kind === 'held' && this.options.sendHeld?.(slot, number, cargo, descriptor) === true) return;
    // A channel that is gone takes this process with it.
    this.options.send({ type: 'hand-over', to: slot, number, cargo }, descriptor);
  }

  /** Those that the primary has not answered are lost: the other worker may have them. */
  private lookForLost(): void {
    this.timer = null;
    const due = performance.now() - this.answerLimitMs;
    for (const [number, { sentAtMs }] of this.inFlight) {
      // In the order in which they were sent.
      if (sentAtMs > due) {
        this.timer ??= setTimeout(() => this.lookForLost(), sentAtMs - due + 1).unref();
        return;
      }
      this.onOutcome(number, 'lost');
    }
  }

  private sendNext(): void {
    while (this.inFlight.size < IN_FLIGHT_LIMIT) {
      const next = this.waiting.shift();
      if (next === undefined) return;
      this.waitingBytes -= cargoBytes(next.cargo);
      // It may have been closed meanwhile, by its deadline for example.
      if (next.connection.state === 'moving') this.send(next);
      else next.onOutcome('lost');
    }
  }

  /** The primary says what became of some that were given. */
  onOutcomes(numbers: readonly number[], outcome: HandOverOutcome): void {
    for (const number of numbers) this.onOutcome(number, outcome);
  }

  private onOutcome(number: number, outcome: HandOverOutcome): void {
    const given = this.inFlight.get(number);
    if (given === undefined) return;
    this.inFlight.delete(number);
    const { connection, onOutcome } = given;
    if (connection.state === 'moving') {
      if (outcome === 'taken') {
        this.gateway.counters.movedOut++;
        connection.leaveToAnother();
      } else if (outcome === 'lost') {
        connection.close('lost');
      }
      onOutcome(outcome === 'nobody' && given.cargo.kind !== 'request' ? 'returned' : outcome);
    } else {
      onOutcome('lost');
    }
    this.sendNext();
  }

  /** Takes in what another worker gives. `descriptor` is null when it did not arrive: this process had no room for it. */
  take(number: number, cargo: Cargo, descriptor: Descriptor | null): void {
    const wire = descriptor === null ? null : this.options.adopt(descriptor);
    const taken = wire !== null && this.takeIn(cargo, wire);
    if (taken) this.gateway.counters.movedIn++;
    else wire?.destroy();
    (taken ? this.taken : this.refused).push(number);
    if (this.taken.length + this.refused.length >= ANSWERS_AT_ONCE) this.answer();
    else this.answering ??= setTimeout(() => this.answer(), ANSWERS_WAIT_MS);
  }

  private answer(): void {
    if (this.answering !== null) clearTimeout(this.answering);
    const { taken, refused } = this;
    this.answering = null;
    this.taken = [];
    this.refused = [];
    this.options.send({ type: 'taken', taken, refused });
  }

  private takeIn(cargo: Cargo, wire: Wire): boolean {
    if (cargo.kind === 'held') return this.options.takeHeld(cargo, wire);
    const { polls } = this.gateway;
    const session = cargo.kind === 'poll' ? polls.find(cargo.sid) : null;
    // A newer poll may have come here already.
    if (cargo.kind === 'poll' && (session?.state !== 'here' || session.waiting !== null)) return false;
    const connection = this.options.admit(wire);
    if (connection === null) return false;
    connection.startKnown(cargo.client);
    if (cargo.kind === 'idle') {
      connection.state = 'idle';
      this.gateway.wheel.schedule(connection, cargo.remainingMs);
    } else {
      if (cargo.kind === 'poll' && session !== null) {
        const encoding = pollEncoding(session.format, cargo.keepAlive, cargo.fields);
        connection.wait(encoding, session.channels, session, Math.max(1, cargo.waitMs));
        if (session.hasContent) polls.answerSoon(session);
      }
      const bytes = asBuffer(cargo.kind === 'poll' ? cargo.unread : cargo.bytes);
      this.hops = cargo.kind === 'request' ? cargo.hops : 0;
      if (bytes.length > 0) connection.onWireRead(bytes, bytes.length);
      this.hops = 0;
    }
    return true;
  }
}

const NOTHING = Buffer.alloc(0);

function cargoBytes(cargo: Cargo): number {
  return cargo.kind === 'request' ? cargo.bytes.length : 0;
}

/** Structured clone keeps a Buffer a Buffer; other bytes are looked at in place. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
