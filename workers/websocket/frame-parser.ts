// Reads the frames of a WebSocket client (RFC 6455 §5 to §8) out of bytes that arrive whole or cut anywhere.
//
// Strict: what the RFC has a server fail the connection for is a fault. Invariants: each byte is looked at once, in order,
// so the verdict depends on the bytes alone and never on how they were cut; a fault is met at the byte that makes it one,
// in a length at its last; no memory is taken for what was announced, only for what has come, and never past a limit.
//
// One parser a worker: between two reads it belongs to nobody. What a connection has not had in full lies in a
// PendingMessage of that connection's own, and at a frame boundary with no message begun there is none.
//
// Cost: an idle connection nothing but the field that holds null. A frame about 40 ns and its payload, copied once without
// its mask; a message that is whole in one read one Buffer of its size.

import { FAULT, INCOMPLETE } from '../http/head-parser.ts';
import { isSendableCloseCode, NO_CODE } from './close-codes.ts';
import { FRAME_FAULTS, type FrameFault } from './faults.ts';
import { BINARY, CLOSE, CONTINUATION, CONTROL_LIMIT_BYTES, FIN, PING, PONG, TEXT } from './frame.ts';
import { LEAST_HEAD_BYTES, PendingMessage } from './pending-message.ts';
import { copyUnmasked, rotateMask } from './unmask.ts';
import { ACCEPT, advanceUtf8, REJECT } from './utf8.ts';

export interface FrameLimits {
  /** Most payload bytes of one frame: 1009 beyond, at the frame's head. */
  frameLimitBytes: number;
  /** Most bytes of one message, all its frames together: 1009 beyond, at the head of the frame that passes it. */
  messageLimitBytes: number;
}

/** INCOMPLETE: all bytes are taken and nothing more is whole. FAULT: close with `code` and `reason`. Else an opcode. */
export type FrameEvent =
  | typeof INCOMPLETE
  | typeof FAULT
  | typeof TEXT
  | typeof BINARY
  | typeof CLOSE
  | typeof PING
  | typeof PONG;

const RESERVED_BITS = 0x70;
const OPCODE_BITS = 0x0f;
/** Opcodes from here on are control frames (§5.5). */
const CONTROL = 0x8;
const MASKED = 0x80;
const LENGTH_BITS = 0x7f;
const MASK_BYTES = 4;
/** What the length's seven bits say where two bytes of length follow; one more where it is eight (§5.2). */
const TWO_BYTES_FOLLOW = 126;
/** How long a head is then, its mask included. */
const HEAD_BYTES_WITH_TWO = 8;
const HEAD_BYTES_WITH_EIGHT = 14;
/** What a length of eight bytes must not have, in its first. */
const TOP_BIT = 0x80;

const NOTHING = Buffer.alloc(0);

export class FrameParser {
  /** What the connection must keep and pass to its next `read`; null when there is nothing to keep. */
  pending: PendingMessage | null;
  /** Past the last byte that was taken; where the next `read` goes on. */
  position: number;
  /** The payload of a TEXT, BINARY, PING or PONG, memory that nobody else writes to. Empty for all else. */
  payload: Buffer;
  /** Of a CLOSE the peer's code, NO_CODE without one; of a FAULT 1002, 1007 or 1009. 0 for all else. */
  code: number;
  /** Of a CLOSE the peer's reason; of a FAULT what is wrong, one constant a fault. */
  reason: string;

  private readonly limits: FrameLimits;
  /** Serves whoever comes without a pending one; once it is not blank it is theirs, and there is another. */
  private spare: PendingMessage;

  constructor(limits: FrameLimits) {
    this.pending = null;
    this.position = 0;
    this.payload = NOTHING;
    this.code = 0;
    this.reason = '';
    this.limits = limits;
    this.spare = new PendingMessage();
  }

