// What a parser made of the bytes of a WebSocket client, in one shape for ours and for the reference, to be compared.
//
// `readByLongwire` feeds FrameParser as a connection would, cut where it is told, from buffers that move and are wiped as
// soon as their bytes are taken. One parser serves all readings, one after the other, as it does connections.
//
// `readByReference` is the other reading of RFC 6455: it has all the bytes, looks at them frame by frame with what Node
// offers (BigInt lengths, TextDecoder), joins by concatenation, and has no state to carry over anything.

import assert from 'node:assert/strict';
import { FAULT, INCOMPLETE } from '../../../workers/http/head-parser.ts';
import { NO_CODE } from '../../../workers/websocket/close-codes.ts';
import { type FrameLimits, FrameParser } from '../../../workers/websocket/frame-parser.ts';
import type { PendingMessage } from '../../../workers/websocket/pending-message.ts';
import type { Cuts } from '../http/readings.ts';

export const LIMITS: FrameLimits = { frameLimitBytes: 70_000, messageLimitBytes: 100_000 };
/** So low that samples of a few hundred bytes pass them. */
export const LOW_LIMITS: FrameLimits = { frameLimitBytes: 300, messageLimitBytes: 400 };

export interface FrameReading {
  /** 'text abc', 'binary …', 'ping …', 'pong …', 'close 1000 reason'; bytes as latin1. */
  events: string[];
  /** '1002 unknown opcode'; null without one. */
  fault: string | null;
  /** Whether the bytes ended inside a frame or message. */
  pending: boolean;
  /** How many bytes had been given when it came to a fault or a close; all of them otherwise. */
  given: number;
}

const KINDS: Readonly<Record<number, string>> = { 1: 'text', 2: 'binary', 9: 'ping', 10: 'pong' };
const WIPED = 0xaa;

const parsers = new Map<FrameLimits, FrameParser>();

export function readByLongwire(bytes: Buffer, cuts: Cuts, limits = LIMITS): FrameReading {
  const parser = parsers.get(limits) ?? new FrameParser(limits);
  parsers.set(limits, parser);
  const events: string[] = [];
  let pending: PendingMessage | null = null;
  let given = 0;
  while (given < bytes.length) {
    const end = Math.min(bytes.length, cuts(given));
    const shift = end % 5;
    const moved = Buffer.alloc(shift + end - given + 3, WIPED);
    bytes.copy(moved, shift, given, end);
    const movedEnd = shift + end - given;
    given = end;
    let at = shift;
    for (;;) {
      const event = parser.read(pending, moved, at, movedEnd);
      pending = parser.pending;
      if (event === FAULT) {
        assert.equal(pending, null);
        return { events, fault: `${parser.code} ${parser.reason}`, pending: false, given };
      }
      if (pending !== null) assert.ok(pending.bytes.length <= limits.messageLimitBytes);
      moved.fill(WIPED, at, parser.position);
      at = parser.position;
      if (event === INCOMPLETE) {
        assert.equal(at, movedEnd);
        break;
      }
      if (event === 8) {
        events.push(`close ${parser.code} ${Buffer.from(parser.reason).toString('latin1')}`);
        return { events, fault: null, pending: false, given };
      }
      events.push(`${KINDS[event]} ${parser.payload.toString('latin1')}`);
    }
  }
  return { events, fault: null, pending: pending !== null, given };
}

export function readByReference(bytes: Buffer, limits = LIMITS): Omit<FrameReading, 'given'> {
  const events: string[] = [];
  let opcodeOfMessage = 0;
  let message = Buffer.alloc(0);
  let at = 0;
  const ends = (fault: string | null, pending = false) => ({ events, fault, pending });

  while (at < bytes.length) {
    const rest = bytes.subarray(at);
    const first = rest.readUInt8(0);
    const fin = first >= 128;
    const opcode = first % 16;
    const control = opcode >= 8;
    if (Math.floor(first / 16) % 8 !== 0) return ends('1002 reserved bits are set');
    if (![0, 1, 2, 8, 9, 10].includes(opcode)) return ends('1002 unknown opcode');
    if (control && !fin) return ends('1002 a control frame must not be fragmented');
    if (opcode === 0 && opcodeOfMessage === 0) return ends('1002 there is no message to continue');
    if ((opcode === 1 || opcode === 2) && opcodeOfMessage !== 0) return ends('1002 the message before is not over');
    if (opcode === 1 || opcode === 2) opcodeOfMessage = opcode;

    if (rest.length < 2) return ends(null, true);
    if (rest.readUInt8(1) < 128) return ends('1002 a frame from a client must be masked');
    const short = rest.readUInt8(1) - 128;
    if (control && short > 125) return ends('1002 a control frame is too long');
    if (opcode === 8 && short === 1) return ends('1002 half a close code');
    let length = BigInt(short);
    let maskAt = 2;
    if (short === 126) {
      if (rest.length < 4) return ends(null, true);
      length = BigInt(rest.readUInt16BE(2));
      maskAt = 4;
      if (length < 126n) return ends('1002 malformed length');
    } else if (short === 127) {
      if (rest.length > 2 && rest.readUInt8(2) >= 128) return ends('1002 malformed length');
      if (rest.length < 10) return ends(null, true);
      length = rest.readBigUInt64BE(2);
      maskAt = 10;
      if (length < 65536n) return ends('1002 malformed length');
    }
    if (!control && length > limits.frameLimitBytes) return ends('1009 the frame is too long');
    if (!control && length + BigInt(message.length) > limits.messageLimitBytes) {
      return ends('1009 the message is too long');
    }

    const mask = rest.subarray(maskAt, maskAt + 4);
    if (mask.length < 4) return ends(null, true);
    const masked = rest.subarray(maskAt + 4, maskAt + 4 + Number(length));
    const payload = Buffer.from(masked.map((byte, i) => byte ^ mask.readUInt8(i % 4)));
    const whole = payload.length === Number(length);
    if (control) {
      if (!whole) return ends(null, true);
      if (opcode === 8) return readClose(payload);
      events.push(`${KINDS[opcode]} ${payload.toString('latin1')}`);
    } else {
      message = Buffer.concat([message, payload]);
      const over = fin && whole;
      if (opcodeOfMessage === 1 && decode(message, !over) === null) return ends('1007 text must be UTF-8');
      if (!whole) return ends(null, true);
      if (over) {
        events.push(`${KINDS[opcodeOfMessage]} ${message.toString('latin1')}`);
        message = Buffer.alloc(0);
        opcodeOfMessage = 0;
      }
    }
    at += maskAt + 4 + payload.length;
  }
  return ends(null, opcodeOfMessage !== 0);

  function readClose(payload: Buffer) {
    if (payload.length === 0) {
      events.push(`close ${NO_CODE} `);
      return ends(null);
    }
    const code = payload.readUInt16BE(0);
    const registered = code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code);
    if (!registered && !(code >= 3000 && code <= 4999)) return ends('1002 a close code that must not be sent');
    const reason = payload.subarray(2);
    if (decode(reason, false) === null) return ends('1007 a close reason must be UTF-8');
    events.push(`close ${code} ${reason.toString('latin1')}`);
    return ends(null);
  }
}

/** The text; null when it is not UTF-8, or cannot become it where more is to come. */
function decode(bytes: Buffer, more: boolean): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: more });
  } catch {
    return null;
  }
}
