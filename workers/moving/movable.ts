// What a connection looks like to whoever hands it over. Apart from both, because the gateway names it and connections
// name the gateway.

import type { CloseReason, Rejection } from '../../src/close-reason.ts';
import type { Timed } from '../timing-wheel.ts';
import type { Wire } from '../wire/wire.ts';

export interface Movable extends Timed {
  readonly wire: Wire;
  state: string;
  reject(status: number, text: string, rejection: Rejection): void;
  close(reason: CloseReason): void;
  leaveToAnother(): void;
  /** Serves the request here after all. */
  readAgain(request: Buffer): void;
}

/**
 * Gives a connection that waits for the answer to a request, with the bytes of that request, to the worker in `slot`, which reads
 * them as if they had come there. To be called by a handler instead of an answer.
 *
 * @returns what became of it: unless it is 'given', it is as it was, and must be answered here. After that it is nobody's
 * business any more. Should the other worker have no room, it is answered 503; where there is no worker in that slot the
 * request is read again here, while the gateway's `goneSlot` says so.
 */
export type HandOverFunction = (connection: Movable, slot: number, bytes: Uint8Array) => HandedOver;

/** 'kept': it cannot be given away, as with TLS. 'sought': it has been to everybody who could have what it asks for. */
export type HandedOver = 'given' | 'kept' | 'sought';
