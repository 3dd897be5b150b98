// The supervisor: forks the workers, watches them, replaces those that die, and stops them. How workers follow each other while
// they serve is in succession.ts, what is asked of all of them in slots.ts.
//
// A worker's life as the primary sees it: fork → its `hello` → our `assign` → its `ready` or `failed` → exit. Until the first
// worker of all is ready nothing is retried that an operator must put right: `start` rejects. From then on a dead
// worker is always replaced (see backoff.ts), whatever it died of, until `stop`.
//
// Every wait is bounded: 30 s to become ready, the drain's seconds + 5 s to exit, then SIGKILL.

import cluster from 'node:cluster';
import type { Config } from '../../config/config.ts';
import type { FrameKind } from '../broker/relay-frames.ts';
import { LongwireError } from '../errors.ts';
import type { Descriptor, TlsIdentity, ToPrimary } from '../ipc.ts';
import type { Log } from '../log.ts';
import type { LinkPairs } from './link-pairs.ts';
import { Passing } from './passing.ts';
import type { Heirs } from './primaries.ts';
import { type InheritedPort, PublicPort } from './public-port.ts';
import type { Relay } from './relay.ts';
import { clearTimer, type Slot } from './slot.ts';
import { Slots } from './slots.ts';
import { startFault } from './start-fault.ts';
import type { StickyFront } from './sticky-front.ts';
import { Succession, type SuccessionHost } from './succession.ts';
import { type Ending, endingText, WorkerProcess, type WorkerProcessOwner, workerStdio } from './worker-process.ts';
import type { WorkerAddress, WorkerTable } from './worker-table.ts';

export interface SupervisorOptions {
  /** Path of the compiled workers/main.js. */
  exec: string;
  /** Node flags of the workers. */
  execArgv: string[];
  config: Config;
  /** Most connections of one worker, of so many. */
  connectionLimit(workers: number): number;
  /** What workers serve TLS with; null, or none, for no TLS. */
  tls?: TlsIdentity | null;
  table: WorkerTable;
  /** The embedded broker's middle: each worker joins it right before its assignment is sent. */
  relay: Pick<Relay, 'join' | 'leave' | 'receive'>;
  /** What accepts in the workers' place; null, or none, where they accept themselves. */
  front?: Pick<StickyFront, 'join' | 'leave' | 'report'> | null;
  /** For descriptor links; null, or none, where descriptors go by node:cluster's channel. */
  pairs?: Pick<LinkPairs, 'take' | 'close'> | null;
  /** What another primary has left to this one; null, or none, for a start of its own. */
  inherited?: Inherited | null;
  log: Log;
  /** For tests; the defaults are those of production. */
  readyDeadlineMs?: number;
  killGraceMs?: number;
}

export interface Inherited extends InheritedPort {
  /** How many slots the other primary had. */
  slots: number;
  heirs: Heirs;
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

export class Supervisor implements WorkerProcessOwner {
  readonly #options: SupervisorOptions;
  readonly #readyDeadlineMs: number;
  readonly #killGraceMs: number;
  readonly slots: Slots;
  readonly succession: Succession;
  readonly passing: Passing;
  readonly publicPort = new PublicPort();
  #state: SupervisorState = 'idle';
  /** Where the gateway listens: what the last worker that became ready said. */
  #found: WorkerAddress | null = null;
  #startOutcome: { resolve: (found: WorkerAddress) => void; reject: (error: LongwireError) => void } | null = null;
  #stopOutcome: Promise<number> | null = null;
  #announced = false;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#readyDeadlineMs = options.readyDeadlineMs ?? READY_DEADLINE_MS;
    this.#killGraceMs = options.killGraceMs ?? KILL_GRACE_MS;
    const { table, config, tls = null, connectionLimit } = options;
    this.slots = new Slots({ count: table.rows.length, config, tls, connectionLimit });
    this.succession = new Succession(this.#succeeded());
    this.slots.join(this.succession);
    this.passing = new Passing(this.succession);
  }

  /** `stop` was called or announced, whether or not it is over. */
  get stopping(): boolean {
    return this.#announced || this.#stopOutcome !== null;
  }

  /** A stop is to come: until then everybody is served, and `stopping` says so to those who ask. */
  announceStop(): void {
    this.#announced = true;
  }

