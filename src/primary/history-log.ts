// The history of the embedded broker, in the primary: it gives publications their places and keeps them, bounded.
//
// What the relay takes it numbers in passing and copies, packed as it is, into its channel's log. Positions, `top` and `floor`
// are those of src/history.ts. Beyond `limitBytes` the channel that was published to longest ago loses its oldest publications
// first, and when it has none left it is forgotten; `forgotten` is the highest top that was, so that whoever asks for a channel
// that is not here has a gap unless they have come that far. The epoch is the first primary's life: one that takes over follows the
// log of the former one, and has the same (relay-following.ts).
//
// Cost: a publication's packed bytes and about 100 more, a channel about 200.

import { randomBytes } from 'node:crypto';
import { type Packed, visitPacked, writePlace } from '../broker/packed.ts';

const ENTRY_BYTES = 100;
const CHANNEL_BYTES = 200;
const IDEMPOTENCY_MS = 300_000;
/** Most idempotency keys that are known: 300 a second for five minutes. */
const KEY_LIMIT = 100_000;

interface LogEntry {
  readonly offset: number;
  readonly previous: number;
  readonly packed: Buffer;
}

interface ChannelLog {
  top: number;
  entries: LogEntry[];
  expiresAtMs: number;
  bytes: number;
}

/** What another log is told of a channel with each piece of it. */
export interface ChannelHead {
  readonly channel: string;
  readonly top: number;
  /** Offset of the oldest that is kept: what was before it is gone. */
  readonly first: number;
  readonly expiresInMs: number;
}

export interface ChannelPiece {
  readonly head: ChannelHead;
  /** Publications in their order. */
  readonly packed: readonly Buffer[];
  /** Up to this offset all is told with it. */
  readonly last: number;
}

/** What a log knows beside its channels. */
export interface LogState {
  readonly epoch: string;
  readonly offset: number;
  readonly forgotten: number;
}

/** What was published with an idempotency key: its name, its offset, and how long ago. */
export type KeyState = readonly [name: string, offset: number, ageMs: number];

export interface LogPage {
  readonly top: number;
  readonly floor: number;
  readonly packed: readonly Buffer[];
}

export class HistoryLog {
  #epoch = randomBytes(6).toString('base64url');
  readonly #limitBytes: number;
  readonly #nowMs: () => number;
  /** In the order of their last publications. */
  readonly #channels = new Map<string, ChannelLog>();
  readonly #keys = new Map<string, { offset: number; atMs: number }>();
  #bytes = 0;
  #offset = 0;
  #forgotten = 0;
  /** While it catches up it holds what the other one had and what came since, and forgets nothing that the other one knows. */
  #state: 'whole' | 'catching-up' = 'whole';

  constructor(limitBytes: number, nowMs: () => number = () => performance.now()) {
    this.#limitBytes = limitBytes;
    this.#nowMs = nowMs;
  }

  get epoch(): string {
    return this.#epoch;
  }

