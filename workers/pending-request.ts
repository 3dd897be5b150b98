// What a connection keeps of a request that is not over: bytes of a head that came cut, the body being read, what to do
// with it, and bytes that came too early. Exists for those moments only; an open connection has none.
//
// Bound: `bytes` holds one head (the parser faults beyond its limit) plus one read, or what one read brought too early:
// a connection that is being served is not read.

import type { BodyHandler } from './exchange.ts';
import type { BodyReader } from './http/body-reader.ts';
import type { HeadParser } from './http/head-parser.ts';

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

  constructor() {
    this.parser = null;
    this.bytes = NOTHING;
    this.length = 0;
    this.body = null;
    this.onBody = null;
    this.keepAlive = false;
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