  /**
   * Reads on in `buffer[start, end)` up to the next message or control frame that is whole.
   *
   * Call it again from `position` on until it says INCOMPLETE, each time with the `pending` of the call before. After a
   * CLOSE or a FAULT the connection reads no more: what follows a close frame is to be ignored (§5.5.1). The buffer is not
   * changed, and not referred to once this has returned.
   *
   * @param pending What the last call for this connection left in `pending`; null at first.
   */
  read(pending: PendingMessage | null, buffer: Buffer, start: number, end: number): FrameEvent {
    this.payload = NOTHING;
    this.code = 0;
    this.reason = '';
    this.pending = null;
    const message = pending ?? this.blankMessage();
    let at = start;
    for (;;) {
      const past = this.readHead(message, buffer, at, end);
      if (past === FAULT) return FAULT;
      at = past;
      if (message.headSeen < message.headBytes) return this.stop(message, at, INCOMPLETE);

      const count = Math.min(message.left, end - at);
      if (count > 0 && !this.takePayload(message, buffer, at, count)) return FAULT;
      at += count;
      if (message.left > 0) return this.stop(message, at, INCOMPLETE);

      const event = this.finishFrame(message);
      if (event === FAULT) return FAULT;
      if (event !== CONTINUATION) return this.stop(message, at, event);
    }
  }

  /** The spare, unless it is in the middle of something: given away, at a fault, or left there by an exception. */
  private blankMessage(): PendingMessage {
    if (!this.spare.blank) this.spare = new PendingMessage();
    return this.spare;
  }

  /** Leaves what the connection has to keep, which then is its own. */
  private stop(message: PendingMessage, at: number, event: FrameEvent): FrameEvent {
    this.position = at;
    if (!message.blank) this.pending = message;
    return event;
  }

  /** FIN, RSV1 to 3, opcode; MASK, length; two or eight bytes of length; the mask (§5.2). Returns past it, or FAULT. */
  private readHead(message: PendingMessage, buffer: Buffer, start: number, end: number): number {
    let at = start;
    while (at < end && message.headSeen < message.headBytes) {
      const byte = buffer[at++] as number;
      const seen = ++message.headSeen;
      let fault: FrameFault | null = null;
      if (seen === 1) {
        fault = this.takeFirst(message, byte);
      } else if (seen === 2) {
        fault = this.takeSecond(message, byte);
      } else if (seen > message.headBytes - MASK_BYTES) {
        // Four of these leave the first at the bottom and nothing of what was there before.
        message.mask = (message.mask >>> 8) | (byte << 24);
      } else {
        if (seen === 3 && message.headBytes === HEAD_BYTES_WITH_EIGHT && (byte & TOP_BIT) !== 0) {
          return this.fault(FRAME_FAULTS.length);
        }
        // Beyond 2^53 this is no longer exact, and beyond every limit.
        message.left = message.left * 256 + byte;
        if (seen === message.headBytes - MASK_BYTES) fault = this.longLengthFault(message);
      }
      if (fault !== null) return this.fault(fault);
    }
    return at;
  }

  private takeFirst(message: PendingMessage, byte: number): FrameFault | null {
    if ((byte & RESERVED_BITS) !== 0) return FRAME_FAULTS.reserved;
    const opcode = byte & OPCODE_BITS;
    switch (opcode) {
      case CONTINUATION:
        if (message.opcode === 0) return FRAME_FAULTS.nothingToContinue;
        break;
      case TEXT:
      case BINARY:
        if (message.opcode !== 0) return FRAME_FAULTS.notContinued;
        message.opcode = opcode;
        break;
      case CLOSE:
      case PING:
      case PONG:
        if ((byte & FIN) === 0) return FRAME_FAULTS.controlCut;
        break;
      default:
        return FRAME_FAULTS.opcode;
    }
    message.first = byte;
    return null;
  }

