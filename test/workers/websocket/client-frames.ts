// Frames as a client sends them, sound or not: masked by a key of their own, in pieces, with any length form. Written
// apart from what the gateway encodes with, so that neither can be wrong with the other.

import type { Random } from '../http/random.ts';

export const CONTINUE = 0;
export const TEXT = 1;
export const BINARY = 2;
export const CLOSE = 8;
export const PING = 9;
export const PONG = 10;

export interface FrameOptions {
  /** True unless given. */
  fin?: boolean;
  /** The three reserved bits, 0 to 7. */
  reserved?: number;
  /** Four bytes; null for a frame without a mask. */
  mask?: Buffer | null;
  /** How many bytes of length follow the seven bits: the fewest that do, unless given. */
  lengthBytes?: 0 | 2 | 8;
  /** What the length says, where it lies. */
  length?: bigint;
}

const MASK = Buffer.of(0x37, 0xfa, 0x21, 0x3d);

export function clientFrame(opcode: number, payload: Buffer | string = '', options: FrameOptions = {}): Buffer {
  const { fin = true, reserved = 0, mask = MASK } = options;
  const data = Buffer.from(payload);
  const length = options.length ?? BigInt(data.length);
  const lengthBytes = options.lengthBytes ?? (length < 126n ? 0 : length < 65_536n ? 2 : 8);
  const maskBit = mask === null ? 0 : 0x80;
  const first = (fin ? 0x80 : 0) | (reserved << 4) | opcode;
  let head: Buffer;
  if (lengthBytes === 0) {
    head = Buffer.of(first, maskBit | Number(length));
  } else if (lengthBytes === 2) {
    head = Buffer.of(first, maskBit | 126, 0, 0);
    head.writeUInt16BE(Number(length & 0xffffn), 2);
  } else {
    head = Buffer.of(first, maskBit | 127, 0, 0, 0, 0, 0, 0, 0, 0);
    head.writeBigUInt64BE(length, 2);
  }
  return mask === null ? Buffer.concat([head, data]) : Buffer.concat([head, mask, maskedBy(mask, data)]);
}

/** A message in frames of the pieces given. */
export function fragments(opcode: number, ...pieces: (Buffer | string)[]): Buffer[] {
  return pieces.map((piece, i) => clientFrame(i === 0 ? opcode : CONTINUE, piece, { fin: i === pieces.length - 1 }));
}

/** A message in frames of `size` bytes each. */
export function fragmentsOf(opcode: number, payload: Buffer, size: number): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < payload.length; at += size) pieces.push(payload.subarray(at, at + size));
  return fragments(opcode, ...pieces);
}

export function closePayload(code: number, reason: Buffer | string = ''): Buffer {
  return Buffer.concat([Buffer.of(code >> 8, code & 0xff), Buffer.from(reason)]);
}

export function randomBytes(random: Random, length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => random.below(256)));
}

function maskedBy(mask: Buffer, data: Buffer): Buffer {
  return Buffer.from(data.map((byte, i) => byte ^ (mask[i % 4] as number)));
}
