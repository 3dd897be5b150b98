// A connection: one accepted socket, from its first byte to its end. Requests are read and answered by its other half,
// `RequestConnection`; here is how it is held: a subscriber of its channels, given their frames, beaten by the wheel.
//
//   open ─▶ moving: on its way to another worker ─▶ closed here, or open again where that was called off
//   … head ─▶ open: first bytes, subscribed, frames and heartbeats ─▶ finish or close (`release` gives up the channels)
//          └▶ waiting: a poll; its session tells when there is something ─▶ answered: back to asking, or the end
//
// Cost while open: this object (11 fields, 112 bytes), its wire, its channel's name and its place in the hub; no
// listener, timer, closure or buffer. While a first poll waits: the same, for it has no session yet (poll/sessions.ts).

import type { CloseReason } from '../src/close-reason.ts';
import { LongwireError } from '../src/errors.ts';
import { parsePosition } from '../src/position.ts';
import type { Grant } from '../src/presence.ts';
import type { Publication } from '../src/publication.ts';
import { transportIndex } from '../src/stats.ts';
import { type Encoding, type Farewell, frameOf, type PollEncoding } from './encoding.ts';
import type { Opening } from './exchange.ts';
import type { Gateway } from './gateway.ts';
import { PENDING_LIMIT_BYTES } from './pending-request.ts';
import type { FirstPoll, WaitingPoll } from './poll/parts.ts';
import { PollSession } from './poll/session.ts';
import { type Ordered, settleOrder, takeInOrder } from './recovery/in-order.ts';
import { type Notice, openingNotice } from './recovery/notice.ts';
import { RequestConnection } from './request-connection.ts';
import { channelRefusal, encodeExpired, renewGrant, TOKEN_EXPIRED, tokenEnd } from './token/held.ts';
import { encodePoll, encodePollFarewell, encodePollFault } from './transports/poll-encoder.ts';
import { type SessionHost, WebSocketSession } from './websocket/session.ts';
import type { Wire } from './wire/wire.ts';

/** What a buffer in an outbox costs besides its bytes: a Buffer object and its places in arrays. */
const OUTBOX_ENTRY_BYTES = 128;

const SUPERSEDED = new LongwireError('superseded', 'a newer poll of this session has come');
const OVERRUN = new LongwireError('unavailable', 'too much is published while this poll recovers; poll again');
/** How long a move may take: far more than each of its steps may (moving/giver.ts). */
const MOVING_LIMIT_MS = 20_000;
/** Before every publication. */
const NOTHING_YET = 0;

const CR = 0x0d;
const LF = 0x0a;

export class Connection extends RequestConnection implements SessionHost, Ordered, WaitingPoll {
  /** Null unless open or waiting. */
  encoding: Encoding | PollEncoding | null;
  /** Held channels; a string for the usual case of one. Null where a poll's session has them. */
  channels: string | readonly string[] | null;
  /** An open WebSocket's, or that of a poll that waits; null for all else, first polls among it. */
  session: WebSocketSession | PollSession | null;
  /** See recovery/in-order.ts. */
  lastOrder: number;

  constructor(gateway: Gateway, wire: Wire) {
    super(gateway, wire);
    this.encoding = null;
    this.channels = null;
    this.session = null;
    this.lastOrder = 0;
  }

  open(encoding: Encoding, channels: string | readonly string[], first: Buffer, more: Opening): void {
    const { gateway } = this;
    const { history, presence } = gateway;
    const { session, since, who } = more;
    this.dropRequest();
    gateway.clients?.tell(this, 'opened', { transport: encoding.transport });
    this.begin(encoding, channels, session);
    this.state = 'open';
    const tracked = history?.hasAny(channels) === true;
    // Where it stands, so that it can come back although nothing was published meanwhile.
    const position = tracked && since === null ? history.line.position : null;
    const client = presence.meet(this, channels, who);
    const said = encoding.notice !== null && (position !== null || client !== null);
    this.wire.write(said ? Buffer.concat([first, encoding.notice(openingNotice(position, client))]) : first);
    if (tracked && since !== null) history.recoveries.begin(this, listOf(channels), parsePosition(since));
    else this.hold(channels);
    presence.enter(this, channels);
    // At a random place in the second half of the interval: connections that arrive together must not beat together.
    this.wakeIn(gateway.heartbeatMs * (0.5 + Math.random() / 2));
  }

