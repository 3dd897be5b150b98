// The giver's side of a move: gives held connections to another worker, batch by batch, so that each of them gets every
// publication once and in order.
//
//   offer ─▶ accepted ─▶ fence published ─▶ fence seen here and there ─▶ descriptors ─▶ over
//
// At the fence's place in the order the connections are set out: what came before it is still delivered here, what comes
// after it is kept back, here and there. So until a descriptor is taken by the other worker either side could go on alone: the other does when
// it has the descriptor, this one when the batch is called off at whatever step, and nobody has missed anything. A fence that one
// of the two never sees (its broker was away) is such a case, and so is a taker that dies.
//
// A poll session has no descriptor: what it holds goes in a message after the fence, and the connection of the poll that waits
// behind it. From then on it is the taker's.
//
// Bounds: `BATCH_SIZE` connections at a time, each step with a deadline. A connection that is not ready to go within
// `READY_LIMIT_MS` (its outbox does not empty) goes on here.
//
// Cost: 0.1 ms of work a connection; each hears nothing for the time of a batch, some 5 ms (docs/adr/0028).

import { FENCE_CHANNEL } from '../../src/channel.ts';
import type { NotMoved } from '../../src/close-reason.ts';
import { errorText } from '../../src/errors.ts';
import type { BatchStep, CargoOfKind, HeldState, ToPrimary } from '../../src/ipc.ts';
import type { Grant, Identity } from '../../src/presence.ts';
import { Publication } from '../../src/publication.ts';
import { countDuration, notMovedIndex } from '../../src/stats.ts';
import { Connection } from '../connection.ts';
import type { Gateway } from '../gateway.ts';
import { PollSession } from '../poll/session.ts';
import type { Known } from '../presence/identities.ts';
import type { Presence } from '../presence/presence.ts';
import { WebSocketSession } from '../websocket/session.ts';
import type { HandOver } from './hand-over.ts';
import { newBatchId } from './taker.ts';

/** As many descriptors as are on their way at a time (hand-over.ts): the whole batch waits for the last of them. */
export const BATCH_SIZE = 64;
/** For an answer of the taker, and for a fence to come by. */
const STEP_LIMIT_MS = 3_000;
/** For outboxes to empty and fan-outs that began before the fence to end. */
const READY_LIMIT_MS = 250;
const LOOK_AGAIN_MS = 2;
/** For the connection of a poll; the primary decides sooner (src/primary/hand-overs.ts). */
const POLL_LIMIT_MS = 10_000;

export interface BatchOutcome {
  moved: number;
  /** Why none moved; null when the batch went its way. */
  calledOff: string | null;
  /** Whether that was because the taker's broker is away. */
  away: boolean;
}

/** What moves: a held connection, or a poll session with the connection that waits for it, if one does. */
export type Mover = Connection | PollSession;

/** What the batch waits for; told by the primary's messages, by the broker and by deadlines. */
interface Batch {
  readonly id: string;
  readonly movers: readonly Mover[];
  readonly states: readonly HeldState[];
  accepted: boolean;
  fencedHere: boolean;
  fencedThere: boolean;
  /** Why it is called off, once it is. */
  refused: string | null;
  away: boolean;
  /** The fence's place in the order. */
  order: number;
  /** What was left of each connection's heartbeat when it was set out, by index. */
  heartbeatsMs: number[];
  /** Those set out that wait for their turn, by index. */
  waiting: Set<number>;
  wake: (() => void) | null;
}

export class Giver {
  private readonly gateway: Gateway;
  private readonly handOver: HandOver;
  private readonly send: (message: ToPrimary) => void;
  private readonly stepLimitMs: number;
  private readonly batches = new Map<string, Batch>();

  constructor(
    gateway: Gateway,
    handOver: HandOver,
    send: (message: ToPrimary) => void,
    stepLimitMs: number = STEP_LIMIT_MS,
  ) {
    this.gateway = gateway;
    this.handOver = handOver;
    this.send = send;
    this.stepLimitMs = stepLimitMs;
  }

  /** Moves open connections or poll sessions, `BATCH_SIZE` at most, to the worker in `slot`. Never rejects. */
  async move(movers: readonly Mover[], slot: number): Promise<BatchOutcome> {
    const batch = makeBatch(movers, this.gateway.presence);
    const startedAt = performance.now();
    this.batches.set(batch.id, batch);
    // Until the fence they would begin messages, and change their channels: who says much would never move.
    const paused = movers.filter(isBlankWebSocket);
    for (const { wire } of paused) wire.pause();
    const say = (step: BatchStep): void => this.send({ type: 'batch', batch: batch.id, to: slot, step });
    say({ kind: 'offer', states: batch.states });
    let moved = 0;
    await this.until(batch, () => batch.accepted, 'the other worker has not answered');
    if (batch.refused === null) {
      this.publishFence(batch);
      await this.until(batch, () => batch.fencedHere && batch.fencedThere, 'the fence has not come by');
    }
    if (batch.refused === null) moved = await this.giveAll(batch, slot);
    // Whoever was set out and not given goes on here.
    const { counters } = this.gateway;
    const why = batch.refused === null ? 'outbox' : 'called-off';
    this.countStaying(why, batch.refused !== null && !batch.fencedHere ? movers.length : batch.waiting.size);
    const seconds = (performance.now() - startedAt) / 1_000;
    countDuration(counters.batchBuckets, seconds);
    counters.batchSecondsSum += seconds;
    for (const index of batch.waiting) goOn(batch.movers[index] as Mover, batch.heartbeatsMs[index] as number);
    for (const { state, wire } of paused) if (state === 'open') wire.resume();
    this.batches.delete(batch.id);
    say({ kind: 'over' });
    return { moved, calledOff: batch.refused, away: batch.away };
  }