  private takeSecond(message: PendingMessage, byte: number): FrameFault | null {
    if ((byte & MASKED) === 0) return FRAME_FAULTS.unmasked;
    const length = byte & LENGTH_BITS;
    const opcode = message.first & OPCODE_BITS;
    if (opcode >= CONTROL) {
      if (length > CONTROL_LIMIT_BYTES) return FRAME_FAULTS.controlLength;
      if (opcode === CLOSE && length === 1) return FRAME_FAULTS.closeLength;
    }
    if (length >= TWO_BYTES_FOLLOW) {
      message.left = 0;
      message.headBytes = length === TWO_BYTES_FOLLOW ? HEAD_BYTES_WITH_TWO : HEAD_BYTES_WITH_EIGHT;
      return null;
    }
    message.left = length;
    message.headBytes = LEAST_HEAD_BYTES + MASK_BYTES;
    return opcode >= CONTROL ? null : this.limitFault(message);
  }

  /** §5.2: the shortest form that can say it must be used. */
  private longLengthFault(message: PendingMessage): FrameFault | null {
    const least = message.headBytes === HEAD_BYTES_WITH_TWO ? TWO_BYTES_FOLLOW : 0x1_0000;
    return message.left < least ? FRAME_FAULTS.length : this.limitFault(message);
  }

  private limitFault(message: PendingMessage): FrameFault | null {
    const { frameLimitBytes, messageLimitBytes } = this.limits;
    if (message.left > frameLimitBytes) return FRAME_FAULTS.frameLimit;
    return message.length + message.left > messageLimitBytes ? FRAME_FAULTS.messageLimit : null;
  }

  /** Keeps `count` bytes of payload, no more than there are left. False once it has set the fault. */
  private takePayload(message: PendingMessage, buffer: Buffer, at: number, count: number): boolean {
    const { left, mask } = message;
    if ((message.first & CONTROL) !== 0) {
      // Usually here at once: see PendingMessage for why memory of its own otherwise.
      message.control ??= count === left ? Buffer.allocUnsafe(left) : Buffer.allocUnsafeSlow(left);
      copyUnmasked(buffer, at, message.control, message.control.length - left, count, mask);
    } else {
      const { length } = message;
      message.reserve(count, (message.first & FIN) === 0 ? this.limits.messageLimitBytes : length + left);
      copyUnmasked(buffer, at, message.bytes, length, count, mask);
      message.length = length + count;
      if (message.opcode === TEXT) {
        message.utf8 = advanceUtf8(message.utf8, message.bytes, length, length + count);
        if (message.utf8 === REJECT) {
          this.fault(FRAME_FAULTS.text);
          return false;
        }
      }
    }
    message.left = left - count;
    message.mask = rotateMask(mask, count);
    return true;
  }

  /** What a frame that is whole comes to. CONTINUATION: nothing yet, its message goes on. */
  private finishFrame(message: PendingMessage): FrameEvent | typeof CONTINUATION {
    const { first, control } = message;
    message.headSeen = 0;
    message.headBytes = LEAST_HEAD_BYTES;
    const opcode = first & OPCODE_BITS;
    if (opcode >= CONTROL) {
      message.control = null;
      if (opcode === CLOSE) return this.readClose(control);
      this.payload = control ?? NOTHING;
      return opcode === PING ? PING : PONG;
    }
    if ((first & FIN) === 0) return CONTINUATION;
    if (message.utf8 !== ACCEPT) return this.fault(FRAME_FAULTS.text);
    const event = message.opcode === TEXT ? TEXT : BINARY;
    this.payload = message.take();
    return event;
  }

  /** Nothing, or a code and a reason (§5.5.1). A length of one was met in the head. */
  private readClose(payload: Buffer | null): typeof CLOSE | typeof FAULT {
    if (payload === null) {
      this.code = NO_CODE;
      return CLOSE;
    }
    const code = payload.readUInt16BE(0);
    if (!isSendableCloseCode(code)) return this.fault(FRAME_FAULTS.closeCode);
    if (advanceUtf8(ACCEPT, payload, 2, payload.length) !== ACCEPT) return this.fault(FRAME_FAULTS.closeReason);
    this.code = code;
    this.reason = payload.toString('utf8', 2);
    return CLOSE;
  }

  private fault(fault: FrameFault): typeof FAULT {
    this.code = fault.code;
    this.reason = fault.text;
    return FAULT;
  }
}