  private begin(encoding: Encoding, channels: string | readonly string[], session: WebSocketSession | null): void {
    const { gateway } = this;
    this.session = session;
    this.encoding = encoding;
    this.channels = channels;
    this.lastOrder = gateway.order;
    gateway.countTransport(transportIndex.http, -1);
    gateway.countTransport(transportIndex[encoding.transport], 1);
  }

  // What a move says: see moving/.

  /** Holds the place of a connection that another worker is about to give: what is published from now on is kept for it. */
  expect(encoding: Encoding, channels: string | readonly string[], session: WebSocketSession | null): void {
    this.begin(encoding, channels, session);
    this.hold(channels);
    this.setOut(NOTHING_YET);
  }

  /** Whether it is subscribed to its channels itself, and not stood in for while it recovers. */
  get settled(): boolean {
    return this.gateway.history?.recoveries.has(this.client) !== true;
  }

  /** Neither reads nor is delivered to any more; publications after `order` are kept back. */
  setOut(order: number): void {
    this.state = 'moving';
    this.wire.pause();
    this.gateway.keptBack.begin(this, order);
    this.gateway.wheel.schedule(this, MOVING_LIMIT_MS);
  }

  /** Is served again, here as a new place or because the move was called off: gets what was kept back first. */
  goOn(heartbeatMs: number): void {
    if (this.state !== 'moving') return;
    const { publications, farewell } = this.gateway.keptBack.end(this);
    this.state = 'open';
    this.wakeIn(heartbeatMs);
    if (publications === null) {
      this.finish('drained');
      return;
    }
    // Channels whose crowds are served in slices may have brought theirs later.
    for (const publication of [...publications].sort((a, b) => a.order - b.order)) this.deliver(publication);
    if (farewell !== null) this.disconnect(farewell);
    // The drain has begun without it.
    else if (this.gateway.draining) this.finish('drained');
  }

  private hold(channels: string | readonly string[]): void {
    const { hub } = this.gateway;
    if (typeof channels === 'string') hub.subscribe(channels, this);
    else for (const channel of channels) hub.subscribe(channel, this);
  }

  /** Says goodbye, with the transport's last frame, or the answer of a poll that waits, unless told another. */
  override finish(reason: CloseReason, last: Buffer | null = this.lastFrame()): void {
    super.finish(reason, last);
  }

  private lastFrame(): Buffer | null {
    const { encoding } = this;
    if (encoding === null) return null;
    if (encoding.transport !== 'poll') return encoding.ending;
    return Buffer.concat(encodePoll(encoding, this.openSession(), false));
  }

  // A poll, and what its session says.

  wait(
    encoding: PollEncoding,
    channels: string | readonly string[],
    holder: PollSession | FirstPoll,
    waitMs: number,
  ): void {
    const { gateway } = this;
    const { polls } = gateway;
    this.encoding = encoding;
    this.channels = channels;
    this.lastOrder = gateway.order;
    this.state = 'waiting';
    this.session = holder instanceof PollSession ? polls.resume(holder, this) : polls.begin(this, channels, holder);
    gateway.countTransport(transportIndex.http, -1);
    gateway.countTransport(transportIndex.poll, 1);
    if (this.session !== null) {
      this.channels = null;
      if (!(holder instanceof PollSession) && holder.origin?.sessionLost === true) polls.tellLost(this.session);
    }
    if (waitMs === 0) this.answerPoll();
    else this.wakeIn(waitMs);
  }

  /** Answers the poll with what its session has, if anything. */
  answerPoll(): void {
    const { encoding } = this;
    if (encoding?.transport !== 'poll') return;
    const keepAlive = encoding.keepAlive && !this.gateway.draining;
    this.endWait(encodePoll(encoding, this.openSession(), keepAlive), keepAlive);
  }

  /** Answers the poll without: another of its session has come. */
  supersede(): void {
    this.gateway.countRejected('superseded');
    this.endWaitWith((encoding, keepAlive) => encodePollFault(SUPERSEDED, encoding, keepAlive));
  }

  overrun(): void {
    this.gateway.countRejected('capacity');
    this.endWaitWith((encoding, keepAlive) => encodePollFault(OVERRUN, encoding, keepAlive));
  }

  dismiss(farewell: Farewell): void {
    this.endWaitWith((encoding, keepAlive) => encodePollFarewell(farewell, encoding, keepAlive));
  }

