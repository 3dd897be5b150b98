// Poll sessions: what goes on between the polls of one client.
//
//   first poll ─▶ its connection is the hub's subscriber; no session yet
//                   └─ first answer ─▶ a session: sid, mailbox, positions ◀─▶ polls that name its sid
//                                        └─ no poll for LONGWIRE_POLL_EXPIRY_SECONDS ─▶ expired, forgotten
//
// Answers go out at the end of the turn, in slices of about a millisecond: a poll that is brought ten publications in one
// turn is answered once, with all ten.
//
// Where a channel has history every answer names the place in it too, and a first poll that brings such a place recovers as streams
// do (workers/recovery/), into the mailbox of a session that it has from the beginning, as that has room.
//
// Invariant: as a session takes the place of its first poll it is given all that was broadcast since that poll came and has not
// reached it, and it is brought what is broadcast later: nothing twice, nothing not at all (docs/adr/0031).
//
// Cost: nothing a first poll that waits. A session: a Map entry, a sid, two objects (about 280 bytes), its channels in the
// hub, and what its mailbox holds; at most `sessionLimit` of both kinds together.

import { formatPosition, parsePosition } from '../../src/position.ts';
import { Publication } from '../../src/publication.ts';
import type { Counters } from '../../src/stats.ts';
import { type Encoding, type Farewell, frameOf, type PollEncoding } from '../encoding.ts';
import type { Hub } from '../hub.ts';
import { KeptBack } from '../moving/kept-back.ts';
import type { Ordered } from '../recovery/in-order.ts';
import type { TimingWheel } from '../timing-wheel.ts';
import { KeptFrame, MailStore } from './mailbox.ts';
import type { FirstPoll, PollLimits, PollPresence, PollWorker, WaitingPoll } from './parts.ts';
import { type PollHome, PollSession } from './session.ts';

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
  /** Sessions of first polls that recover and have not been answered yet. */
  private readonly untold: Set<PollSession>;
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
    this.untold = new Set();
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
    const session = new PollSession(this, null, channels, encoding, null, sid);
    this.named.set(sid, session);
    for (const channel of listOf(channels)) this.hub.subscribe(channel, session);
    session.setOut('expected', 0);
    return session;
  }

  /** It is another worker's, or nobody's. */
  forget(session: PollSession): void {
    if (session.state === 'gone') return;
    this.presence?.giveUp(session);
    this.keptBack.end(session);
    session.state = 'gone';
    this.wheel.cancel(session);
    this.named.delete(session.sid);
    this.untold.delete(session);
    this.unsubscribe(session);
    session.mailbox.clear();
  }

  find(sid: string): PollSession | null {
    return this.named.get(sid) ?? null;
  }

  /**
   * A client's first poll begins to wait, with what it has missed since it was here, if that can be said.
   *
   * @returns its session, where it recovers.
   */
  begin(waiting: WaitingPoll, channels: string | readonly string[], { who, origin }: FirstPoll): PollSession | null {
    const { history } = this.worker;
    this.unnamed++;
    this.presence?.meet(waiting, channels, who);
    let session: PollSession | null = null;
    if (origin !== null && history?.hasAny(channels) === true) {
      const since = parsePosition(origin.place);
      session = this.name(waiting, since === null ? null : formatPosition(since.epoch, since.offset));
      this.untold.add(session);
      history.recoveries.begin(session, listOf(channels), since);
    } else {
      for (const channel of listOf(channels)) this.hub.subscribe(channel, waiting);
    }
    this.presence?.enter(session ?? waiting, channels);
    return session;
  }

  /** Tells a client whose session is gone of its channels that have no history: what was kept for it is gone too. */
  tellLost(session: PollSession): void {
    const { history } = this.worker;
    for (const channel of listOf(session.channels)) {
      if (history?.has(channel) !== true) session.deliverNow(Publication.gap(channel));
    }
  }

  /**
   * A first poll is about to be answered: makes its session, which is the hub's subscriber in its place.
   *
   * @param current What is being delivered to the poll; null for nothing.
   */
  open(waiting: WaitingPoll, current: Publication | null): PollSession {
    const { channels, encoding } = waiting;
    const owed = this.owedTo(waiting, current);
    const session = this.name(waiting, this.hasPlaces(channels, encoding) ? this.placeBefore(owed) : null);
    for (const channel of listOf(channels)) this.hub.replace(channel, waiting, session);
    for (const publication of owed) session.deliverNow(publication);
    return session;
  }

  private name(waiting: WaitingPoll, place: string | null): PollSession {
    const { channels, encoding } = waiting;
    if (channels === null || encoding?.transport !== 'poll') {
      throw new TypeError('only a poll that waits has a session');
    }
    const session = new PollSession(this, waiting, channels, encoding, place);
    this.unnamed--;
    this.named.set(session.sid, session);
    this.presence?.pass(waiting, session);
    this.onOpened(session.sid);
    return session;
  }

  /** Where a client stands that has been given everything that is here for it; null where its last publication says more. */
  standingOf(session: PollSession): string | null {
    const { history } = this.worker;
    // While the line is put right, more has been broadcast than it says.
    if (history?.line.live !== true || history.recoveries.has(session)) return null;
    return this.hasPlaces(session.channels, session.encoding) ? this.placeBefore(this.owedTo(session, null)) : null;
  }

  private hasPlaces(channels: string | readonly string[] | null, encoding: Encoding | PollEncoding | null): boolean {
    return encoding?.format === 'json' && channels !== null && this.worker.history?.hasAny(channels) === true;
  }

  /** As far as the line has come, or to just before the first of those with a place in the history. */
  private placeBefore(publications: readonly Publication[]): string | null {
    const first = publications.find(({ epoch }) => epoch !== '');
    if (first === undefined) return this.worker.history?.line.position ?? null;
    return formatPosition(first.epoch, Math.max(0, first.offset - 1));
  }

  /** What waits in the hub and was broadcast after `lastOrder`, and `current` with it, in order. */
  private owedTo({ channels, lastOrder }: Ordered, current: Publication | null): Publication[] {
    const owed = new Set<Publication>(current === null ? [] : [current]);
    for (const channel of this.hub.waitingCount === 0 ? [] : listOf(channels)) {
      this.hub.forEachWaiting(channel, (publication) => {
        if (publication.order > lastOrder) owed.add(publication);
      });
    }
    return [...owed].sort((a, b) => a.order - b.order);
  }

  /** A newer poll has come: one that waits is answered, and those that its connection has waiting behind it. */
  supersede(session: PollSession): void {
    while (session.waiting !== null) session.waiting.supersede();
  }

  /** The next poll of a session begins to wait. */
  resume(session: PollSession, waiting: WaitingPoll): PollSession {
    this.wheel.cancel(session);
    session.waiting = waiting;
    return session;
  }

  /** A poll of a session waits no more: it is being answered, or its client has gone. */
  leave(session: PollSession): void {
    session.waiting = null;
    // Nobody knows its name, so nobody will come.
    if (this.untold.has(session)) this.end(session);
    else this.touch(session);
  }

  /** A first poll waits no more. Nothing was said to it yet, so there is nothing to keep. */
  leaveFirst(): void {
    this.unnamed--;
  }

  /** A session's client is about to know its name. */
  onTold(session: PollSession): void {
    if (this.untold.size > 0) this.untold.delete(session);
  }

  /** The session has been heard of: it begins to expire anew. */
  touch(session: PollSession): void {
    if (session.state !== 'gone') this.wheel.schedule(session, this.limits.expiryMs);
  }

  /** More was published for it than may be kept while it recovers: it begins again from where it came from. */
  overrun(session: PollSession): void {
    session.waiting?.overrun();
    if (session.state !== 'gone') this.expire(session);
  }

  expire(session: PollSession): void {
    this.counters.pollSessionsExpired++;
    this.end(session);
  }

  /** It is over, and its client knows, or will hear of it. */
  end(session: PollSession): void {
    this.presence?.leave(session);
    this.forget(session);
    this.onExpired(session.sid);
  }

  /** The backend ends it: the poll that waits is told, or the next one, if it comes before the session would have expired. */
  dismiss(session: PollSession, farewell: Farewell): void {
    if (session.state !== 'here') return;
    this.presence?.leave(session);
    this.unsubscribe(session);
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

  private unsubscribe(session: PollSession): void {
    this.worker.history?.recoveries.forget(session);
    for (const channel of listOf(session.channels)) this.hub.unsubscribe(channel, session);
  }
}

function listOf(channels: string | readonly string[] | null): readonly string[] {
  return typeof channels === 'string' ? [channels] : (channels ?? []);
}
