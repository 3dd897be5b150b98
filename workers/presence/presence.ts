// Presence, a worker's end: tells the broker who of those it serves comes to which channel and who goes, and goes on saying so.
//
//   opened ─▶ meet: known, if anything asks for it ─▶ enter: told to be there ─▶ renewed … ─▶ leave: told to be gone
//                            given to another worker ─▶ giveUp: nothing is told; there: introduce ─▶ enter
//
// What one turn brings goes to the broker in calls of CHANGES_A_CALL, a few at a time, in order. What the broker did not take is not
// tried again at once: each member is renewed three times in the life of its entry, and one that the broker does not know joins
// anew then. Renewals are spread evenly: each tick looks at its share of those who are known.
//
// Bound: QUEUE_LIMIT changes wait; what is beyond that is left to the next renewal, or to the entry's end. All of it is counted.

import type { NamespaceTable } from '../../config/namespaces.ts';
import type { PresenceStore } from '../../src/broker/broker.ts';
import { CHANGES_A_CALL, entryOf, type Identity, type PresenceChange } from '../../src/presence.ts';
import type { Counters } from '../../src/stats.ts';
import { type Holder, Identities, type Known } from './identities.ts';
import type { Who } from './who.ts';

/** All the members of a full worker leave at once. */
const QUEUE_LIMIT = 100_000;
/** Enough to keep a connection to Redis busy while the first is on its way. */
const CALLS_AT_ONCE = 4;
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
  private calls: number;
  private scheduled: boolean;
  /** Where the next tick goes on. */
  private renewing: IterableIterator<[Holder, Known]>;
  /** Renewals that are due: a tick's share of those who are known is seldom a whole number. */
  private owed: number;
  private onIdle: () => void;

  constructor(parts: PresenceParts) {
    this.identities = new Identities();
    this.parts = parts;
    this.queue = [];
    this.calls = 0;
    this.scheduled = false;
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
    if (this.queue.length === 0 && this.calls === 0) return;
    await new Promise<void>((resolve) => {
      this.onIdle = resolve;
      setTimeout(resolve, STOP_LIMIT_MS).unref();
    });
  }

  private say(kind: PresenceChange['kind'], channel: string, known: Known): void {
    if (this.queue.length >= QUEUE_LIMIT) {
      this.parts.counters.presenceFailed++;
      return;
    }
    const { client, user } = known;
    const told = this.parts.namespaces.of(channel).joinLeave;
    const isJoin = kind === 'join';
    this.queue.push({ kind, channel, client, user: isJoin ? user : '', entry: isJoin ? entryOf(known) : '', told });
    this.schedule();
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    setImmediate(() => {
      this.scheduled = false;
      while (this.queue.length > 0 && this.calls < CALLS_AT_ONCE) void this.call(this.queue.splice(0, CHANGES_A_CALL));
    });
  }

  private async call(changes: readonly PresenceChange[]): Promise<void> {
    this.calls++;
    try {
      const unknown = (await this.parts.store()?.change(changes)) ?? [];
      for (const place of unknown) this.onUnknown(changes[place]);
    } catch {
      // The broker is away, and says so itself.
      this.parts.counters.presenceFailed += changes.length;
    }
    this.calls--;
    if (this.queue.length > 0) this.schedule();
    else if (this.calls === 0) this.onIdle();
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