  private endWaitWith(encode: (encoding: PollEncoding, keepAlive: boolean) => Buffer): void {
    const { encoding, gateway } = this;
    if (encoding?.transport !== 'poll') return;
    const keepAlive = encoding.keepAlive && !gateway.draining;
    this.endWait([encode(encoding, keepAlive)], keepAlive);
  }

  /** The waiting poll's session; one is made for a first poll, with `current`, that it is just being delivered. */
  openSession(current: Publication | null = null): PollSession {
    if (this.session instanceof PollSession) return this.session;
    const session = this.gateway.polls.open(this, current);
    this.session = session;
    this.channels = null;
    return session;
  }

  private endWait(answer: readonly Buffer[], keepAlive: boolean): void {
    this.release();
    this.answerReady(answer, keepAlive);
    if (this.state === 'idle' && this.request !== null) this.proceed();
  }

  // What a WebSocket's session says.

  subscribe(added: readonly string[], since: string | null): LongwireError | Notice {
    const { config, history, presence } = this.gateway;
    const held = listOf(this.channels);
    const channels = new Set([...held, ...added]);
    const limit = config.channelLimit;
    if (channels.size > limit) {
      return new LongwireError('bad-request', `a connection may hold at most ${limit} channels`);
    }
    const refusal = channelRefusal(this.gateway, this, added);
    if (refusal !== null) return refusal;
    const fresh = added.filter((channel) => !held.includes(channel));
    const tracked = history?.hasAny(added) === true;
    if (tracked) this.settleOrder();
    // What waited for it may have been too much for it.
    if (this.encoding === null) return new LongwireError('bad-request', 'the connection is closing');
    const client = presence.meet(this, added, null);
    this.channels = [...channels];
    if (tracked && since !== null) history.recoveries.begin(this, fresh, parsePosition(since));
    else this.hold(fresh);
    presence.enter(this, fresh);
    return openingNotice(tracked && since === null ? history.line.position : null, client);
  }

  refresh(token: string): LongwireError | Grant {
    const outcome = renewGrant(this.gateway, this, this.channels ?? [], token);
    // It may end sooner than the one before. Where it ends later, the deadline finds that out.
    if (!(outcome instanceof LongwireError)) this.wakeIn(this.gateway.wheel.remainingMs(this));
    return outcome;
  }

  unsubscribe(removed: readonly string[]): void {
    const { hub, history, conflation, presence } = this.gateway;
    for (const channel of removed) hub.unsubscribe(channel, this);
    presence.exit(this, removed);
    history?.recoveries.forget(this, removed);
    conflation?.forget(this, removed);
    this.channels = listOf(this.channels).filter((channel) => !removed.includes(channel));
  }

  countPending(bytes: number): boolean {
    const { gateway } = this;
    gateway.pendingBytes += bytes;
    if (bytes < 0 || gateway.pendingBytes <= PENDING_LIMIT_BYTES) return true;
    gateway.countRejected('capacity');
    return false;
  }

  // What the hub says.

  deliver(publication: Publication): void {
    if (this.state === 'waiting') {
      this.openSession(publication);
      return;
    }
    if (this.state === 'moving' && this.gateway.keptBack.keep(this, publication)) return;
    if (this.gateway.conflation?.keep(this, publication) === true) return;
    if (publication.epoch !== '' && !takeInOrder(this, publication, this.gateway)) return;
    this.deliverNow(publication);
  }

  warm(): number {
    return this.encoding === null ? 0 : this.wire.warm();
  }

  deliverNow(publication: Publication): void {
    const { encoding } = this;
    if (encoding === null || encoding.transport === 'poll') return;
    const frame = frameOf(publication, encoding);
    if (frame.length === 0 || !this.send(frame)) return;
    const { counters } = this.gateway;
    counters.deliveries++;
    counters.deliveredBytes += frame.length;
  }

  // What a recovery says.

  settleOrder(): void {
    settleOrder(this, this.gateway);
  }

  get roomBytes(): number {
    return this.gateway.outboxLimitBytes / 2 - this.wire.outboxBytes;
  }

  /** What has room in a write goes out in one: whoever comes back is given many small frames at once. */
  deliverRun(publications: readonly Publication[]): void {
    const { encoding, wire } = this;
    if (encoding === null || encoding.transport === 'poll' || publications.length === 1 || wire.outboxBytes > 0) {
      for (const publication of publications) this.deliverNow(publication);
      return;
    }
    const frames = publications.map((publication) => frameOf(publication, encoding));
    const joined = Buffer.concat(frames);
    if (joined.length === 0 || !this.send(joined)) return;
    const { counters } = this.gateway;
    counters.deliveries += frames.length;
    counters.deliveredBytes += joined.length;
  }

