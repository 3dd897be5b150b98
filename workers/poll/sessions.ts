// Poll sessions: what goes on between the polls of one client.
//
//   first poll ─▶ a subscriber, waiting; no session yet
//                   └─ first answer ─▶ a session: sid, mailbox, positions ◀─▶ polls that name its sid
//                                        └─ no poll for LONGWIRE_POLL_EXPIRY_SECONDS ─▶ expired, forgotten
//
// Answers go out at the end of the turn, in slices of about a millisecond: a poll that is brought ten publications in one
// turn is answered once, with all ten.
//
// Where a channel has history every answer names the place in it too, and a first poll that brings such a place recovers as streams
// do (workers/recovery/), into the mailbox, as that has room.
//
// Cost: 48 bytes a first poll that waits. A session: a Map entry, a sid, two objects (about 300 bytes), its channels in the
// hub, and what its mailbox holds; at most `sessionLimit` of both kinds together.

import { formatPosition, parsePosition } from '../../src/position.ts';
import { Publication } from '../../src/publication.ts';
import type { Counters } from '../../src/stats.ts';
import { type Farewell, frameOf, type PollEncoding } from '../encoding.ts';
import type { Hub } from '../hub.ts';
import { KeptBack } from '../moving/kept-back.ts';
import type { TimingWheel } from '../timing-wheel.ts';
import { KeptFrame, MailStore } from './mailbox.ts';
import type { FirstPoll, PollLimits, PollPresence, PollWorker, WaitingPoll } from './parts.ts';
import { type PollHome, PollSession, PollSubscriber } from './session.ts';

const SLICE_MS = 1;

/** A worker's. */
export class PollSessions implements PollHome {
  readonly slot: number;
  readonly limits: PollLimits;
  readonly store: MailStore;
  readonly keptBack: KeptBack;
  /** Null where nobody asks who the clients are. */
  presence: PollPresence | null;
  private readonly hub: Hub;
  private readonly wheel: TimingWheel;
  readonly counters: Counters;
  readonly worker: PollWorker;
  private readonly named: Map<string, PollSession>;
  /** First polls that wait, whose sessions are still to come. */
  private unnamed: number;
  /** Sessions whose poll is to be answered at the end of the turn. */
  private due: PollSession[];
  private scheduled: boolean;
  /** The publication that was kept last, for the sessions that get it next. */
  private lastKept: { publication: Publication; encoding: number; kept: KeptFrame } | null;
  /** Told of each session when it opens and when it has expired. */
  onOpened: (sid: string) => void;
  onExpired: (sid: string) => void;

  constructor(
    slot: number,
    limits: PollLimits,
    worker: PollWorker,
    wheel: TimingWheel,
    counters: Counters,
    keptBack: KeptBack = new KeptBack(),
  ) {
    this.slot = slot;
    this.limits = limits;
    this.keptBack = keptBack;
    this.store = new MailStore(limits.mailboxLimitBytes, limits.mailboxTotalLimitBytes, counters);
    this.presence = null;
    this.worker = worker;
    this.hub = worker.hub;
    this.wheel = wheel;
    this.counters = counters;
    this.named = new Map();
    this.unnamed = 0;
    this.due = [];
    this.scheduled = false;
    this.lastKept = null;
    this.onOpened = () => {};
    this.onExpired = () => {};
  }

  get sessionCount(): number {
    return this.named.size;
  }

  /** Whether so many more clients may begin. */
  hasRoom(count = 1): boolean {
    return this.named.size + this.unnamed + count <= this.limits.sessionLimit;
  }

  /** All of them, for a worker that gives them away. */
  get sessions(): PollSession[] {
    return [...this.named.values()];
  }

  /** Holds the place of a session that another worker is about to give. */
  expect(sid: string, channels: string | readonly string[], encoding: PollEncoding): PollSession {
    const session = new PollSession(this, null, null, channels, encoding, sid);
    this.named.set(sid, session);
    if (typeof channels === 'string') this.hub.subscribe(channels, session.subscriber);
    else for (const channel of channels) this.hub.subscribe(channel, session.subscriber);
    session.setOut('expected', 0);
    return session;
  }