  /**
   * Starts a worker in each slot. Resolves when one is ready and every other has become ready or been tried in vain.
   *
   * @returns Where the gateway listens, and through which wire.
   * @throws LongwireError `unavailable`, when no worker could start: the text is for the operator. All are gone by then.
   */
  async start(): Promise<WorkerAddress> {
    const { exec, execArgv, config } = this.#options;
    this.#state = 'starting';
    cluster.setupPrimary({ exec, args: [], execArgv, serialization: 'advanced', stdio: workerStdio(config) });
    this.#options.log.debug('starting workers', { workers: config.workers, accept: config.accept });
    const { inherited = null } = this.#options;
    await this.publicPort.open(config, inherited);
    if (inherited !== null) this.succession.inheritSessions(inherited.slots, inherited.heirs);
    if (this.stopping) {
      this.publicPort.close();
      throw new LongwireError('unavailable', 'stopped before any worker was forked');
    }
    return new Promise((resolve, reject) => {
      this.#startOutcome = { resolve, reject };
      for (const slot of this.slots.list) this.#fork(slot);
    });
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
    this.publicPort.close();
    this.#options.pairs?.close();
    for (const slot of this.slots.list) clearTimer(slot);
    for (const worker of this.slots.processes) worker.kill();
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
        if (!this.succession.isBeside(worker)) this.#assign(this.slots.of(worker));
        else if (this.#state === 'running') this.succession.onHello(worker);
        break;
      case 'ready':
        if (!this.succession.isBeside(worker)) this.#ready(worker, message);
        else if (this.#state === 'running') this.succession.onReady(worker, addressOf(message));
        break;
      case 'failed':
        if (this.succession.isBeside(worker)) this.succession.onFailed(worker, message.text);
        else this.#failed(worker, message.code, message.text);
        break;
      case 'listen': {
        const { socket } = this.publicPort;
        if (socket !== null) worker.sendDescriptor({ type: 'socket' }, socket.descriptor);
        break;
      }
      case 'gave':
        this.succession.onGave(worker, message.operation, message);
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
        this.passing.handOver(worker, message.number, message.to, message.cargo, descriptor);
        break;
      case 'batch':
        this.passing.batch(worker, message.batch, message.to, message.step);
        break;
      case 'load':
        this.#options.front?.report(row, message.load);
        break;
      case 'taken':
        this.passing.taken(worker, message.taken, message.refused);
        break;
    }
  }

  onFrame(worker: WorkerProcess, kind: FrameKind, call: number, body: Buffer): void {
    this.#options.relay.receive(worker.row.life, kind, call, body);
  }

  onDescriptor(
    worker: WorkerProcess,
    slot: number,
    number: number,
    cargo: Buffer,
    descriptor: Descriptor | null,
  ): void {
    this.passing.handOver(worker, number, slot, cargo, descriptor);
  }

  onDescriptorFault(worker: WorkerProcess, fault: string): void {
    this.#options.log.error('a worker sent a descriptor with what is no frame', { worker: worker.id, fault });
  }

  onLinkFault(worker: WorkerProcess, fault: string): void {
    this.#options.log.error('a worker sent the relay what is no frame', { worker: worker.id, fault });
  }

  onExit(worker: WorkerProcess, ending: Ending): void {
    const { table, relay, log } = this.#options;
    const { row } = worker;
    const servedMs = row.readyAtMs === null ? 0 : table.nowMs() - row.readyAtMs;
    const facts = { worker: worker.id, pid: row.pid, ...ending, servedSeconds: Math.round(servedMs) / 1000 };
    const drained = row.state === 'draining';
    relay.leave(row.life);
    this.passing.left(worker);
    this.#options.front?.leave(row);
    table.end(row);
    if (this.succession.onExit(worker, endingText(ending))) {
      if (ending.code === 0) log.info('worker has left', facts);
      else log.warn('worker died beside its slot', facts);
      this.slots.left();
      return;
    }
    const slot = this.slots.of(worker);
    clearTimer(slot);
    slot.worker = null;
    slot.assigned = false;
    slot.tried = true;
    if (this.#state === 'stopped') log.debug('worker has ended', facts);
    else if (this.#state !== 'stopping') this.#replace(slot, servedMs, ending, facts);
    else if (drained && ending.code === 0) log.info('worker has left', facts);
    else log.warn('worker died while it was draining', facts);
    this.slots.left();
  }

  onSettled(worker: WorkerProcess): void {
    this.#options.table.settle(worker.row);
    this.passing.settled(worker);
  }

  // ---- starting

  #fork(slot: Slot): void {
    slot.worker = this.#makeProcess(slot.id);
    slot.timer = setTimeout(() => this.#tooSlow(slot), this.#readyDeadlineMs);
  }

  #makeProcess(id: number, place: 'slot' | 'beside' = 'slot'): WorkerProcess {
    const { table, front, pairs } = this.#options;
    const worker = new WorkerProcess(table, id, this, place, pairs?.take());
    if (front) worker.joinFront(front);
    return worker;
  }

  #assign(slot: Slot): void {
    if (slot.worker === null || slot.assigned) return;
    slot.assigned = true;
    this.#sendAssignment(slot.worker);
  }

  #sendAssignment(worker: WorkerProcess): void {
    const { relay } = this.#options;
    if (worker.link !== null) relay.join(worker.row.life, worker.link, worker.id);
    const assignment = {
      worker: worker.id,
      config: { ...this.slots.config, port: this.publicPort.number },
      connectionLimit: this.slots.connectionLimit,
      tls: this.slots.tls,
      descriptorLink: worker.descriptors !== null,
      // Known before it accepts: a poll may be the first that comes.
      sharesSlot: this.#sharesSlot(worker),
    };
    worker.send({ type: 'assign', assignment });
  }

