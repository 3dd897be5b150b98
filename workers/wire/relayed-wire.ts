// RelayedWire: a connection whose socket another process keeps, and whose bytes come and go as messages: what
// @socket.io/sticky makes of requests with a body, since it has read the first chunk and does not know how many follow.
//
// The contract is that of every wire, as far as messages can keep it: nothing is known of what the kernel has taken, so the
// outbox always looks empty, and the peer's FIN is not told, only that it has gone. That is enough for one request with a
// body and its answer, which is all that such a connection is for (`relayed`).
//
// Cost: this object, for the length of a call to the API.

import type { StickyToPrimary } from '../../src/ipc.ts';
import type { Shared, Wire, WireOwner } from './wire.ts';

export class RelayedWire implements Wire {
  readonly outboxBytes = 0;
  readonly outboxEntries = 0;
  readonly relayed = true;
  readonly shareable = false;
  private readonly connectionId: string;
  private readonly address: string;
  private readonly send: (message: StickyToPrimary) => void;
  private owner: WireOwner | null;
  private state: 'open' | 'ended' | 'closed';
  /** What has come while paused; null when not paused. */
  private kept: Buffer[] | null;

  constructor(connectionId: string, address: string, send: (message: StickyToPrimary) => void) {
    this.connectionId = connectionId;
    this.address = address;
    this.send = send;
    this.owner = null;
    this.state = 'open';
    this.kept = null;
  }

  warm(): number {
    return 0;
  }

  attach(owner: WireOwner): void {
    this.owner = owner;
  }

  write(buffer: Buffer): void {
    if (this.state === 'open')
      this.send({ type: 'sticky:http-response', data: buffer, connectionId: this.connectionId });
  }

  secure(_rest: Buffer): boolean {
    return false;
  }

  pause(): void {
    this.kept ??= [];
  }

  resume(): void {
    const kept = this.kept;
    this.kept = null;
    if (kept !== null && kept.length > 0) process.nextTick(() => this.arrived(Buffer.concat(kept)));
  }

  end(): void {
    if (this.state !== 'open') return;
    this.state = 'ended';
    this.send({ type: 'sticky:http-response-end', connectionId: this.connectionId });
    // The other process sees to the rest, and tells nothing of it.
    process.nextTick(() => this.aborted());
  }

  destroy(): void {
    if (this.state === 'open') this.send({ type: 'sticky:http-response-destroy', connectionId: this.connectionId });
    this.state = 'closed';
    this.owner = null;
    this.kept = null;
  }

  share(): Shared | null {
    return null;
  }

  peerAddress(): string {
    return this.state === 'closed' ? '' : this.address;
  }

  /** A chunk has come. */
  arrived(chunk: Buffer): void {
    if (this.kept !== null) this.kept.push(chunk);
    else this.owner?.onWireRead(chunk, chunk.length);
  }

  /** The peer has gone, or nothing more will be heard of it. */
  aborted(): void {
    const { owner } = this;
    this.state = 'closed';
    this.owner = null;
    owner?.onWireClosed('ECONNRESET');
  }
}