  /** It is another worker's, or nobody's. */
  forget(session: PollSession): void {
    if (session.state === 'gone') return;
    this.presence?.giveUp(session.subscriber);
    this.keptBack.end(session.subscriber);
    session.state = 'gone';
    this.wheel.cancel(session);
    this.named.delete(session.sid);
    this.unsubscribe(session.subscriber, session.channels);
    session.mailbox.clear();
  }

  find(sid: string): PollSession | null {
    return this.named.get(sid) ?? null;
  }

  /** A client's first poll begins to wait, with what it has missed since it was here, if that can be said. */
  begin(waiting: WaitingPoll, channels: string | readonly string[], { who, origin }: FirstPoll): PollSubscriber {
    const subscriber = new PollSubscriber(this, waiting);
    const { history } = this.worker;
    this.unnamed++;
    this.presence?.meet(subscriber, channels, who);
    if (origin !== null && history?.hasAny(channels) === true) {
      history.recoveries.begin(subscriber, listOf(channels), parsePosition(origin.place));
    } else if (typeof channels === 'string') this.hub.subscribe(channels, subscriber);
    else for (const channel of channels) this.hub.subscribe(channel, subscriber);
    this.presence?.enter(subscriber, channels);
    return subscriber;
  }

  /** Tells a client whose session is gone of its channels that have no history: what was kept for it is gone too. */
  tellLost(subscriber: PollSubscriber): void {
    const { history } = this.worker;
    for (const channel of listOf(subscriber.channels)) {
      if (history?.has(channel) !== true) subscriber.deliverNow(Publication.gap(channel));
    }
  }

  /** Where a client came from that recovers; where any other stands that has been given nothing yet. */
  originOf(subscriber: PollSubscriber, channels: string | readonly string[], encoding: PollEncoding): string | null {
    const since = this.worker.history?.recoveries.sinceOf(subscriber) ?? null;
    if (since !== null) return formatPosition(since.epoch, since.offset);
    return this.hasPlaces(subscriber, channels, encoding) ? this.placeOf(subscriber, channels) : null;
  }

  /** The same of one that has been given everything that is here for it; null where its last publication says more. */
  standingOf(subscriber: PollSubscriber, channels: string | readonly string[], encoding: PollEncoding): string | null {
    // While the line is put right, more has been broadcast than it says.
    const sure = this.hasPlaces(subscriber, channels, encoding) && this.worker.history?.line.live === true;
    return sure ? this.placeOf(subscriber, channels) : null;
  }

  private hasPlaces(
    subscriber: PollSubscriber,
    channels: string | readonly string[],
    { format }: PollEncoding,
  ): boolean {
    const { history } = this.worker;
    return format === 'json' && history?.hasAny(channels) === true && !history.recoveries.has(subscriber);
  }

  /** As far as the line has come, or to just before what waits in the hub for this client. */
  private placeOf({ lastOrder }: PollSubscriber, channels: string | readonly string[]): string | null {
    const { history, hub } = this.worker;
    let first: Publication | null = null;
    for (const channel of hub.waitingCount === 0 ? [] : listOf(channels)) {
      hub.forEachWaiting(channel, (publication) => {
        const { epoch, order } = publication;
        if (epoch !== '' && order > lastOrder && (first === null || order < first.order)) first = publication;
      });
    }
    if (first === null) return history?.line.position ?? null;
    const { epoch, offset } = first as Publication;
    return formatPosition(epoch, Math.max(0, offset - 1));
  }

  /** The client's session, which is made for its first poll as that is about to be answered. */
  sessionOf(subscriber: PollSubscriber): PollSession {
    const { holder } = subscriber;
    if (holder instanceof PollSession) return holder;
    const { channels, encoding } = holder;
    if (channels === null || encoding?.transport !== 'poll') {
      throw new TypeError('only a poll that waits has a session');
    }
    const session = new PollSession(this, subscriber, holder, channels, encoding);
    subscriber.holder = session;
    this.unnamed--;
    this.named.set(session.sid, session);
    this.onOpened(session.sid);
    return session;
  }

