// Succession: how a slot passes from one worker to the next, and how slots come and go; with the processes that stand beside the
// slots' own meanwhile: the next one, until it is ready, and those that leave, until they are gone.
//
//   replace     next one forked ─▶ ready: it is the slot's ─▶ the former gives it everything ─▶ leaves
//   addSlot     a slot with nobody in it, and then the same
//   removeSlot  the worker gives everything to the others ─▶ leaves
//
// Invariants: what goes wrong with a next one concerns nobody else: the slot's worker stays in service. One that leaves is
// not replaced when it dies. Every wait is bounded: the deadline for becoming ready; `GIVE_LIMIT_MS`, the drain's seconds and a
// grace for leaving; then SIGKILL.

import { LongwireError } from '../errors.ts';
import type { Share } from '../ipc.ts';
import { heirOf } from './other-primary.ts';
import type { Heirs } from './primaries.ts';
import { clearTimer, makeSlot, type Slot } from './slot.ts';
import type { WorkerProcess } from './worker-process.ts';
import type { WorkerAddress, WorkerTable } from './worker-table.ts';

/** Time without a single connection given, beyond what the drain takes: every step of a batch has a far shorter one. */
const GIVE_LIMIT_MS = 60_000;

/** What a worker gave to others. */
export interface Given {
  /** Held connections that moved. */
  moved: number;
  /** Those that could not. */
  stayed: number;
}

interface Next {
  readonly deadline: NodeJS.Timeout;
  /** With whom it found in its slot. */
  readonly resolve: (former: WorkerProcess | null) => void;
  readonly reject: (error: LongwireError) => void;
}

interface Giving {
  readonly worker: WorkerProcess;
  readonly resolve: (given: Given) => void;
  readonly reject: (error: LongwireError) => void;
}

interface Leaving {
  deadline: NodeJS.Timeout;
  readonly gone: () => void;
}

/** The supervisor, as far as this needs it. */
export interface SuccessionHost {
  readonly table: WorkerTable;
  /** The supervisor's own list: slots are added to it and taken from it here. */
  readonly slots: Slot[];
  readonly readyDeadlineMs: number;
  readonly killGraceMs: number;
  /** False from the moment that all workers are stopped. */
  running(): boolean;
  drainSeconds(): number;
  readyWorker(id: number): WorkerProcess | null;
  /** Forks a process beside the one in the slot. */
  makeProcess(id: number): WorkerProcess;
  /** Tells a process that has said hello what to run on. */
  assign(worker: WorkerProcess, slot: Slot): void;
  /** Who is ready has changed. */
  onChange(): void;
  /** There are more slots or fewer. */
  onSlots(): void;
  onPromoted(worker: WorkerProcess, ready: WorkerAddress): void;
}

const NOTHING_GIVEN: Given = { moved: 0, stayed: 0 };

export class Succession {
  readonly #host: SuccessionHost;
  readonly #next = new Map<WorkerProcess, Next>();
  readonly #giving = new Map<number, Giving>();
  readonly #leaving = new Map<WorkerProcess, Leaving>();
  /** Of slots that were given up: the slot that has their poll sessions. */
  readonly #heirs = new Map<number, number>();
  /** By slot, whose place the next one has taken, until it is told to leave: messages may come in between. */
  readonly #followed = new Map<number, WorkerProcess>();
  #number = 0;

  constructor(host: SuccessionHost) {
    this.#host = host;
  }

