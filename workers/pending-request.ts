// What a connection keeps of a request that is not over: bytes of a head that came cut, the body being read, what to do
// with it, and bytes that came too early. Exists for those moments only; an open connection has none.
//
// Bound: all of a worker together, with its WebSockets' unfinished messages, have at most `PENDING_LIMIT_BYTES`; who passes it
// is answered 503. `bytes` holds one head (the parser faults beyond its limit) plus one read, or what one read brought too
// early: a connection that is being served is not read.

import type { BodyHandler } from './exchange.ts';
import type { BodyReader } from './http/body-reader.ts';
import type { HeadParser } from './http/head-parser.ts';

/**
 * Most bytes that unfinished requests and messages of one worker may hold: some 20,000 heads that came cut, or 32 bodies of
 * the usual limit. Whoever wants to fill memory with what never ends needs more connections than that, and gets 503 or 1013.
 */
export const PENDING_LIMIT_BYTES = 64 * 1024 * 1024;

/** This object, and the parser that it may have. */
const OVERHEAD_BYTES = 2_048;

const NOTHING = Buffer.alloc(0);
/** A head is usually below 1 KiB; one that is not pays a few copies. */
const FIRST_BYTES = 1_024;

export class PendingRequest {
  /** Its own parser, as it stopped in the middle of this head; null outside a head. */
  parser: HeadParser | null;
  bytes: Buffer;
  length: number;
  body: BodyReader | null;
  onBody: BodyHandler | null;
  keepAlive: boolean;
  /** What of its memory its worker has counted. */
  countedBytes: number;

  constructor() {
    this.parser = null;
    this.bytes = NOTHING;
    this.length = 0;
    this.body = null;
    this.onBody = null;
    this.keepAlive = false;
    this.countedBytes = 0;
  }

  /** Memory that it holds now. */
  get heldBytes(): number {
    return OVERHEAD_BYTES + this.bytes.length + (this.body === null ? 0 : this.body.heldBytes);
  }

  /** Copies bytes behind those it has. Grows by doubling, so a head that comes byte by byte is copied O(1) times a byte. */
  append(buffer: Buffer, start: number, end: number): void {
    const length = this.length + end - start;
    if (length > this.bytes.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(FIRST_BYTES, length, this.bytes.length * 2));
      this.bytes.copy(grown, 0, 0, this.length);
      this.bytes = grown;
    }
    buffer.copy(this.bytes, this.length, start, end);
    this.length = length;
  }
}
