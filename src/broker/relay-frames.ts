// Frames: how the embedded broker's messages lie in the stream of bytes between a worker and the primary's relay.
//
// A frame: u32 length of what follows · u8 kind · u32 call · body. Little-endian. By kind:
//   publish       worker → primary   `call` names it; body: packed publications (packed.ts). Answered by `published`.
//   publications  primary → worker   `call` is 0; body: packed publications, in the one order that all workers see.
//   published     primary → worker   the outcome of `call`; body: empty when it was relayed to every worker, else why not.
//   store         worker → primary   as `publish`, with places in the history to be given. Answered by `placed`, or `published`.
//   placed        primary → worker   `call` was relayed; body: f64 offset for each of its publications, 0 for none.
//   ask           worker → primary   of history and presence; body: JSON, see memory-questions.ts. Answered by `told`.
//   told          primary → worker   body: u32 length of a JSON head · head · packed publications.
//   follow        primary → primary  of one that is to take over: everything from now on. Answered by `kept` frames.
//   kept          primary → primary  of what the history keeps; body: u32 length of a JSON head · head · packed publications.
//   yield         primary → primary  the last frame of one that follows: it has the order from the answer on, `published`.
// A further kind is a line in `KINDS` here and a case where the frames of its direction are taken.
//
// Bytes are written and read in place: a writer gathers frames in one buffer that serves again once the kernel has taken
// them, a reader hands out slices of what was read. Only a frame that was cut is copied, into a buffer that is kept
// while it is small. So passing publications on leaves no garbage behind, whose collection nothing would hurry.

import { IN_FLIGHT_LIMIT_BYTES } from './calls.ts';

export const KINDS = {
  publish: 1,
  publications: 2,
  published: 3,
  store: 4,
  placed: 5,
  ask: 6,
  told: 7,
  follow: 8,
  kept: 9,
  yield: 10,
} as const;

export type FrameKind = keyof typeof KINDS;

/** Takes one frame. `body` may be overwritten after the call. */
export type FrameTaker = (kind: FrameKind, call: number, body: Buffer) => void;

/** What the body of a `told` and of a `kept` frame begins with. */
export const LENGTH_OF_HEAD_BYTES = 4;

const LENGTH_BYTES = 4;
const HEAD_BYTES = LENGTH_BYTES + 5;

/**
 * Longest frame. A publish call is bounded by IN_FLIGHT_LIMIT_BYTES, of which each publication counts for 130 bytes at the
 * least; packed it takes 521 at the most where it counts for so little: event and id of 255 bytes each are what is not counted.
 */
const FRAME_LIMIT_BYTES = 5 * IN_FLIGHT_LIMIT_BYTES;

/** What a writer gathers in, and the most that a reader keeps for the next frame that is cut. */
export const GATHER_BYTES = 256 * 1024;

const KIND_BY_NUMBER = new Map<number, FrameKind>(
  Object.entries(KINDS).map(([kind, number]) => [number, kind as FrameKind]),
);

const NOTHING = Buffer.alloc(0);

export class FrameWriter {
  #buffer = NOTHING;
  #bytes = 0;

  /** Bytes gathered. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether a frame with such a body goes into what is gathered; into an empty writer every frame goes. */
  fits(bodyBytes: number): boolean {
    return this.#bytes + HEAD_BYTES + bodyBytes <= GATHER_BYTES || this.#bytes === 0;
  }

  /** Adds a frame and returns its body, for the caller to fill before anything else is done with this writer. */
  add(kind: FrameKind, call: number, bodyBytes: number): Buffer {
    const start = this.#bytes;
    const bodyStart = start + HEAD_BYTES;
    const end = bodyStart + bodyBytes;
    if (end > this.#buffer.length) {
      if (start > 0) throw new RangeError(`${end} bytes do not fit into ${this.#buffer.length}`);
      this.#buffer = Buffer.allocUnsafeSlow(Math.max(GATHER_BYTES, end));
    }
    this.#buffer.writeUInt32LE(end - start - LENGTH_BYTES, start);
    this.#buffer.writeUInt8(KINDS[kind], start + LENGTH_BYTES);
    this.#buffer.writeUInt32LE(call, start + LENGTH_BYTES + 1);
    this.#bytes = end;
    return this.#buffer.subarray(bodyStart, end);
  }

