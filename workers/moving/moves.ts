// Moves: what this worker gives to others and takes from them; the one door for the primary's messages about it.
//
// `give` is what the primary asks for: shares of the connections for other workers, or all of them when this worker is to leave.
// Held connections go in batches through the fence (giver.ts), two batches at a time so that one is under way while the
// other waits for its answers. Poll sessions go the same way before them, with the polls that wait. Those between two requests go as they are, descriptor and time left; those in the middle of one are
// waited for. What does not go in several passes stays. While the broker is away nothing moves and nothing is given up.

import {
  type Cargo,
  type CargoOfKind,
  type Descriptor,
  OTHER_SLOTS,
  type Share,
  type ToPrimary,
  type ToWorker,
} from '../../src/ipc.ts';
import { notMovedIndex } from '../../src/stats.ts';
import type { Admission } from '../admission.ts';
import { Connection } from '../connection.ts';
import type { Gateway } from '../gateway.ts';
import type { PollSession } from '../poll/session.ts';
import type { Wire } from '../wire/wire.ts';
import { BATCH_SIZE, Giver } from './giver.ts';
import { HandOver } from './hand-over.ts';
import { Taker } from './taker.ts';

/** Passes that leave as many as there were: after so long what is left stays. A taker that has died is replaced by then. */
const VAIN_LIMIT_MS = 3_000;
/** The same while the workers of another primary take, and do not answer: that one is given up sooner, and others take instead. */
const BEYOND_VAIN_LIMIT_MS = 30_000;
/** Between two passes: outboxes empty, requests are answered. */
const PASS_PAUSE_MS = 100;
const BATCHES_AT_ONCE = 2;
/** For one that waits for its turn among others; the primary decides sooner (src/primary/hand-overs.ts). */
const DEADLINE_MS = 10_000;

export interface MovesOptions {
  send(message: ToPrimary, descriptor?: Descriptor): void;
  adopt(descriptor: Descriptor): Wire;
  /** See hand-over.ts. */
  sendHeld?: (slot: number, number: number, cargo: Cargo, descriptor: Descriptor) => boolean;
  /** For tests; see giver.ts and above. */
  stepLimitMs?: number;
  vainLimitMs?: number;
  answerLimitMs?: number;
}

/** What is left to give to one worker. */
interface Taking {
  readonly to: number;
  left: number;
}

export class Moves {
  private readonly gateway: Gateway;
  private readonly vainLimitMs: number;
  private readonly handOver: HandOver;
  private readonly giver: Giver;
  private readonly taker: Taker;

  constructor(
    gateway: Gateway,
    admission: Admission,
    { send, adopt, sendHeld, stepLimitMs, vainLimitMs, answerLimitMs }: MovesOptions,
  ) {
    const admit = (wire: Wire): Connection | null => admission.adopt(wire);
    this.gateway = gateway;
    this.vainLimitMs = vainLimitMs ?? VAIN_LIMIT_MS;
    this.handOver = new HandOver(gateway, {
      send,
      adopt,
      sendHeld,
      admit,
      takeHeld: (cargo, wire) => this.taker.take(cargo, wire),
      answerLimitMs,
    });
    this.giver = new Giver(gateway, this.handOver, send, stepLimitMs);
    this.taker = new Taker(gateway, {
      say: (batch, step) => send({ type: 'batch', batch, to: 0, step }),
      hasRoom: (count) => admission.hasRoom(count),
      admit,
    });
    gateway.onFence = (id, order) => {
      this.giver.onFence(id, order);
      this.taker.onFence(id);
    };
  }

  onMessage(
    message: Extract<ToWorker, { type: 'take' | 'handed-over' | 'batch' }>,
    descriptor: Descriptor | null,
  ): void {
    if (message.type === 'take') this.handOver.take(message.number, message.cargo, descriptor);
    else if (message.type === 'handed-over') this.handOver.onOutcomes(message.numbers, message.outcome);
    else if (message.step.kind === 'offer') this.taker.onOffer(message.batch, message.step.states);
    else if (message.step.kind === 'session') this.taker.onSession(message.batch, message.step);
    else if (message.step.kind === 'over') this.taker.onOver(message.batch);
    else this.giver.onStep(message.batch, message.step);
  }

  /**
   * Gives shares of the held connections away; with `everything`, those between two requests too, until none is left.
   *
   * @returns how many held connections moved, and how many that were to move could not.
   */
  async give(shares: readonly Share[], everything: boolean): Promise<{ moved: number; stayed: number }> {
    const takers = shares.map(({ to, count }) => ({ to, left: count ?? Number.POSITIVE_INFINITY }));
    let moved = 0;
    let fewest = Number.POSITIVE_INFINITY;
    let limitMs = this.vainLimitMs;
    const beyond = shares.some(({ to }) => to > OTHER_SLOTS);
    for (let gainedAt = performance.now(); performance.now() - gainedAt < limitMs; ) {
      const held = this.find(isHeld, leftOf(takers));
      const away = everything && (await this.giveSessions(takers));
      if (everything) this.giveIdle(takers);
      const given = await this.giveHeld(held, takers);
      moved += given.moved;
      limitMs = beyond && given.calledOff ? BEYOND_VAIN_LIMIT_MS : this.vainLimitMs;
      const left =
        this.find(everything ? isAny : isHeld, leftOf(takers)).length + (everything ? this.sessions.length : 0);
      if (left === 0) break;
      // Without the broker, here or there, there is no fence and so no move: they stay here until it is back.
      if (left < fewest || this.gateway.broker.state !== 'up' || away || given.away) gainedAt = performance.now();
      fewest = Math.min(fewest, left);
      await new Promise((resolve) => setTimeout(resolve, PASS_PAUSE_MS));
    }
    // Those through TLS are nobody's to take, so that shares of so many are always of others.
    const throughTls = everything ? this.countTls() : 0;
    return { moved, stayed: this.find(isHeld, leftOf(takers)).length + throughTls };
  }

