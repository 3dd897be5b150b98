// One client process of the load generator: holds up to some 18,000 connections of one transport and books what arrives on them.
//
// Started by crowd.ts with an IPC channel; ends when that channel does. Bare TCP handles, one read buffer for all, source
// ports given out in sequence from one source address (the kernel's own search for a free port slows down as they fill),
// and a fixed number of connects in flight. A connect counts from `connect()` to the end of the answer's head.

import { nowMs } from '../clock.ts';
import { encodePong } from './frames.ts';
import { Ledger, type Round } from './ledger.ts';
import type { ConnectOrder, FromClient, RoundReport, Tally, ToClient } from './orders.ts';
import { channelName } from './orders.ts';
import { nextNumber, readNumber } from './payload.ts';
import { PollScanner, type PollSink } from './poll-scanner.ts';
import { ResponseScanner } from './scanner.ts';
import { SecureHandle } from './secure.ts';
import {
  type ClientHandle,
  EADDRINUSE,
  EADDRNOTAVAIL,
  EOF,
  lastRead,
  newConnectRequest,
  newHandle,
  writeText,
} from './tcp.ts';
import { type Opening, openingsOf } from './transports.ts';

const READ_BUFFER_BYTES = 64 * 1024;
const FIRST_PORT = 2_048;
const LAST_PORT = 65_000;
const SAMPLE_LIMIT = 8;
/** Between two reports: 24 MB. */
const LATENCIES_LIMIT = 3_000_000;

class Subscriber {
  readonly index: number;
  readonly handle: ClientHandle;
  readonly opening: Opening;
  readonly scanner: ResponseScanner<Subscriber> | PollScanner<Subscriber>;
  state: 'connecting' | 'head' | 'open' | 'closed';

  constructor(index: number, handle: ClientHandle, opening: Opening, sink: PollSink<Subscriber>) {
    this.index = index;
    this.handle = handle;
    this.opening = opening;
    this.scanner =
      opening.again === null
        ? new ResponseScanner<Subscriber>(this, sink, opening.expected)
        : new PollScanner<Subscriber>(this, sink);
    this.state = 'connecting';
  }
}

interface OwnedHandle extends ClientHandle {
  subscriber: Subscriber;
}

