// A wire: what a worker reads and writes a connection's bytes through. Two kinds, one suite (test/workers/wire/).
//
// Invariants, for both kinds:
//   - `write` never blocks and never throws; what the kernel does not take at once waits in the outbox, in order.
//   - The owner is never called back from inside a call to the wire.
//   - `onWireClosed` comes at most once, when the wire died by itself, as it does once both sides have ended and the outbox
//     is out; after it, and after `destroy`, the owner hears nothing more and every call is a no-op.
//   - Bytes given to `onWireRead` are only valid during that call: they may lie in a buffer that all connections share.

import type { Descriptor } from '../../src/ipc.ts';

/** What the owner of a wire is told. One object a connection, so that the wire needs no closure and no listener. */
export interface WireOwner {
  /** `length` bytes have arrived, at the start of `buffer`, valid during this call only. */
  onWireRead(buffer: Buffer, length: number): void;
  /** The peer has sent its FIN: it will send nothing more, but may still read. */
  onWireEnd(): void;
  /** The outbox is empty again. Comes at least whenever it had passed `DRAIN_MARK_BYTES`. */
  onWireDrained(): void;
  /** The wire has died. `error` is the errno name, 'ECONNRESET' for example, or OpenSSL's: see `isTlsFault`. */
  onWireClosed(error: string): void;
}

/** An outbox beyond this many bytes owes its owner an `onWireDrained`: what `net.Socket` buffers by default since Node 22. */
export const DRAIN_MARK_BYTES = 65_536;

/** A wire's descriptor on its way to another process. */
export interface Shared {
  descriptor: Descriptor;
  /** What was read and not told to the owner; null for nothing, the usual case. */
  unread: Buffer | null;
}

export interface Wire {
  /** Bytes taken by `write` and not yet by the kernel. */
  readonly outboxBytes: number;
  /** Buffers that those bytes are in, the one being written not counted: many tiny ones cost more than their bytes. */
  readonly outboxEntries: number;

  /** Whether its kind can be given to another process at all; TLS cannot, whose state is OpenSSL's. */
  readonly shareable: boolean;
  /** Whether its bytes pass through another process, for one request with a body and no more: see relayed-wire.ts. */
  readonly relayed: boolean;

  /** Reads what `write` will read, so that it is in the cache by then. What it returns says nothing. */
  warm(): number;

  /** Names the owner and begins to read. Called once. */
  attach(owner: WireOwner): void;

  /** Takes a buffer to write. It must not be changed until it is out: shared frames never are. */
  write(buffer: Buffer): void;

  /**
   * The bytes so far were a proxy's word on the connection, and it begins here. `rest` is what has come behind them: taken,
   * as the first bytes of TLS, where that is on and has waited for this (true), else the owner's to read.
   */
  secure(rest: Buffer): boolean;

  /** Stops and goes on reading. While paused, the peer's end is not noticed. */
  pause(): void;
  resume(): void;

  /** Writes what is in the outbox, then FIN. Reading goes on until the peer has ended too. */
  end(): void;

  /** Closes at once; what is in the outbox is lost. */
  destroy(): void;

  /**
   * Shows the descriptor, so that it can be sent to another process, and reads no more. This wire keeps its own copy:
   * `destroy` closes that and leaves the connection to the other; `resume` goes on as if nothing had been.
   *
   * @returns null where it cannot be shared: TLS, an outbox that is not empty, an end that either side has sent.
   */
  share(): Shared | null;

  /** The peer's address, without its port; '' when the kernel no longer knows. */
  peerAddress(): string;
}

/**
 * Whether a wire died of what its peer takes for TLS: its bytes are none, or have nothing in common with what is offered here. An
 * alert is the other way round: the peer will not have us, because it does not know our certificate for example.
 */
export function isTlsFault(error: string): boolean {
  return error.startsWith('ERR_SSL_') && !error.includes('_ALERT_');
}
