// One client that polls: its subscriber, which the hub knows from the first poll to the end of all, and its session, which is
// there from the first answer on. All of a worker's are in sessions.ts, whose head has the picture.
//
// The subscriber stays the same for all of that, so that a fan-out under way neither misses nor meets a session twice.

import type { Publication } from '../../src/publication.ts';
import type { Counters } from '../../src/stats.ts';
import type { Farewell, Format, PollEncoding } from '../encoding.ts';
import type { KeptBack } from '../moving/kept-back.ts';
import type { Holder } from '../presence/identities.ts';
import { type Ordered, settleOrder, takeInOrder } from '../recovery/in-order.ts';
import { type Notice, noticeJson } from '../recovery/notice.ts';
import type { Timed } from '../timing-wheel.ts';
import { writePosition } from './cursor.ts';
import { KeptFrame, Mailbox, type MailStore } from './mailbox.ts';
import type { PollContent, PollLimits, PollPresence, PollWorker, WaitingPoll } from './parts.ts';
import { makeSid } from './sid.ts';

/** What a session asks of all of them: sessions.ts says what each does. */
export interface PollHome {
  readonly slot: number;
  readonly limits: PollLimits;
  readonly worker: PollWorker;
  readonly store: MailStore;
  readonly keptBack: KeptBack;
  readonly counters: Counters;
  readonly presence: PollPresence | null;
  sessionOf(subscriber: PollSubscriber): PollSession;
  originOf(subscriber: PollSubscriber, channels: string | readonly string[], encoding: PollEncoding): string | null;
  standingOf(subscriber: PollSubscriber, channels: string | readonly string[], encoding: PollEncoding): string | null;
  keep(publication: Publication, encoding: PollEncoding): KeptFrame;
  answerSoon(session: PollSession): void;
  overrun(subscriber: PollSubscriber): void;
  expire(session: PollSession): void;
  dismiss(session: PollSession, farewell: Farewell): void;
}

/** The hub's side of a client that polls, from its first poll to the end of its session. */
export class PollSubscriber implements Holder, Ordered {
  private readonly polls: PollHome;
  /** Who speaks for the client: its first poll, from that one's answer on its session. */
  holder: WaitingPoll | PollSession;
  lastOrder: number;

  constructor(polls: PollHome, holder: WaitingPoll | PollSession) {
    this.polls = polls;
    this.holder = holder;
    this.lastOrder = polls.worker.order;
  }

  get channels(): string | readonly string[] | null {
    return this.holder.channels;
  }

  deliver(publication: Publication): void {
    if (publication.epoch !== '' && !takeInOrder(this, publication, this.polls.worker)) return;
    this.holder.deliverNow(publication);
  }

  deliverNow(publication: Publication): void {
    this.holder.deliverNow(publication);
  }

  warm(): number {
    return 0;
  }

  disconnect(farewell: Farewell): void {
    const { holder } = this;
    if (this.onItsWay) this.polls.keptBack.dismiss(this, farewell);
    else if (holder instanceof PollSession) holder.polls.dismiss(holder, farewell);
    else holder.dismiss(farewell);
  }

  get onItsWay(): boolean {
    return this.holder instanceof PollSession && ['moving', 'expected'].includes(this.holder.state);
  }

  // What a recovery says.

  settleOrder(): void {
    settleOrder(this, this.polls.worker);
  }

  get roomBytes(): number {
    return this.polls.sessionOf(this).mailbox.roomBytes;
  }

  deliverRun(publications: readonly Publication[]): void {
    for (const publication of publications) this.holder.deliverNow(publication);
  }

  onRecovered(notice: Notice): void {
    this.polls.sessionOf(this).tell(notice);
  }

  onOverrun(): void {
    this.polls.overrun(this);
  }
}

export class PollSession implements Timed {
  readonly polls: PollHome;
  readonly subscriber: PollSubscriber;
  /** Null between polls. */
  waiting: WaitingPoll | null;
  /**
   * 'moving': on its way to another worker, 'expected': from one; what is published is kept back. 'dismissed': the backend has ended
   * it, and its next poll is told so. 'gone': it is no more.
   */
  state: 'here' | 'moving' | 'expected' | 'dismissed' | 'gone';
  /** What the next poll is told of a session that is dismissed; null of all others. */
  farewell: Farewell | null;
  readonly sid: string;
  readonly channels: string | readonly string[];
  /** Of the first poll: its format is the session's. */
  readonly encoding: PollEncoding;
  readonly mailbox: Mailbox;
  /** The last position that a poll has named. */
  acknowledged: number;
  /** Whether the poll that waits is to be answered at the end of this turn. */
  due: boolean;
  timerPrevious: Timed | null;
  timerNext: Timed | null;
  timerTick: number;