  /** A newer poll has come: one that waits is answered, and those that its connection has waiting behind it. */
  supersede(session: PollSession): void {
    while (session.waiting !== null) session.waiting.supersede();
  }

  /** The next poll of a session begins to wait. */
  resume(session: PollSession, waiting: WaitingPoll): PollSubscriber {
    this.wheel.cancel(session);
    session.waiting = waiting;
    return session.subscriber;
  }

  /** A poll waits no more: it is being answered, or its client has gone. */
  leave(subscriber: PollSubscriber, channels: string | readonly string[] | null): void {
    const { holder } = subscriber;
    if (holder instanceof PollSession) {
      holder.waiting = null;
      this.touch(holder);
    } else {
      // Nothing was said to it yet, so there is nothing to keep.
      this.unnamed--;
      this.unsubscribe(subscriber, channels ?? []);
      this.presence?.leave(subscriber);
    }
  }

  /** The session has been heard of: it begins to expire anew. */
  touch(session: PollSession): void {
    if (session.state !== 'gone') this.wheel.schedule(session, this.limits.expiryMs);
  }

  /** More was published for it than may be kept while it recovers: it begins again from where it came from. */
  overrun(subscriber: PollSubscriber): void {
    const session = this.sessionOf(subscriber);
    session.waiting?.overrun();
    this.expire(session);
  }

  expire(session: PollSession): void {
    this.counters.pollSessionsExpired++;
    this.end(session);
  }

  /** It is over, and its client knows, or will hear of it. */
  end(session: PollSession): void {
    this.presence?.leave(session.subscriber);
    this.forget(session);
    this.onExpired(session.sid);
  }

  /** The backend ends it: the poll that waits is told, or the next one, if it comes before the session would have expired. */
  dismiss(session: PollSession, farewell: Farewell): void {
    if (session.state !== 'here') return;
    this.presence?.leave(session.subscriber);
    this.unsubscribe(session.subscriber, session.channels);
    session.mailbox.clear();
    session.state = 'dismissed';
    session.farewell = farewell;
    if (session.waiting === null) return;
    session.waiting.dismiss(farewell);
    this.end(session);
  }

  /** The publication's frame as mailboxes keep it: one copy for all that get it in a row. */
  keep(publication: Publication, encoding: PollEncoding): KeptFrame {
    const last = this.lastKept;
    if (last !== null && last.publication === publication && last.encoding === encoding.index) return last.kept;
    const { epoch, offset } = publication;
    const place = offset === 0 || encoding.format === 'raw' ? null : formatPosition(epoch, offset);
    const kept = new KeptFrame(frameOf(publication, encoding), place);
    this.lastKept = { publication, encoding: encoding.index, kept };
    this.schedule();
    return kept;
  }

  answerSoon(session: PollSession): void {
    if (session.due) return;
    session.due = true;
    this.due.push(session);
    this.schedule();
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    setImmediate(this.endTurn);
  }

  private readonly endTurn = (): void => {
    this.scheduled = false;
    this.lastKept = null;
    const deadline = performance.now() + SLICE_MS;
    let answered = 0;
    while (answered < this.due.length && (answered === 0 || performance.now() < deadline)) {
      const session = this.due[answered++] as PollSession;
      session.due = false;
      // It may have been answered meanwhile, and wait anew.
      if (session.hasContent) session.waiting?.answerPoll();
    }
    this.due = this.due.slice(answered);
    if (this.due.length > 0) this.schedule();
  };

  private unsubscribe(subscriber: PollSubscriber, channels: string | readonly string[]): void {
    this.worker.history?.recoveries.forget(subscriber);
    if (typeof channels === 'string') this.hub.unsubscribe(channels, subscriber);
    else for (const channel of channels) this.hub.unsubscribe(channel, subscriber);
  }
}

function listOf(channels: string | readonly string[] | null): readonly string[] {
  return typeof channels === 'string' ? [channels] : (channels ?? []);
}
