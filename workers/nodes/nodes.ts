// Nodes: the workers of all gateways on one broker, as each of them knows the others: for `/api/info` and `/api/channels`.
//
//   started, or the broker is back ─▶ says who it is, and asks the others to ─▶ says so again every two seconds ─▶ says that it leaves
//
// Who has not been heard for a while is forgotten. A count of channels is asked of all who are known and answered by each; it is
// whole or it fails, with the names of those who have not answered.
//
// Bound: NODE_LIMIT nodes; ASKED_LIMIT counts at a time, each CHANNEL_LIMIT channels and ANSWER_LIMIT_MS; counting goes in slices of a
// millisecond. Cost: a publication every two seconds from each worker to each.

import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import type { Broker } from '../../src/broker/broker.ts';
import { ANSWER_CHANNEL, COMMAND_CHANNEL } from '../../src/channel.ts';
import { LongwireError } from '../../src/errors.ts';
import { Publication } from '../../src/publication.ts';
import type { Hub } from '../hub.ts';
import type { Identities } from '../presence/identities.ts';
import { Glob } from './glob.ts';

const SAY_MS = 2_000;
/** Three of its words have not come. */
const FORGET_MS = 7_000;
/** Between being asked who one is and saying so: many may ask at once, when a gateway starts. */
const SAY_SOON_MS = 20;
/** From asking who is there to having heard it, with room for workers that are busy. */
const HEAR_MS = 250;
const NODE_LIMIT = 4_096;
const ASKED_LIMIT = 8;
const ANSWER_LIMIT_MS = 1_500;
const CHANNEL_LIMIT = 10_000;
const SLICE_MS = 1;

/** In Centrifugo's shape. */
export interface NodeInfo {
  readonly uid: string;
  readonly name: string;
  readonly version: string;
  /** Held connections and poll sessions. */
  readonly num_clients: number;
  /** Different users among the known ones; all who gave none are one. */
  readonly num_users: number;
  readonly num_subs: number;
  readonly num_channels: number;
  /** Seconds. */
  readonly uptime: number;
}

export interface NodeParts {
  readonly hub: Hub;
  readonly broker: Broker;
  readonly presence: { readonly identities: Identities };
  /** Held connections by index in TRANSPORTS; the first are those that hold nothing. */
  readonly connections: readonly number[];
  readonly polls: { readonly sessionCount: number };
}

/** What is said on COMMAND_CHANNEL. */
export type NodeWord =
  | { node: NodeInfo; asks: boolean }
  | { gone: string }
  /** To be answered to `from`. */
  | { count: { from: string; number: number; pattern: string } };

/** Of a `count`; `channels` is null where there are too many. */
interface CountAnswer {
  uid: string;
  number: number;
  channels: Record<string, number> | null;
}

/** A count that is under way. */
interface Asked {
  readonly waiting: Set<string>;
  readonly channels: Map<string, number>;
  readonly end: (error: LongwireError | null) => void;
}

export class Nodes {
  private readonly parts: NodeParts;
  private readonly uid: string;
  private readonly name: string;
  private version: string;
  private readonly startedAtMs: number;
  private readonly others: Map<string, { info: NodeInfo; heardAtMs: number }>;
  private readonly asked: Map<number, Asked>;
  private number: number;
  private saying: NodeJS.Timeout | null;
  /** `performance.now()` at which those who were asked have been heard. */
  private heardByMs: number;
  private state: 'new' | 'here' | 'gone';

  /** @param slot The worker's. */
  constructor(parts: NodeParts, slot: number) {
    this.parts = parts;
    this.uid = randomBytes(12).toString('base64url');
    this.name = `${hostname()}-worker-${slot}`;
    this.version = '';
    this.startedAtMs = performance.now();
    this.others = new Map();
    this.asked = new Map();
    this.number = 0;
    this.saying = null;
    this.heardByMs = 0;
    this.state = 'new';
  }

  start(version: string): void {
    this.version = version;
    this.state = 'here';
    this.say(true);
    setInterval(() => this.sayAndForget(), SAY_MS).unref();
  }

  /** The broker is up: while it was away nobody was heard. */
  onUp(): void {
    if (this.state === 'here') this.say(true);
  }

  /** Resolves when the others have been told, if they can be. */
  async stop(): Promise<void> {
    if (this.state !== 'here') return;
    this.state = 'gone';
    await this.publish(COMMAND_CHANNEL, { gone: this.uid }).catch(ignore);
  }

  /** @throws LongwireError `unavailable` while nobody can be heard. */
  async all(): Promise<NodeInfo[]> {
    await this.untilHeard();
    return [this.own(), ...[...this.others.values()].map(({ info }) => info)].sort((a, b) =>
      `${a.name} ${a.uid}`.localeCompare(`${b.name} ${b.uid}`),
    );
  }

  /**
   * How many hold each channel whose name matches, on all nodes; '' for all channels.
   *
   * @throws LongwireError `unavailable` where a node has not answered, `limit-exceeded` where there are more than CHANNEL_LIMIT.
   */
  async count(pattern: string): Promise<ReadonlyMap<string, number>> {
    await this.untilHeard();
    if (this.asked.size >= ASKED_LIMIT) {
      throw new LongwireError('unavailable', `${ASKED_LIMIT} counts are under way; try again`);
    }
    const number = ++this.number;
    const channels = new Map<string, number>();
    const ended = new Promise<void>((resolve, reject) => {
      const end = (error: LongwireError | null): void => {
        clearTimeout(deadline);
        this.asked.delete(number);
        if (error === null) resolve();
        else reject(error);
      };
      const deadline = setTimeout(() => end(this.unanswered(number)), ANSWER_LIMIT_MS);
      this.asked.set(number, { waiting: new Set([this.uid, ...this.others.keys()]), channels, end });
    });
    // All are asked alike, this one too: what was published before has been delivered by then.
    this.publish(COMMAND_CHANNEL, { count: { from: this.uid, number, pattern } }).catch((error: LongwireError) =>
      this.asked.get(number)?.end(error),
    );
    await ended;
    return channels;
  }

