// The replacement of the primary, as an operation of the one that is replaced (docs/adr/0025).
//
//   next primary started ─▶ its workers ready ─▶ the service manager told ─▶ slot by slot: all that its worker has goes to the next
//   primary's ─▶ over ─▶ the next one goes on alone ─▶ this one leaves
//
// Invariant: up to its last step the replacement can fail, and then this primary goes on: slots that were given up have workers again,
// and a worker that was in the middle of giving gives what is left to those. Only what the next primary held ends with it.

import { LongwireError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { AdminServer } from './admin.ts';
import { staysForContainer } from './first-process.ts';
import type { LinkPairs } from './link-pairs.ts';
import { NextPrimary, type NextPrimaryOptions, TAKE_OVER_FLAG } from './next-primary.ts';
import type { Operation, Operations } from './operations.ts';
import { sharesBeyond } from './other-primary.ts';
import { SHARED_FIELDS } from './primaries.ts';
import type { Relay } from './relay.ts';
import { tellHistory, tellMembers, tellRemoved } from './relay-telling.ts';
import type { ServiceManager } from './service-manager.ts';
import type { Supervisor } from './supervisor.ts';
import type { WorkerTable } from './worker-table.ts';

const NOTHING = Buffer.alloc(0);

export interface ReplacementOptions {
  supervisor: Supervisor;
  table: WorkerTable;
  relay: Relay;
  /** For the descriptor link to the next primary. */
  pairs: Pick<LinkPairs, 'take'>;
  admin: AdminServer;
  manager: ServiceManager;
  log: Log;
  /** This primary has nothing left to do. */
  leave(): void;
  /** The next primary was told to end, and so is this one. */
  onStop(): void;
}

export class Replacement {
  readonly #options: ReplacementOptions;
  #next: NextPrimary | null = null;
  /**
   * The next primary among the members of the relay, where workers count from 1 and 0 is a former primary: another one each time, or
   * those who came with this one would go when what the last one has left is cleared away.
   */
  #member = 0;

  constructor(options: ReplacementOptions) {
    this.#options = options;
  }

  /** Whether workers of the next primary accept already. */
  get nextServes(): boolean {
    return this.#next?.serves === true;
  }

  /** This primary was told to end. Resolves when the next one has said goodbye to those it holds; null where there is none. */
  stop(): Promise<void> | null {
    return this.#next?.stop() ?? null;
  }

  /** And once again: at once. */
  kill(): void {
    this.#next?.kill();
  }

  /**
   * Does all of it.
   *
   * @throws LongwireError `unavailable` when it fails; then this primary serves on.
   */
  async run(operation: Operation, operations: Operations): Promise<void> {
    const { supervisor, manager, log, leave } = this.#options;
    const why = this.#refusal();
    if (why !== null) throw new LongwireError('unavailable', why);
    operation.workers = supervisor.slots.count;
    const next = this.#start(operations);
    try {
      const slots = await next.ready;
      log.info('the next primary is ready', { pid: next.pid, workers: slots });
      if (!(await manager.isNow(next.pid))) throw new LongwireError('unavailable', 'the service manager was not told');
      await Promise.race([this.#giveEverything(operation, next, slots), next.gone.then(fail)]);
      if (supervisor.stopping) throw new LongwireError('unavailable', 'the gateway is stopping');
      const { moved, stayed } = operation;
      await next.over({ type: 'over', totals: this.#options.table.totals(), moved, stayed });
    } catch (thrown) {
      await this.#goOn(next);
      throw thrown;
    }
    leave();
  }

  /** Why there can be none at all. */
  #refusal(): string | null {
    const { accept } = this.#options.supervisor.slots.config;
    const stays = staysForContainer(process, process.argv.includes(TAKE_OVER_FLAG));
    if (stays !== null) return stays;
    // The front's sockets, and the heads that it has read of them, are in this process.
    if (accept === 'sticky') return 'with LONGWIRE_ACCEPT=sticky the primary itself holds connections';
    return null;
  }

  #start(operations: Operations): NextPrimary {
    const { supervisor, relay, pairs, admin, log, onStop } = this.#options;
    const { publicPort } = supervisor;
    const { config, tls, count } = supervisor.slots;
    const shared = Object.fromEntries(SHARED_FIELDS.map((field) => [field, config[field]])) as Pick<
      NextPrimaryOptions['inheritance']['config'],
      (typeof SHARED_FIELDS)[number]
    >;
    const { apiKey, apiKeyMade, adminHost, adminPort } = config;
    const member = --this.#member;
    const pair = pairs.take();
    const next = new NextPrimary({
      inheritance: {
        config: { ...shared, apiKey, apiKeyMade, adminHost, adminPort },
        tls,
        port: publicPort.number,
        slots: count,
        heirs: supervisor.succession.heirs,
        operations: operations.all.filter(({ state }) => state !== 'waiting'),
        descriptorLink: pair !== null,
      },
      publicSocket: publicPort.socket?.descriptor ?? null,
      adminSocket: admin.socket?.descriptor ?? null,
      linked: config.redisUrl === '',
      pair,
      onFrame: (kind, call, body) => {
        if (next.link === null) return;
        if (kind === 'follow') void tellHistory(relay.history, next.link, { onTurn: () => next.catchesUp() });
        else if (kind !== 'yield') relay.receive(member, kind, call, body);
        else void tellMembers(relay.presence, next.link).then(() => relay.receive(member, kind, call, NOTHING));
      },
      onWorker: ({ slot, message }, descriptor) => supervisor.passing.other.receive(slot, message, descriptor),
      onStop,
    });
    this.#next = next;
    log.info('the next primary is started', { pid: next.pid });
    const { link } = next;
    if (link !== null) {
      relay.join(member, link);
      relay.onRemoved = (channel) => tellRemoved(relay.history, channel, link);
    }
    supervisor.passing.other.connect(next);
    supervisor.slots.shareSessions(true);
    return next;
  }

  /** One slot after the other, so that not more than one worker's connections are between two primaries. */
  async #giveEverything(operation: Operation, next: NextPrimary, slots: number): Promise<void> {
    const { supervisor } = this.#options;
    for (let id = 1; id <= supervisor.slots.count; id++) {
      // What was given up may take its time to leave, and this has failed meanwhile: there may be another next one by now.
      if (this.#next !== next) return;
      const { moved, stayed } = await supervisor.succession.giveUp(id, sharesBeyond(id, slots));
      operation.moved += moved;
      operation.stayed += stayed;
      operation.workersDone++;
    }
  }

  /** The next one is gone, or is not wanted: everything is as before, less what it held. */
  async #goOn(next: NextPrimary): Promise<void> {
    const { supervisor, relay, manager, log } = this.#options;
    const served = next.serves;
    // Both are told to end: it says goodbye to those that it holds by now.
    if (!supervisor.stopping) {
      this.#next = null;
      next.kill();
    }
    await next.gone;
    relay.leave(this.#member);
    relay.onRemoved = () => {};
    supervisor.passing.other.disconnect();
    supervisor.slots.shareSessions(false);
    if (supervisor.stopping) return;
    supervisor.refill();
    if (!served) return;
    log.warn('the primary goes on: the next one is gone', { pid: process.pid });
    await manager.isNow(process.pid);
  }
}

function fail(error: LongwireError): never {
  throw error;
}
