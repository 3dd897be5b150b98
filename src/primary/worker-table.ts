// The worker table: what the primary knows of its workers, one row a worker slot.
//
// A slot's number (1 to N) is the worker's id in metrics and logs and outlives the process in it; each process that fills
// the slot is a life with its own `WorkerRow`, and raises the slot's `generation`. Pure data: no node:cluster, no timers.
// While a worker is replaced or leaves there are lives beside the slots': the next one that starts, the last one that
// gives its connections away. `lives` has them all, `rows` the one that each slot counts on.
//
// Invariant: `totals()` never goes backwards. A life's counters are summed from its last snapshot, and once its process
// is gone *and* its channel is closed (so that a last snapshot in the pipe is not lost) they move to the retired sum.
// Cost: nothing a connection; `totals()` adds about 40 numbers for each life.

import type { AcceptState, BrokerState, Counters, Gauges, Snapshot } from '../stats.ts';
import { addCounters, emptyCounters, emptyGauges } from '../stats.ts';

/** `leaving` gives its connections to other workers, alive; `draining` closes them. */
export const WORKER_STATES = ['starting', 'ready', 'leaving', 'draining', 'gone'] as const;
export type WorkerState = (typeof WORKER_STATES)[number];

/**
 * Where a socket stands that the sticky primary holds: its first head is being read; given to a worker and not yet out;
 * relayed, chunk by chunk; told why not, and about to be closed.
 */
export const FRONT_STATES = ['head', 'given', 'relayed', 'leaving'] as const;
export type FrontState = (typeof FRONT_STATES)[number];

/** Where a worker accepts and how it reads: what its `ready` message says. */
export interface WorkerAddress {
  address: string;
  port: number;
  wire: string;
  wireWhy: string;
}

export class WorkerRow {
  /** The slot, 1 to N. */
  readonly id: number;
  /** Which process this is in its slot: 0 before the first fork. */
  readonly generation: number;
  readonly pid: number | null;
  /** Which of all that were ever started it is, counted from 1; 0 before the first fork. */
  readonly life: number;
  /** On the table's clock, as all `…Ms` here. */
  readonly startedAtMs: number;
  state: WorkerState;
  readyAtMs: number | null;
  address: WorkerAddress | null;
  counters: Counters;
  gauges: Gauges;
  /** When the last snapshot came; null before the first. */
  snapshotAtMs: number | null;
  /** Pushed on changes, so fresher than the one in `gauges`. */
  brokerState: BrokerState;
  /** Whether it has room for more connections; pushed on changes. */
  room: boolean;
  /** Whether it was told that it is the last one with room. */
  last: boolean;

  constructor(id: number, generation: number, pid: number | null, nowMs: number, life: number) {
    this.id = id;
    this.generation = generation;
    this.pid = pid;
    this.life = life;
    this.startedAtMs = nowMs;
    this.state = generation === 0 ? 'gone' : 'starting';
    this.readyAtMs = null;
    this.address = null;
    this.counters = emptyCounters();
    this.gauges = emptyGauges();
    this.snapshotAtMs = null;
    this.brokerState = 'connecting';
    this.room = true;
    this.last = false;
  }

  /** The worker's own word on accepting, corrected by what the primary knows to be newer. */
  get acceptState(): AcceptState {
    if (this.state === 'starting' || this.state === 'draining') return this.state;
    if (this.state === 'leaving') return 'draining';
    if (this.gauges.acceptState === 'starting') return this.room ? 'listening' : 'full';
    return this.gauges.acceptState;
  }
}

export class WorkerTable {
  /** Of the sticky primary: sockets that it holds, and counters of those that no worker has seen. */
  readonly front: { readonly counters: Counters; readonly sockets: Record<FrontState, number> };
  readonly #rows: WorkerRow[];
  /** Replacements by slot: processes started there after the first one died. */
  readonly #restarts: number[];
  readonly #beside = new Set<WorkerRow>();
  readonly #retired: Counters;
  /** Lives whose counters are not in `#retired` yet: those that live, and those whose channel is still open. */
  readonly #unsettled: Set<WorkerRow>;
  readonly #clock: () => number;
  #lives = 0;

  /**
   * @param slots Number of workers.
   * @param clock Monotonic milliseconds.
   */
  constructor(slots: number, clock: () => number = () => performance.now()) {
    this.front = { counters: emptyCounters(), sockets: { head: 0, given: 0, relayed: 0, leaving: 0 } };
    this.#rows = Array.from({ length: slots }, (_, index) => new WorkerRow(index + 1, 0, null, 0, 0));
    this.#restarts = this.#rows.map(() => 0);
    this.#retired = emptyCounters();
    this.#unsettled = new Set();
    this.#clock = clock;
  }

  /** The current life of each slot, in the order of their ids. */
  get rows(): readonly WorkerRow[] {
    return this.#rows;
  }