  /** Of the last publication that was given a place. */
  get offset(): number {
    return this.#offset;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Gives places, in `body` itself, and keeps what is to be kept.
   *
   * @returns what is to be relayed, without what was published before with the same key; and of each publication its offset.
   */
  take(body: Buffer): { relayed: Buffer; offsets: number[] } {
    const offsets: number[] = [];
    const parts: Buffer[] = [];
    let repeated = false;
    visitPacked(body, (publication) => {
      const done = this.#donePlace(publication);
      if (done !== null) {
        repeated = true;
        offsets.push(done);
        return;
      }
      const offset = publication.placeAt === 0 ? 0 : this.#place(body, publication);
      offsets.push(offset);
      parts.push(body.subarray(publication.start, publication.end));
      this.#rememberKey(publication, offset);
    });
    this.#trim();
    return { relayed: repeated ? Buffer.concat(parts) : body, offsets };
  }

  /**
   * @param since Publications behind this offset; reversed, before it, newest first. 0 for all.
   * @param limitBytes Most bytes of them, unless the first alone has more. Of all that lie behind `since` the newest are told then,
   * with a floor that says so; of a page, fewer.
   */
  read(
    channel: string,
    since: number,
    limit: number,
    reverse: boolean,
    limitBytes: number = Number.POSITIVE_INFINITY,
  ): LogPage {
    const log = this.#find(channel);
    const all = log?.entries ?? [];
    const found = reverse
      ? all.filter(({ offset }) => since === 0 || offset < since).reverse()
      : all.filter(({ offset }) => offset > since);
    const { top, floor } = this.#bounds(log);
    if (reverse || found.length > limit) {
      const page = found.slice(0, limit);
      return { top, floor, packed: page.slice(0, fitting(page, limitBytes)).map(({ packed }) => packed) };
    }
    const fits = fitting([...found].reverse(), limitBytes);
    const newest = found.slice(found.length - fits);
    return {
      top,
      floor: fits < found.length ? (newest[0]?.previous ?? top) : floor,
      packed: newest.map(({ packed }) => packed),
    };
  }

  remove(channel: string): void {
    const log = this.#channels.get(channel);
    if (log !== undefined) this.#empty(log);
  }

  /** Lets go of what has expired. */
  sweep(): void {
    for (const channel of this.#channels.keys()) this.#find(channel);
    const oldestMs = this.#nowMs() - IDEMPOTENCY_MS;
    for (const [key, { atMs }] of this.#keys) {
      if (atMs > oldestMs) break;
      this.#keys.delete(key);
    }
  }

  #place(body: Buffer, packed: Packed): number {
    const offset = ++this.#offset;
    const previous = this.#find(packed.channel)?.top ?? this.#forgotten;
    writePlace(body, packed.placeAt, offset, previous);
    this.#keep(body, packed, offset, previous);
    return offset;
  }

  #keep(body: Buffer, { start, end, channel, size, ttlSeconds }: Packed, offset: number, previous: number): void {
    if (size === 0) return;
    const log = this.#find(channel) ?? { top: previous, entries: [], expiresAtMs: 0, bytes: CHANNEL_BYTES };
    log.top = offset;
    log.entries.push({ offset, previous, packed: Buffer.from(body.subarray(start, end)) });
    log.expiresAtMs = this.#nowMs() + ttlSeconds * 1_000;
    // The channel goes to the end of the line of those that lose something first.
    if (this.#channels.delete(channel)) this.#bytes -= log.bytes;
    log.bytes += ENTRY_BYTES + end - start;
    this.#channels.set(channel, log);
    this.#bytes += log.bytes;
    while (log.entries.length > size) this.#dropFirst(log);
  }

  // ---- two logs that are to be the same

  /** Keeps what another log has given places to. */
  follow(body: Buffer): void {
    visitPacked(body, (publication) => {
      const { placeAt } = publication;
      const offset = placeAt === 0 ? 0 : body.readDoubleLE(placeAt);
      if (offset > 0) {
        this.#offset = offset;
        // Its channel may have been told of already with this publication in it, which was on its way.
        const known = this.#channels.get(publication.channel)?.top ?? 0;
        if (offset > known) this.#keep(body, publication, offset, body.readDoubleLE(placeAt + 8));
      }
      this.#rememberKey(publication, offset);
    });
    this.#trim();
  }

  get channelNames(): string[] {
    return [...this.#channels.keys()];
  }

  /** 0 for a channel that is not known, or no more. */
  topOf(channel: string): number {
    return this.#find(channel)?.top ?? 0;
  }

  /** What is kept of a channel behind `after`, up to `until`: so much of it, but one publication at least. */
  pieceOf(channel: string, after: number, until: number, limitBytes: number): ChannelPiece {
    const log = this.#find(channel);
    // Forgotten since, and what was told of it before is worth nothing without the rest.
    if (log === undefined) {
      return { head: { channel, top: until, first: until + 1, expiresInMs: 0 }, packed: [], last: until };
    }
    const { entries } = log;
    const begin = indexOf(entries, after + 1);
    let end = begin;
    for (let bytes = 0; end < entries.length; end++) {
      const { offset, packed } = entries[end] as LogEntry;
      bytes += packed.length;
      if (offset > until || (bytes > limitBytes && end > begin)) break;
    }
    const isLast = (entries[end]?.offset ?? Number.POSITIVE_INFINITY) > until;
    const first = entries[0]?.offset ?? log.top + 1;
    return {
      head: { channel, top: until, first, expiresInMs: Math.max(0, log.expiresAtMs - this.#nowMs()) },
      packed: entries.slice(begin, end).map(({ packed }) => packed),
      last: isLast ? until : (entries[end - 1]?.offset ?? until),
    };
  }

  get state(): LogState {
    return { epoch: this.#epoch, offset: this.#offset, forgotten: this.#forgotten };
  }

  get keyStates(): KeyState[] {
    const nowMs = this.#nowMs();
    return [...this.#keys].map(([name, { offset, atMs }]) => [name, offset, Math.round(nowMs - atMs)]);
  }

  /** From now on it is told of all that another log keeps, until `restore`. */
  catchUp(): void {
    this.#state = 'catching-up';
  }

  /** Takes over a piece of a channel as it is in another log, beside what is known of it here. @param body Its publications. */
  restorePiece({ channel, top, first, expiresInMs }: ChannelHead, body: Buffer): void {
    const log = this.#channels.get(channel) ?? { top, entries: [], expiresAtMs: 0, bytes: CHANNEL_BYTES };
    const { entries } = log;
    const bytesBefore = this.#channels.has(channel) ? log.bytes : 0;
    log.top = Math.max(log.top, top);
    log.expiresAtMs = Math.max(log.expiresAtMs, this.#nowMs() + expiresInMs);
    const told: LogEntry[] = [];
    visitPacked(body, ({ start, end, placeAt }) => {
      const offset = body.readDoubleLE(placeAt);
      const previous = body.readDoubleLE(placeAt + 8);
      told.push({ offset, previous, packed: Buffer.from(body.subarray(start, end)) });
    });
    const behind = entries.splice(indexOf(entries, told[0]?.offset ?? Number.POSITIVE_INFINITY));
    const doubled = behind.splice(0, indexOf(behind, (told.at(-1)?.offset ?? 0) + 1));
    const gone = entries.splice(0, indexOf(entries, first));
    for (const entry of told) entries.push(entry);
    for (const entry of behind) entries.push(entry);
    log.bytes += bytesOf(told) - bytesOf(doubled) - bytesOf(gone);
    this.#bytes += log.bytes - bytesBefore;
    this.#channels.set(channel, log);
  }

  /** All of the other log is told. */
  restore({ epoch, offset, forgotten }: LogState): void {
    this.#epoch = epoch;
    this.#offset = offset;
    this.#forgotten = Math.max(this.#forgotten, forgotten);
    this.#state = 'whole';
    // Those that were published to meanwhile have come before those that were told later.
    const channels = [...this.#channels].sort(([, one], [, other]) => one.top - other.top);
    this.#channels.clear();
    for (const [channel, log] of channels) this.#channels.set(channel, log);
    this.#trim();
  }

  restoreKeys(keys: readonly KeyState[]): void {
    for (const [name, offset, ageMs] of keys) {
      if (!this.#keys.has(name)) this.#keys.set(name, { offset, atMs: this.#nowMs() - ageMs });
    }
  }

  #donePlace({ channel, key }: Packed): number | null {
    if (key === null) return null;
    const done = this.#keys.get(`${channel}\n${key}`);
    return done === undefined || done.atMs < this.#nowMs() - IDEMPOTENCY_MS ? null : done.offset;
  }

  #rememberKey({ channel, key }: Packed, offset: number): void {
    if (key === null) return;
    const name = `${channel}\n${key}`;
    this.#keys.delete(name);
    this.#keys.set(name, { offset, atMs: this.#nowMs() });
    if (this.#keys.size <= KEY_LIMIT) return;
    const [oldest] = this.#keys.keys();
    if (oldest !== undefined) this.#keys.delete(oldest);
  }

  #bounds(log: ChannelLog | undefined): { top: number; floor: number } {
    const top = log?.top ?? this.#forgotten;
    return { top, floor: log?.entries[0]?.previous ?? top };
  }

  #find(channel: string): ChannelLog | undefined {
    const log = this.#channels.get(channel);
    if (log !== undefined && log.expiresAtMs <= this.#nowMs()) this.#empty(log);
    return log;
  }

  #empty(log: ChannelLog): void {
    log.entries = [];
    this.#bytes += CHANNEL_BYTES - log.bytes;
    log.bytes = CHANNEL_BYTES;
  }

  #dropFirst(log: ChannelLog): void {
    const [first] = log.entries.splice(0, 1);
    const bytes = first === undefined ? 0 : ENTRY_BYTES + first.packed.length;
    log.bytes -= bytes;
    this.#bytes -= bytes;
  }

  #trim(): void {
    if (this.#state === 'catching-up') return;
    for (const [channel, log] of this.#channels) {
      while (this.#bytes > this.#limitBytes && log.entries.length > 0) this.#dropFirst(log);
      if (this.#bytes <= this.#limitBytes) return;
      this.#forgotten = Math.max(this.#forgotten, log.top);
      this.#channels.delete(channel);
      this.#bytes -= log.bytes;
    }
  }
}

/** Of the first that has this offset or a later one; they ascend. */
function indexOf(entries: readonly LogEntry[], offset: number): number {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((entries[middle] as LogEntry).offset < offset) low = middle + 1;
    else high = middle;
  }
  return low;
}

function bytesOf(entries: readonly LogEntry[]): number {
  return entries.reduce((sum, { packed }) => sum + ENTRY_BYTES + packed.length, 0);
}

/** How many of them, from the first on, have so many bytes at most; the first alone may have more. */
function fitting(entries: readonly LogEntry[], limitBytes: number): number {
  let count = 0;
  for (let bytes = 0; count < entries.length; count++) {
    bytes += (entries[count] as LogEntry).packed.length;
    if (bytes > limitBytes && count > 0) break;
  }
  return count;
}