  /** Somebody says something on COMMAND_CHANNEL. */
  take(word: NodeWord): void {
    if (this.state !== 'here') return;
    if ('node' in word) {
      this.hear(word.node);
      if (word.asks && word.node.uid !== this.uid)
        this.saying ??= setTimeout(() => this.say(false), SAY_SOON_MS).unref();
    } else if ('gone' in word) {
      this.forget(word.gone);
    } else {
      void this.answer(word.count);
    }
  }

  /** Something was said on ANSWER_CHANNEL: `{uid} {JSON}`. What is for others is not looked at. */
  takeAnswer(payload: Buffer): void {
    const head = Buffer.from(`${this.uid} `);
    if (!payload.subarray(0, head.length).equals(head)) return;
    const { uid, number, channels } = readAnswer(payload.toString('utf8', head.length));
    const asked = this.asked.get(number);
    if (asked?.waiting.delete(uid) !== true) return;
    for (const [channel, count] of Object.entries(channels ?? {})) {
      asked.channels.set(channel, (asked.channels.get(channel) ?? 0) + count);
    }
    if (channels === null || asked.channels.size > CHANNEL_LIMIT) asked.end(tooMany());
    else if (asked.waiting.size === 0) asked.end(null);
  }

  private hear(info: NodeInfo): void {
    if (info.uid === this.uid) return;
    if (this.others.size >= NODE_LIMIT && !this.others.has(info.uid)) return;
    this.others.set(info.uid, { info, heardAtMs: performance.now() });
  }

  private forget(uid: string): void {
    this.others.delete(uid);
    for (const asked of this.asked.values()) {
      if (asked.waiting.delete(uid) && asked.waiting.size === 0) asked.end(null);
    }
  }

  private sayAndForget(): void {
    const due = performance.now() - FORGET_MS;
    for (const [uid, { heardAtMs }] of this.others) if (heardAtMs < due) this.forget(uid);
    this.say(false);
  }

  private say(asks: boolean): void {
    this.saying = null;
    if (asks) this.heardByMs = performance.now() + HEAR_MS;
    if (this.state === 'here') this.publish(COMMAND_CHANNEL, { node: this.own(), asks }).catch(ignore);
  }

  private own(): NodeInfo {
    const { hub, connections, presence, polls } = this.parts;
    // Of polls the sessions count, whether one waits or not.
    const [, sse = 0, stream = 0, websocket = 0] = connections;
    return {
      uid: this.uid,
      name: this.name,
      version: this.version,
      num_clients: sse + stream + websocket + polls.sessionCount,
      num_users: presence.identities.userCount,
      num_subs: hub.subscriptionCount,
      num_channels: hub.channelCount,
      uptime: Math.round((performance.now() - this.startedAtMs) / 1_000),
    };
  }

  private async answer({ from, number, pattern }: { from: string; number: number; pattern: string }): Promise<void> {
    const channels = await this.countHere(pattern);
    const answer: CountAnswer = { uid: this.uid, number, channels };
    await this.publish(ANSWER_CHANNEL, answer, `${from} `).catch(ignore);
  }

  private async countHere(pattern: string): Promise<Record<string, number> | null> {
    const glob = pattern === '' ? null : new Glob(pattern);
    const found: [string, number][] = [];
    let deadline = performance.now() + SLICE_MS;
    for (const [channel, count] of this.parts.hub.counts()) {
      if (glob?.matches(channel) !== false) found.push([channel, count]);
      if (found.length > CHANNEL_LIMIT) return null;
      if (performance.now() < deadline) continue;
      await new Promise((resolve) => setImmediate(resolve));
      deadline = performance.now() + SLICE_MS;
    }
    return Object.fromEntries(found);
  }

  private async publish(channel: string, word: NodeWord | CountAnswer, head = ''): Promise<void> {
    await this.parts.broker.publish([new Publication(channel, Buffer.from(head + JSON.stringify(word)))]);
  }

  /** Resolves when all who were asked have had the time to say that they are there. */
  private async untilHeard(): Promise<void> {
    const leftMs = this.heardByMs - performance.now();
    if (leftMs > 0) await new Promise((resolve) => setTimeout(resolve, leftMs));
    if (this.parts.broker.state === 'up') return;
    throw new LongwireError('unavailable', 'the broker is away, and the other workers cannot be heard');
  }

  private unanswered(number: number): LongwireError {
    const silent = [...(this.asked.get(number)?.waiting ?? [])].map(
      (uid) => this.others.get(uid)?.info.name ?? this.name,
    );
    return new LongwireError('unavailable', `not all have answered in time: ${silent.join(', ')}`);
  }
}

/** Of another version, or of nobody that we know: an answer to nothing. */
function readAnswer(text: string): CountAnswer {
  try {
    const { uid, number, channels } = JSON.parse(text);
    if (typeof uid === 'string' && typeof number === 'number' && typeof channels === 'object')
      return { uid, number, channels };
  } catch {}
  return { uid: '', number: 0, channels: null };
}

function tooMany(): LongwireError {
  return new LongwireError(
    'limit-exceeded',
    `there are more than ${CHANNEL_LIMIT} such channels; give a narrower pattern`,
  );
}

function ignore(): void {}
