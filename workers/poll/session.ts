// A poll session: what a client that polls has from its first answer on. It is the hub's subscriber for its client between the
// polls and while they wait, it keeps what is published in its mailbox, and says when the poll that waits is to be answered. All
// of a worker's are in sessions.ts, whose head has the picture.
//
// Before it the connection of the first poll is the hub's subscriber itself, as a stream's is (docs/adr/0031).

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
  standingOf(session: PollSession): string | null;
  keep(publication: Publication, encoding: PollEncoding): KeptFrame;
  answerSoon(session: PollSession): void;
  overrun(session: PollSession): void;
  onTold(session: PollSession): void;
  touch(session: PollSession): void;
  expire(session: PollSession): void;
  dismiss(session: PollSession, farewell: Farewell): void;
}

export class PollSession implements Timed, Holder, Ordered {
  readonly polls: PollHome;
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
  /** See recovery/in-order.ts. */
  lastOrder: number;
  timerPrevious: Timed | null;
  timerNext: Timed | null;
  timerTick: number;

  /** @param place Where its client stands in the history; null where there is none, or that cannot be said. */
  constructor(
    polls: PollHome,
    waiting: WaitingPoll | null,
    channels: string | readonly string[],
    encoding: PollEncoding,
    place: string | null,
    sid: string = makeSid(polls.slot),
  ) {
    this.polls = polls;
    this.waiting = waiting;
    this.state = 'here';
    this.farewell = null;
    this.sid = sid;
    this.channels = channels;
    this.encoding = encoding;
    this.mailbox = new Mailbox(polls.store, place);
    this.acknowledged = 0;
    this.due = false;
    this.lastOrder = polls.worker.order;
    this.timerPrevious = null;
    this.timerNext = null;
    this.timerTick = 0;
  }

  /** Whether it is subscribed to its channels itself, and not stood in for while it recovers. */
  get settled(): boolean {
    return this.polls.worker.history?.recoveries.has(this) !== true;
  }

  get format(): Format {
    return this.encoding.format;
  }

  /** Is on its way: publications after `order` are kept back. */
  setOut(state: 'moving' | 'expected', order: number): void {
    this.state = state;
    this.polls.keptBack.begin(this, order);
  }

  /** Is here, as before or as new, and gets what was kept back; one that too much was published for has ended. */
  goOn(): void {
    if (this.state !== 'moving' && this.state !== 'expected') return;
    const { publications, farewell } = this.polls.keptBack.end(this);
    this.state = 'here';
    if (publications === null) this.polls.expire(this);
    else for (const publication of [...publications].sort((a, b) => a.order - b.order)) this.deliverNow(publication);
    if (farewell !== null) this.disconnect(farewell);
  }

  // What the hub says.

  deliver(publication: Publication): void {
    if (publication.epoch !== '' && !takeInOrder(this, publication, this.polls.worker)) return;
    this.deliverNow(publication);
  }

  warm(): number {
    return 0;
  }

  deliverNow(publication: Publication): void {
    if (this.state !== 'here' && this.polls.keptBack.keep(this, publication)) return;
    // A payload alone has no place for a gap, or for who comes and goes.
    if (publication.kind !== 'published' && this.format === 'raw') return;
    this.mailbox.put(this.polls.keep(publication, this.encoding));
    if (this.waiting !== null) this.polls.answerSoon(this);
  }

  // What a recovery says.

  settleOrder(): void {
    settleOrder(this, this.polls.worker);
  }

  get roomBytes(): number {
    return this.mailbox.roomBytes;
  }

  deliverRun(publications: readonly Publication[]): void {
    for (const publication of publications) this.deliverNow(publication);
  }

  /** What its client is told of its history has its place between publications. */
  onRecovered(notice: Notice): void {
    this.mailbox.put(new KeptFrame(Buffer.from(noticeJson(notice)), notice.position ?? null));
    if (this.waiting !== null) this.polls.answerSoon(this);
  }

  onOverrun(): void {
    this.polls.overrun(this);
  }

  // What the backend says.

  disconnect(farewell: Farewell): void {
    if (this.onItsWay) this.polls.keptBack.dismiss(this, farewell);
    else this.polls.dismiss(this, farewell);
  }

  get onItsWay(): boolean {
    return this.state === 'moving' || this.state === 'expected';
  }

  // What its polls say.

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
    this.polls.onTold(this);
    counters.deliveries += frames.length;
    for (const frame of frames) counters.deliveredBytes += frame.length;
    const count = from + frames.length;
    // With everything that is here the client stands where the worker does, though nothing was published in its channels lately.
    const whole = count === mailbox.position && this.state === 'here';
    const line = whole ? this.polls.standingOf(this) : null;
    return { frames, since: writePosition(line ?? mailbox.placeAt(count), count), lost: from - acknowledged };
  }

  /** The client id, where its client is known; null elsewhere. */
  get client(): string | null {
    return this.polls.presence?.clientOf(this) ?? null;
  }

  /** Whether there is something to say at once. */
  get hasContent(): boolean {
    return this.mailbox.position > this.acknowledged;
  }

  /** No poll came for too long; while it is on its way none can come to it. */
  onTimer(): void {
    if (this.onItsWay) this.polls.touch(this);
    else this.polls.expire(this);
  }
}
