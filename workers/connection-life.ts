// The life of a connection, from the accept to its close: its state and deadlines, its answers, its end and what that counts as.
// What its bytes mean is for the classes on top: `RequestConnection` reads requests (request-connection.ts), `Connection` holds
// streams (connection.ts).
//
//                 ┌──────────── kept alive ────────────┐
//   accepted ─▶ head ─▶ (body) ─▶ (busy) ─▶ answered ─▶ idle ─▶ head …
//      │       ▲  ├─▶ waiting: a poll, see connection.ts ─┘ └─▶ blocked (answers not read) ─▶ idle
//      │       │  └─▶ open: held, see connection.ts
//      └─▶ preface: the PROXY header, where one is expected; within the head's deadline
//   head, idle ─▶ postponed: not read, its request waits for a later turn (turns.ts) ─▶ head
//   head ─▶ moving (not read, its descriptor on its way) ─▶ another worker's; see moving/
//   any of them ─▶ closing (FIN sent, waiting for the peer's) ─▶ closed, or straight to closed
//
// It is a base class and no object of its own because a connection pays for every object: there are a hundred thousand. All
// fields are made here, in one order, so that there is one shape. A connection ends once: `finish` says goodbye and waits for
// the peer's end, `close` does not; both count why, give up what is held, and are nothing when it has ended.

import type { CloseReason, Rejection } from '../src/close-reason.ts';
import type { LongwireError } from '../src/errors.ts';
import { closeReasonIndex } from '../src/stats.ts';
import type { Refusal } from './clients.ts';
import type { Gateway } from './gateway.ts';
import { type AnswerOptions, answer, faultAnswer } from './http/answers.ts';
import type { PendingRequest } from './pending-request.ts';
import type { Timed } from './timing-wheel.ts';
import type { Postponed } from './turns.ts';
import { DRAIN_MARK_BYTES, isTlsFault, type Wire, type WireOwner } from './wire/wire.ts';

export type ConnectionState =
  | 'preface'
  | 'head'
  | 'idle'
  | 'postponed'
  | 'body'
  | 'busy'
  | 'blocked'
  | 'waiting'
  | 'open'
  | 'moving'
  | 'closing'
  | 'closed';

/** Where one that we end begins to be read again, so that its peer's end is noticed. */
const READ_AT_THE_END: readonly ConnectionState[] = ['busy', 'blocked', 'waiting', 'postponed'];
/** How long a connection that we have ended waits for the peer's end, so that the last answer is not cut off by an RST. */
const LINGER_MS = 2_000;
export abstract class ConnectionLife implements WireOwner, Timed, Postponed {
  readonly gateway: Gateway;
  /** Another one only where it moves in: see moving/taker.ts. */
  wire: Wire;
  state: ConnectionState;
  request: PendingRequest | null;
  timerPrevious: Timed | null;
  timerNext: Timed | null;
  timerTick: number;

  constructor(gateway: Gateway, wire: Wire) {
    this.gateway = gateway;
    this.wire = wire;
    this.state = 'head';
    this.request = null;
    this.timerPrevious = null;
    this.timerNext = null;
    this.timerTick = 0;
  }

  /** Bytes came: see request-connection.ts. */
  abstract onWireRead(buffer: Buffer, length: number): void;

  /** Bytes that were put away are to be read: see request-connection.ts. */
  abstract onRequestTurn(bytes: Buffer): void;

  /** What was written is out. */
  abstract onWireDrained(): void;

  /** The deadline of a held stream or of a poll that waits has come. */
  protected abstract onHeldTimer(): void;

  /** Another worker speaks for the client from now on. */
  protected abstract giveUpPresence(): void;

  /** Gives up what is held, if anything is. */
  protected abstract release(): void;

  /** Begins: the peer has until the head deadline to say what it wants. */
  start(): void {
    const { clients } = this.gateway;
    this.gateway.wheel.schedule(this, this.gateway.headDeadlineMs);
    this.wire.attach(this);
    if (clients === null) return;
    if (clients.expectsHeader) this.state = 'preface';
    const refusal = clients.arrive(this);
    if (refusal === 'gone') this.close('client-left');
    else if (refusal !== null) this.refuse(refusal);
  }

  /** Begins as one that another worker has given: nobody introduces it, and it is let in already. */
  startKnown(client: string): void {
    this.gateway.wheel.schedule(this, this.gateway.headDeadlineMs);
    this.wire.attach(this);
    this.gateway.clients?.welcome(this, client);
  }

  /** Begins and ends: there is no room, or no time, for this one. */
  turnAway(reason: Rejection, text: string): void {
    this.wire.attach(this);
    this.reject(503, text, reason);
  }

  // Answers: see Exchange.

  answer(options: AnswerOptions): void {
    const keepAlive = options.keepAlive && !this.gateway.draining;
    this.wire.write(answer(options.keepAlive === keepAlive ? options : { ...options, keepAlive }));
    this.answered(keepAlive);
  }

  answerReady(pieces: readonly Buffer[], keepAlive: boolean): void {
    for (const piece of pieces) this.wire.write(piece);
    this.answered(keepAlive);
  }

  /** What follows an answer: the end, the next request, or first the reading of this answer. */
  private answered(keepAlive: boolean): void {
    if (!keepAlive) {
      this.finish('finished');
    } else if (this.wire.outboxBytes > DRAIN_MARK_BYTES) {
      // Whoever asks without reading the answers is not read either.
      this.state = 'blocked';
      this.wire.pause();
      this.gateway.wheel.schedule(this, this.gateway.stallMs);
    } else {
      this.rest();
    }
  }

