// A connection: one accepted socket, from its first byte to its end.
//
//                 ┌──────────── kept alive ────────────┐
//   accepted ─▶ head ─▶ (body) ─▶ (busy) ─▶ answered ─▶ idle ─▶ head …
//                 │                            └─▶ blocked (answers not read) ─▶ idle
//                 └─▶ open: held, a subscriber of its channels, beaten by the wheel
//   any of them ─▶ closing (FIN sent, waiting for the peer's) ─▶ closed, or straight to closed
//
// Cost while open: this object (10 fields, 104 bytes), its wire, its channel's name and its place in the hub; no
// listener, timer, closure or buffer. `request` exists only while a head or body is incomplete or being served.
// Bytes are consumed in one loop (`consume`) that `state` drives; whoever changes `state` decides what the next byte means.

import type { CloseReason, Rejection } from '../src/close-reason.ts';
import { errorText } from '../src/errors.ts';
import type { Publication } from '../src/publication.ts';
import { closeReasonIndex, rejectionIndex, transportIndex } from '../src/stats.ts';
import { type Encoding, frameOf } from './encoding.ts';
import type { BodyHandler, Exchange, ServedAnswer } from './exchange.ts';
import type { Gateway } from './gateway.ts';
import { type AnswerOptions, answer, CONTINUE, faultAnswer } from './http/answers.ts';
import { BodyReader } from './http/body-reader.ts';
import { FAULT, INCOMPLETE } from './http/head-parser.ts';
import type { RequestHead } from './http/request-head.ts';
import type { Subscriber } from './hub.ts';
import { PENDING_LIMIT_BYTES, PendingRequest } from './pending-request.ts';
import { route } from './router.ts';
import type { Timed } from './timing-wheel.ts';
import type { SessionHost, WebSocketSession } from './websocket/session.ts';
import { DRAIN_MARK_BYTES, type Wire, type WireOwner } from './wire/wire.ts';

export type ConnectionState = 'head' | 'idle' | 'body' | 'busy' | 'blocked' | 'open' | 'closing' | 'closed';

/** How long a connection that we have ended waits for the peer's end, so that the last answer is not cut off by an RST. */
const LINGER_MS = 2_000;
/** A request that is being served longer than this was lost by us: every broker call has a shorter deadline of its own. */
const BUSY_LIMIT_MS = 60_000;
/** What a buffer in an outbox costs besides its bytes: a Buffer object and its places in arrays. */
const OUTBOX_ENTRY_BYTES = 128;

const CR = 0x0d;
const LF = 0x0a;

export class Connection implements Exchange, SessionHost, WireOwner, Timed, Subscriber {
  readonly gateway: Gateway;
  readonly wire: Wire;
  state: ConnectionState;
  /** Null unless open. */
  encoding: Encoding | null;
  /** Held channels; a string for the usual case of one. */
  channels: string | readonly string[] | null;
  request: PendingRequest | null;
  /** An open WebSocket's; null for all else. */
  session: WebSocketSession | null;
  timerPrevious: Timed | null;
  timerNext: Timed | null;
  timerTick: number;

  constructor(gateway: Gateway, wire: Wire) {
    this.gateway = gateway;
    this.wire = wire;
    this.state = 'head';
    this.encoding = null;
    this.channels = null;
    this.request = null;
    this.session = null;
    this.timerPrevious = null;
    this.timerNext = null;
    this.timerTick = 0;
  }

  /** Begins: the peer has until the head deadline to say what it wants. */
  start(): void {
    this.gateway.wheel.schedule(this, this.gateway.headDeadlineMs);
    this.wire.attach(this);
  }

  /** Begins and ends: there is no room, or no time, for this one. */
  turnAway(reason: Rejection, text: string): void {
    this.wire.attach(this);
    this.reject(503, text, reason);
  }

  // What handlers say: see Exchange.

  answer(options: AnswerOptions): void {
    const keepAlive = options.keepAlive && !this.gateway.draining;
    this.wire.write(answer(options.keepAlive === keepAlive ? options : { ...options, keepAlive }));
    if (!keepAlive) {
      this.finish('finished');
    } else if (this.wire.outboxBytes > DRAIN_MARK_BYTES) {
      // Whoever asks without reading the answers is not read either.
      this.state = 'blocked';
      this.wire.pause();
      this.gateway.wheel.schedule(this, this.gateway.stallMs);
    } else {
      this.state = 'idle';
      this.gateway.wheel.schedule(this, this.gateway.keepAliveMs);
    }
  }

