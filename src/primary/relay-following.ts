// Following: the embedded broker of a primary that is to take over. The former primary's relay goes on giving publications their
// order; this one passes on what its own workers say, sends them what comes back, and keeps a history that is the same.
//
//   catching up ──all of the history is here──▶ following ──yield, or the former one is gone──▶ leading
//
// Invariants:
//   - There is one order at any time, and workers of both primaries see it. Each frame on the link has its place in it, so a
//     channel's history is right as soon as its `kept` frame is here, whichever comes first of that and what is published to it.
//   - After `yield` nothing is asked of the former relay any more: what workers say until it has answered waits here.
//   - When the former one dies, what it was asked may or may not have been done: its callers run into their own deadline.
//
// Who holds which channel is told behind `yield`: until then the former relay answers for all workers. Members that no worker here speaks
// for afterwards are gone when the time of an entry is over.
//
// Bounds: workers have so much on their way and no more (calls.ts), here as there. When one of them does not read, the link is
// not read either, and so the former relay refuses publications as if that worker were its own.

import { type FrameKind, FrameWriter, LENGTH_OF_HEAD_BYTES } from '../broker/relay-frames.ts';
import type { RelayLink } from '../broker/relay-link.ts';
import type { Log } from '../log.ts';
import type { ChannelState, HistoryLog, KeyState, LogState } from './history-log.ts';
import type { MemberState, PresenceTable } from './presence-table.ts';
import type { Relay } from './relay.ts';

/** Most bytes of the history that wait for the next primary to read them. */
const BACKLOG_BYTES = 1024 * 1024;
const KEYS_A_FRAME = 1_000;
const MEMBERS_A_FRAME = 1_000;
/** The former primary's workers, among those who speak for members: ours count from 1. */
const FORMER_WORKERS = 0;
/** How often a worker that does not read is looked at again. */
const LOOK_AGAIN_MS = 20;

/** The head of a `kept` frame: a channel, some keys, or, last, what else the log knows. */
type Kept =
  | ({ what: 'channel' } & Omit<ChannelState, 'packed'>)
  | { what: 'keys'; keys: readonly KeyState[] }
  | { what: 'members'; members: readonly MemberState[] }
  | ({ what: 'log' } & LogState);

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

/** The link between the two, either end. */
export type FollowingLink = Pick<RelayLink, 'backlogBytes' | 'send' | 'drained' | 'setReading' | 'destroy'>;

type FollowingState = 'catching-up' | 'following' | 'yielding' | 'leading';

export class Following {
  readonly #relay: Relay;
  readonly #link: FollowingLink;
  readonly #presenceMs: number;
  readonly #log: Log;
  readonly #frames = new FrameWriter();
  /** By the number of our call. */
  readonly #asked = new Map<number, Asked>();
  readonly #waiting: Waiting[] = [];
  #state: FollowingState = 'catching-up';
  #number = 0;
  #yieldCall = 0;
  #onCaughtUp: (() => void) | null = null;
  #onLeading: (() => void) | null = null;

  /**
   * @param link To the former primary, whose frames are for `receive`.
   * @param presenceMs How long an entry lasts that nobody renews.
   */
  constructor(relay: Relay, link: FollowingLink, presenceMs: number, log: Log) {
    this.#relay = relay;
    this.#link = link;
    this.#presenceMs = presenceMs;
    this.#log = log;
  }

  /** From now on our relay follows. Resolves when it knows what the former one knows. */
  start(): Promise<void> {
    this.#relay.follow((member, kind, call, body) => this.#forward(member, kind, call, body));
    this.#send('follow', 0, NOTHING);
    return new Promise((resolve) => {
      this.#onCaughtUp = resolve;
    });
  }

  /** Takes the order over from a relay that has no other members left. Resolves when it is ours. */
  yield(): Promise<void> {
    if (this.#state === 'leading') return Promise.resolve();
    this.#state = 'yielding';
    this.#yieldCall = ++this.#number;
    this.#send('yield', this.#yieldCall, NOTHING);
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
    this.#asked.clear();
    this.#link.destroy();
    this.#relay.follow(null);
    this.#relay.presence.leave(FORMER_WORKERS, this.#presenceMs);
    for (const { member, kind, call, body } of this.#waiting.splice(0)) this.#relay.receive(member, kind, call, body);
    this.#onLeading?.();
  }

  /** A frame of the former primary's. */
  receive(kind: FrameKind, call: number, body: Buffer): void {
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
      history.restoreChannel(kept, body.subarray(packedAt));
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

/**
 * The former primary's side: tells one that follows what the history keeps. What is published and removed meanwhile is told
 * by the relay itself, in its place.
 */
export async function tellHistory(history: HistoryLog, link: FollowingLink): Promise<void> {
  const frames = new FrameWriter();
  for (const channel of history.channelNames) {
    if (link.backlogBytes > BACKLOG_BYTES) await link.drained();
    tellChannel(history, channel, link, frames);
  }
  const keys = history.keyStates;
  for (let at = 0; at < keys.length; at += KEYS_A_FRAME) {
    if (link.backlogBytes > BACKLOG_BYTES) await link.drained();
    sendKept(link, frames, { what: 'keys', keys: keys.slice(at, at + KEYS_A_FRAME) }, []);
  }
  sendKept(link, frames, { what: 'log', ...history.state }, []);
}

/** And, behind `yield`, who holds which channel. */
export async function tellMembers(presence: PresenceTable, link: FollowingLink): Promise<void> {
  const frames = new FrameWriter();
  // A copy: what is said meanwhile would otherwise change what is being told.
  const members = [...presence.states()];
  for (let at = 0; at < members.length; at += MEMBERS_A_FRAME) {
    if (link.backlogBytes > BACKLOG_BYTES) await link.drained();
    sendKept(link, frames, { what: 'members', members: members.slice(at, at + MEMBERS_A_FRAME) }, []);
  }
}

/** Tells one that follows of a channel as it is now. */
export function tellChannel(
  history: HistoryLog,
  channel: string,
  link: FollowingLink,
  frames: FrameWriter = new FrameWriter(),
): void {
  const state = history.stateOf(channel);
  if (state === null) return;
  const { packed, ...head } = state;
  sendKept(link, frames, { what: 'channel', ...head }, packed);
}

function sendKept(link: FollowingLink, frames: FrameWriter, head: Kept, packed: readonly Buffer[]): void {
  const headBytes = Buffer.from(JSON.stringify(head));
  const bytes = packed.reduce((sum, { length }) => sum + length, 0);
  const body = frames.add('kept', 0, LENGTH_OF_HEAD_BYTES + headBytes.length + bytes);
  body.writeUInt32LE(headBytes.length);
  let at = LENGTH_OF_HEAD_BYTES + headBytes.copy(body, LENGTH_OF_HEAD_BYTES);
  for (const each of packed) at += each.copy(body, at);
  if (!link.send(frames.take())) frames.leave();
}

const NOTHING = Buffer.alloc(0);