  constructor(
    polls: PollHome,
    subscriber: PollSubscriber | null,
    waiting: WaitingPoll | null,
    channels: string | readonly string[],
    encoding: PollEncoding,
    sid: string = makeSid(polls.slot),
  ) {
    this.polls = polls;
    this.subscriber = subscriber ?? new PollSubscriber(polls, this);
    this.waiting = waiting;
    this.state = 'here';
    this.farewell = null;
    this.sid = sid;
    this.channels = channels;
    this.encoding = encoding;
    this.mailbox = new Mailbox(polls.store, polls.originOf(this.subscriber, channels, encoding));
    this.acknowledged = 0;
    this.due = false;
    this.timerPrevious = null;
    this.timerNext = null;
    this.timerTick = 0;
  }

  /** Whether it is subscribed to its channels itself, and not stood in for while it recovers. */
  get settled(): boolean {
    return this.polls.worker.history?.recoveries.has(this.subscriber) !== true;
  }

  get format(): Format {
    return this.encoding.format;
  }

  /** Is on its way: publications after `order` are kept back. */
  setOut(state: 'moving' | 'expected', order: number): void {
    this.state = state;
    this.polls.keptBack.begin(this.subscriber, order);
  }

  /** Is here, as before or as new, and gets what was kept back; one that too much was published for has ended. */
  goOn(): void {
    if (this.state !== 'moving' && this.state !== 'expected') return;
    const { publications, farewell } = this.polls.keptBack.end(this.subscriber);
    this.state = 'here';
    if (publications === null) this.polls.expire(this);
    else for (const publication of [...publications].sort((a, b) => a.order - b.order)) this.deliverNow(publication);
    if (farewell !== null) this.subscriber.disconnect(farewell);
  }

  deliverNow(publication: Publication): void {
    if (this.state !== 'here' && this.polls.keptBack.keep(this.subscriber, publication)) return;
    // A payload alone has no place for a gap, or for who comes and goes.
    if (publication.kind !== 'published' && this.format === 'raw') return;
    this.mailbox.put(this.polls.keep(publication, this.encoding));
    if (this.waiting !== null) this.polls.answerSoon(this);
  }

  /** What its client is told of its history, in its place between publications. */
  tell(notice: Notice): void {
    this.mailbox.put(new KeptFrame(Buffer.from(noticeJson(notice)), notice.position ?? null));
    if (this.waiting !== null) this.polls.answerSoon(this);
  }

  /** Whether these are its channels, in whatever order. */
  holds(channels: string | readonly string[]): boolean {
    if (typeof channels === 'string' || typeof this.channels === 'string') return channels === this.channels;
    const held = new Set(this.channels);
    return channels.length === held.size && channels.every((channel) => held.has(channel));
  }

  /** A poll says up to where its client has everything; null: it does not say. */
  acknowledge(since: number | null): void {
    if (since === null) return;
    this.acknowledged = since;
    this.mailbox.acknowledge(since);
  }

  /** What a client with everything up to `acknowledged` is given now; the raw format answers one at a time. */
  take(): PollContent {
    const { mailbox, acknowledged } = this;
    const from = Math.max(acknowledged, mailbox.keptFrom);
    const frames = mailbox.after(
      from,
      this.format === 'raw' ? 1 : Number.POSITIVE_INFINITY,
      this.polls.limits.answerLimitBytes,
    );
    const { counters } = this.polls;
    counters.deliveries += frames.length;
    for (const frame of frames) counters.deliveredBytes += frame.length;
    const count = from + frames.length;
    // With everything that is here the client stands where the worker does, though nothing was published in its channels lately.
    const whole = count === mailbox.position && this.state === 'here';
    const line = whole ? this.polls.standingOf(this.subscriber, this.channels, this.encoding) : null;
    return { frames, since: writePosition(line ?? mailbox.placeAt(count), count), lost: from - acknowledged };
  }

  /** The client id, where its client is known; null elsewhere. */
  get client(): string | null {
    return this.polls.presence?.clientOf(this.subscriber) ?? null;
  }

  /** Whether there is something to say at once. */
  get hasContent(): boolean {
    return this.mailbox.position > this.acknowledged;
  }

  /** No poll came for too long. */
  onTimer(): void {
    this.polls.expire(this);
  }
}