  /** What was gathered, until the next `add` overwrites it. Starts over. */
  take(): Buffer {
    const taken = this.#buffer.subarray(0, this.#bytes);
    this.#bytes = 0;
    if (this.#buffer.length > GATHER_BYTES) this.#buffer = NOTHING;
    return taken;
  }

  /** Somebody still needs what was taken last: the next frames are gathered elsewhere. */
  leave(): void {
    this.#buffer = NOTHING;
  }
}

export class FrameReader {
  readonly #take: FrameTaker;
  /** A frame that has begun, in its first `#keptBytes`. */
  #kept = NOTHING;
  #keptBytes = 0;

  constructor(take: FrameTaker) {
    this.#take = take;
  }

  /**
   * Takes what was read, and hands out the frames that are whole with it.
   *
   * @returns null, or what is wrong with the bytes: nothing that follows can be made sense of then.
   */
  push(read: Buffer): string | null {
    let at = 0;
    while (at < read.length) {
      if (this.#keptBytes > 0 || read.length - at < LENGTH_BYTES) {
        // Its length first: it says how much room the whole takes.
        if (this.#keptBytes < LENGTH_BYTES) at += this.#keep(read, at, LENGTH_BYTES);
        if (this.#keptBytes < LENGTH_BYTES) return null;
        const frameBytes = frameLength(this.#kept, 0);
        if (!isFrame(frameBytes)) return `a frame of ${frameBytes} bytes`;
        at += this.#keep(read, at, frameBytes);
        if (this.#keptBytes < frameBytes) return null;
        const fault = this.#handOut(this.#release(), 0, frameBytes);
        if (fault !== null) return fault;
      } else {
        const frameBytes = frameLength(read, at);
        if (!isFrame(frameBytes)) return `a frame of ${frameBytes} bytes`;
        if (at + frameBytes > read.length) {
          at += this.#keep(read, at, frameBytes);
        } else {
          const fault = this.#handOut(read, at, frameBytes);
          if (fault !== null) return fault;
          at += frameBytes;
        }
      }
    }
    return null;
  }

  /** Copies from `start` on until `wantedBytes` are kept or there is no more; returns how many it copied. */
  #keep(read: Buffer, start: number, wantedBytes: number): number {
    if (wantedBytes > this.#kept.length) {
      const grown = Buffer.allocUnsafeSlow(wantedBytes > GATHER_BYTES ? wantedBytes : roundUp(wantedBytes));
      this.#kept.copy(grown, 0, 0, this.#keptBytes);
      this.#kept = grown;
    }
    const copied = read.copy(this.#kept, this.#keptBytes, start, start + wantedBytes - this.#keptBytes);
    this.#keptBytes += copied;
    return copied;
  }

  /** The kept frame's buffer, which serves again for the next one that is cut unless it is large. */
  #release(): Buffer {
    const kept = this.#kept;
    this.#keptBytes = 0;
    if (kept.length > GATHER_BYTES) this.#kept = NOTHING;
    return kept;
  }

  #handOut(buffer: Buffer, start: number, frameBytes: number): string | null {
    const number = buffer.readUInt8(start + LENGTH_BYTES);
    const kind = KIND_BY_NUMBER.get(number);
    if (kind === undefined) return `a frame of kind ${number}`;
    const call = buffer.readUInt32LE(start + LENGTH_BYTES + 1);
    this.#take(kind, call, buffer.subarray(start + HEAD_BYTES, start + frameBytes));
    return null;
  }
}

/** Bytes of the frame at `start`, its length field included. */
function frameLength(buffer: Buffer, start: number): number {
  return LENGTH_BYTES + buffer.readUInt32LE(start);
}

function isFrame(bytes: number): boolean {
  return bytes >= HEAD_BYTES && bytes <= FRAME_LIMIT_BYTES;
}

/** A power of two, so that a buffer that grows does so seldom. */
function roundUp(bytes: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(4096, bytes)));
}
