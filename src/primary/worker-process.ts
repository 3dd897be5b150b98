// One worker's process, from fork to the close of its channel: node:cluster's events as three calls to one owner.
//
// The order of the ends: a process exits, and what it had sent may still lie in the channel; messages can therefore come
// after `onExit`, and `onSettled` says that none can any more. Both are called exactly once, also for a fork that failed.
// Sending to a worker that is gone is no error: it would have died a moment later just as well.

import type { SendHandle } from 'node:child_process';
import cluster, { type Worker } from 'node:cluster';
import type { Config } from '../../config/config.ts';
import type { FrameKind } from '../broker/relay-frames.ts';
import { RELAY_LINK_FD, type RelayLink, STDIO_WITH_LINK } from '../broker/relay-link.ts';
import { DESCRIPTOR_LINK_FD, DescriptorLink, unpackCargo } from '../descriptor-link.ts';
import { errorText } from '../errors.ts';
import type { Cargo, Descriptor, ToPrimary, ToWorker } from '../ipc.ts';
import type { LinkPair } from './link-pairs.ts';
import type { StickyFront } from './sticky-front.ts';
import { linkToWorker } from './worker-link.ts';
import type { WorkerRow, WorkerTable } from './worker-table.ts';

/** How a process ended: an exit code or a signal, or the text of why it could not be started. */
export interface Ending {
  code: number | null;
  signal: NodeJS.Signals | null;
  error: string | null;
}

export interface WorkerProcessOwner {
  /** `descriptor` is the connection's that came along; whoever takes the message closes it. */
  onMessage(worker: WorkerProcess, message: ToPrimary, descriptor: Descriptor | null): void;
  /** From the embedded broker's link; `body` is for the time of the call. */
  onFrame(worker: WorkerProcess, kind: FrameKind, call: number, body: Buffer): void;
  /** A connection for the worker in `slot`, from the descriptor link; `cargo` is packed, and for the time of the call. */
  onDescriptor(worker: WorkerProcess, slot: number, number: number, cargo: Buffer, descriptor: Descriptor | null): void;
  /** What came by it is no frame. It is closed, and descriptors go by the channel from now on. */
  onDescriptorFault(worker: WorkerProcess, fault: string): void;
  /** What came by the link is no frame. The link is closed, and the worker leaves because of it. */
  onLinkFault(worker: WorkerProcess, fault: string): void;
  onExit(worker: WorkerProcess, ending: Ending): void;
  onSettled(worker: WorkerProcess): void;
}

export class WorkerProcess {
  readonly row: WorkerRow;
  /** Of the embedded broker; null on another one, or where nothing was forked. */
  readonly link: RelayLink | null;
  /** Null where there is none, and descriptors go by the channel. */
  readonly descriptors: DescriptorLink | null;
  readonly #owner: WorkerProcessOwner;
  readonly #worker: Worker | null;
  #exited = false;
  /** node:cluster's channel, and the descriptor link. */
  #closed = false;
  #linkClosed: boolean;

