// Forked workers around one broker, with the test in the primary's place: it holds the relay of the embedded broker.

import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { STDIO_WITH_LINK } from '../../src/broker/relay-link.ts';
import { createLog } from '../../src/log.ts';
import { Relay } from '../../src/primary/relay.ts';
import { linkToWorker } from '../../src/primary/worker-link.ts';
import { Recorder, type Written } from './recorder.ts';
import type { FromTestWorker, ToTestWorker } from './test-worker.ts';

const PROGRAM = fileURLToPath(new URL('./test-worker.js', import.meta.url));

/** How a publish call ended that the broker did not take. */
export class PublishFailure extends Error {
  readonly kind: string;
  constructor(kind: string, text: string) {
    super(text);
    this.kind = kind;
  }
}

export interface TestWorker {
  readonly id: number;
  readonly pid: number;
  readonly process: ChildProcess;
  readonly recorder: Recorder;
  readonly log: Extract<FromTestWorker, { test: 'log' }>['line'][];
  /** @throws PublishFailure */
  publish(...publications: Written[]): Promise<void>;
}

export interface TestWorkersOptions {
  /** null for the embedded broker. */
  redis: { url: string; prefix: string } | null;
  /** Added to the workers' environment. */
  env?: Record<string, string>;
  backlogLimitBytes?: number;
}

export class TestWorkers {
  readonly all: TestWorker[] = [];
  readonly relay: Relay;
  /** While false, the embedded broker's primary hears nothing of what workers publish. */
  relaying = true;
  readonly #options: TestWorkersOptions;

  constructor(options: TestWorkersOptions) {
    this.#options = options;
    const quiet = createLog('error', 'test');
    this.relay = new Relay(quiet, options.backlogLimitBytes);
  }

  static async start(count: number, options: TestWorkersOptions): Promise<TestWorkers> {
    const workers = new TestWorkers(options);
    await Promise.all(Array.from({ length: count }, () => workers.add()));
    return workers;
  }

  /** Forks a worker; resolves when its broker has started. */
  async add(): Promise<TestWorker> {
    const id = this.all.length + 1;
    const child = fork(PROGRAM, {
      serialization: 'advanced',
      stdio: [...STDIO_WITH_LINK],
      env: { ...process.env, ...this.#options.env },
      execArgv: ['--enable-source-maps'],
    });
    const link = linkToWorker(
      child,
      (kind, call, body) => {
        if (this.relaying) this.relay.receive(id, kind, call, body);
      },
      (fault) => assert.equal(fault, null),
    );
    const recorder = new Recorder();
    const log: TestWorker['log'] = [];
    const calls = new Map<number, { resolve: () => void; reject: (error: Error) => void }>();
    let callNumber = 0;
    const say = (message: ToTestWorker): void => {
      child.send(message);
    };
    const worker: TestWorker = {
      id,
      pid: child.pid ?? 0,
      process: child,
      recorder,
      log,
      publish: (...publications) =>
        new Promise((resolve, reject) => {
          const call = ++callNumber;
          calls.set(call, { resolve, reject });
          say({ test: 'publish', call, publications });
        }),
    };
    this.all.push(worker);

    const started = new Promise<void>((resolve, reject) => {
      child.on('message', (message: FromTestWorker) => {
        if (message.test === 'loaded') {
          if (this.#options.redis === null && link !== null) this.relay.join(id, link);
          say({ test: 'start', redis: this.#options.redis });
        } else if (message.test === 'started') {
          resolve();
        } else if (message.test === 'entries') {
          recorder.add(message.entries);
        } else if (message.test === 'log') {
          log.push(message.line);
        } else {
          const call = calls.get(message.call);
          calls.delete(message.call);
          if (message.error === null) call?.resolve();
          else call?.reject(new PublishFailure(message.error.kind, message.error.text));
        }
      });
      child.once('exit', (code, signal) => {
        this.relay.leave(id);
        link?.destroy();
        for (const call of calls.values()) call.reject(new Error(`worker ${id} is gone`));
        reject(new Error(`worker ${id} exited with ${code ?? signal}`));
      });
    });
    // Whoever waits for it hears of it; an exit after the start is the test's own doing.
    started.catch(() => undefined);
    await started;
    return worker;
  }

  async stop(): Promise<void> {
    const running = this.all.filter(({ process: child }) => child.exitCode === null && child.signalCode === null);
    await Promise.all(
      running.map(({ process: child }) => {
        const exit = once(child, 'exit');
        child.kill('SIGKILL');
        return exit;
      }),
    );
  }
}