  answerLast(whole: Buffer): void {
    this.wire.write(whole);
    this.finish('finished');
  }

  reject(status: number, text: string, rejection: Rejection, fields = '', headOnly = false): void {
    const { rejected } = this.gateway.counters;
    const index = rejectionIndex[rejection];
    rejected[index] = (rejected[index] as number) + 1;
    this.wire.write(faultAnswer(status, text, fields, headOnly));
    this.finish(rejection === 'malformed' ? 'malformed' : 'finished');
  }

  readBody(head: RequestHead, limitBytes: number, onBody: BodyHandler): void {
    const request = new PendingRequest();
    request.keepAlive = head.keepAlive;
    request.onBody = onBody;
    request.body = new BodyReader(head, limitBytes);
    this.request = request;
    this.state = 'body';
    if (request.body.faultStatus !== 0) {
      this.reject(request.body.faultStatus, request.body.faultText, 'malformed');
    } else if (request.body.done) {
      this.serve(request);
    } else {
      if (head.expectsContinue) this.wire.write(CONTINUE);
      this.gateway.wheel.schedule(this, this.gateway.headDeadlineMs);
    }
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
    this.wire.write(first);
    if (typeof channels === 'string') gateway.hub.subscribe(channels, this);
    else for (const channel of channels) gateway.hub.subscribe(channel, this);
    // At a random place in the second half of the interval: connections that arrive together must not beat together.
    gateway.wheel.schedule(this, gateway.heartbeatMs * (0.5 + Math.random() / 2));
  }

  /** Says goodbye: the transport's last frame, FIN once the outbox is out, closed when the peer has ended too. */
  finish(reason: CloseReason, last: Buffer | null = this.encoding?.ending ?? null): void {
    if (this.state === 'closing' || this.state === 'closed') return;
    this.countClosed(reason);
    if (last !== null) this.wire.write(last);
    this.leave();
    if (this.state === 'busy' || this.state === 'blocked') this.wire.resume();
    this.state = 'closing';
    this.wire.end();
    this.gateway.wheel.schedule(this, this.wire.outboxBytes > 0 ? this.gateway.stallMs : LINGER_MS);
  }

