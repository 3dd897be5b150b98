// Programs that are not ours and that a test would like to meet: whether they are there, and how they are run.
//
// A program that nobody has stopped is killed when the test process exits, with all that it started: each leads a process
// group of its own.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';

/**
 * Why tests with a program are skipped, or false when it runs: what `it`'s `skip` takes.
 *
 * @param args Arguments with which it says its version, or does something as small, and succeeds.
 */
export function missing(command: string, ...args: string[]): string | false {
  const { error, status } = spawnSync(command, args, { stdio: 'ignore', timeout: 30_000 });
  return error === undefined && status === 0 ? false : `${[command, ...args].join(' ')} does not run here`;
}

export class ForeignProgram {
  readonly process: ChildProcess;
  /** stdout so far, and stderr. */
  out = '';
  errors = '';
  exited = false;

  constructor(command: string, args: string[], cwd?: string) {
    const child = spawn(command, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
      ...(cwd === undefined ? {} : { cwd }),
    });
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.out += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.errors += text;
    });
    // It may have ended before it is told anything.
    child.stdin.on('error', () => {});
    child.once('error', (error) => {
      this.errors += error.message;
      this.exited = true;
    });
    child.once('exit', () => {
      this.exited = true;
      process.off('exit', this.#kill);
    });
    process.on('exit', this.#kill);
    this.process = child;
  }

  say(line: string): void {
    this.process.stdin?.write(`${line}\n`);
  }

  /** SIGKILL to it and all that it started; resolves when it is gone. */
  async stop(): Promise<void> {
    if (this.process.pid === undefined) return;
    const exit = this.exited ? null : once(this.process, 'exit');
    this.#kill();
    await exit;
  }

  readonly #kill = (): void => {
    try {
      if (this.process.pid !== undefined) process.kill(-this.process.pid, 'SIGKILL');
    } catch {
      // The whole group has ended.
    }
  };
}