  private countTls(): number {
    const { wheel, counters } = this.gateway;
    let count = 0;
    wheel.forEach((timed) => {
      if (!(timed instanceof Connection) || !isHeld(timed) || timed.wire.shareable) return;
      count++;
    });
    const index = notMovedIndex.tls;
    counters.notMoved[index] = (counters.notMoved[index] as number) + count;
    return count;
  }

  /** Connections that are so, and that could be given away at all. */
  private find(is: (connection: Connection) => boolean, limit: number): Connection[] {
    const found: Connection[] = [];
    if (limit === 0) return found;
    this.gateway.wheel.forEach((timed) => {
      if (found.length < limit && timed instanceof Connection && is(timed) && timed.wire.shareable) found.push(timed);
    });
    return found;
  }

  /** Gives them in batches; says how many moved. Stops at a batch that is called off: the next pass tries again. */
  private async giveHeld(
    held: readonly Connection[],
    takers: readonly Taking[],
  ): Promise<{ moved: number; calledOff: boolean; away: boolean }> {
    let moved = 0;
    let away = false;
    let at = 0;
    let stop = false;
    let turn = 0;
    const giveBatches = async (): Promise<void> => {
      while (!stop && at < held.length) {
        const open = takers.filter(({ left }) => left > 0);
        const taking = open[turn++ % open.length];
        if (taking === undefined) return;
        const batch = held.slice(at, at + Math.min(BATCH_SIZE, taking.left)).filter(isHeld);
        at += Math.min(BATCH_SIZE, taking.left);
        if (batch.length === 0) continue;
        taking.left -= batch.length;
        const outcome = await this.giver.move(batch, taking.to);
        taking.left += batch.length - outcome.moved;
        moved += outcome.moved;
        if (outcome.calledOff === null) continue;
        stop = true;
        away ||= outcome.away;
        const facts = { to: taking.to, why: outcome.calledOff };
        this.gateway.seldom.say('warn', 'batch', 'a batch of connections was not moved; it is tried again', facts);
      }
    };
    await Promise.all(Array.from({ length: BATCHES_AT_ONCE }, giveBatches));
    return { moved, calledOff: stop, away };
  }

  /** Poll sessions, those of first polls that wait included: whoever is to be given away has one from now on. */
  private get sessions(): PollSession[] {
    const { polls } = this.gateway;
    for (const connection of this.find(isFirstPoll, Number.POSITIVE_INFINITY)) connection.openSession();
    return polls.sessions.filter(({ state }) => state === 'here');
  }

  /** Gives all poll sessions to one worker, so that it is known where those of this slot are. Whether its broker is away. */
  private async giveSessions(takers: readonly Taking[]): Promise<boolean> {
    const [taking] = takers;
    const { sessions } = this;
    if (taking === undefined) return false;
    for (let at = 0; at < sessions.length; at += BATCH_SIZE) {
      const { calledOff, away } = await this.giver.move(sessions.slice(at, at + BATCH_SIZE), taking.to);
      if (calledOff !== null) return away;
    }
    return false;
  }

  /** Gives away those that wait for their next request, or have said nothing of it. They have no place in any order. */
  private giveIdle(takers: readonly Taking[]): void {
    if (takers.length === 0) return;
    const { wheel } = this.gateway;
    for (const [i, connection] of this.find(isBetween, Number.POSITIVE_INFINITY).entries()) {
      const { to } = takers[i % takers.length] as Taking;
      const { state } = connection;
      const remainingMs = wheel.remainingMs(connection);
      const load = (unread: Buffer): CargoOfKind =>
        state === 'idle' && unread.length === 0
          ? { kind: 'idle', remainingMs }
          : { kind: 'request', bytes: unread, hops: 0 };
      const given = this.handOver.give(connection, to, load, (outcome) => {
        if (outcome !== 'returned') return;
        connection.state = state;
        wheel.schedule(connection, remainingMs);
        connection.wire.resume();
      });
      if (given) wheel.schedule(connection, DEADLINE_MS);
    }
  }
}

function leftOf(takers: readonly Taking[]): number {
  return takers.reduce((sum, { left }) => sum + left, 0);
}

function isHeld({ state }: Connection): boolean {
  return state === 'open';
}

function isFirstPoll({ state, session }: Connection): boolean {
  return state === 'waiting' && session === null;
}

/** Between two requests; one that has sent half a head goes on here, and is idle once that is answered. */
function isBetween({ state, request }: Connection): boolean {
  return request === null && (state === 'idle' || state === 'head');
}

/** All that may still go: requests end, and what is on its way arrives or comes back. */
function isAny({ state }: Connection): boolean {
  return state !== 'closing' && state !== 'closed';
}
