// The asking half of a connection: requests are read, routed and served, one after the other. `ConnectionLife`
// (connection-life.ts) has how it begins and ends, `Connection` (connection.ts) adds the other half, the holding of a stream.
//
// Bytes are consumed in one loop (`consume`) that `state` drives; whoever changes `state` decides what the next byte means.
// `request` exists only while a head or body is incomplete or being served, and all it holds is counted in `pendingBytes`.

import { errorText } from '../src/errors.ts';
import { ConnectionLife, type ConnectionState } from './connection-life.ts';
import type { Encoding, PollEncoding } from './encoding.ts';
import type { BodyHandler, Exchange, Opening, ServedAnswer } from './exchange.ts';
import { CONTINUE } from './http/answers.ts';
import { BodyReader } from './http/body-reader.ts';
import { FAULT, INCOMPLETE } from './http/head-parser.ts';
import type { RequestHead } from './http/request-head.ts';
import type { HandedOver } from './moving/movable.ts';
import { PENDING_LIMIT_BYTES, PendingRequest } from './pending-request.ts';
import type { FirstPoll } from './poll/parts.ts';
import type { PollSession } from './poll/session.ts';
import { readProxyHeader } from './proxy-protocol.ts';
import { route } from './router.ts';

/** Where a connection is not read; nor is one that waits with the next request kept. */
const UNREAD: readonly ConnectionState[] = ['busy', 'blocked', 'moving', 'postponed'];
/** A request that is being served longer than this was lost by us: every broker call has a shorter deadline of its own. */
const BUSY_LIMIT_MS = 60_000;

export abstract class RequestConnection extends ConnectionLife implements Exchange {
  abstract open(encoding: Encoding, channels: string | readonly string[], first: Buffer, more: Opening): void;

  abstract wait(
    encoding: PollEncoding,
    channels: string | readonly string[],
    holder: PollSession | FirstPoll,
    waitMs: number,
  ): void;

  /** Bytes came on a held stream. */
  protected abstract readHeld(buffer: Buffer, start: number, end: number): void;

  handOver(slot: number, head: RequestHead): HandedOver {
    return this.gateway.handOver(this, slot, head.received());
  }

  readAgain(request: Buffer): void {
    this.state = 'head';
    this.gateway.wheel.schedule(this, this.gateway.headDeadlineMs);
    this.wire.resume();
    this.read(request, request.length);
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

  // What the wire says.

  onWireRead(buffer: Buffer, length: number): void {
    const isNew = this.state === 'idle' || (this.state === 'head' && this.request === null);
    if (!isNew || this.wire.relayed || !this.gateway.turns.postponeRequest(this, buffer, length)) {
      this.read(buffer, length);
      return;
    }
    this.state = 'postponed';
    this.wire.pause();
  }

  onRequestTurn(bytes: Buffer): void {
    // It may have been closed meanwhile.
    if (this.state !== 'postponed') return;
    this.state = 'idle';
    this.read(bytes, bytes.length);
    this.readOn();
  }

  private read(buffer: Buffer, length: number): void {
    try {
      this.consume(buffer, 0, length);
    } catch (thrown) {
      // A fault of ours in serving one connection must not touch the others.
      this.gateway.log.error('serving a request failed', { error: errorText(thrown), stack: (thrown as Error)?.stack });
      this.close('error');
    }
  }

  onWireDrained(): void {
    if (this.state === 'blocked') this.proceed();
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
        case 'preface':
          at = this.readPreface(buffer, at, end);
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
        case 'waiting':
          // The next request came early. It is read when this one is answered; until then the peer's end is not noticed.
          this.wire.pause();
          this.keep(buffer, at, end);
          return;
        case 'open':
          this.readHeld(buffer, at, end);
          return;
        case 'moving':
        case 'closing':
        case 'closed':
          return;
      }
    }
  }

  /** Reads on in the PROXY header; what follows it is TLS where that is on. Returns up to where it took the bytes. */
  private readPreface(buffer: Buffer, start: number, end: number): number {
    const { request, gateway, wire } = this;
    const { clients } = gateway;
    if (clients === null) return end;
    request?.append(buffer, start, end);
    const header =
      request === null ? readProxyHeader(buffer, start, end) : readProxyHeader(request.bytes, 0, request.length);
    if (header === null) {
      if (request === null) this.keep(buffer, start, end);
      else this.countRequest();
      return end;
    }
    if (typeof header === 'string') {
      this.refuse(clients.misintroduced(this, header));
      return end;
    }
    // What lies beyond the header came with the newest bytes.
    const past = request === null ? header.past : end - (request.length - header.past);
    this.dropRequest();
    this.state = 'head';
    const secured = wire.secure(buffer.subarray(past, end));
    const refusal = clients.introduce(this, header.client);
    if (refusal !== null) this.refuse(refusal);
    return secured ? end : past;
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
    if (this.wire.relayed && !this.fitsRelay(parser.head)) return end;
    const refusal = gateway.clients?.ask(this, parser.head) ?? null;
    if (refusal === null) route(this, parser.head);
    else this.refuse(refusal, parser.head.method === 'HEAD');
    return stop;
  }

  /** What passes through the primary is one request with a body: nothing is held there, and nothing kept for the next. */
  private fitsRelay(head: RequestHead): boolean {
    head.keepAlive = false;
    // A handshake with a length of zero is none with a body: a WebSocket would have an outbox that nobody can count.
    if (head.bodyKind !== 'none' && !(head.upgrade && head.method === 'GET')) return true;
    const text = 'a field of this request speaks of a body, or is named as if it did, and it can have none';
    this.reject(400, text, 'malformed', '', head.method === 'HEAD');
    return false;
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
  protected proceed(): void {
    const { request } = this;
    this.dropRequest();
    this.rest();
    if (request !== null && request.length > 0) this.read(request.bytes, request.length);
    this.readOn();
  }

  /** Held or closing too: a wire that is not read does not tell of the peer's end. */
  private readOn(): void {
    if (!UNREAD.includes(this.state) && !(this.state === 'waiting' && this.request !== null)) this.wire.resume();
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
}
