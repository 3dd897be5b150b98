// Frames as the gateway sends them (RFC 6455 §5.2): whole, final and not masked, each one Buffer and so one write.
//
// Pure and static: what is sent to many is made once and shared. Nothing is compressed or fragmented.
//
// Cost: one Buffer of 2, 4 or 10 bytes and the payload, which is copied once; text is written straight into it.

import { isSendableCloseCode, NO_CODE } from './close-codes.ts';

export const CONTINUATION = 0x0;
export const TEXT = 0x1;
export const BINARY = 0x2;
export const CLOSE = 0x8;
export const PING = 0x9;
export const PONG = 0xa;

/** Set in the first byte of a message's last frame. */
export const FIN = 0x80;
/** Control frames carry no more (§5.5), so a close reason is two bytes shorter. */
export const CONTROL_LIMIT_BYTES = 125;

const CODE_BYTES = 2;
/** The longest length that the second byte says by itself, and what it says where two or eight bytes follow. */
const SHORT_LENGTH = 125;
const LENGTH_IN_TWO_BYTES = 126;
const LENGTH_IN_EIGHT_BYTES = 127;
const TWO_TO_THE_32 = 0x1_0000_0000;

/** A frame of that opcode. A control frame's payload must not be longer than CONTROL_LIMIT_BYTES. */
export function encodeFrame(opcode: number, payload: Buffer): Buffer {
  const head = headBytes(payload.length);
  const frame = Buffer.allocUnsafe(head + payload.length);
  writeHead(frame, opcode, payload.length);
  payload.copy(frame, head);
  return frame;
}

/** A text frame. Halves of surrogate pairs are sent as U+FFFD: what is sent is UTF-8 in any case. */
export function encodeText(text: string): Buffer {
  const length = Buffer.byteLength(text);
  const head = headBytes(length);
  const frame = Buffer.allocUnsafe(head + length);
  writeHead(frame, TEXT, length);
  frame.write(text, head);
  return frame;
}

/**
 * A close frame. `encodeClose(parser.code)` is the echo of a close frame that was read (§5.5.1), of one without a code
 * too.
 *
 * @param code One that may be sent, or NO_CODE for a frame with neither code nor reason.
 * @param reason For people; cut behind the last whole character of its first 123 bytes.
 * @throws {RangeError} for a code that must not be sent.
 */
export function encodeClose(code: number = NO_CODE, reason = ''): Buffer {
  if (code === NO_CODE) return Buffer.of(FIN | CLOSE, 0);
  if (!isSendableCloseCode(code)) throw new RangeError(`${code} must not stand in a close frame`);
  const payload = Buffer.allocUnsafe(CONTROL_LIMIT_BYTES);
  payload.writeUInt16BE(code);
  // `write` never leaves a part of a character.
  const length = CODE_BYTES + payload.write(reason, CODE_BYTES);
  return encodeFrame(CLOSE, payload.subarray(0, length));
}

function headBytes(length: number): number {
  if (length <= SHORT_LENGTH) return 2;
  return length <= 0xffff ? 4 : 10;
}

function writeHead(frame: Buffer, opcode: number, length: number): void {
  frame[0] = FIN | opcode;
  if (length <= SHORT_LENGTH) {
    frame[1] = length;
  } else if (length <= 0xffff) {
    frame[1] = LENGTH_IN_TWO_BYTES;
    frame.writeUInt16BE(length, 2);
  } else {
    frame[1] = LENGTH_IN_EIGHT_BYTES;
    frame.writeUInt32BE(Math.floor(length / TWO_TO_THE_32), 2);
    frame.writeUInt32BE(length % TWO_TO_THE_32, 6);
  }
}
