// The hub: this worker's channels and their subscribers, and the fan-out from one to the other.
//
// A channel with one subscriber, the usual case, is one Map entry that points straight at it (37 bytes). From the second
// on it is a `Crowd` with a Set; a channel without any is forgotten.
//
// The Map is one, not several: growing it stalls for 4 ms at 131,072 channels, 9 to 14 at 262,144 and 24 to 30 at 524,288
// (measured, Node 20 and 24), once each in a worker's life; sharding would cost every lookup a second hash.
//
// A fan-out to a crowd is cut into slices of about a millisecond, so that accepting, heartbeats and other channels go on.
// Publications of one crowd wait for each other in its queue, so they never overtake. Who subscribes while a publication is
// being fanned out does not get it: a fan-out begins by putting a mark of its own behind the last member in the Set (which
// iterates in order of insertion) and stops there. That is exact, and costs a member nothing.
//
// Bound: at most `FANOUT_LIMIT` publications and `FANOUT_LIMIT_BYTES` of payload wait in all crowds together. Beyond that the
// oldest is finished on the spot: the turn gets longer, memory does not. Well before that, at `BEHIND_SHARE` of either, `onBehind`
// says so, that the broker be read no further until half of that is left: it may be faster than we write for as long as it likes.

import type { Publication } from '../src/publication.ts';
import { type Counters, countDuration } from '../src/stats.ts';
import type { Farewell } from './encoding.ts';

/** Whoever holds a channel. Told synchronously; must not throw, and may unsubscribe anybody while being told. */
export interface Subscriber {
  deliver(publication: Publication): void;
  /** Closes it, as the backend asks. Not there where it cannot be closed at all. */
  disconnect?(farewell: Farewell): void;
  /** Reads what `deliver` will read, so that it is in the cache by then: see `Hub.warm`. What it returns says nothing. */
  warm(): number;
}

const SLICE_MS = 1;
/** Members that are warmed at once; then the clock is read: at 6 µs a write about five times a slice. */
const GROUP = 32;
/** `BEHIND_SHARE` of it, and a read of 64 KiB of the shortest publications that Redis can send, 1,365 of 48 bytes. */
export const FANOUT_LIMIT = 2_048;
/** The kernel's buffers of a few hundred slow readers, or 32 publications of the greatest size that is usual. */
export const FANOUT_LIMIT_BYTES = 32 * 1024 * 1024;

/** Of the limits, from which on a broker is asked to stop; what it has read already still comes. */
const BEHIND_SHARE = 1 / 4;

class Crowd {
  readonly members: Set<Subscriber | Fanout>;
  /** Waiting and, first, the one being delivered; null while there is none. */
  queue: Fanout[] | null;
  subscribers: number;

  constructor(first: Subscriber, second: Subscriber) {
    this.members = new Set<Subscriber | Fanout>([first, second]);
    this.queue = null;
    this.subscribers = 2;
  }
}

/** One publication on its way through one crowd; also the mark behind the members who get it. */
class Fanout {
  readonly crowd: Crowd;
  readonly publication: Publication;
  readonly startedAtMs: number;
  iterator: Iterator<Subscriber | Fanout> | null;
  /** A group ahead of `iterator`, to warm what that comes to next. */
  ahead: Iterator<Subscriber | Fanout> | null;

  constructor(crowd: Crowd, publication: Publication, startedAtMs: number) {
    this.crowd = crowd;
    this.publication = publication;
    this.startedAtMs = startedAtMs;
    this.iterator = null;
    this.ahead = null;
  }
}

export class Hub {
  private readonly channels: Map<string, Subscriber | Crowd>;
  private readonly counters: Counters;
  /** Crowds with something in their queue, in the order in which they get their next slice. */
  private readonly running: Crowd[];
  private waiting: number;
  private waitingBytes: number;
  private scheduled: boolean;
  private behind: boolean;
  /** What `warm` has read, for what nobody wants is not compiled. */
  warmth: number;
  subscriptionCount: number;
  /** So much waits that no more should come (true), and at last: little enough does (false). */
  onBehind: (behind: boolean) => void;

  constructor(counters: Counters) {
    this.channels = new Map();
    this.counters = counters;
    this.running = [];
    this.waiting = 0;
    this.waitingBytes = 0;
    this.scheduled = false;
    this.behind = false;
    this.warmth = 0;
    this.subscriptionCount = 0;
    this.onBehind = () => {};
  }

  subscribersOf(channel: string): Subscriber[] {
    const holder = this.channels.get(channel);
    if (holder === undefined) return [];
    if (!(holder instanceof Crowd)) return [holder];
    return [...holder.members].filter((member): member is Subscriber => !(member instanceof Fanout));
  }

  /** Names of all channels, as they are now. */
  channelNames(): string[] {
    return [...this.channels.keys()];
  }

  /** How many hold each channel. Channels may come and go meanwhile. */
  *counts(): IterableIterator<[string, number]> {
    for (const [channel, holder] of this.channels) yield [channel, holder instanceof Crowd ? holder.subscribers : 1];
  }

  /** Visits what waits in a channel for some of its subscribers, the one under way included. */
  forEachWaiting(channel: string, visit: (publication: Publication) => void): void {
    if (this.waiting === 0) return;
    const holder = this.channels.get(channel);
    if (!(holder instanceof Crowd) || holder.queue === null) return;
    for (const { publication } of holder.queue) visit(publication);
  }

  get channelCount(): number {
    return this.channels.size;
  }

  /** Publications that wait for their next slice. */
  get waitingCount(): number {
    return this.waiting;
  }

  /** Whether no publication up to this place in the order (`Publication.order`) is still on its way through a crowd. */
  hasDelivered(order: number): boolean {
    return this.running.every(({ queue }) => queue === null || (queue[0] as Fanout).publication.order > order);
  }