  /** Waits for the next request. */
  protected rest(): void {
    this.state = 'idle';
    this.gateway.wheel.schedule(this, this.gateway.keepAliveMs);
    this.gateway.clients?.answered(this);
  }

  answerLast(whole: Buffer): void {
    this.wire.write(whole);
    this.finish('finished');
  }

  reject(status: number, text: string, rejection: Rejection, fields = '', headOnly = false): void {
    this.gateway.countRejected(rejection);
    this.gateway.clients?.tell(this, 'rejected', { status, reason: text });
    this.wire.write(faultAnswer(status, text, fields, headOnly));
    this.finish(rejection === 'malformed' || rejection === 'proxy-header' ? 'malformed' : 'finished', null);
  }

  rejectWith(error: LongwireError, rejection: Rejection, fields: string, headOnly: boolean): void {
    const { status, message } = error;
    this.gateway.countRejected(rejection);
    this.gateway.clients?.tell(this, 'rejected', { status, reason: message });
    const body = JSON.stringify(error.toBody());
    const all = `${fields}Cache-Control: no-store\r\n`;
    this.answer({ status, body, contentType: 'application/json', fields: all, keepAlive: false, headOnly });
  }

  protected refuse({ status, text, rejection }: Refusal, headOnly = false): void {
    this.reject(status, text, rejection, '', headOnly);
  }

  /** Says goodbye: `last`, FIN once the outbox is out, closed when the peer has ended too. */
  finish(reason: CloseReason, last: Buffer | null = null): void {
    if (this.state === 'closing' || this.state === 'closed') return;
    this.countClosed(reason);
    if (last !== null) this.wire.write(last);
    this.leave();
    if (READ_AT_THE_END.includes(this.state)) this.wire.resume();
    this.state = 'closing';
    this.wire.end();
    this.gateway.wheel.schedule(this, this.wire.outboxBytes > 0 ? this.gateway.stallMs : LINGER_MS);
  }

  /** Closes at once. */
  close(reason: CloseReason): void {
    if (this.state === 'closed') return;
    if (this.state !== 'closing') {
      this.countClosed(reason);
      this.leave();
    }
    this.end();
  }

  /** Another worker serves it from now on: our copy of its descriptor closes, the connection does not. */
  leaveToAnother(): void {
    if (this.state === 'closed') return;
    this.giveUpPresence();
    this.leave();
    this.end();
  }

  private end(): void {
    this.state = 'closed';
    this.gateway.wheel.cancel(this);
    this.wire.destroy();
    this.gateway.clients?.left(this);
    this.gateway.onConnectionClosed();
  }

  // What the wheel says.

  onTimer(): void {
    switch (this.state) {
      case 'open':
      case 'waiting':
        this.onHeldTimer();
        return;
      case 'preface':
      case 'head':
      case 'postponed':
      case 'body':
        if (this.request === null) {
          this.close('head-timeout');
        } else {
          this.wire.write(faultAnswer(408, 'the request did not arrive in time'));
          this.finish('head-timeout');
        }
        return;
      case 'idle':
        this.close('idle');
        return;
      case 'blocked':
        this.close('slow-consumer');
        return;
      case 'busy':
        this.close('error');
        return;
      case 'moving':
        this.close('lost');
        return;
      case 'closing':
        this.close('finished');
        return;
      case 'closed':
    }
  }

  // What the wire says.

  onWireEnd(): void {
    if (!this.gateway.turns.postponeEnd(this, null)) this.onEndTurn(null);
  }

  onWireClosed(error: string): void {
    if (!this.gateway.turns.postponeEnd(this, error)) this.onEndTurn(error);
  }

  onEndTurn(error: string | null): void {
    if (this.state === 'closed') return;
    if (error === null) this.peerEnded();
    else this.wireClosed(error);
  }

  private peerEnded(): void {
    // A peer that has ended may still read, and is owed the answers that are in our outbox; then the wire closes.
    if (this.wire.outboxBytes > 0 && this.state !== 'open') this.finish('client-left');
    else this.close('client-left');
  }

  private wireClosed(error: string): void {
    if (this.state === 'closing' || !isTlsFault(error)) {
      this.close('client-left');
      return;
    }
    this.gateway.countRejected('malformed');
    this.gateway.clients?.tell(this, 'rejected', { reason: 'does not speak TLS as we do', code: error });
    this.close('malformed');
  }

  protected dropRequest(): void {
    if (this.request === null) return;
    this.gateway.pendingBytes -= this.request.countedBytes;
    this.request = null;
  }

  /** Gives up what the connection has beside its wire. */
  private leave(): void {
    this.dropRequest();
    this.release();
  }

  private countClosed(reason: CloseReason): void {
    const { closed } = this.gateway.counters;
    const index = closeReasonIndex[reason];
    closed[index] = (closed[index] as number) + 1;
    const { clients, seldom } = this.gateway;
    clients?.tell(this, 'closed', { reason });
    if (reason !== 'slow-consumer') return;
    const client = clients === null ? this.wire.peerAddress() : clients.addressOf(this);
    seldom.say('info', 'slow-consumer', 'a slow consumer was closed', { client });
  }
}
