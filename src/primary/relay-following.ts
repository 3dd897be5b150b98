// Following: the embedded broker of a primary that is to take over. The former primary's relay goes on giving publications their
// order; this one passes on what its own workers say, sends them what comes back, and keeps a history that is the same.
//
//   catching up ──all of the history is here──▶ following ──yield, or the former one is gone──▶ leading
//
// Invariants:
//   - There is one order at any time, and workers of both primaries see it. Each frame on the link has its place in it, so a
//     channel's history is right as soon as the last piece of it is here (relay-telling.ts), whatever comes before, between and
//     behind them of what is published to it.
//   - After `yield` nothing is asked of the former relay any more: what workers say until it has answered waits here.
//   - When the former one dies, what it was asked may or may not have been done: its callers run into their own deadline.
//
// Who holds which channel is told behind `yield`: until then the former relay answers for all workers. Members that no worker here speaks
// for afterwards are gone when the time of an entry is over.
//
// Bounds: the answer to `yield`, or a word before it, is waited for `YIELD_LIMIT_MS`; who lets that pass is ended, and then its end of the
// link is the answer. Workers have so much on their way and no more (calls.ts), here as there. When one of them does not read, the link is
// not read either, and so the former relay refuses publications as if that worker were its own.

import { type FrameKind, FrameWriter, LENGTH_OF_HEAD_BYTES } from '../broker/relay-frames.ts';
import type { RelayLink } from '../broker/relay-link.ts';
import type { Log } from '../log.ts';
import type { Relay } from './relay.ts';
import type { Kept } from './relay-telling.ts';

/** The former primary's workers, among those who speak for members: ours count from 1. */
const FORMER_WORKERS = 0;
/** The former relay has nothing else left to do; its primary gives us fifteen seconds for all that comes with it. */
const YIELD_LIMIT_MS = 10_000;
/** How often a worker that does not read is looked at again. */
const LOOK_AGAIN_MS = 20;

/** What a worker, a member of our relay, has asked. */
interface Asked {
  readonly member: number;
  readonly call: number;
}

interface Waiting {
  readonly member: number;
  readonly kind: FrameKind;
  readonly call: number;
  readonly body: Buffer;
}

/** Our end of the link between the two. */
export type FollowingLink = Pick<RelayLink, 'send' | 'setReading' | 'destroy'>;

type FollowingState = 'catching-up' | 'following' | 'yielding' | 'leading';

export class Following {
  readonly #relay: Relay;
  readonly #link: FollowingLink;
  readonly #presenceMs: number;
  readonly #log: Log;
  readonly #yieldLimitMs: number;
  readonly #frames = new FrameWriter();
  /** By the number of our call. */
  readonly #asked = new Map<number, Asked>();
  readonly #waiting: Waiting[] = [];
  #state: FollowingState = 'catching-up';
  #number = 0;
  #yieldCall = 0;
  #onCaughtUp: (() => void) | null = null;
  #onLeading: (() => void) | null = null;
  /** Runs while the answer to `yield` is waited for. */
  #yieldDeadline: NodeJS.Timeout | null = null;

  /**
   * @param link To the former primary, whose frames are for `receive`.
   * @param presenceMs How long an entry lasts that nobody renews.
   */
  constructor(relay: Relay, link: FollowingLink, presenceMs: number, log: Log, yieldLimitMs: number = YIELD_LIMIT_MS) {
    this.#relay = relay;
    this.#link = link;
    this.#presenceMs = presenceMs;
    this.#log = log;
    this.#yieldLimitMs = yieldLimitMs;
  }

  /** From now on our relay follows. Resolves when it knows what the former one knows. */
  start(): Promise<void> {
    this.#relay.follow((member, kind, call, body) => this.#forward(member, kind, call, body));
    this.#relay.history.catchUp();
    this.#send('follow', 0, NOTHING);
    return new Promise((resolve) => {
      this.#onCaughtUp = resolve;
    });
  }