  private countStaying(reason: NotMoved, count = 1): void {
    const { notMoved } = this.gateway.counters;
    const index = notMovedIndex[reason];
    notMoved[index] = (notMoved[index] as number) + count;
  }

  /** What the taker, or the primary for it, says. */
  onStep(id: string, step: BatchStep): void {
    const batch = this.batches.get(id);
    if (batch === undefined) return;
    if (step.kind === 'accepted') batch.accepted = true;
    else if (step.kind === 'fenced') batch.fencedThere = true;
    else if (step.kind === 'refused') {
      batch.refused ??= step.why;
      batch.away ||= step.away === true;
    }
    batch.wake?.();
  }

  /** A fence has come by. Connections that have closed or changed their channels since the offer stay as they are. */
  onFence(id: string, order: number): void {
    const batch = this.batches.get(id);
    if (batch === undefined || batch.fencedHere || batch.refused !== null) return;
    batch.fencedHere = true;
    batch.order = order;
    for (const [index, connection] of batch.movers.entries()) {
      // The next pass takes it: what was said of it here must not come after what the other worker says.
      if (!this.gateway.presence.isSettled(connection)) continue;
      if (connection instanceof PollSession) {
        if (connection.state !== 'here') continue;
        if (!connection.settled) {
          this.countStaying('recovering');
          continue;
        }
        batch.waiting.add(index);
        connection.setOut('moving', order);
        continue;
      }
      if (connection.state !== 'open' || connection.channels !== batch.states[index]?.channels) continue;
      // The other worker would go by the token that was offered, which may allow more.
      if (!hasOfferedGrant(this.gateway.presence.identities.grantOf(connection), batch.states[index])) continue;
      // Who recovers is in the middle of something that only this worker knows.
      if (!connection.settled) {
        this.countStaying('recovering');
        continue;
      }
      // Half a message is in this worker's memory, and reading the other half would mean acting on it.
      if (connection.session instanceof WebSocketSession && !connection.session.blank) {
        this.countStaying('half-message');
        continue;
      }
      batch.waiting.add(index);
      batch.heartbeatsMs[index] = this.gateway.wheel.remainingMs(connection);
      connection.setOut(order);
    }
    batch.wake?.();
  }

  private publishFence(batch: Batch): void {
    const fence = new Publication(FENCE_CHANNEL, Buffer.from(batch.id, 'latin1'));
    this.gateway.broker.publish([fence]).catch((thrown: unknown) => {
      // It may have been taken all the same; then it comes by and finds a batch that is called off.
      batch.refused ??= errorText(thrown);
      batch.wake?.();
    });
  }

  /** Gives each as soon as it is ready. Resolves with how many were taken, when the outcome of all is known. */
  private async giveAll(batch: Batch, slot: number): Promise<number> {
    const deadline = performance.now() + READY_LIMIT_MS;
    let moved = 0;
    let under = 0;
    while (batch.refused === null) {
      if (this.gateway.hub.hasDelivered(batch.order)) {
        for (const [poll, sid] of this.giveSessions(batch, slot)) {
          under++;
          this.givePoll(poll, sid, slot, () => {
            under--;
            batch.wake?.();
          });
        }
        for (const index of batch.waiting) {
          const given = this.giveOne(batch, index, slot, (taken) => {
            under--;
            if (taken) moved++;
            batch.wake?.();
          });
          if (given) under++;
          if (given || batch.movers[index]?.state !== 'moving') batch.waiting.delete(index);
        }
      }
      if (batch.waiting.size === 0 || performance.now() > deadline) break;
      await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
    }
    while (under > 0) {
      await new Promise<void>((resolve) => {
        batch.wake = resolve;
      });
    }
    return moved;
  }

  private giveOne(batch: Batch, index: number, slot: number, onEnd: (taken: boolean) => void): boolean {
    const connection = batch.movers[index] as Mover;
    if (connection instanceof PollSession || connection.state !== 'moving') return false;
    // It has room for the newest of its `latest_only` channels only now: that came before the fence, so it is ours to write.
    if (this.gateway.conflation?.has(connection) === true) return false;
    const heartbeatMs = batch.heartbeatsMs[index] as number;
    const heard = !(connection.session instanceof WebSocketSession) || connection.session.heard;
    const forwarded = this.gateway.clients?.forwardedOf(connection) ?? '';
    return this.handOver.give(
      connection,
      slot,
      (unread) => ({ kind: 'held', batch: batch.id, index, unread, heartbeatMs, heard, forwarded }),
      (outcome) => {
        if (outcome === 'returned') {
          this.countStaying('refused');
          goOn(connection, heartbeatMs);
        }
        onEnd(outcome === 'taken');
      },
    );
  }