  /** Closes at once. */
  close(reason: CloseReason): void {
    if (this.state === 'closed') return;
    if (this.state !== 'closing') {
      this.countClosed(reason);
      this.leave();
    }
    this.state = 'closed';
    this.gateway.wheel.cancel(this);
    this.wire.destroy();
    this.gateway.onConnectionClosed();
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

  // What the wheel says.

  onTimer(): void {
    const { gateway } = this;
    switch (this.state) {
      case 'open':
        if (this.session?.takeHeard() === false) {
          this.close('unanswered');
          return;
        }
        if (this.encoding === null || !this.send(this.encoding.heartbeat)) return;
        gateway.wheel.schedule(this, gateway.heartbeatMs);
        return;
      case 'head':
      case 'body':
        if (this.request === null) {
          this.close('head-timeout');
        } else {
          this.wire.write(faultAnswer(408, 'the request did not arrive in time'));
          this.finish('head-timeout');
        }
        return;
      case 'idle':
        this.close('idle');
        return;
      case 'blocked':
        this.close('slow-consumer');
        return;
      case 'busy':
        this.close('error');
        return;
      case 'closing':
        this.close('finished');
        return;
      case 'closed':
    }
  }

  // What the wire says.

  onWireRead(buffer: Buffer, length: number): void {
    try {
      this.consume(buffer, 0, length);
    } catch (thrown) {
      // A fault of ours in serving one connection must not touch the others.
      this.gateway.log.error('serving a request failed', { error: errorText(thrown), stack: (thrown as Error)?.stack });
      this.close('error');
    }
  }

  onWireEnd(): void {
    // A peer that has ended may still read, and is owed the answers that are in our outbox; then the wheel closes.
    if (this.wire.outboxBytes > 0 && this.state !== 'open') this.finish('client-left');
    else this.close('client-left');
  }

  onWireDrained(): void {
    if (this.state === 'blocked') this.proceed();
  }

  onWireClosed(_error: string): void {
    this.close('client-left');
  }

  // Reading.

  private consume(buffer: Buffer, start: number, end: number): void {
    let at = start;
    while (at < end) {
      switch (this.state) {
        case 'idle':
          this.state = 'head';
          this.gateway.wheel.schedule(this, this.gateway.headDeadlineMs);
          break;
        case 'head':
          at = this.readHead(buffer, at, end);
          break;
        case 'body':
          at = this.readBodyBytes(buffer, at, end);
          break;
        case 'busy':
        case 'blocked':
          this.keep(buffer, at, end);
          return;
        case 'open':
          if (this.session !== null) this.session.read(this, buffer, at, end);
          else this.readWhileOpen(buffer, at, end);
          return;
        case 'closing':
        case 'closed':
          return;
      }
    }
  }

  /** Reads on in the head and, once it is whole, routes it. Returns up to where it took the bytes. */
  private readHead(buffer: Buffer, start: number, end: number): number {
    const { request, gateway } = this;
    let { parser } = gateway;
    let stop: number;
    if (request === null) {
      // The usual case: the whole head in one read, parsed where it lies by the parser that all connections share.
      parser.reset();
      stop = parser.parse(buffer, start, end);
      if (stop === INCOMPLETE) {
        this.request = new PendingRequest();
        this.request.parser = gateway.lendParser();
        this.request.append(buffer, start, end);
        this.countRequest();
        return end;
      }
    } else {
      request.append(buffer, start, end);
      parser = request.parser ?? parser;
      stop = parser.parse(request.bytes, 0, request.length);
      if (stop === INCOMPLETE) {
        this.countRequest();
        return end;
      }
      // What lies beyond the head came with the newest bytes.
      if (stop !== FAULT) stop = end - (request.length - stop);
      this.dropRequest();
    }
    if (stop === FAULT) {
      this.reject(parser.faultStatus, parser.faultText, 'malformed');
      return end;
    }
    route(this, parser.head);
    return stop;
  }

  private readBodyBytes(buffer: Buffer, start: number, end: number): number {
    const { request } = this;
    const body = request?.body;
    if (request === null || body === null || body === undefined) return end;
    const stop = body.push(buffer, start, end);
    if (stop === FAULT) {
      this.reject(body.faultStatus, body.faultText, 'malformed');
      return end;
    }
    if (body.done) this.serve(request);
    else this.countRequest();
    return stop;
  }

  private serve(request: PendingRequest): void {
    const { body, onBody } = request;
    if (body === null || onBody === null) return;
    this.state = 'busy';
    this.wire.pause();
    this.gateway.wheel.schedule(this, BUSY_LIMIT_MS);
    const bytes = body.body();
    // A call that waits holds what it has to say, not what it was told.
    request.body = null;
    request.onBody = null;
    this.countRequest();
    onBody(bytes).then(
      (options) => this.answerServed(request, options),
      (thrown: unknown) => {
        this.gateway.log.error('an API call failed', { error: errorText(thrown), stack: (thrown as Error)?.stack });
        this.close('error');
      },
    );
  }

  private answerServed(request: PendingRequest, options: ServedAnswer): void {
    // The peer may have left meanwhile.
    if (this.state !== 'busy') return;
    this.answer({ ...options, keepAlive: request.keepAlive });
    if ((this.state as ConnectionState) === 'idle') this.proceed();
  }

  /** Goes on with what came while the last request was being served. */
  private proceed(): void {
    const { request } = this;
    this.dropRequest();
    this.state = 'idle';
    this.gateway.wheel.schedule(this, this.gateway.keepAliveMs);
    if (request !== null && request.length > 0) this.onWireRead(request.bytes, request.length);
    const state = this.state as ConnectionState;
    // Held or closing too: a wire that is not read does not tell of the peer's end.
    if (state !== 'busy' && state !== 'blocked') this.wire.resume();
  }

  private keep(buffer: Buffer, start: number, end: number): void {
    this.request ??= new PendingRequest();
    this.request.append(buffer, start, end);
    this.countRequest();
  }

  /** Counts what the request holds by now; a worker whose requests hold too much turns this one away. */
  private countRequest(): void {
    const { request, gateway } = this;
    if (request === null) return;
    const { heldBytes } = request;
    const grown = heldBytes - request.countedBytes;
    gateway.pendingBytes += grown;
    request.countedBytes = heldBytes;
    if (grown > 0 && gateway.pendingBytes > PENDING_LIMIT_BYTES) {
      this.reject(503, 'too many unfinished requests at this worker; try again', 'capacity');
    }
  }

  private dropRequest(): void {
    if (this.request === null) return;
    this.gateway.pendingBytes -= this.request.countedBytes;
    this.request = null;
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

  /** Gives up channels and transport. */
  private leave(): void {
    const { gateway, channels, encoding } = this;
    this.dropRequest();
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

  private countClosed(reason: CloseReason): void {
    const { closed } = this.gateway.counters;
    const index = closeReasonIndex[reason];
    closed[index] = (closed[index] as number) + 1;
  }
}