  /**
   * Takes the order over from a relay that has no other members left. Resolves when it is ours.
   *
   * @param end Ends the former primary, which does not answer; what it had sent until then is read first.
   */
  yield(end: () => void): Promise<void> {
    if (this.#state === 'leading') return Promise.resolve();
    this.#state = 'yielding';
    this.#yieldCall = ++this.#number;
    this.#send('yield', this.#yieldCall, NOTHING);
    this.#yieldDeadline = setTimeout(() => {
      this.#log.error('the former primary does not give the order up: it is ended', { limitMs: this.#yieldLimitMs });
      end();
    }, this.#yieldLimitMs);
    return new Promise((resolve) => {
      this.#onLeading = resolve;
    });
  }

  /** The former primary has died. Resolves when all that it had sent before is here, and the order is ours. */
  ended(): Promise<void> {
    if (this.#state === 'leading') return Promise.resolve();
    return new Promise((resolve) => {
      this.#onLeading = resolve;
    });
  }

  /** The link is at its end, whether the former primary has yielded or not. */
  lead(): void {
    if (this.#state === 'leading') return;
    const early = this.#state !== 'yielding';
    if (early)
      this.#log.warn('the former primary is gone: publications get their order here', { asked: this.#asked.size });
    this.#state = 'leading';
    if (this.#yieldDeadline !== null) clearTimeout(this.#yieldDeadline);
    this.#yieldDeadline = null;
    this.#asked.clear();
    this.#link.destroy();
    this.#relay.follow(null);
    this.#relay.presence.leave(FORMER_WORKERS, this.#presenceMs);
    for (const { member, kind, call, body } of this.#waiting.splice(0)) this.#relay.receive(member, kind, call, body);
    this.#onLeading?.();
  }

  /** A frame of the former primary's. */
  receive(kind: FrameKind, call: number, body: Buffer): void {
    this.#yieldDeadline?.refresh();
    if (kind === 'publications') {
      this.#relay.history.follow(body);
      this.#relay.pass(body);
      if (this.#relay.isBehind) this.#pause();
    } else if (kind === 'kept') {
      this.#restore(body);
    } else if (call === this.#yieldCall && this.#state === 'yielding') {
      this.lead();
    } else {
      const asked = this.#asked.get(call);
      this.#asked.delete(call);
      if (asked !== undefined) this.#relay.answer(asked.member, kind, asked.call, body);
    }
  }

  #forward(member: number, kind: FrameKind, call: number, body: Buffer): void {
    if (this.#state === 'yielding') {
      this.#waiting.push({ member, kind, call, body: Buffer.from(body) });
      return;
    }
    const number = ++this.#number;
    this.#asked.set(number, { member, call });
    this.#send(kind, number, body);
  }

  #send(kind: FrameKind, call: number, body: Buffer): void {
    body.copy(this.#frames.add(kind, call, body.length));
    if (!this.#link.send(this.#frames.take())) this.#frames.leave();
  }

  #restore(body: Buffer): void {
    const { history } = this.#relay;
    const packedAt = LENGTH_OF_HEAD_BYTES + body.readUInt32LE(0);
    const kept: Kept = JSON.parse(body.toString('utf8', LENGTH_OF_HEAD_BYTES, packedAt));
    if (kept.what === 'channel') {
      history.restorePiece(kept, body.subarray(packedAt));
    } else if (kept.what === 'keys') {
      history.restoreKeys(kept.keys);
    } else if (kept.what === 'members') {
      this.#relay.presence.restore(FORMER_WORKERS, kept.members);
    } else {
      history.restore(kept);
      if (this.#state === 'catching-up') this.#state = 'following';
      this.#onCaughtUp?.();
    }
  }

  #pause(): void {
    this.#link.setReading(false);
    const timer = setInterval(() => {
      if (this.#relay.isBehind && this.#state !== 'leading') return;
      clearInterval(timer);
      this.#link.setReading(true);
    }, LOOK_AGAIN_MS);
  }
}

const NOTHING = Buffer.alloc(0);
