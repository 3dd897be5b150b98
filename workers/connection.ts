// A connection: one accepted socket, from its first byte to its end. Requests are read and answered by its other half,
// `RequestConnection`; here is how it is held: a subscriber of its channels, given their frames, beaten by the wheel.
//
//   … head ─▶ open: first bytes, subscribed, frames and heartbeats ─▶ finish or close (`release` gives up the channels)
//
// Cost while open: this object (10 fields, 104 bytes), its wire, its channel's name and its place in the hub; no
// listener, timer, closure or buffer.

import type { CloseReason } from '../src/close-reason.ts';
import type { Publication } from '../src/publication.ts';
import { transportIndex } from '../src/stats.ts';
import { type Encoding, frameOf } from './encoding.ts';
import type { Gateway } from './gateway.ts';
import type { Subscriber } from './hub.ts';
import { RequestConnection } from './request-connection.ts';
import type { SessionHost, WebSocketSession } from './websocket/session.ts';
import type { Wire } from './wire/wire.ts';

/** What a buffer in an outbox costs besides its bytes: a Buffer object and its places in arrays. */
const OUTBOX_ENTRY_BYTES = 128;

const CR = 0x0d;
const LF = 0x0a;

export class Connection extends RequestConnection implements SessionHost, Subscriber {
  /** Null unless open. */
  encoding: Encoding | null;
  /** Held channels; a string for the usual case of one. */
  channels: string | readonly string[] | null;
  /** An open WebSocket's; null for all else. */
  session: WebSocketSession | null;

  constructor(gateway: Gateway, wire: Wire) {
    super(gateway, wire);
    this.encoding = null;
    this.channels = null;
    this.session = null;
  }

  open(
    encoding: Encoding,
    channels: string | readonly string[],
    first: Buffer,
    session: WebSocketSession | null = null,
  ): void {
    const { gateway } = this;
    this.dropRequest();
    this.session = session;
    this.encoding = encoding;
    this.channels = channels;
    this.state = 'open';
    gateway.countTransport(transportIndex.http, -1);
    gateway.countTransport(transportIndex[encoding.transport], 1);
    gateway.clients?.tell(this, 'opened', { transport: encoding.transport });
    this.wire.write(first);
    if (typeof channels === 'string') gateway.hub.subscribe(channels, this);
    else for (const channel of channels) gateway.hub.subscribe(channel, this);
    // At a random place in the second half of the interval: connections that arrive together must not beat together.
    gateway.wheel.schedule(this, gateway.heartbeatMs * (0.5 + Math.random() / 2));
  }

  /** Says goodbye, with the transport's last frame unless told another. */
  override finish(reason: CloseReason, last: Buffer | null = this.encoding?.ending ?? null): void {
    super.finish(reason, last);
  }

  // What a WebSocket's session says.

  subscribe(added: readonly string[]): string | null {
    const { gateway } = this;
    const channels = new Set([...this.channelList(), ...added]);
    const limit = gateway.config.channelLimit;
    if (channels.size > limit) return `a connection may hold at most ${limit} channels`;
    for (const channel of added) gateway.hub.subscribe(channel, this);
    this.channels = [...channels];
    return null;
  }

  unsubscribe(removed: readonly string[]): void {
    for (const channel of removed) this.gateway.hub.unsubscribe(channel, this);
    this.channels = this.channelList().filter((channel) => !removed.includes(channel));
  }

  private channelList(): readonly string[] {
    return typeof this.channels === 'string' ? [this.channels] : (this.channels ?? []);
  }

  // What the hub says.

  deliver(publication: Publication): void {
    const { encoding } = this;
    if (encoding === null) return;
    const frame = frameOf(publication, encoding);
    if (!this.send(frame)) return;
    const { counters } = this.gateway;
    counters.deliveries++;
    counters.deliveredBytes += frame.length;
  }

  /** Gives a frame to the wire, or closes a connection whose outbox has no room for it (false). */
  send(frame: Buffer): boolean {
    const { wire, gateway } = this;
    const queued = wire.outboxBytes;
    // One frame always fits: what a publication may measure is another limit's business.
    if (queued > 0 && queued + frame.length + wire.outboxEntries * OUTBOX_ENTRY_BYTES > gateway.outboxLimitBytes) {
      this.close('slow-consumer');
      return false;
    }
    wire.write(frame);
    if (wire.outboxBytes > 0) gateway.stalls.watch(this, frame.length);
    return true;
  }

  // What the asking half says.

  protected onHeldTimer(): void {
    const { gateway } = this;
    if (this.session?.takeHeard() === false) {
      this.close('unanswered');
      return;
    }
    if (this.encoding === null || !this.send(this.encoding.heartbeat)) return;
    gateway.wheel.schedule(this, gateway.heartbeatMs);
  }

  protected readHeld(buffer: Buffer, start: number, end: number): void {
    if (this.session !== null) this.session.read(this, buffer, start, end);
    else this.readWhileOpen(buffer, start, end);
  }

  /** Gives up channels and transport. */
  protected release(): void {
    const { gateway, channels, encoding } = this;
    if (encoding === null || channels === null) return;
    if (typeof channels === 'string') gateway.hub.unsubscribe(channels, this);
    else for (const channel of channels) gateway.hub.unsubscribe(channel, this);
    gateway.countTransport(transportIndex[encoding.transport], -1);
    gateway.countTransport(transportIndex.http, 1);
    gateway.stalls.forget(this);
    this.encoding = null;
    this.channels = null;
    this.session = null;
  }

  /** An open stream has nothing more to ask. Stray line ends are forgiven; anything else would never be answered. */
  private readWhileOpen(buffer: Buffer, start: number, end: number): void {
    for (let i = start; i < end; i++) {
      if (buffer[i] !== CR && buffer[i] !== LF) {
        this.finish('unexpected-input');
        return;
      }
    }
  }
}
