// Presence, a worker's end: tells the broker who of those it serves comes to which channel and who goes, and goes on saying so.
//
//   opened ─▶ meet: known, if anything asks for it ─▶ enter: told to be there ─▶ renewed … ─▶ leave: told to be gone
//                            given to another worker ─▶ giveUp: nothing is told; there: introduce ─▶ enter
//
// What one turn brings goes to the broker in calls of CHANGES_A_CALL, one after the other: a broker that has lost its script takes the same
// call twice, and what was sent behind it would overtake it. What the broker did not take is not tried again at once: each member is
// renewed three times in the life of its entry, and one that the broker does not know joins anew then. Renewals are spread evenly: each
// tick looks at its share of those who are known.
//
// Bound: QUEUE_LIMIT joins and renewals wait; what is beyond that is left to the next renewal, and counted. Who leaves always has a
// place: there are no more of those than were members, and on the embedded broker an entry does not end by itself.

import type { NamespaceTable } from '../../config/namespaces.ts';
import type { PresenceStore } from '../../src/broker/broker.ts';
import { CHANGES_A_CALL, entryOf, type Identity, type PresenceChange } from '../../src/presence.ts';
import type { Counters } from '../../src/stats.ts';
import { type Holder, Identities, type Known } from './identities.ts';
import type { Who } from './who.ts';

/** All the members of a full worker come at once. */
const QUEUE_LIMIT = 100_000;
export const RENEWAL_TICK_MS = 250;
/** Two in a row may get lost. */
const RENEWALS_A_LIFE = 3;
/** For the last words of a worker that leaves. */
const STOP_LIMIT_MS = 1_000;

type Channels = string | readonly string[];

export interface PresenceParts {
  readonly namespaces: NamespaceTable;
  readonly counters: Counters;
  /** LONGWIRE_PRESENCE_SECONDS. */
  readonly lifeSeconds: number;
  store(): PresenceStore | null;
}

export class Presence {
  readonly identities: Identities;
  private readonly parts: PresenceParts;
  private queue: PresenceChange[];
  private calling: 'no' | 'soon' | 'now';
  /** Changes so far, and how many of those the broker has answered: the first ones. */
  private said: number;
  private answered: number;
  /** Where the next tick goes on. */
  private renewing: IterableIterator<[Holder, Known]>;
  /** Renewals that are due: a tick's share of those who are known is seldom a whole number. */
  private owed: number;
  private onIdle: () => void;

  constructor(parts: PresenceParts) {
    this.identities = new Identities();
    this.parts = parts;
    this.queue = [];
    this.calling = 'no';
    this.said = 0;
    this.answered = 0;
    this.renewing = this.identities.entries();
    this.owed = 0;
    this.onIdle = () => {};
  }

  has(channel: string): boolean {
    return this.parts.namespaces.of(channel).presence;
  }

  private presentIn(channels: Channels): Channels | null {
    if (!this.parts.namespaces.hasPresence) return null;
    if (typeof channels === 'string') return this.has(channels) ? channels : null;
    const found = channels.filter((channel) => this.has(channel));
    return found.length === 0 ? null : found;
  }

  /**
   * A client has come, or takes channels up.
   *
   * @param who What it says of itself; null for nothing.
   * @returns its client id; null where nothing asks for one.
   */
  meet(holder: Holder, channels: Channels, who: Who | null): string | null {
    if (who === null && this.presentIn(channels) === null) return null;
    return this.identities.make(holder, who).client;
  }

  /** One that another worker is about to give: known, and not yet told of. */
  introduce(holder: Holder, identity: Identity | null | undefined): void {
    if (identity) this.identities.add(holder, identity);
  }

  /** It holds these channels from now on. Whom the broker knows there already stays. */
  enter(holder: Holder, channels: Channels): void {
    if (this.identities.size === 0) return;
    const known = this.identities.of(holder);
    const present = known === null ? null : this.presentIn(channels);
    if (known === null || present === null) return;
    const held = listOf(known.channels);
    known.channels = held.length === 0 ? present : [...new Set([...held, ...listOf(present)])];
    for (const channel of listOf(present)) this.say('join', channel, known);
  }