  /**
   * Gives sessions with all they hold. Before any connection of theirs: on the channel a descriptor waits until the one before it has
   * come, and a session whose word waits behind those is nobody's meanwhile.
   *
   * @returns the connections of polls that wait, with their sids.
   */
  private giveSessions(batch: Batch, slot: number): [Connection, string][] {
    const polls: [Connection, string][] = [];
    for (const index of batch.waiting) {
      const session = batch.movers[index];
      if (!(session instanceof PollSession)) continue;
      batch.waiting.delete(index);
      if (session.state !== 'moving') continue;
      const poll = session.waiting instanceof Connection ? session.waiting : null;
      // One that cannot go along is answered now; its client comes again and is sent after its session.
      if (poll !== null && (poll.request !== null || !poll.wire.shareable || poll.wire.outboxBytes > 0))
        poll.answerPoll();
      const { sid, acknowledged, mailbox, waiting } = session;
      const { position, content } = mailbox;
      const step: BatchStep = { kind: 'session', index, position, acknowledged, ...content };
      this.send({ type: 'batch', batch: batch.id, to: slot, step });
      session.waiting = null;
      this.gateway.polls.forget(session);
      if (waiting instanceof Connection) polls.push([waiting, sid]);
    }
    return polls;
  }

  /** Gives the connection of a poll behind its session. */
  private givePoll(poll: Connection, sid: string, slot: number, onEnd: () => void): void {
    const { wheel } = this.gateway;
    const { encoding } = poll;
    if (encoding?.transport !== 'poll') {
      queueMicrotask(onEnd);
      return;
    }
    const { keepAlive, fields } = encoding;
    const waitMs = wheel.remainingMs(poll);
    const load = (unread: Buffer): CargoOfKind => ({ kind: 'poll', sid, keepAlive, fields, waitMs, unread });
    const given = this.handOver.give(poll, slot, load, (outcome) => {
      if (outcome === 'returned') {
        poll.wire.resume();
        poll.reject(503, 'another worker holds this session; poll again', 'draining');
      }
      onEnd();
    });
    if (given) {
      wheel.schedule(poll, POLL_LIMIT_MS);
    } else {
      poll.reject(503, 'another worker holds this session; poll again', 'draining');
      queueMicrotask(onEnd);
    }
  }

  /** Resolves when `done` holds or the batch is called off, at the latest at the deadline, which calls it off. */
  private async until(batch: Batch, done: () => boolean, why: string): Promise<void> {
    const deadline = setTimeout(() => {
      batch.refused ??= why;
      batch.wake?.();
    }, this.stepLimitMs);
    while (!done() && batch.refused === null) {
      await new Promise<void>((resolve) => {
        batch.wake = resolve;
      });
    }
    clearTimeout(deadline);
  }
}

function isBlankWebSocket(mover: Mover): mover is Connection {
  return mover instanceof Connection && mover.session instanceof WebSocketSession && mover.session.blank;
}

/** It was set out and stays all the same. */
function goOn(mover: Mover, heartbeatMs: number): void {
  if (mover.state !== 'moving') return;
  if (mover instanceof PollSession) {
    mover.goOn();
    return;
  }
  mover.goOn(heartbeatMs);
  mover.wire.resume();
}

function makeBatch(movers: readonly Mover[], presence: Presence): Batch {
  return {
    id: newBatchId(),
    movers,
    states: movers.map((mover) => stateOf(mover, presence)),
    accepted: false,
    fencedHere: false,
    fencedThere: false,
    refused: null,
    away: false,
    order: 0,
    heartbeatsMs: [],
    waiting: new Set(),
    wake: null,
  };
}

function stateOf(mover: Mover, { identities }: Presence): HeldState {
  const { encoding, channels } = mover;
  const known = identities.of(mover);
  const identity = known === null ? {} : { identity: packIdentity(known) };
  const state = { encoding: encoding?.index ?? -1, channels: channels ?? [], ...identity };
  if (!(mover instanceof PollSession)) return state;
  const { keepAlive, fields } = mover.encoding;
  return { ...state, poll: { sid: mover.sid, keepAlive, fields } };
}

/** Nothing of it but what the taker needs, and no grant where there is no token. */
function packIdentity({ client, user, info, grant }: Known): Identity {
  if (grant === null) return { client, user, info };
  return { client, user, info, grant: { expiresAtMs: grant.expiresAtMs, channels: grant.channels } };
}

/** Whether its client has shown no other token since the offer. */
function hasOfferedGrant(grant: Grant | null, state: HeldState | undefined): boolean {
  const offered = state?.identity?.grant ?? null;
  if (grant === null || offered === null) return grant === offered;
  return grant.expiresAtMs === offered.expiresAtMs && grant.channels === offered.channels;
}
