// The sticky front: with LONGWIRE_ACCEPT=sticky the primary accepts, reads each connection's first head, and has
// @socket.io/sticky give it to the worker that holds its session (`sid=`), or to the one that holds the fewest.
//
//   accepted ─▶ head ──whole──▶ given: the library sends the socket to a worker, which serves it from then on
//                │        └───▶ relayed: it has a body, which the library passes on chunk by chunk; one request, then the end
//                └─ too late, too many, no worker with room ─▶ leaving: told why, read no more, closed
//
// The library is fed and watched, for by itself it loses bytes. It looks for sid in the first chunk: it is shown whole heads.
// It goes on reading a socket that it has sent away: here that is stopped before (`holdReads`). It knows no deadline, no error
// and no limit: `#visits` has every socket until it is somebody else's. It counts what workers tell it: here it is told what
// each one holds, what is on its way included, and that one without room holds more than any number.
//
// Cost, measured: docs/adr/0014-sticky-reads-heads.md. Bounds: sockets, bytes of heads, bytes of bodies, a deadline each.

import type { Worker } from 'node:cluster';
import { EventEmitter } from 'node:events';
import { createServer, type Server, Socket } from 'node:net';
import sticky from '@socket.io/sticky';
import type { Config } from '../../config/config.ts';
import { Seldom } from '../broker/seldom.ts';
import type { CloseReason } from '../close-reason.ts';
import { LongwireError } from '../errors.ts';
import type { WorkerLoad } from '../ipc.ts';
import type { Log } from '../log.ts';
import { closeReasonIndex, rejectionIndex } from '../stats.ts';
import { FirstHead } from './first-head.ts';
import { startFault } from './start-fault.ts';
import type { FrontState, WorkerRow, WorkerTable } from './worker-table.ts';

/** Most sockets that the primary holds: what comes in a second or so. Each is a descriptor of the primary's. */
const SOCKET_LIMIT = 8_192;
/** Of heads that are not whole, all together. */
const HEADS_LIMIT_BYTES = 32 * 1024 * 1024;
/** Of bodies on their way to workers, all together: what a worker that hangs can make the primary keep. */
const BODIES_LIMIT_BYTES = 64 * 1024 * 1024;
/** Beyond its worker's own deadlines, the longest of which is a minute. */
const RELAY_DEADLINE_MS = 120_000;
/** How long one that was told why waits for its peer to read that. */
const LEAVING_MS = 2_000;
const SWEEP_MS = 250;
const BACKLOG = 65_535;
const RETRY_AFTER_SECONDS = 5;

const FULL = 'the gateway holds as many connections as it may; try again later';
const UNFINISHED = 'too many unfinished requests; try again';
const WORKER_DIED = 'the worker that served this request has died; whether it was done is not known';
const STOPPING = 'the gateway is shutting down; try again';

/** A socket while it is the primary's. */
interface Visit {
  state: FrontState;
  deadlineMs: number;
  head: FirstHead;
  /** What is counted for it: memory of its head, or its body's bytes. */
  bytes: number;
  target: Target | null;
}

/** A worker as the front sees it. */
interface Target {
  readonly row: WorkerRow;
  /** Sockets given to it so far. */
  given: number;
  /** What it has said of itself: how many of them it has taken, and what it holds. */
  load: WorkerLoad;
  /**
   * Handles of the last one that is out, and of those behind it. Node takes them from their sockets and closes each when the worker
   * has acknowledged it, and never where the worker dies before.
   */
  sent: Handle[];
}

/** What lies beneath a socket, which Node does not document. */
interface Handle {
  close(): void;
}

export interface FrontOptions {
  config: Config;
  /** Most connections of one worker, of those there are now. */
  connectionLimit(): number;
  /** RLIMIT_NOFILE of this process. */
  descriptorLimit: number;
  table: WorkerTable;
  log: Log;
}

type Send = (...args: unknown[]) => boolean;

/** Its types know it by its former name alone. */
const { setupPrimary } = sticky as unknown as { setupPrimary(server: EventEmitter): void };