  /** Forks for slot `id`, into it or beside the worker in it. Never throws: a fork that fails is an `onExit` to come. */
  constructor(
    table: WorkerTable,
    id: number,
    owner: WorkerProcessOwner,
    place: 'slot' | 'beside' = 'slot',
    pair: LinkPair | null = null,
  ) {
    this.#owner = owner;
    let worker: Worker | null = null;
    try {
      worker = fork(pair);
    } catch (error) {
      setImmediate(() => this.#notStarted(errorText(error)));
    }
    this.#worker = worker;
    const pid = worker?.process.pid ?? null;
    this.row = place === 'slot' ? table.begin(id, pid) : table.beginBeside(id, pid);
    this.link = worker === null ? null : this.#linkTo(worker);
    this.descriptors = pair === null ? null : this.#descriptorsBy(pair);
    this.#linkClosed = pair === null;
    worker?.on('message', (message: ToPrimary, descriptor: unknown) =>
      this.#owner.onMessage(this, message, (descriptor ?? null) as Descriptor | null),
    );
    worker?.process.once('exit', (code: number | null, signal: NodeJS.Signals | null) => {
      this.#exit({ code, signal, error: null });
    });
    worker?.process.once('disconnect', () => this.#close());
    // Node does not say 'disconnect' where the process ends while a descriptor that it was sent is not acknowledged. This comes
    // when it has ended and its channel has been read to the end.
    worker?.process.once('close', () => this.#close());
    worker?.on('error', (error: unknown) => {
      if (worker.process.pid === undefined) this.#notStarted(errorText(error));
    });
  }

  get id(): number {
    return this.row.id;
  }

  send(message: ToWorker): void {
    if (this.#worker?.isConnected() === true) this.#worker.send(message, undefined, ignoreError);
  }

  /** Has it take a connection. False when it is gone and nothing was sent. Our copy of the descriptor is ours to close. */
  give(number: number, cargo: Cargo | Buffer, descriptor: Descriptor): boolean {
    const packed = Buffer.isBuffer(cargo);
    if (packed && this.descriptors?.send(0, number, cargo, descriptor) === true) return true;
    // A copy: it may wait for the descriptors before it, and what it lies in is read into again.
    const unpacked = packed ? unpackCargo(Buffer.from(cargo)) : cargo;
    return this.sendDescriptor({ type: 'take', number, cargo: unpacked }, descriptor);
  }

  /** Sends a descriptor along by the channel; false when that is gone and nothing was sent. Ours is ours to close. */
  sendDescriptor(message: ToWorker, descriptor: Descriptor): boolean {
    if (this.#worker?.isConnected() !== true) return false;
    // The types name the objects that Node makes of descriptors; it takes the handle beneath them as well.
    this.#worker.send(message, descriptor as unknown as SendHandle, undefined, ignoreError);
    return true;
  }

  /** Has the sticky front give connections to it once it is ready. */
  joinFront(front: Pick<StickyFront, 'join'>): void {
    if (this.#worker !== null) front.join(this.#worker, this.row);
  }

  kill(): void {
    this.#worker?.process.kill('SIGKILL');
  }

  #linkTo(worker: Worker): RelayLink | null {
    return linkToWorker(
      worker.process,
      (kind, call, body) => this.#owner.onFrame(this, kind, call, body),
      (fault) => {
        if (fault !== null) this.#owner.onLinkFault(this, fault);
      },
    );
  }

  #descriptorsBy({ ours }: LinkPair): DescriptorLink {
    return new DescriptorLink(
      ours,
      (slot, number, cargo, descriptor) => this.#owner.onDescriptor(this, slot, number, cargo, descriptor),
      (fault) => {
        if (fault !== null) this.#owner.onDescriptorFault(this, fault);
        this.#linkClosed = true;
        this.#settle();
      },
    );
  }

  #notStarted(error: string): void {
    this.#exit({ code: null, signal: null, error });
    this.#close();
  }

  #exit(ending: Ending): void {
    if (this.#exited) return;
    this.#exited = true;
    this.link?.destroy();
    this.#owner.onExit(this, ending);
    this.#settle();
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#settle();
  }

  #settle(): void {
    if (this.#exited && this.#closed && this.#linkClosed) this.#owner.onSettled(this);
  }
}

/** The worker has its end of the pair then, and nobody else. */
function fork(pair: LinkPair | null): Worker {
  const stdio = [...(cluster.settings.stdio ?? [])].slice(0, DESCRIPTOR_LINK_FD);
  while (pair !== null && stdio.length < DESCRIPTOR_LINK_FD) stdio.push('ignore');
  if (pair !== null) stdio.push(pair.theirs);
  cluster.setupPrimary({ stdio });
  try {
    return cluster.fork();
  } finally {
    pair?.theirs.destroy();
  }
}

/** Given to `send`, so that a failure is handed over instead of being emitted as an 'error' event. */
function ignoreError(): void {}

export function endingText({ code, signal, error }: Ending): string {
  return error ?? (signal === null ? `exit code ${code}` : `signal ${signal}`);
}

/** A link for each worker where the embedded broker needs one. */
export function workerStdio({ redisUrl }: Config): ('inherit' | 'ipc' | 'pipe')[] {
  return redisUrl === '' ? [...STDIO_WITH_LINK] : STDIO_WITH_LINK.slice(0, RELAY_LINK_FD);
}
