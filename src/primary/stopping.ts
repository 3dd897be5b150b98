// Stopping: how the primary ends. The first signal drains, after its delay, and exits 0; a second one ends everything at once.
//
// While one primary takes over from another both are the gateway, and whoever stops it reaches one of them: by the service manager
// the next one, which is the main process by then, by hand mostly the former. So whichever has a signal tells the other, both
// drain what they hold, and the one that has the signal leaves last: what watches it would take what is left for lost. Where both
// have one that is the next one.
//
// Bound: the drain's delay and seconds, the supervisor's grace, and `OTHER_LIMIT_MS` for the other primary, which had the same.

import { constants } from 'node:os';
import { errorText } from '../errors.ts';
import type { Log } from '../log.ts';
import type { AdminServer } from './admin.ts';
import type { FormerPrimary } from './former-primary.ts';
import type { Replacement } from './replacement.ts';
import type { ServiceManager } from './service-manager.ts';
import type { StickyFront } from './sticky-front.ts';
import type { Supervisor } from './supervisor.ts';

/** Beyond our own drain: its workers may have been killed a moment later. */
const OTHER_LIMIT_MS = 10_000;
const EXIT_INTERNAL = 70;

export interface StoppingOptions {
  supervisor: Supervisor;
  admin: AdminServer;
  front: StickyFront | null;
  manager: ServiceManager;
  replacement: Pick<Replacement, 'stop' | 'kill'>;
  /** Null for a start of its own. */
  former: Pick<FormerPrimary, 'stop'> | null;
  log: Log;
}

export class Stopping {
  readonly #options: StoppingOptions;
  #state: 'serving' | 'stopping' = 'serving';
  /** What the other primary says is none. */
  #signals = 0;
  /** Whom to wait for in the end. */
  #others: (Promise<void> | null | undefined)[] = [];
  /** The next primary had a signal too, and waits for this one. */
  #nextWaits = false;

  constructor(options: StoppingOptions) {
    this.#options = options;
  }

  listen(): void {
    process.on('SIGTERM', (signal) => this.#onSignal(signal));
    process.on('SIGINT', (signal) => this.#onSignal(signal));
    process.on('uncaughtException', (error) => this.#endWithFault(error));
    process.on('unhandledRejection', (reason) => this.#endWithFault(reason));
  }

  /** The former primary was told to stop, and waits for this one. */
  byFormer(): void {
    if (this.#state === 'serving') this.#begin('the former primary');
  }

  /** The next primary was. */
  byNext(): void {
    this.#nextWaits = true;
    if (this.#state === 'serving') this.#begin('the next primary');
  }

  #onSignal(signal: NodeJS.Signals): void {
    const { supervisor, replacement, former, log } = this.#options;
    if (++this.#signals > 1) {
      log.warn('second signal: exiting at once', { signal });
      replacement.kill();
      supervisor.killAll();
      process.exit(128 + constants.signals[signal]);
    }
    this.#others = [former?.stop(), replacement.stop()];
    if (this.#state === 'serving') this.#begin(signal);
  }

  #begin(cause: string): void {
    const { supervisor, manager, log } = this.#options;
    this.#state = 'stopping';
    supervisor.announceStop();
    const { drainSeconds, drainDelaySeconds } = supervisor.slots.config;
    log.info('shutting down', { cause, drainSeconds, drainDelaySeconds });
    manager.stopping();
    setTimeout(() => void this.#end().catch((thrown: unknown) => this.#endWithFault(thrown)), drainDelaySeconds * 1000);
  }

  async #end(): Promise<void> {
    const { supervisor, admin, front, log } = this.#options;
    front?.stop();
    const workersKilled = await supervisor.stop(supervisor.slots.config.drainSeconds);
    if (!this.#nextWaits) await within(OTHER_LIMIT_MS, Promise.all(this.#others));
    await admin.close();
    log.info('shut down', { workersKilled, pid: process.pid });
    process.exit(0);
  }

  #endWithFault(thrown: unknown): void {
    const { supervisor, log } = this.#options;
    const stack = thrown instanceof Error ? thrown.stack : null;
    log.error('fault in the primary', { error: errorText(thrown), stack });
    supervisor.killAll();
    process.exit(EXIT_INTERNAL);
  }
}

async function within(limitMs: number, outcome: Promise<unknown>): Promise<void> {
  let deadline: NodeJS.Timeout | undefined;
  const late = new Promise((resolve) => {
    deadline = setTimeout(resolve, limitMs);
  });
  await Promise.race([outcome, late]);
  clearTimeout(deadline);
}
