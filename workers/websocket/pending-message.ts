// What a connection keeps of a frame that is not whole or a message that is not over; none of it exists at a frame
// boundary with no message begun. FrameParser works on it and nobody else looks inside.
//
// Bound: `bytes` is never longer than the message may become: the frame's end where it is the message's last, else the
// message limit, and at most twice what has arrived. `control` has 125 bytes at most. Both are memory of their own
// (`allocUnsafeSlow`): a slice of Node's pool would hold back 8 KiB for the sake of a few bytes, for as long as a peer likes.
//
// All of a worker together, with its unfinished requests, hold at most `PENDING_LIMIT_BYTES` (session.ts counts them).
//
// Cost: this object (12 fields, about 120 bytes) and those bytes. While a buffer grows the old one is still there, to be
// collected: half as much again, for a moment.

import { ACCEPT } from './utf8.ts';

/** A message that comes in tiny pieces does not begin with tiny buffers. */
const FIRST_BYTES = 64;
/** The first two bytes say how long the head is; it is two bytes long until they are there. */
export const LEAST_HEAD_BYTES = 2;

/** This object and the headers of its buffers, roughly. */
const OVERHEAD_BYTES = 256;

const NOTHING = Buffer.alloc(0);

export class PendingMessage {
  // The frame.
  /** Bytes of its head that have been read, and that it has. */
  headSeen: number;
  headBytes: number;
  /** Its first byte: FIN, reserved bits, opcode. */
  first: number;
  /** Bytes of its payload still to come; in the head, the length so far. */
  left: number;
  /** The masking key, its lowest byte for the next payload byte. */
  mask: number;
  /** A control frame's payload; null outside one. */
  control: Buffer | null;

  // The message.
  /** TEXT or BINARY; 0 when no message is begun. */
  opcode: number;
  bytes: Buffer;
  length: number;
  /** Where text stands; ACCEPT between messages, for nothing else lets one end. */
  utf8: number;

  constructor() {
    this.headSeen = 0;
    this.headBytes = LEAST_HEAD_BYTES;
    this.first = 0;
    this.left = 0;
    this.mask = 0;
    this.control = null;
    this.opcode = 0;
    this.bytes = NOTHING;
    this.length = 0;
    this.utf8 = ACCEPT;
  }

  /** Memory that it holds now. */
  get heldBytes(): number {
    return OVERHEAD_BYTES + this.bytes.length + (this.control === null ? 0 : this.control.length);
  }

  /** Whether it holds nothing: a frame boundary, and no message begun. */
  get blank(): boolean {
    return this.headSeen === 0 && this.opcode === 0;
  }

  /** Makes room for `count` more bytes of the message, which will have `mostBytes` at most. */
  reserve(count: number, mostBytes: number): void {
    const needed = this.length + count;
    if (needed <= this.bytes.length) return;
    if (needed === mostBytes && this.length === 0) {
      // Here at once, the usual case: to be handed on and soon forgotten, so the pool serves.
      this.bytes = Buffer.allocUnsafe(needed);
      return;
    }
    const grown = Buffer.allocUnsafeSlow(Math.min(mostBytes, Math.max(needed, 2 * this.length, FIRST_BYTES)));
    this.bytes.copy(grown, 0, 0, this.length);
    this.bytes = grown;
  }

  /** The message's bytes, which nobody else has from now on; it is over. */
  take(): Buffer {
    const { bytes, length } = this;
    this.opcode = 0;
    this.bytes = NOTHING;
    this.length = 0;
    return bytes.length === length ? bytes : bytes.subarray(0, length);
  }
}