  /** It gives up these channels and stays known. */
  exit(holder: Holder, channels: readonly string[]): void {
    const known = this.identities.of(holder);
    if (known === null) return;
    const held = listOf(known.channels);
    for (const channel of channels) if (held.includes(channel)) this.say('leave', channel, known);
    known.channels = held.filter((channel) => !channels.includes(channel));
  }

  /** It is gone. */
  leave(holder: Holder): void {
    if (this.identities.size === 0) return;
    const known = this.identities.of(holder);
    if (known === null) return;
    for (const channel of listOf(known.channels)) this.say('leave', channel, known);
    this.identities.remove(holder);
  }

  /** It is another worker's from now on, and as present as before. */
  giveUp(holder: Holder): void {
    if (this.identities.size > 0) this.identities.remove(holder);
  }

  /** Another holder speaks for the same client. */
  pass(from: Holder, to: Holder): void {
    if (this.identities.size > 0) this.identities.pass(from, to);
  }

  /**
   * Whether the broker has answered all that was said of it. Only then may another worker speak for it: what this one has said would come
   * after that.
   */
  isSettled(holder: Holder): boolean {
    return (this.identities.of(holder)?.lastSaid ?? 0) <= this.answered;
  }

  clientOf(holder: Holder): string | null {
    return this.identities.of(holder)?.client ?? null;
  }

  /** Every RENEWAL_TICK_MS. */
  renew(): void {
    const ticks = (this.parts.lifeSeconds * 1_000) / RENEWALS_A_LIFE / RENEWAL_TICK_MS;
    for (this.owed += this.identities.size / Math.max(1, ticks); this.owed >= 1; this.owed--) {
      let next = this.renewing.next();
      if (next.done === true) {
        this.renewing = this.identities.entries();
        next = this.renewing.next();
        if (next.done === true) return;
      }
      const [holder, known] = next.value;
      // Who is on its way is the other worker's to speak for.
      if (holder.onItsWay) continue;
      for (const channel of listOf(known.channels)) this.say('renew', channel, known);
    }
  }

  /** All leave; resolves once the broker has been told, or has not been for too long. */
  async stop(): Promise<void> {
    for (const [holder] of this.identities.entries()) this.leave(holder);
    if (this.calling === 'no') return;
    await new Promise<void>((resolve) => {
      this.onIdle = resolve;
      setTimeout(resolve, STOP_LIMIT_MS).unref();
    });
  }

  private say(kind: PresenceChange['kind'], channel: string, known: Known): void {
    if (this.queue.length >= QUEUE_LIMIT && kind !== 'leave') {
      this.parts.counters.presenceFailed++;
      return;
    }
    const { client, user } = known;
    const told = this.parts.namespaces.of(channel).joinLeave;
    const isJoin = kind === 'join';
    this.queue.push({ kind, channel, client, user: isJoin ? user : '', entry: isJoin ? entryOf(known) : '', told });
    known.lastSaid = ++this.said;
    if (this.calling === 'no') this.callSoon();
  }

  /** At the end of the turn, so that all it brings is one call. */
  private callSoon(): void {
    this.calling = 'soon';
    setImmediate(() => void this.call(this.queue.splice(0, CHANGES_A_CALL)));
  }

  private async call(changes: readonly PresenceChange[]): Promise<void> {
    this.calling = 'now';
    try {
      const unknown = (await this.parts.store()?.change(changes)) ?? [];
      for (const place of unknown) this.onUnknown(changes[place]);
    } catch {
      // The broker is away, and says so itself.
      this.parts.counters.presenceFailed += changes.length;
    }
    this.answered += changes.length;
    this.calling = 'no';
    if (this.queue.length > 0) this.callSoon();
    else this.onIdle();
  }

  /** The broker has lost a member, or had no room for it. */
  private onUnknown(change: PresenceChange | undefined): void {
    if (change?.kind !== 'renew') {
      this.parts.counters.presenceFailed++;
      return;
    }
    const { channel, client } = change;
    const holder = this.identities.holderOf(client);
    const known = holder === null ? null : this.identities.of(holder);
    if (known !== null && listOf(known.channels).includes(channel)) this.say('join', channel, known);
  }
}

function listOf(channels: Channels | null): readonly string[] {
  return typeof channels === 'string' ? [channels] : (channels ?? []);
}