  /** Subscribing twice is subscribing once. */
  subscribe(channel: string, subscriber: Subscriber): void {
    const holder = this.channels.get(channel);
    if (holder === undefined) {
      this.channels.set(channel, subscriber);
    } else if (holder instanceof Crowd) {
      if (holder.members.has(subscriber)) return;
      holder.members.add(subscriber);
      holder.subscribers++;
    } else {
      if (holder === subscriber) return;
      this.channels.set(channel, new Crowd(holder, subscriber));
    }
    this.subscriptionCount++;
  }

  /** `next` holds the channel in the place of `former`, and is brought what is broadcast from now on. */
  replace(channel: string, former: Subscriber, next: Subscriber): void {
    if (this.channels.get(channel) === former) {
      // Where it stands: a Map grows by what is taken out and put in again.
      this.channels.set(channel, next);
      return;
    }
    this.subscribe(channel, next);
    this.unsubscribe(channel, former);
  }

  unsubscribe(channel: string, subscriber: Subscriber): void {
    const holder = this.channels.get(channel);
    if (holder instanceof Crowd) {
      if (!holder.members.delete(subscriber)) return;
      holder.subscribers--;
      // A crowd whose fan-out still runs stays in `running` and ends there, at its marks.
      if (holder.subscribers === 0) this.channels.delete(channel);
    } else {
      if (holder !== subscriber) return;
      this.channels.delete(channel);
    }
    this.subscriptionCount--;
  }

  /** Delivers to all subscribers of the publication's channel, now or, for many, over the next turns of the loop. */
  broadcast(publication: Publication): void {
    const holder = this.channels.get(publication.channel);
    if (holder === undefined) return;
    const now = performance.now();
    if (!(holder instanceof Crowd)) {
      holder.deliver(publication);
      this.finished(now);
      return;
    }
    const fanout = new Fanout(holder, publication, now);
    holder.members.add(fanout);
    if (holder.queue === null && this.deliverSlice(fanout, now + SLICE_MS)) {
      holder.members.delete(fanout);
      this.finished(now);
      return;
    }
    this.enqueue(fanout);
  }

  private enqueue(fanout: Fanout): void {
    const { crowd, publication } = fanout;
    publication.retain();
    if (crowd.queue === null) {
      crowd.queue = [fanout];
      this.running.push(crowd);
    } else {
      crowd.queue.push(fanout);
    }
    this.waiting++;
    this.waitingBytes += publication.payload.length;
    this.judgeBehind();
    while (this.waiting > FANOUT_LIMIT || (this.waitingBytes > FANOUT_LIMIT_BYTES && this.waiting > 1)) {
      this.counters.fanoutOverruns++;
      this.advanceFirst(Number.POSITIVE_INFINITY);
    }
    this.schedule();
  }

  private judgeBehind(): void {
    const share = this.behind ? BEHIND_SHARE / 2 : BEHIND_SHARE;
    const behind = this.waiting > FANOUT_LIMIT * share || this.waitingBytes > FANOUT_LIMIT_BYTES * share;
    if (behind === this.behind) return;
    this.behind = behind;
    this.onBehind(behind);
  }

  private schedule(): void {
    if (this.scheduled || this.running.length === 0) return;
    this.scheduled = true;
    setImmediate(this.runSlice);
  }

  private readonly runSlice = (): void => {
    this.scheduled = false;
    const deadline = performance.now() + SLICE_MS;
    while (this.running.length > 0 && performance.now() < deadline) this.advanceFirst(deadline);
    this.schedule();
  };

  /** Goes on with the first crowd's first fan-out; the crowd then goes to the back of the line. */
  private advanceFirst(deadline: number): void {
    const crowd = this.running.shift();
    const fanout = crowd?.queue?.[0];
    if (crowd === undefined || fanout === undefined) return;
    if (this.deliverSlice(fanout, deadline)) {
      crowd.members.delete(fanout);
      crowd.queue?.shift();
      this.waiting--;
      this.waitingBytes -= fanout.publication.payload.length;
      this.judgeBehind();
      this.finished(fanout.startedAtMs);
    }
    if (crowd.queue?.length === 0) crowd.queue = null;
    else this.running.push(crowd);
  }

  /** Delivers until done (true) or until the deadline (false). */
  private deliverSlice(fanout: Fanout, deadline: number): boolean {
    const { crowd, publication } = fanout;
    fanout.iterator ??= crowd.members.values();
    fanout.ahead ??= crowd.members.values();
    for (;;) {
      this.warm(fanout.ahead);
      for (let i = 0; i < GROUP; i++) {
        const { value: member, done } = fanout.iterator.next();
        if (done === true || member === fanout) return true;
        if (!(member instanceof Fanout)) member.deliver(publication);
      }
      if (performance.now() >= deadline) return false;
    }
  }

  /**
   * Has a group's objects brought to the cache side by side. Each delivery waits for four or five of them, one after the
   * other, since what the kernel touches for a write leaves little else in the cache; that was 2 % of a fan-out (docs/adr/0009).
   * Who is warmed in vain, because of changes to the crowd meanwhile, costs nothing else.
   */
  private warm(ahead: Iterator<Subscriber | Fanout>): void {
    let warmth = 0;
    for (let i = 0; i < GROUP; i++) {
      const { value: member, done } = ahead.next();
      if (done === true) break;
      if (!(member instanceof Fanout)) warmth += member.warm();
    }
    this.warmth = warmth;
  }

  private finished(startedAtMs: number): void {
    const seconds = (performance.now() - startedAtMs) / 1_000;
    const { counters } = this;
    countDuration(counters.fanoutBuckets, seconds);
    counters.fanoutSecondsSum += seconds;
  }
}