  /** Those and the ones beside them. */
  get lives(): readonly WorkerRow[] {
    return [...this.#rows, ...this.#beside];
  }

  nowMs(): number {
    return this.#clock();
  }

  restarts(id: number): number {
    return this.#restarts[id - 1] ?? 0;
  }

  /** A process was started in slot `id`, whose former one has ended. `pid` is null when the kernel gave none. */
  begin(id: number, pid: number | null): WorkerRow {
    const former = this.#rows[id - 1];
    if (former === undefined || former.state !== 'gone') throw new RangeError(`slot ${id} cannot take a worker`);
    const generation = Math.max(...this.lives.filter((row) => row.id === id).map((row) => row.generation)) + 1;
    const row = new WorkerRow(id, generation, pid, this.#clock(), ++this.#lives);
    // One that was given up has no life of its own: nobody died.
    if (former.life > 0) this.#restarts[id - 1] = this.restarts(id) + 1;
    this.#rows[id - 1] = row;
    this.#unsettled.add(row);
    return row;
  }

  /** One more slot, with nobody in it; its number. */
  addSlot(): number {
    const id = this.#rows.length + 1;
    this.#rows.push(new WorkerRow(id, 0, null, 0, 0));
    this.#restarts.push(0);
    return id;
  }

  /** Gives the last slot up; the worker in it, if there is one, stands beside until it is gone. */
  removeSlot(): void {
    const row = this.#rows.pop();
    this.#restarts.pop();
    if (row !== undefined && row.state !== 'gone') this.#beside.add(row);
  }

  /** A process was started that is to follow the one in slot `id`. */
  beginBeside(id: number, pid: number | null): WorkerRow {
    const generation = Math.max(0, ...this.lives.filter((row) => row.id === id).map((row) => row.generation)) + 1;
    const row = new WorkerRow(id, generation, pid, this.#clock(), ++this.#lives);
    this.#beside.add(row);
    this.#unsettled.add(row);
    return row;
  }

  /** The one that stood beside is now the one in its slot; whoever was there stands beside. Not a restart: nobody died. */
  promote(row: WorkerRow): void {
    const former = this.#rows[row.id - 1];
    if (former === undefined || !this.#beside.delete(row)) throw new RangeError(`slot ${row.id} cannot take a worker`);
    this.#rows[row.id - 1] = row;
    if (former.state !== 'gone') this.#beside.add(former);
  }

  /** The worker in a slot stands beside from now on, and nobody is in it. */
  vacate(id: number): void {
    const former = this.#rows[id - 1];
    if (former === undefined) throw new RangeError(`there is no slot ${id}`);
    const vacant = new WorkerRow(id, former.generation, null, this.#clock(), 0);
    vacant.state = 'gone';
    vacant.room = false;
    this.#rows[id - 1] = vacant;
    if (former.state !== 'gone') this.#beside.add(former);
  }

  /** What another primary's workers had counted goes on from there. */
  inherit(totals: Counters): void {
    addCounters(this.#retired, totals);
  }

  ready(row: WorkerRow, address: WorkerAddress): void {
    if (row.state !== 'starting') return;
    row.state = 'ready';
    row.readyAtMs = this.#clock();
    row.address = address;
  }

  leaving(row: WorkerRow): void {
    if (row.state === 'ready') row.state = 'leaving';
  }

  draining(row: WorkerRow): void {
    if (row.state !== 'gone') row.state = 'draining';
  }

  /** Takes a pushed snapshot; the last one may come after `end`, and then only its counters matter. */
  snapshot(row: WorkerRow, snapshot: Snapshot): void {
    if (!this.#unsettled.has(row)) return;
    row.counters = snapshot.counters;
    if (row.state === 'gone') return;
    row.gauges = snapshot.gauges;
    row.snapshotAtMs = this.#clock();
  }

  /** The process is gone: what it held is gone with it, what it counted stays. */
  end(row: WorkerRow): void {
    row.state = 'gone';
    this.#beside.delete(row);
    row.gauges = emptyGauges();
    row.brokerState = 'down';
    row.room = false;
    row.last = false;
  }

  /** Nothing more can come from an ended life: its counters become part of the past. */
  settle(row: WorkerRow): void {
    if (!this.#unsettled.delete(row)) return;
    addCounters(this.#retired, row.counters);
    row.counters = emptyCounters();
  }

  /** Everything ever counted, by workers living and dead. */
  totals(): Counters {
    const totals = emptyCounters();
    addCounters(totals, this.front.counters);
    addCounters(totals, this.#retired);
    for (const row of this.#unsettled) addCounters(totals, row.counters);
    return totals;
  }

  inState(state: WorkerState): WorkerRow[] {
    return this.lives.filter((row) => row.state === state);
  }
}
