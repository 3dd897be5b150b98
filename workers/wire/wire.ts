// A wire: what a worker reads and writes a connection's bytes through. Two kinds, one suite (test/workers/wire/).
//
// Invariants, for both kinds:
//   - `write` never blocks and never throws; what the kernel does not take at once waits in the outbox, in order.
//   - After `destroy`, or once `onWireClosed` was called, nothing is called back any more and every call is a no-op.
//   - `onWireClosed` is called exactly once for each wire, always later, never from inside a call to the wire.
//   - Bytes given to `onWireRead` are only valid during that call: they lie in a buffer that all connections share.

/** What the owner of a wire is told. One object a connection, so that the wire needs no closure and no listener. */
export interface WireOwner {
  /** `length` bytes have arrived, at the start of `buffer`, valid during this call only. */
  onWireRead(buffer: Buffer, length: number): void;
  /** The peer has sent its FIN: it will send nothing more, but may still read. */
  onWireEnd(): void;
  /** The outbox, which had something in it, is empty again. */
  onWireDrained(): void;
  /** The wire is gone, whoever began it. `error` is the errno name ('ECONNRESET') if the kernel reported one, else null. */
  onWireClosed(error: string | null): void;
}

export interface Wire {
  /** Bytes taken by `write` and not yet by the kernel. */
  readonly outboxBytes: number;

  /** Takes a buffer to write. It must not be changed until it is out: shared frames never are. */
  write(buffer: Buffer): void;

  /** Stops and goes on reading; a wire begins paused. */
  pause(): void;
  resume(): void;

  /** Writes what is in the outbox, then FIN. Reading goes on: close with `destroy` when the peer has ended too. */
  end(): void;

  /** Closes at once; what is in the outbox is lost. */
  destroy(): void;

  /** The peer's address and port as 'address:port', brackets around IPv6; '' when the kernel no longer knows. */
  peerAddress(): string;
}