  onRecovered(notice: Notice): void {
    const { encoding } = this;
    if (encoding === null || encoding.transport === 'poll' || encoding.notice === null) return;
    this.send(encoding.notice(notice));
  }

  onOverrun(): void {
    this.close('slow-consumer');
  }

  disconnect(farewell: Farewell): void {
    const { encoding } = this;
    if (this.state === 'moving') this.gateway.keptBack.dismiss(this, farewell);
    else if (encoding?.transport === 'poll') this.dismiss(farewell);
    else if (encoding !== null) this.finish('disconnected', encoding.farewell(farewell));
  }

  /** Gives a frame to the wire, or closes a connection whose outbox has no room for it (false). */
  send(frame: Buffer): boolean {
    const { wire, gateway } = this;
    const queued = wire.outboxBytes;
    // One frame always fits: what a publication may measure is another limit's business.
    if (queued > 0 && queued + frame.length + wire.outboxEntries * OUTBOX_ENTRY_BYTES > gateway.outboxLimitBytes) {
      this.close('slow-consumer');
      return false;
    }
    wire.write(frame);
    if (wire.outboxBytes > 0) gateway.stalls.watch(this, frame.length);
    return true;
  }

  // What the asking half says.

  protected onHeldTimer(): void {
    const { gateway, session, encoding } = this;
    if (encoding === null) return;
    const end = tokenEnd(gateway, this.client);
    if (end === 'soon') {
      gateway.wheel.schedule(this, 0);
    } else if (end === 'now') {
      if (encoding.transport !== 'poll') this.finish('token-expired', encoding.farewell(TOKEN_EXPIRED));
      else this.endWaitWith((each, keepAlive) => encodeExpired(gateway, each, keepAlive));
    } else if (encoding.transport === 'poll') {
      this.answerPoll();
    } else if (session instanceof WebSocketSession && !session.takeHeard()) {
      this.close('unanswered');
    } else if (this.send(encoding.heartbeat)) {
      this.wakeIn(gateway.heartbeatMs);
    }
  }

  /** Sets the deadline of what is held, which is the end of the client's token where that comes first. */
  private wakeIn(delayMs: number): void {
    const { wheel, presence } = this.gateway;
    wheel.schedule(this, presence.identities.within(this.client, delayMs));
  }

  /** As the hub and presence know it. */
  private get client(): Connection | PollSession {
    return this.session instanceof PollSession ? this.session : this;
  }

  protected readHeld(buffer: Buffer, start: number, end: number): void {
    if (this.session instanceof WebSocketSession) this.session.read(this, buffer, start, end);
    else this.readWhileOpen(buffer, start, end);
  }

  get onItsWay(): boolean {
    return this.state === 'moving';
  }

  protected giveUpPresence(): void {
    this.gateway.presence.giveUp(this);
  }

  /** Gives up channels and transport. */
  protected release(): void {
    const { gateway, channels, encoding, session } = this;
    if (encoding === null) return;
    if (session instanceof WebSocketSession) gateway.pendingBytes -= session.pendingBytes;
    if (session instanceof PollSession) gateway.polls.leave(session);
    else if (encoding.transport === 'poll') gateway.polls.leaveFirst();
    if (typeof channels === 'string') gateway.hub.unsubscribe(channels, this);
    else if (channels !== null) for (const channel of channels) gateway.hub.unsubscribe(channel, this);
    gateway.history?.recoveries.forget(this);
    gateway.conflation?.forget(this);
    gateway.presence.leave(this);
    gateway.countTransport(transportIndex[encoding.transport], -1);
    gateway.countTransport(transportIndex.http, 1);
    gateway.stalls.forget(this);
    if (this.state === 'moving') gateway.keptBack.end(this);
    this.encoding = null;
    this.channels = null;
    this.session = null;
  }

  /** An open stream has nothing more to ask. Stray line ends are forgiven; anything else would never be answered. */
  private readWhileOpen(buffer: Buffer, start: number, end: number): void {
    for (let i = start; i < end; i++) {
      if (buffer[i] !== CR && buffer[i] !== LF) {
        this.finish('unexpected-input');
        return;
      }
    }
  }
}

function listOf(channels: string | readonly string[] | null): readonly string[] {
  return typeof channels === 'string' ? [channels] : (channels ?? []);
}
