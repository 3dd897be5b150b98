// A mailbox: what was published for a poll session and is not yet acknowledged, whether it was answered or not. An answer
// that is lost on its way is asked for again.
//
// Positions count the session's publications from 1. A mailbox holds those behind `keptFrom`, up to `position`; the client's
// next `since` acknowledges. Bounds: a mailbox's bytes, and those of all mailboxes of the worker (`MailStore`); beyond either
// the oldest are dropped and counted, and since positions go on, whoever comes back sees how many are missing. One
// publication always fits into a mailbox, else there would be some that can never be polled.
//
// Cost: 64 bytes a mailbox; one copy of a frame a worker, however many mailboxes it lies in, and 8 bytes in each, with an array only
// where there are several. What a mailbox is given lives until the next poll, which is long enough to become garbage of the old
// generation: the fewer objects the better. A small frame is kept as a string
// of its bytes (latin1): memory of the heap, where a Buffer of its own costs 300 bytes more, and one from Node's pool keeps
// 8 KiB of others' bytes.

import type { Counters } from '../../src/stats.ts';

/** From here on a frame is a Buffer, which is written as it is, and by all whose mailboxes it lies in. */
const BUFFER_FROM_BYTES = 16_384;
/** What a frame costs beside its bytes: this object and a string, or a Buffer, its ArrayBuffer and backing store. */
const STRING_BYTES = 72;
const BUFFER_BYTES = 328;
/** A place in a mailbox's array, which grows by half. */
const PLACE_BYTES = 16;

/** Bytes: a string has one in each character. */
export type Frame = string | Buffer;

/** A frame that lies in mailboxes. */
export class KeptFrame {
  readonly frame: Frame;
  /** Where its client stands in the history when it has this; null for what has no place there. */
  readonly place: string | null;
  mailboxes: number;

  /** Copies: a publication's frame may lie in memory that is shared, or that is used again. */
  constructor(frame: Buffer, place: string | null = null) {
    this.frame = frame.length < BUFFER_FROM_BYTES ? frame.toString('latin1') : ownMemory(frame);
    this.place = place;
    this.mailboxes = 0;
  }

  get heldBytes(): number {
    return this.frame.length + (typeof this.frame === 'string' ? STRING_BYTES : BUFFER_BYTES);
  }
}

function ownMemory(frame: Buffer): Buffer {
  const own = Buffer.allocUnsafeSlow(frame.length);
  frame.copy(own);
  return own;
}

/** All mailboxes of a worker. */
export class MailStore {
  /** What they hold together; a frame in several is counted once. */
  bytes: number;
  readonly mailboxLimitBytes: number;
  readonly totalLimitBytes: number;
  readonly counters: Counters;

  constructor(mailboxLimitBytes: number, totalLimitBytes: number, counters: Counters) {
    this.bytes = 0;
    this.mailboxLimitBytes = mailboxLimitBytes;
    this.totalLimitBytes = totalLimitBytes;
    this.counters = counters;
  }

  add(kept: KeptFrame): void {
    this.bytes += PLACE_BYTES;
    if (kept.mailboxes++ === 0) this.bytes += kept.heldBytes;
  }

  remove(kept: KeptFrame): void {
    this.bytes -= PLACE_BYTES;
    if (--kept.mailboxes === 0) this.bytes -= kept.heldBytes;
  }
}

export class Mailbox {
  private readonly store: MailStore;
  /** Null while empty, which is nearly always; else one is usual. */
  private frames: KeptFrame | KeptFrame[] | null;
  private bytes: number;
  /** Of the newest publication. */
  position: number;
  /** The place in the history behind which everything is here; null while none is known. */
  private keptFromPlace: string | null;

  constructor(store: MailStore, place: string | null = null) {
    this.store = store;
    this.frames = null;
    this.bytes = 0;
    this.position = 0;
    this.keptFromPlace = place;
  }

  /** The place in the history of a client that has everything up to `position`. */
  placeAt(position: number): string | null {
    for (let i = Math.min(this.count, position - this.keptFrom) - 1; i >= 0; i--) {
      const { place } = this.at(i);
      if (place !== null) return place;
    }
    return this.keptFromPlace;
  }

  /** How much may be added beside what comes live, before anything is dropped; less than 0 for nothing. */
  get roomBytes(): number {
    return this.store.mailboxLimitBytes / 2 - this.bytes;
  }

  /** The position behind which everything is here. */
  get keptFrom(): number {
    return this.position - this.count;
  }

  private get count(): number {
    const { frames } = this;
    if (frames === null) return 0;
    return frames instanceof KeptFrame ? 1 : frames.length;
  }

  private at(index: number): KeptFrame {
    const { frames } = this;
    return frames instanceof KeptFrame ? frames : (frames?.[index] as KeptFrame);
  }

  put(kept: KeptFrame): void {
    const { store } = this;
    // An array that is pushed to when empty has room for 17.
    if (this.frames === null) this.frames = kept;
    else if (this.frames instanceof KeptFrame) this.frames = [this.frames, kept];
    else this.frames.push(kept);
    this.position++;
    this.bytes += kept.heldBytes;
    store.add(kept);
    while (
      (this.bytes > store.mailboxLimitBytes && this.count > 1) ||
      (store.bytes > store.totalLimitBytes && this.frames !== null)
    ) {
      store.counters.mailboxLost++;
      this.drop(1);
    }
  }

  /** All that is here, in order, and the places: first that behind which it is, then each frame's. */
  get content(): { frames: Frame[]; places: (string | null)[] } {
    const kept = Array.from({ length: this.count }, (_, i) => this.at(i));
    return { frames: kept.map(({ frame }) => frame), places: [this.keptFromPlace, ...kept.map(({ place }) => place)] };
  }

  /** Takes up what a mailbox of another worker held, as long as this one is new. */
  restore(position: number, place: string | null, frames: readonly KeptFrame[]): void {
    this.position = position - frames.length;
    this.keptFromPlace = place;
    for (const frame of frames) this.put(frame);
  }

  /** The client has everything up to there: what it has is forgotten. */
  acknowledge(position: number): void {
    this.drop(Math.max(0, position - this.keptFrom));
  }

  /** Frames behind a position, in order: at most so many, and so many bytes unless the first alone has more. */
  after(position: number, countLimit: number, limitBytes: number): Frame[] {
    const found: Frame[] = [];
    let bytes = 0;
    for (let i = Math.max(0, position - this.keptFrom); i < this.count && found.length < countLimit; i++) {
      const { frame } = this.at(i);
      bytes += frame.length;
      if (bytes > limitBytes && found.length > 0) break;
      found.push(frame);
    }
    return found;
  }

  clear(): void {
    this.drop(this.count);
  }

  private drop(count: number): void {
    const { frames } = this;
    if (frames === null || count === 0) return;
    if (count >= this.count) this.frames = null;
    for (const kept of frames instanceof KeptFrame ? [frames] : frames.splice(0, count)) {
      this.bytes -= kept.heldBytes;
      this.keptFromPlace = kept.place ?? this.keptFromPlace;
      this.store.remove(kept);
    }
  }
}