export class StickyFront {
  readonly #config: Config;
  readonly #connectionLimit: () => number;
  readonly #limit: number;
  readonly #table: WorkerTable;
  readonly #seldom: Seldom;
  readonly #server: Server;
  /** What the library takes for a server: it listens for its connections and nothing else. */
  readonly #library = new EventEmitter();
  readonly #visits = new Map<Socket, Visit>();
  readonly #targets = new Map<WorkerRow, Target>();
  #headBytes = 0;
  #bodyBytes = 0;
  /** Whose worker the library is choosing. */
  #choosing: Visit | null = null;

  constructor({ config, connectionLimit, descriptorLimit, table, log }: FrontOptions) {
    this.#config = config;
    this.#connectionLimit = connectionLimit;
    this.#limit = Math.max(1, Math.min(SOCKET_LIMIT, Math.floor(descriptorLimit / 2)));
    this.#table = table;
    this.#seldom = new Seldom(log);
    // With a mark of one byte Node stops reading after each chunk, until it is asked for the next: see `holdReads`.
    const options = { allowHalfOpen: true, noDelay: true, highWaterMark: 1 };
    this.#server = createServer(options, (socket) => this.#accept(socket));
    setupPrimary(this.#library);
    setInterval(() => this.#sweep(), SWEEP_MS).unref();
  }

  /** @throws LongwireError `unavailable` where the port cannot be had: the text is for the operator. */
  async listen(): Promise<{ address: string; port: number }> {
    const { host, port } = this.#config;
    const server = this.#server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error: NodeJS.ErrnoException) => {
        const reason = startFault({ host, port }, error.code ?? null, error.message);
        reject(new LongwireError('unavailable', reason));
      });
      server.listen({ port, backlog: BACKLOG, ...(host === '' ? {} : { host }) }, resolve);
    });
    server.on('error', (error) => this.#seldom.say('error', 'accept', `accepting failed: ${error.message}`));
    const address = server.address();
    if (address === null || typeof address === 'string') throw new TypeError('the server has no TCP address');
    return { address: address.address, port: address.port };
  }

  /** Accepts no more; who is not given away yet is told so. */
  stop(): void {
    this.#server.close();
    for (const [socket, visit] of this.#visits) {
      if (visit.state === 'head') this.#turnAway(socket, visit, 'draining', STOPPING);
    }
  }

  // ---- workers

  /** A worker was forked: the library may choose it once it is ready. */
  join(worker: Worker, row: WorkerRow): void {
    const target: Target = { row, given: 0, load: { connections: 0, sessions: 0, taken: 0 }, sent: [] };
    this.#targets.set(row, target);
    // What the library compares, and would count by itself from what workers tell of sessions.
    Object.defineProperty(worker, 'clientsCount', { get: () => this.#loadOf(target), set: () => {} });
    // What the library has decided: whatever it sends goes by this.
    const send = worker.send.bind(worker) as Send;
    const watched: Send = (message, ...rest) => {
      const visit = this.#choosing;
      const { type } = message as { type?: string };
      if (visit !== null && type === 'sticky:connection') return this.#give(visit, target, send, message, rest);
      if (visit !== null && type === 'sticky:http-chunk-start') this.#send(visit, target, 'relayed', RELAY_DEADLINE_MS);
      return send(message, ...rest);
    };
    worker.send = watched as Worker['send'];
  }

  report(row: WorkerRow, load: WorkerLoad): void {
    const target = this.#targets.get(row);
    if (target !== undefined) target.load = load;
  }

  /** A worker's process is gone, and with it what it was given. */
  leave(row: WorkerRow): void {
    const target = this.#targets.get(row);
    this.#targets.delete(row);
    if (target === undefined) return;
    for (const [socket, visit] of this.#visits) {
      if (visit.target !== target) continue;
      if (visit.state === 'given') this.#close(socket, 'lost');
      else if (visit.state === 'relayed') this.#turnAway(socket, visit, 'draining', WORKER_DIED);
    }
    for (const handle of target.sent) handle.close();
  }

  #loadOf(target: Target): number {
    return this.#hasRoom(target) ? this.#heldBy(target) + target.load.sessions : Number.POSITIVE_INFINITY;
  }

  #hasRoom(target: Target): boolean {
    return target.row.state === 'ready' && target.row.room && this.#heldBy(target) < this.#connectionLimit();
  }

  /** Connections, those on their way included. */
  #heldBy({ given, load }: Target): number {
    return load.connections + given - load.taken;
  }

  // ---- sockets

  #accept(socket: Socket): void {
    socket.on('error', ignore);
    if (this.#visits.size >= this.#limit) {
      this.#count('finished', 'capacity');
      this.#seldom.say('warn', 'front', 'connections are closed: the primary holds as many as it may', {
        limit: this.#limit,
      });
      socket.destroy();
      return;
    }
    const visit: Visit = { state: 'head', deadlineMs: 0, head: new FirstHead(), bytes: 0, target: null };
    visit.deadlineMs = performance.now() + this.#config.headDeadlineSeconds * 1_000;
    this.#visits.set(socket, visit);
    this.#tally(visit, 1);
    socket.on('readable', () => this.#readHead(socket, visit));
    socket.on('end', () => {
      if (visit.state === 'head') this.#close(socket, 'client-left');
    });
    socket.on('close', () => {
      if (visit.state === 'head') this.#close(socket, 'client-left');
      this.#forget(socket);
    });
  }

  /** Takes in what has come, and has the library choose once the head is whole, or longer than any may be. */
  #readHead(socket: Socket, visit: Visit): void {
    if (visit.state !== 'head') return;
    const readOn = holdReads(socket);
    const chunk: Buffer | null = socket.read();
    if (chunk === null) {
      readOn();
      return;
    }
    const { head } = visit;
    const whole = head.push(chunk);
    this.#headBytes += head.heldBytes - visit.bytes;
    visit.bytes = head.heldBytes;
    if (whole || head.length > this.#config.headLimitBytes) this.#choose(socket, visit, head.take(), readOn);
    else if (this.#headBytes > HEADS_LIMIT_BYTES) this.#turnAway(socket, visit, 'capacity', UNFINISHED);
    else readOn();
  }

  #choose(socket: Socket, visit: Visit, first: Buffer, readOn: () => void): void {
    if (![...this.#targets.values()].some((target) => this.#hasRoom(target))) {
      this.#turnAway(socket, visit, 'capacity', FULL);
      return;
    }
    this.#choosing = visit;
    this.#library.emit('connection', socket);
    socket.emit('data', first);
    this.#choosing = null;
    if (visit.state !== ('relayed' as FrontState)) return;
    // The library passes on what comes from now on; this counts it.
    this.#countBody(socket, visit, first.length);
    socket.on('data', (chunk: Buffer) => this.#countBody(socket, visit, chunk.length));
    socket.once('finish', () => this.#leaveAlone(socket, visit));
    socket.removeAllListeners('readable');
    readOn();
  }

  /** The library sends a socket away: nobody reads it here any more, and it is not ours once it is out. */
  #give(visit: Visit, target: Target, send: Send, message: unknown, [socket, told]: unknown[]): boolean {
    this.#send(visit, target, 'given', this.#config.headDeadlineSeconds * 1_000);
    const { _handle: handle } = socket as { _handle: Handle | null };
    if (handle !== null) target.sent.push(handle);
    return send(message, socket, (error: Error | null) => {
      (told as (error: Error | null) => void)(error);
      if (error !== null) {
        this.#close(socket as Socket, 'lost');
        return;
      }
      // One is out at a time: those before it are acknowledged, unless they wait for a worker that has died.
      if (handle !== null) target.sent.splice(0, target.sent.indexOf(handle));
      this.#forget(socket as Socket);
    });
  }

  #send(visit: Visit, target: Target, state: FrontState, forMs: number): void {
    this.#move(visit, state, forMs);
    visit.target = target;
    target.given++;
  }

  #countBody(socket: Socket, visit: Visit, length: number): void {
    if (visit.state !== 'relayed') return;
    visit.bytes += length;
    this.#bodyBytes += length;
    // Its worker says what is too much; this is for what comes nevertheless, and for workers that do not answer.
    const { bodyLimitBytes, headLimitBytes } = this.#config;
    if (visit.bytes > 2 * (bodyLimitBytes + headLimitBytes) || this.#bodyBytes > BODIES_LIMIT_BYTES) {
      this.#turnAway(socket, visit, 'capacity', UNFINISHED);
    }
  }

  #turnAway(socket: Socket, visit: Visit, rejection: 'capacity' | 'draining', text: string): void {
    // One that is relayed was counted by its worker, which may have begun to answer it.
    if (visit.state === 'head') this.#count('finished', rejection);
    const untold = socket.bytesWritten === 0;
    this.#leaveAlone(socket, visit);
    if (untold) socket.end(unavailable(text));
    else socket.end();
  }

  /** Reads into nothing what it still sends, until it has read what it was told. */
  #leaveAlone(socket: Socket, visit: Visit): void {
    if (visit.state === 'leaving') return;
    this.#move(visit, 'leaving', LEAVING_MS);
    socket.removeAllListeners('data');
    socket.removeAllListeners('readable');
    readAgain(socket);
    socket.resume();
  }

  #close(socket: Socket, reason: CloseReason): void {
    if (!this.#visits.has(socket)) return;
    this.#count(reason, null);
    this.#forget(socket);
    socket.destroy();
  }

  #forget(socket: Socket): void {
    const visit = this.#visits.get(socket);
    if (visit === undefined) return;
    this.#visits.delete(socket);
    this.#release(visit);
    this.#tally(visit, -1);
  }

  #move(visit: Visit, state: FrontState, forMs: number): void {
    this.#release(visit);
    this.#tally(visit, -1);
    visit.state = state;
    visit.deadlineMs = performance.now() + forMs;
    this.#tally(visit, 1);
  }

  #release(visit: Visit): void {
    if (visit.state === 'head') this.#headBytes -= visit.bytes;
    else this.#bodyBytes -= visit.bytes;
    visit.bytes = 0;
    visit.head.take();
  }

  #sweep(): void {
    const nowMs = performance.now();
    for (const [socket, visit] of this.#visits) {
      if (visit.deadlineMs > nowMs) continue;
      if (visit.state === 'head') this.#close(socket, 'head-timeout');
      else if (visit.state === 'given') this.#close(socket, 'lost');
      else socket.destroy();
    }
  }

  // ---- numbers

  /** One that no worker counts. */
  #count(reason: CloseReason, rejection: 'capacity' | 'draining' | null): void {
    const { accepted, closed, rejected } = this.#table.front.counters;
    this.#table.front.counters.accepted = accepted + 1;
    closed[closeReasonIndex[reason]] = (closed[closeReasonIndex[reason]] as number) + 1;
    if (rejection === null) return;
    rejected[rejectionIndex[rejection]] = (rejected[rejectionIndex[rejection]] as number) + 1;
  }

  #tally({ state }: Visit, by: 1 | -1): void {
    this.#table.front.sockets[state] += by;
  }
}

/**
 * Keeps a socket from asking for more: Node stops reading once a chunk has come, and starts again when the stream is read.
 * Bytes that came after the head would otherwise be read here and lost, for a worker reads the same socket.
 *
 * @returns what lets it, and asks if it would have asked.
 */
function holdReads(socket: Socket): () => void {
  let asked = false;
  socket._read = () => {
    asked = true;
  };
  return () => {
    socket._read = Socket.prototype._read;
    if (asked) socket._read(1);
  };
}

function readAgain(socket: Socket): void {
  socket._read = Socket.prototype._read;
  if (!socket.destroyed && !socket.readableEnded) socket._read(1);
}

function unavailable(text: string): string {
  return (
    `HTTP/1.1 503 Service Unavailable\r\nDate: ${new Date().toUTCString()}\r\nContent-Type: text/plain; charset=utf-8\r\n` +
    `Content-Length: ${text.length + 1}\r\nRetry-After: ${RETRY_AFTER_SECONDS}\r\nConnection: close\r\n\r\n${text}\n`
  );
}

function ignore(): void {}
