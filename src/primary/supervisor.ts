// The supervisor: forks the workers, watches them, replaces those that die, and stops them.
//
// A worker's life as the primary sees it: fork → its `hello` → our `assign` → its `ready` or `failed` → exit. Until the first
// worker of all is ready nothing is retried that an operator must put right: `start` rejects. From then on a dead
// worker is always replaced (see backoff.ts), whatever it died of, until `stop`.
//
// Invariant of accepting: while some ready worker has room nobody is refused, and when none has, exactly one has been
// told that it is the last, so that it goes on listening and clients hear 503 instead of nothing. While a replacement
// starts, clients wait for its room in the kernel's queue instead, unless there already is a last one.
// Every wait is bounded: 30 s to become ready, the drain's seconds + 5 s to exit, then SIGKILL.

import cluster from 'node:cluster';
import type { Config } from '../../config/config.ts';
import type { FrameKind } from '../broker/relay-frames.ts';
import { RELAY_LINK_FD, STDIO_WITH_LINK } from '../broker/relay-link.ts';
import { LongwireError } from '../errors.ts';
import type { Descriptor, TlsIdentity, ToPrimary } from '../ipc.ts';
import type { Log } from '../log.ts';
import { Backoff } from './backoff.ts';
import { HandOvers } from './hand-overs.ts';
import type { Relay } from './relay.ts';
import { startFault } from './start-fault.ts';
import { type Ending, WorkerProcess, type WorkerProcessOwner } from './worker-process.ts';
import type { WorkerAddress, WorkerTable } from './worker-table.ts';

export interface SupervisorOptions {
  /** Path of the compiled workers/main.js. */
  exec: string;
  /** Node flags of the workers. */
  execArgv: string[];
  config: Config;
  /** Most connections of one worker. */
  connectionLimit: number;
  /** What workers serve TLS with; null, or none, for no TLS. */
  tls?: TlsIdentity | null;
  table: WorkerTable;
  /** The embedded broker's middle: each worker joins it right before its assignment is sent. */
  relay: Pick<Relay, 'join' | 'leave' | 'receive'>;
  log: Log;
  /** For tests; the defaults are those of production. */
  readyDeadlineMs?: number;
  killGraceMs?: number;
}

type SupervisorState = 'idle' | 'starting' | 'running' | 'stopping' | 'stopped';

/** How long a worker may take from fork to `ready`. It loads in a quarter of a second; Redis may need a DNS timeout. */
const READY_DEADLINE_MS = 30_000;
/** How long a draining worker has beyond its drain, to close its broker and leave. */
const KILL_GRACE_MS = 5_000;
/** The kernel reaps a killed process in milliseconds; this bounds the wait should it not. */
const REAP_DEADLINE_MS = 2_000;
/** Deaths in a row in one slot, before any worker was ready, after which the start has failed. */
const START_DEATHS = 5;

interface Slot {
  readonly id: number;
  readonly backoff: Backoff;
  /** The process in it; null between a death and the replacement. */
  worker: WorkerProcess | null;
  /** The deadline for becoming ready, or the wait before the replacement. */
  timer: NodeJS.Timeout | null;
  /** Its first worker has become ready or died. */
  tried: boolean;
  /** It has said hello and waits for the port that the first worker will find. */
  held: boolean;
  /** The port that its worker was told to listen on; null before its assignment. */
  port: number | null;
}

