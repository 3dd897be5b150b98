// What the service manager is told: that the gateway is ready, that it is stopping, and, where it asks for that, that it lives.
//
// sd_notify(3) is a datagram to the Unix socket in NOTIFY_SOCKET. Node has stream sockets on Unix paths and no datagrams, so
// the words go through systemd's own program, `systemd-notify`, which waits until they are taken. The unit must say
// NotifyAccess=all, because the sender is a child of the primary. Without NOTIFY_SOCKET nothing is started.
//
// Cost: a process at the start and one at the end; with WatchdogSec one each third of it.

import { execFile } from 'node:child_process';
import { errorText } from '../errors.ts';
import type { Log } from '../log.ts';

const NOTIFY = 'systemd-notify';
/** The program waits for the manager for 5 s by itself. */
const NOTIFY_LIMIT_MS = 10_000;

export class ServiceManager {
  readonly #log: Log;
  readonly #present: boolean;
  /** Half of what the manager allows would do; a third leaves room for a machine that is busy. */
  readonly #aliveEveryMs: number;
  #failed = false;

  /** @param environment Where NOTIFY_SOCKET and WATCHDOG_USEC are, when there is a manager that listens. */
  constructor(log: Log, environment: NodeJS.ProcessEnv = process.env) {
    this.#log = log;
    this.#present = (environment.NOTIFY_SOCKET ?? '') !== '';
    this.#aliveEveryMs = Number(environment.WATCHDOG_USEC ?? 0) / 1000 / 3;
  }

  /** The gateway serves. From now on the manager hears that the primary's loop turns, if it wants to. */
  ready(status: string): void {
    void this.#tell('READY=1', `STATUS=${status}`);
    if (this.#present && this.#aliveEveryMs > 0)
      setInterval(() => void this.#tell('WATCHDOG=1'), this.#aliveEveryMs).unref();
  }

  stopping(): void {
    void this.#tell('STOPPING=1');
  }

  /** The main process is another one from now on. False when there is a manager that cannot be told: it would end everything. */
  isNow(pid: number): Promise<boolean> {
    return this.#tell(`MAINPID=${pid}`);
  }

  #tell(...words: string[]): Promise<boolean> {
    if (!this.#present) return Promise.resolve(true);
    return new Promise((resolve) => {
      execFile(NOTIFY, words, { timeout: NOTIFY_LIMIT_MS }, (error) => {
        resolve(error === null);
        // Said once: without the program each of them fails.
        if (error === null || this.#failed) return;
        this.#failed = true;
        this.#log.error('the service manager cannot be told', { words: words.join(' '), error: errorText(error) });
      });
    });
  }
}