  #ready(worker: WorkerProcess, ready: WorkerAddress): void {
    const { table } = this.#options;
    const slot = this.slots.of(worker);
    if (worker.row.state !== 'starting' || this.#state === 'stopping' || this.#state === 'stopped') return;
    clearTimer(slot);
    slot.tried = true;
    this.#found = addressOf(ready);
    table.ready(worker.row, this.#found);
    this.#logReady(worker, ready);
    if (this.#sharesSlot(worker)) worker.send({ type: 'predecessor', present: true });
    this.#appointLast();
    this.#checkStarted();
  }

  #sharesSlot(worker: WorkerProcess): boolean {
    const { succession, passing } = this;
    return succession.isBeside(worker) || passing.other.present || succession.sharesSessions(worker.id);
  }

  #logReady(worker: WorkerProcess, { wire, wireWhy }: WorkerAddress): void {
    const { pid, generation } = worker.row;
    this.#options.log.info('worker is ready', { worker: worker.id, pid, generation, wire, wireWhy });
  }

  /** Before any worker was ready that is the outcome of the start; later, one more worker to replace. */
  #failed(worker: WorkerProcess, code: string | null, text: string): void {
    const reason = startFault(this.#options.config, code, text);
    if (this.#found !== null) this.#options.log.error('worker cannot start', { worker: worker.id, code, reason });
    else this.#fail(reason);
  }

  #checkStarted(): void {
    if (this.#state !== 'starting' || this.#found === null || !this.slots.list.every((slot) => slot.tried)) return;
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
    void this.slots.allGone(REAP_DEADLINE_MS).then(() => outcome.reject(new LongwireError('unavailable', text)));
  }

  // ---- replacing

  /** Starts a worker in each slot that was given up. */
  refill(): void {
    for (const slot of this.slots.list) if (slot.worker === null && slot.timer === null) this.#fork(slot);
  }

  #replace(slot: Slot, servedMs: number, ending: Ending, facts: object): void {
    const waitMs = slot.backoff.died(servedMs);
    this.#options.log.warn('worker died', { ...facts, replacedInMs: waitMs, deathsInARow: slot.backoff.deaths });
    if (this.#found === null && slot.backoff.deaths >= START_DEATHS) {
      this.#fail(`worker ${slot.id} died ${START_DEATHS} times before it was ready (${endingText(ending)})`);
      return;
    }
    if (waitMs === 0) this.#fork(slot);
    else slot.timer = setTimeout(() => this.#fork(slot), waitMs);
    this.#appointLast();
    this.#checkStarted();
  }

  /** What the succession needs of us. */
  #succeeded(): SuccessionHost {
    const { table } = this.#options;
    return {
      table,
      slots: this.slots.list,
      readyDeadlineMs: this.#readyDeadlineMs,
      killGraceMs: this.#killGraceMs,
      running: () => this.#state === 'running',
      drainSeconds: () => this.slots.config.drainSeconds,
      readyWorker: (id) => this.slots.readyWorker(id),
      makeProcess: (id) => this.#makeProcess(id, 'beside'),
      assign: (worker, slot) => {
        slot.assigned = true;
        this.#sendAssignment(worker);
      },
      onChange: () => this.#appointLast(),
      onSlots: () => this.slots.shareConnections(),
      onPromoted: (worker, ready) => this.#logReady(worker, ready),
    };
  }

  #appointLast(): void {
    if (this.#state === 'stopping' || this.#state === 'stopped') return;
    this.slots.appointLast();
  }

  // ---- stopping

  async #stop(seconds: number): Promise<number> {
    const { table, log } = this.#options;
    if (this.#state === 'stopped') return 0;
    this.#state = 'stopping';
    this.publicPort.close();
    this.#options.pairs?.close();
    this.#startOutcome?.reject(new LongwireError('unavailable', 'stopped before any worker was ready'));
    this.#startOutcome = null;
    for (const slot of this.slots.list) {
      clearTimer(slot);
      if (slot.worker === null) continue;
      const wasReady = slot.worker.row.state === 'ready';
      table.draining(slot.worker.row);
      if (wasReady) slot.worker.send({ type: 'drain', seconds });
      else slot.worker.kill(); // holds nothing yet
    }
    for (const worker of this.succession.processes) {
      // The one that was about to follow holds nothing yet; one that leaves drains now what it has not given away.
      if (this.succession.isNext(worker)) worker.kill();
      else worker.send({ type: 'drain', seconds });
    }
    await this.slots.allGone(seconds * 1000 + this.#killGraceMs);
    const stragglers = this.slots.processes;
    for (const worker of stragglers) {
      log.error('worker did not leave in time and is killed', { worker: worker.id, pid: worker.row.pid });
      worker.kill();
    }
    if (stragglers.length > 0) await this.slots.allGone(REAP_DEADLINE_MS);
    this.#state = 'stopped';
    return stragglers.length;
  }
}

function addressOf({ address, port, wire, wireWhy }: WorkerAddress): WorkerAddress {
  return { address, port, wire, wireWhy };
}