export class Supervisor implements WorkerProcessOwner {
  readonly #options: SupervisorOptions;
  readonly #slots: Slot[];
  readonly #readyDeadlineMs: number;
  readonly #killGraceMs: number;
  readonly #handOvers = new HandOvers();
  #state: SupervisorState = 'idle';
  #tls: TlsIdentity | null;
  /** Where the gateway listens: what the last worker that became ready said. */
  #found: WorkerAddress | null = null;
  #startOutcome: { resolve: (found: WorkerAddress) => void; reject: (error: LongwireError) => void } | null = null;
  #stopOutcome: Promise<number> | null = null;
  #onAllGone: (() => void) | null = null;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#tls = options.tls ?? null;
    this.#readyDeadlineMs = options.readyDeadlineMs ?? READY_DEADLINE_MS;
    this.#killGraceMs = options.killGraceMs ?? KILL_GRACE_MS;
    this.#slots = options.table.rows.map(({ id }) => ({
      id,
      backoff: new Backoff(),
      worker: null,
      timer: null,
      tried: false,
      held: false,
      port: null,
    }));
  }

  /** `stop` was called, whether or not it is over. */
  get stopping(): boolean {
    return this.#stopOutcome !== null;
  }

  /**
   * Starts a worker in each slot. Resolves when one is ready and every other has become ready or been tried in vain.
   *
   * @returns Where the gateway listens, and through which wire.
   * @throws LongwireError `unavailable`, when no worker could start: the text is for the operator. All are gone by then.
   */
  start(): Promise<WorkerAddress> {
    const { exec, execArgv, config } = this.#options;
    this.#state = 'starting';
    // With `shared` every worker accepts from one socket; with `reuseport` each has its own and the policy has no say.
    cluster.schedulingPolicy = cluster.SCHED_NONE;
    cluster.setupPrimary({ exec, args: [], execArgv, serialization: 'advanced', stdio: stdioFor(config) });
    this.#options.log.debug('starting workers', { workers: config.workers, accept: config.accept });
    return new Promise((resolve, reject) => {
      this.#startOutcome = { resolve, reject };
      for (const slot of this.#slots) this.#fork(slot);
    });
  }

  /** Gives all workers, those that are still to be started included, another certificate for new connections. */
  renewTls(identity: TlsIdentity): void {
    this.#tls = identity;
    // One without a port has not been assigned yet, and will be assigned this.
    for (const { worker, port } of this.#slots) if (port !== null) worker?.send({ type: 'tls', identity });
  }

  /**
   * Drains all workers and waits for them to leave; kills those that stay longer than `seconds` and five more.
   *
   * @returns How many had to be killed. Called again, it returns the same promise.
   */
  stop(seconds: number): Promise<number> {
    this.#stopOutcome ??= this.#stop(seconds);
    return this.#stopOutcome;
  }

  /** Ends all workers at once, connections and all, without waiting. */
  killAll(): void {
    this.#state = 'stopped';
    for (const slot of this.#slots) {
      clearTimer(slot);
      slot.worker?.kill();
    }
  }

  // ---- what workers do

  onMessage(worker: WorkerProcess, message: ToPrimary, descriptor: Descriptor | null): void {
    const { table } = this.#options;
    const { row } = worker;
    // Read from the channel of a process that is gone: its last numbers count, all else is for nobody.
    // A connection that it gave is nobody else's either, and goes on.
    if (row.state === 'gone' && message.type !== 'stats' && message.type !== 'hand-over') return;
    switch (message.type) {
      case 'hello':
        this.#assign(this.#slot(worker));
        break;
      case 'ready':
        this.#ready(worker, message);
        break;
      case 'failed':
        this.#failed(worker, message.code, message.text);
        break;
      case 'stats':
        table.snapshot(row, message.snapshot);
        break;
      case 'room':
        row.room = message.room;
        this.#appointLast();
        break;
      case 'broker':
        row.brokerState = message.state;
        break;
      case 'hand-over':
        this.#handOvers.pass(worker, message.number, this.#readyWorker(message.to), message.cargo, descriptor);
        break;
      case 'taken':
        this.#handOvers.taken(worker, message.number, message.taken);
        break;
    }
  }

  onFrame(worker: WorkerProcess, kind: FrameKind, call: number, body: Buffer): void {
    this.#options.relay.receive(worker.id, kind, call, body);
  }

  onLinkFault(worker: WorkerProcess, fault: string): void {
    this.#options.log.error('a worker sent the relay what is no frame', { worker: worker.id, fault });
  }

  onExit(worker: WorkerProcess, ending: Ending): void {
    const { table, relay, log } = this.#options;
    const { row } = worker;
    const slot = this.#slot(worker);
    const drained = row.state === 'draining';
    const servedMs = row.readyAtMs === null ? 0 : table.nowMs() - row.readyAtMs;
    clearTimer(slot);
    slot.worker = null;
    slot.held = false;
    slot.port = null;
    slot.tried = true;
    relay.leave(worker.id);
    this.#handOvers.leave(worker);
    table.end(row);
    const facts = { worker: worker.id, pid: row.pid, ...ending, servedSeconds: Math.round(servedMs) / 1000 };
    if (this.#state === 'stopped') log.debug('worker has ended', facts);
    else if (this.#state !== 'stopping') this.#replace(slot, servedMs, ending, facts);
    else if (drained && ending.code === 0) log.info('worker has left', facts);
    else log.warn('worker died while it was draining', facts);
    if (this.#slots.every(({ worker }) => worker === null)) this.#onAllGone?.();
  }

  onSettled(worker: WorkerProcess): void {
    this.#options.table.settle(worker.row);
  }

  // ---- starting

  #fork(slot: Slot): void {
    slot.worker = new WorkerProcess(this.#options.table, slot.id, this);
    slot.timer = setTimeout(() => this.#tooSlow(slot), this.#readyDeadlineMs);
  }

  #assign(slot: Slot): void {
    const { config, connectionLimit, relay } = this.#options;
    if (slot.worker === null || slot.port !== null) return;
    const port = this.#portFor(slot);
    slot.held = port === null;
    if (port === null) return;
    slot.port = port;
    if (slot.worker.link !== null) relay.join(slot.id, slot.worker.link);
    const assignment = { worker: slot.id, config: { ...config, port }, connectionLimit, tls: this.#tls };
    slot.worker.send({ type: 'assign', assignment });
  }

  /**
   * The port to listen on; null for "wait for the first worker".
   *
   * Only port 0 needs thought. Sharing workers must all ask for port 0, because node:cluster hands out one socket to
   * those that ask for the same; with `reuseport` the first one finds a port for the others. Once nobody listens, a
   * replacement takes the port that clients know.
   */
  #portFor(slot: Slot): number | null {
    const { accept, port } = this.#options.config;
    if (port !== 0) return port;
    const others = this.#slots.filter((other) => other !== slot && other.port !== null);
    if (accept === 'reuseport') return this.#found?.port ?? (others.length === 0 ? 0 : null);
    return others[0]?.port ?? this.#found?.port ?? 0;
  }

  #ready(worker: WorkerProcess, ready: WorkerAddress): void {
    const { table, log } = this.#options;
    const slot = this.#slot(worker);
    if (worker.row.state !== 'starting' || this.#state === 'stopping' || this.#state === 'stopped') return;
    clearTimer(slot);
    slot.tried = true;
    this.#found = { address: ready.address, port: ready.port, wire: ready.wire, wireWhy: ready.wireWhy };
    table.ready(worker.row, this.#found);
    log.info('worker is ready', {
      worker: worker.id,
      pid: worker.row.pid,
      generation: worker.row.generation,
      wire: ready.wire,
      wireWhy: ready.wireWhy,
    });
    for (const held of this.#slots) if (held.held) this.#assign(held);
    this.#appointLast();
    this.#checkStarted();
  }

  /** Before any worker was ready that is the outcome of the start; later, one more worker to replace. */
  #failed(worker: WorkerProcess, code: string | null, text: string): void {
    const reason = startFault(this.#options.config, code, text);
    if (this.#found !== null) this.#options.log.error('worker cannot start', { worker: worker.id, code, reason });
    else this.#fail(reason);
  }

  #checkStarted(): void {
    if (this.#state !== 'starting' || this.#found === null || !this.#slots.every((slot) => slot.tried)) return;
    this.#state = 'running';
    this.#startOutcome?.resolve(this.#found);
    this.#startOutcome = null;
  }

  #tooSlow(slot: Slot): void {
    const seconds = this.#readyDeadlineMs / 1000;
    this.#options.log.error('worker was not ready in time and is killed', { worker: slot.id, seconds });
    if (this.#found !== null) slot.worker?.kill();
    else this.#fail(`worker ${slot.id} was not ready within ${seconds} seconds`);
  }

  /** The start has failed: end what there is, then say why. */
  #fail(text: string): void {
    const outcome = this.#startOutcome;
    if (outcome === null) return;
    this.#startOutcome = null;
    this.killAll();
    void this.#allGone(REAP_DEADLINE_MS).then(() => outcome.reject(new LongwireError('unavailable', text)));
  }

  // ---- replacing

  #replace(slot: Slot, servedMs: number, ending: Ending, facts: object): void {
    const waitMs = slot.backoff.died(servedMs);
    this.#options.log.warn('worker died', { ...facts, replacedInMs: waitMs, deathsInARow: slot.backoff.deaths });
    if (this.#found === null && slot.backoff.deaths >= START_DEATHS) {
      this.#fail(`worker ${slot.id} died ${START_DEATHS} times before it was ready (${endingText(ending)})`);
      return;
    }
    if (waitMs === 0) this.#fork(slot);
    else slot.timer = setTimeout(() => this.#fork(slot), waitMs);
    for (const held of this.#slots) if (held.held) this.#assign(held);
    this.#appointLast();
    this.#checkStarted();
  }

  /** Tells exactly one worker that it is the last with room, or that stays when none has any (see ipc.ts). */
  #appointLast(): void {
    if (this.#state === 'stopping' || this.#state === 'stopped') return;
    const ready = this.#slots.flatMap(({ worker }) => (worker?.row.state === 'ready' ? [worker] : []));
    const open = ready.filter(({ row }) => row.room);
    // Listening again gives up a place at the shared socket for a moment; when that is the only one left, what waits there
    // is lost, and with port 0 the port as well. A replacement that starts is better worth waiting for.
    const starting = this.#slots.some(({ worker }) => worker?.row.state === 'starting');
    const none = ready.find(({ row }) => row.last) ?? (starting ? undefined : ready[0]);
    const last = open.length > 1 ? undefined : (open[0] ?? none);
    // The new one hears it before the old one is let off, so that there is no moment with nobody.
    if (last !== undefined) tell(last, true);
    for (const worker of ready) if (worker !== last) tell(worker, false);
  }

  // ---- stopping

  async #stop(seconds: number): Promise<number> {
    const { table, log } = this.#options;
    if (this.#state === 'stopped') return 0;
    this.#state = 'stopping';
    this.#startOutcome?.reject(new LongwireError('unavailable', 'stopped before any worker was ready'));
    this.#startOutcome = null;
    for (const slot of this.#slots) {
      clearTimer(slot);
      if (slot.worker === null) continue;
      const wasReady = slot.worker.row.state === 'ready';
      table.draining(slot.worker.row);
      if (wasReady) slot.worker.send({ type: 'drain', seconds });
      else slot.worker.kill(); // holds nothing yet
    }
    await this.#allGone(seconds * 1000 + this.#killGraceMs);
    const stragglers = this.#slots.flatMap(({ worker }) => worker ?? []);
    for (const worker of stragglers) {
      log.error('worker did not leave in time and is killed', { worker: worker.id, pid: worker.row.pid });
      worker.kill();
    }
    if (stragglers.length > 0) await this.#allGone(REAP_DEADLINE_MS);
    this.#state = 'stopped';
    return stragglers.length;
  }

  /** Resolves when no worker is left, or at the deadline. */
  async #allGone(deadlineMs: number): Promise<void> {
    if (this.#slots.every(({ worker }) => worker === null)) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, deadlineMs);
      this.#onAllGone = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#onAllGone = null;
  }

  #readyWorker(id: number): WorkerProcess | null {
    const worker = this.#slots[id - 1]?.worker ?? null;
    return worker?.row.state === 'ready' ? worker : null;
  }

  #slot(worker: WorkerProcess): Slot {
    const slot = this.#slots[worker.id - 1];
    if (slot === undefined) throw new RangeError(`there is no slot ${worker.id}`);
    return slot;
  }
}

/** A link for each worker where the embedded broker needs one. */
function stdioFor({ redisUrl }: Config): ('inherit' | 'ipc' | 'pipe')[] {
  return redisUrl === '' ? [...STDIO_WITH_LINK] : STDIO_WITH_LINK.slice(0, RELAY_LINK_FD);
}

function tell(worker: WorkerProcess, last: boolean): void {
  if (worker.row.last === last) return;
  worker.row.last = last;
  worker.send({ type: 'last', last });
}

function clearTimer(slot: Slot): void {
  if (slot.timer !== null) clearTimeout(slot.timer);
  slot.timer = null;
}

function endingText({ code, signal, error }: Ending): string {
  return error ?? (signal === null ? `exit code ${code}` : `signal ${signal}`);
}