  /**
   * Replaces the worker in a slot: starts the next one, has the present one give it all its connections, and sees it leave.
   *
   * @throws LongwireError `unavailable` when the next one does not become ready; then the present one serves on as before.
   */
  async replace(id: number): Promise<Given> {
    const { table, makeProcess, readyWorker, drainSeconds, onChange } = this.#host;
    this.#checkRunning();
    const present = readyWorker(id);
    if (present === null) throw new LongwireError('unavailable', `worker ${id} is not ready`);
    // The next one may have sessions as soon as it accepts, which is before it is heard to be ready.
    present.send({ type: 'predecessor', present: true });
    const next = makeProcess(id);
    // The one from above, or whoever has replaced it since; null when it died just now and took its connections with it.
    const former = await this.#expect(next).catch((thrown: unknown) => {
      present.send({ type: 'predecessor', present: this.#heirs.has(id) });
      throw thrown;
    });
    this.#followed.delete(id);
    if (former?.row.state !== 'ready') return NOTHING_GIVEN;
    table.leaving(former.row);
    onChange();
    next.send({ type: 'predecessor', present: true });
    const given = await this.#leave(former, [{ to: id, count: null }], drainSeconds());
    next.send({ type: 'predecessor', present: this.#heirs.has(id) });
    return given;
  }

  /**
   * Starts one more worker, in a slot of its own.
   *
   * @throws LongwireError `unavailable` when it does not become ready; then there are as many slots as before.
   */
  async addSlot(): Promise<void> {
    this.#checkRunning();
    const { table, slots, makeProcess } = this.#host;
    const id = table.addSlot();
    slots.push(makeSlot(id));
    const worker = makeProcess(id);
    try {
      await this.#expect(worker);
      // It had poll sessions when it was given up: the new worker asks for those that it has not got.
      if (this.sharesSessions(id)) worker.send({ type: 'predecessor', present: true });
      this.#host.onSlots();
    } catch (thrown) {
      slots.pop();
      table.removeSlot();
      throw thrown;
    }
  }

  /**
   * Gives the last slot up: its worker gives all its connections to the others, evenly, and leaves.
   *
   * @throws LongwireError `unavailable` when none of the others is ready; then there are as many slots as before.
   */
  async removeSlot(): Promise<Given> {
    this.#checkRunning();
    const { table, slots, readyWorker } = this.#host;
    const shares = slots.slice(0, -1).flatMap(({ id }) => (readyWorker(id) === null ? [] : [{ to: id, count: null }]));
    if (shares.length === 0) throw new LongwireError('unavailable', 'no other worker is ready to take its connections');
    const slot = slots.pop();
    table.removeSlot();
    if (slot === undefined) return NOTHING_GIVEN;
    this.#host.onSlots();
    clearTimer(slot);
    const { worker } = slot;
    if (worker === null) return NOTHING_GIVEN;
    if (worker.row.state === 'ready') this.#bequeath(slot.id, shares[0]?.to ?? 0);
    return this.#letGo(worker, shares);
  }

  /** Gives a slot's worker up to another primary: it gives everything away as `shares` say, and leaves. The slot stays, empty. */
  async giveUp(id: number, shares: Share[]): Promise<Given> {
    this.#checkRunning();
    const { table, slots } = this.#host;
    const slot = slots[id - 1];
    if (slot === undefined) return NOTHING_GIVEN;
    const { worker } = slot;
    clearTimer(slot);
    slot.worker = null;
    slot.assigned = false;
    table.vacate(id);
    if (worker === null) return NOTHING_GIVEN;
    return this.#letGo(worker, shares);
  }

  /** The poll sessions in a slot, those of others included, are another worker's from now on. */
  #bequeath(id: number, heir: number): void {
    for (const [other, had] of this.#heirs) if (had === id) this.#heirs.set(other, heir);
    this.#heirs.set(id, heir);
  }

  /** A worker whose slot is not its own any more gives everything away and leaves; one that holds nothing yet just ends. */
  async #letGo(worker: WorkerProcess, shares: Share[]): Promise<Given> {
    if (worker.row.state !== 'ready') {
      this.#discard(worker);
      return NOTHING_GIVEN;
    }
    const { table, drainSeconds, onChange } = this.#host;
    table.leaving(worker.row);
    onChange();
    return this.#leave(worker, shares, drainSeconds());
  }

  /**
   * Another primary had so many slots, and in some of them the poll sessions of others: those come with their worker's own, so
   * that those of a slot may be in another worker's hands although the slot is here.
   */
  inheritSessions(slots: number, heirs: Heirs): void {
    const present = this.#host.slots.length;
    for (let id = present + 1; id <= slots; id++) this.#heirs.set(id, heirOf(id, present));
    for (const [id, heir] of heirs) this.#heirs.set(id, heirOf(heir, present));
  }

  /** Which slots have the poll sessions of others. */
  get heirs(): Heirs {
    return [...this.#heirs];
  }

  /** Whether this worker has the poll sessions that were in that slot. */
  isHeir(id: number, worker: WorkerProcess): boolean {
    const heir = this.#heirs.get(id);
    return heir !== undefined && this.#host.readyWorker(heir) === worker;
  }

  /** Whether poll sessions of this slot may be in another worker's hands: its own asks for those that it has not got. */
  sharesSessions(id: number): boolean {
    return this.#heirs.has(id) || this.isLeaving(id);
  }

  /** Has a worker give shares of its connections away, and stay. */
  give(id: number, shares: Share[]): Promise<Given> {
    const worker = this.#host.readyWorker(id);
    if (worker === null) return Promise.reject(new LongwireError('unavailable', `worker ${id} is not ready`));
    const operation = ++this.#number;
    return new Promise((resolve, reject) => {
      this.#giving.set(operation, { worker, resolve, reject });
      worker.send({ type: 'give', operation, shares, leave: null });
    });
  }

  /**
   * Who takes what `giver` has for a slot: its worker; where that is the giver itself, or is gone, the one that leaves the
   * slot; where the slot is gone too, whom that one gave its connections to.
   */
  takerFor(id: number, giver: WorkerProcess | null): WorkerProcess | null {
    const present = this.#host.readyWorker(id);
    if (present !== null && present !== giver) return present;
    for (const worker of this.#leaving.keys()) {
      if (worker !== giver && worker.id === id && worker.row.state === 'leaving') return worker;
    }
    const followed = this.#followed.get(id);
    if (followed !== undefined && followed !== giver) return followed;
    const heir = this.#host.readyWorker(this.#heirs.get(id) ?? 0);
    return heir === giver ? null : heir;
  }

  /** All that stand beside the slots. */
  get processes(): WorkerProcess[] {
    return [...this.#next.keys(), ...this.#leaving.keys()];
  }

  isNext(worker: WorkerProcess): boolean {
    return this.#next.has(worker);
  }

  /** Whether the one that was in a slot before has not given everything yet. */
  isLeaving(id: number): boolean {
    return [...this.#leaving.keys()].some((worker) => worker.id === id && worker.row.state === 'leaving');
  }

  /** Next or leaving: not the slot's own. */
  isBeside(worker: WorkerProcess): boolean {
    return this.#next.has(worker) || this.#leaving.has(worker);
  }

  // ---- what those processes do

  onHello(worker: WorkerProcess): void {
    const slot = this.#host.slots[worker.id - 1];
    if (this.#next.has(worker) && slot !== undefined) this.#host.assign(worker, slot);
  }

  /** The next one is ready: it is the slot's from now on. */
  onReady(worker: WorkerProcess, ready: WorkerAddress): void {
    const { table, slots, onChange, onPromoted } = this.#host;
    const next = this.#next.get(worker);
    const slot = slots[worker.id - 1];
    if (next === undefined || slot === undefined) return;
    const former = slot.worker;
    clearTimer(slot);
    table.promote(worker.row);
    table.ready(worker.row, ready);
    slot.worker = worker;
    if (former?.row.state === 'ready') this.#followed.set(worker.id, former);
    // The one that was to be followed has died, and this is its replacement: two would be one too many.
    if (former?.row.state === 'starting') this.#discard(former);
    clearTimeout(next.deadline);
    this.#next.delete(worker);
    onPromoted(worker, ready);
    onChange();
    next.resolve(former);
  }

  /** The next one does not become ready: it is leaving, whether it knows it or not. */
  onFailed(worker: WorkerProcess, why: string): void {
    const next = this.#next.get(worker);
    if (next === undefined) return;
    clearTimeout(next.deadline);
    this.#next.delete(worker);
    this.#discard(worker, this.#host.killGraceMs);
    next.reject(new LongwireError('unavailable', `the new worker ${worker.id} does not start: ${why}`));
  }

  onGave(worker: WorkerProcess, operation: number, given: Given): void {
    if (this.#leaving.has(worker)) this.#host.table.draining(worker.row);
    const giving = this.#giving.get(operation);
    this.#giving.delete(operation);
    giving?.resolve(given);
  }

  /** The process is gone. True when it stood beside the slots, and so is to be replaced by nobody. */
  onExit(worker: WorkerProcess, ending: string): boolean {
    for (const [operation, giving] of this.#giving) {
      if (giving.worker !== worker) continue;
      this.#giving.delete(operation);
      giving.reject(new LongwireError('unavailable', `worker ${worker.id} died while it gave its connections away`));
    }
    const beside = this.isBeside(worker);
    this.onFailed(worker, ending);
    const leaving = this.#leaving.get(worker);
    this.#leaving.delete(worker);
    if (leaving !== undefined) {
      clearTimeout(leaving.deadline);
      leaving.gone();
    }
    return beside;
  }

  // ---- waiting for them

  /** Workers that are being drained are nobody's to end, and new ones would be in the way. */
  #checkRunning(): void {
    if (!this.#host.running()) throw new LongwireError('unavailable', 'the gateway is stopping');
  }

  /** Resolves when `worker` is ready and its slot's, with the one that was in it until then. */
  #expect(worker: WorkerProcess): Promise<WorkerProcess | null> {
    const { readyDeadlineMs } = this.#host;
    return new Promise((resolve, reject) => {
      const deadline = setTimeout(() => {
        this.onFailed(worker, `it was not ready within ${readyDeadlineMs / 1000} seconds`);
        worker.kill();
      }, readyDeadlineMs);
      this.#next.set(worker, { deadline, resolve, reject });
    });
  }

  /** One that nobody needs and that holds nothing yet. */
  #discard(worker: WorkerProcess, afterMs = 0): void {
    this.#leaving.set(worker, { deadline: setTimeout(() => worker.kill(), afterMs), gone: () => {} });
  }

  /** Has a worker give everything away and leave; what cannot go is drained. Resolves when it is gone. */
  #leave(worker: WorkerProcess, shares: Share[], drainSeconds: number): Promise<Given> {
    const operation = ++this.#number;
    const limitMs = GIVE_LIMIT_MS + drainSeconds * 1000 + this.#host.killGraceMs;
    return new Promise((resolve) => {
      let outcome: Given = { moved: 0, stayed: 0 };
      const keep = (given: Given): void => {
        outcome = given;
      };
      this.#giving.set(operation, { worker, resolve: keep, reject: () => {} });
      this.#leaving.set(worker, { deadline: this.#deadline(worker, limitMs), gone: () => resolve(outcome) });
      worker.send({ type: 'give', operation, shares, leave: { seconds: drainSeconds } });
    });
  }

  /**
   * Kills a worker that does not leave. One that goes on giving is given the time again, however many it holds; so is one
   * whose broker is away, or that of whoever would take, which cannot give anything. One that was not heard of for all
   * that time hangs, whatever it said before.
   */
  #deadline(worker: WorkerProcess, limitMs: number): NodeJS.Timeout {
    const { row } = worker;
    const { table } = this.#host;
    const movedBefore = row.counters.movedOut;
    const begunAtMs = table.nowMs();
    return setTimeout(() => {
      const leaving = this.#leaving.get(worker);
      const away = [row, ...table.inState('ready')].some(({ brokerState }) => brokerState !== 'up');
      const isHeard = (row.snapshotAtMs ?? 0) > begunAtMs;
      const goesOn = isHeard && (row.counters.movedOut > movedBefore || away);
      if (leaving === undefined || !goesOn) worker.kill();
      else leaving.deadline = this.#deadline(worker, limitMs);
    }, limitMs);
  }
}
