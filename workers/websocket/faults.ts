// The peer's mistakes in WebSocket frames: the one table of the code it is closed with and why.
//
// Each is a constant, so meeting one allocates nothing; the texts name the rule, go into the close frame's reason (at most
// 123 bytes), and never repeat what was sent. A test sees to it that each has a case that brings it about.

import { CLOSE_CODES } from './close-codes.ts';

export interface FrameFault {
  readonly code: number;
  readonly text: string;
}

const { protocolError, notUtf8, tooBig } = CLOSE_CODES;

export const FRAME_FAULTS = {
  // The frame's head, RFC 6455 §5.1 to §5.5.
  reserved: { code: protocolError, text: 'reserved bits are set' },
  opcode: { code: protocolError, text: 'unknown opcode' },
  controlCut: { code: protocolError, text: 'a control frame must not be fragmented' },
  nothingToContinue: { code: protocolError, text: 'there is no message to continue' },
  notContinued: { code: protocolError, text: 'the message before is not over' },
  unmasked: { code: protocolError, text: 'a frame from a client must be masked' },
  controlLength: { code: protocolError, text: 'a control frame is too long' },
  length: { code: protocolError, text: 'malformed length' },
  frameLimit: { code: tooBig, text: 'the frame is too long' },
  messageLimit: { code: tooBig, text: 'the message is too long' },
  // What is in it, §5.5.1, §7.4, §8.1.
  text: { code: notUtf8, text: 'text must be UTF-8' },
  closeLength: { code: protocolError, text: 'half a close code' },
  closeCode: { code: protocolError, text: 'a close code that must not be sent' },
  closeReason: { code: notUtf8, text: 'a close reason must be UTF-8' },
} as const satisfies Readonly<Record<string, FrameFault>>;