class Client implements PollSink<Subscriber> {
  private readonly order: ConnectOrder;
  private readonly subscribers: Subscriber[] = [];
  private readonly ledger: Ledger;
  private readonly readBuffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES);
  private readonly onread: () => void;
  private readonly openings: readonly Opening[];
  private port = FIRST_PORT;
  private inFlight = 0;
  private begun = 0;
  private open = 0;
  private beganAtMs = 0;
  private refused = 0;
  private closed = 0;
  private faulty = 0;
  private readonly samples: string[] = [];
  /** Outside rounds, since the last report. */
  private latencies: number[] = [];

  constructor(order: ConnectOrder) {
    this.order = order;
    this.ledger = new Ledger(order.connections);
    this.openings = openingsOf(order.transport, order.port);
    const client = this;
    this.onread = function onread(this: ClientHandle): void {
      client.read((this as OwnedHandle).subscriber, lastRead(this));
    };
  }

  connect(): void {
    this.beganAtMs = nowMs();
    this.fill();
  }

  report(): { tally: Tally; unfinished: RoundReport[]; latencies: Float64Array } {
    const latencies = Float64Array.from(this.latencies);
    this.latencies = [];
    const tally: Tally = {
      open: this.open,
      refused: this.refused,
      closed: this.closed,
      faulty: this.faulty,
      received: this.ledger.received,
      doubled: this.ledger.doubled,
      overtaken: this.ledger.overtaken,
      samples: this.samples,
    };
    return { tally, unfinished: [...this.ledger.rounds.values()].map(roundReport), latencies };
  }

  release(): void {
    for (const subscriber of this.subscribers) {
      if (subscriber.state === 'closed') continue;
      subscriber.state = 'closed';
      subscriber.handle.reset();
    }
  }

  private fill(): void {
    while (this.inFlight < this.order.inFlight && this.begun < this.order.connections) {
      if (this.begin(this.begun++)) this.inFlight++;
    }
    if (this.inFlight > 0) return;
    send({ type: 'connected', open: this.open, beganAtMs: this.beganAtMs, endedAtMs: nowMs() });
  }

  /** False when it failed at once; then it has been counted. */
  private begin(index: number): boolean {
    const handle = (this.order.secure ? new SecureHandle() : newHandle()) as OwnedHandle;
    const opening = this.openings[index % this.openings.length] as Opening;
    const subscriber = new Subscriber(index, handle, opening, this);
    handle.subscriber = subscriber;
    this.subscribers.push(subscriber);
    let error = this.bind(handle);
    if (error === 0) {
      const request = newConnectRequest((status) => this.onConnect(subscriber, status));
      error = handle.connect(request, '127.0.0.1', this.order.port);
    }
    if (error !== 0) this.refuse(subscriber, `bind or connect: error ${error}`);
    return error === 0;
  }

  /** Takes the next source port that nobody listens on. */
  private bind(handle: ClientHandle): number {
    while (this.port <= LAST_PORT) {
      const error = handle.bind(this.order.sourceAddress, this.port++, 0);
      if (error !== EADDRINUSE) return error;
    }
    return EADDRNOTAVAIL;
  }

  private onConnect(subscriber: Subscriber, status: number): void {
    if (subscriber.state !== 'connecting') return;
    if (status !== 0) {
      this.fail(subscriber, `connect: error ${status}`);
      return;
    }
    subscriber.state = 'head';
    const { handle, opening } = subscriber;
    handle.onread = this.onread;
    handle.useUserBuffer(this.readBuffer);
    handle.readStart();
    const error = writeText(handle, opening.before + this.channelOf(subscriber) + opening.after);
    if (error !== 0) this.fail(subscriber, `write: error ${error}`);
  }

  private channelOf({ index }: Subscriber): string {
    const { prefix, first, shared } = this.order.channels;
    return shared ? prefix : channelName(prefix, first + index);
  }

  private read(subscriber: Subscriber, length: number): void {
    if (subscriber.state === 'closed') return;
    if (length > 0) {
      subscriber.scanner.feed(this.readBuffer, length);
    } else if (length < 0) {
      const what = length === EOF ? 'the server closed' : `read: error ${length}`;
      if (subscriber.state === 'head') this.fail(subscriber, what);
      else this.lose(subscriber, what);
    }
  }

  onHead(subscriber: Subscriber, status: number): void {
    if (status === subscriber.opening.expected.status) {
      subscriber.state = 'open';
      this.open++;
      this.settle();
    } else {
      this.fail(subscriber, `answered with ${status}`);
    }
  }

  onPayload(subscriber: Subscriber, bytes: Buffer, start: number, end: number): void {
    const atMs = nowMs();
    const sequence = readNumber(bytes, start, end);
    const publishedAt = readNumber(bytes, nextNumber(bytes, start, end), end);
    if (sequence <= 0 || publishedAt < 0) {
      this.faulty++;
      this.sample(`what was not published: ${bytes.toString('latin1', start, Math.min(end, start + 60))}`);
      return;
    }
    if (!this.order.rounds) {
      this.ledger.bookAlone(subscriber.index, sequence);
      if (this.latencies.length < LATENCIES_LIMIT) this.latencies.push(atMs - publishedAt / 1000);
      return;
    }
    const round = this.ledger.book(subscriber.index, sequence, publishedAt / 1000, atMs);
    if (round !== null) this.finish(round);
  }

  onPing(subscriber: Subscriber, bytes: Buffer, start: number, end: number): void {
    const error = writeText(subscriber.handle, encodePong(bytes, start, end));
    if (error !== 0) this.lose(subscriber, `pong: error ${error}`);
  }

  onAnswered(subscriber: Subscriber, tag: string): void {
    const { again } = subscriber.opening;
    if (again === null || subscriber.state !== 'open') return;
    const next = again.before + this.channelOf(subscriber) + again.between + tag + again.after;
    const error = writeText(subscriber.handle, next);
    if (error !== 0) this.lose(subscriber, `poll: error ${error}`);
  }

  onClose(subscriber: Subscriber, code: number): void {
    this.lose(subscriber, `the server closed with ${code}`);
  }

  onFault(subscriber: Subscriber, text: string): void {
    if (subscriber.state === 'closed') return;
    this.faulty++;
    if (subscriber.state === 'open') this.end(subscriber, text);
    else this.fail(subscriber, text);
  }

  /** Sends a round off once every open connection has it. */
  private finish(round: Round): void {
    if (round.count < this.open || this.inFlight > 0) return;
    this.ledger.rounds.delete(round.sequence);
    send({ type: 'round', round: roundReport(round) });
  }

  private refuse(subscriber: Subscriber, what: string): void {
    this.refused++;
    this.sample(what);
    subscriber.state = 'closed';
    subscriber.handle.reset();
  }

  /** Refused after it had begun: the next one may begin. */
  private fail(subscriber: Subscriber, what: string): void {
    this.refuse(subscriber, what);
    this.settle();
  }

  private lose(subscriber: Subscriber, what: string): void {
    if (subscriber.state === 'closed') return;
    this.closed++;
    this.end(subscriber, what);
  }

  private end(subscriber: Subscriber, what: string): void {
    this.open--;
    this.sample(what);
    subscriber.state = 'closed';
    subscriber.handle.reset();
    for (const round of this.ledger.rounds.values()) this.finish(round);
  }

  /** A connect is over, this way or that. */
  private settle(): void {
    this.inFlight--;
    this.fill();
  }

  private sample(text: string): void {
    if (this.samples.length < SAMPLE_LIMIT && !this.samples.includes(text)) this.samples.push(text);
  }
}

function roundReport(round: Round): RoundReport {
  return { ...round, latencies: round.latencies.slice(0, round.count) };
}

function send(message: FromClient): void {
  process.send?.(message);
}

let client: Client | null = null;

process.on('message', (message: ToClient) => {
  switch (message.type) {
    case 'connect':
      client = new Client(message);
      client.connect();
      break;
    case 'report':
      if (client !== null) send({ type: 'report', ...client.report() });
      break;
    case 'release':
      client?.release();
      client = null;
      // The handles are closed in the loop's next turn: only then is it said.
      setImmediate(() => send({ type: 'released' }));
      break;
  }
});
process.on('disconnect', () => process.exit(0));
send({ type: 'ready' });
