// A whole gateway as processes of its own, seen from outside only: what it prints, its two ports, its exit.
//
// `startGateway` resolves when the gateway has said that it is ready. Both ports are free ones, so that any number of
// gateways run side by side; the addresses are read from the start-up text. Nothing of the test's environment reaches
// it but PATH, and its working directory is an empty folder, where no `.env` lies. A gateway that nobody has stopped is
// killed when the test process ends, in whatever way; its workers and primaries that have taken over go with it.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isAlive } from './alive.ts';
import { killIn } from './processes-in.ts';
import { type Answer, ask } from './raw-client.ts';
import { reapAtEnd } from './reaper.ts';
import { waitUntil } from './wait.ts';

const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));
/** What a primary is started with that takes over. */
const TAKE_OVER_FLAG = '--take-over';

/** The backend's key of every gateway that a test starts, unless the test gives another. */
export const API_KEY = 'the-key-of-the-tests';

export interface Ending {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export interface GatewayOptions {
  /** Beside the harness' own: free ports on 127.0.0.1, two workers, `API_KEY`. */
  env?: Record<string, string>;
  /** What `.env` says of knobs that are then not in the environment. */
  file?: Record<string, string>;
}

/** What `/workers` says of one worker, as far as the tests read it. */
export interface WorkerInfo {
  id: number;
  generation: number;
  state: string;
  pid: number | null;
  wire: string | null;
  accept: string | null;
  broker: string | null;
  connections: Record<string, number>;
  channels: number;
  subscriptions: number;
  memory: { rssBytes: number; arrayBuffersBytes: number; externalBytes: number };
}

export interface LogLine {
  time: string;
  level: string;
  process: string;
  text: string;
  [field: string]: unknown;
}

/** Starts the program without waiting for anything: for starts that fail. */
export function runGateway({ env = {}, file = {} }: GatewayOptions = {}): GatewayProcess {
  return new GatewayProcess(env, file);
}

/** Starts a gateway and resolves when it serves. */
export async function startGateway(options: GatewayOptions = {}): Promise<GatewayProcess> {
  const gateway = runGateway(options);
  await waitUntil(
    () => gateway.out.includes('/api/publish') || gateway.exited,
    () => `the start-up text; log: ${gateway.log}`,
    30_000,
  );
  if (gateway.exited) throw new Error(`the gateway has exited instead of starting: ${gateway.log}`);
  return gateway;
}

export class GatewayProcess {
  readonly process: ChildProcess;
  /** Its working directory, where `.env` may lie. */
  readonly folder: string;
  /** How the primary ended; its output is complete by then. */
  readonly ended: Promise<Ending>;
  /** stdout and stderr so far. */
  out = '';
  log = '';
  exited = false;

  constructor(env: Record<string, string>, file: Record<string, string>) {
    const folder = mkdtempSync(join(tmpdir(), 'longwire-gateway-'));
    this.folder = folder;
    this.write(file);
    const child = spawn(process.execPath, [MAIN], {
      cwd: folder,
      env: {
        PATH: process.env.PATH,
        PORT: '0',
        LONGWIRE_ADMIN_PORT: '0',
        LONGWIRE_HOST: '127.0.0.1',
        LONGWIRE_WORKERS: '2',
        LONGWIRE_API_KEY: API_KEY,
        ...env,
        ...Object.fromEntries(Object.keys(file).map((name) => [name, undefined])),
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.out += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.log += text;
    });
    reapAtEnd(folder);
    this.process = child;
    // Not 'close': a worker that lives a moment longer than a killed primary still holds the pipes.
    child.once('exit', () => {
      this.exited = true;
    });
    this.ended = once(child, 'close').then(([code, signal]) => {
      rmSync(folder, { recursive: true, force: true });
      return { code, signal };
    });
  }

  /** Writes `.env` anew. */
  write(file: Record<string, string>): void {
    const lines = Object.entries(file).map(([name, value]) => `${name}=${value}\n`);
    writeFileSync(join(this.folder, '.env'), lines.join(''));
  }

  get publicPort(): number {
    return this.#port('public');
  }

  get adminPort(): number {
    return this.#port('admin');
  }

  /** The log, line by line. */
  get logLines(): LogLine[] {
    return this.log
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line));
  }

  /** Those lines of the log that say this. */
  logged(text: string): LogLine[] {
    return this.logLines.filter((line) => line.text.includes(text));
  }

  /** The primary's: another one's when that has taken over. */
  get primaryPid(): number {
    return Number(this.logged('this primary has taken over').at(-1)?.pid ?? this.process.pid);
  }

  signal(signal: NodeJS.Signals): void {
    const { primaryPid } = this;
    if (primaryPid === this.process.pid) this.process.kill(signal);
    else if (isAlive(primaryPid)) process.kill(primaryPid, signal);
  }

  /** SIGTERM; resolves with how it ended. Killed and reported if that takes longer than `timeoutMs`. */
  async stop(timeoutMs = 20_000): Promise<Ending> {
    this.signal('SIGTERM');
    const timer = setTimeout(() => this.signal('SIGKILL'), timeoutMs);
    const ending = await this.ended;
    clearTimeout(timer);
    return ending;
  }

  /** SIGKILL to the primary, and to one that is about to take over. Also what `after` hooks call: a gateway that has ended is left alone. */
  async kill(): Promise<void> {
    this.signal('SIGKILL');
    if (this.log.includes('the next primary is started')) await killIn(this.folder, TAKE_OVER_FLAG);
    await this.ended;
  }

  /** An answer of the admin port. */
  async admin(path: string): Promise<Answer> {
    return ask(this.adminPort, `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
  }

  /** Posts a command to the admin port. */
  async command(path: string, body = '', fields = ''): Promise<Answer> {
    const head = `POST ${path} HTTP/1.1\r\nHost: localhost\r\n${fields}Connection: close\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n`;
    return ask(this.adminPort, head + body);
  }

  async workers(): Promise<WorkerInfo[]> {
    const answer = await this.admin('/workers');
    return JSON.parse(answer.text).workers;
  }

  async workerPids(): Promise<number[]> {
    return (await this.workers()).flatMap(({ pid }) => pid ?? []);
  }

  /** The status of `/ready`. */
  async readiness(): Promise<number> {
    return (await this.admin('/ready')).status;
  }

  async metrics(): Promise<Metrics> {
    return new Metrics((await this.admin('/metrics')).text);
  }

  /**
   * Resolves once the sum of a metric is what is expected. Workers report once a second, so numbers come late; they are
   * waited for, never slept for.
   */
  async metricReaches(name: string, labels: Record<string, string>, expected: number | ((value: number) => boolean)) {
    const reached = typeof expected === 'number' ? (value: number) => value === expected : expected;
    let value = Number.NaN;
    await waitUntil(
      async () => {
        value = (await this.metrics()).value(name, labels);
        return reached(value);
      },
      () => `${name} ${JSON.stringify(labels)} to be ${expected}; it is ${value}`,
    );
  }

  /** A call of the backend's API on a connection of its own, through TLS where the gateway speaks it. A string is sent as it is. */
  async api(method: string, body: unknown, fields = `X-API-Key: ${API_KEY}\r\n`): Promise<Answer> {
    const bytes = Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
    const head = `POST /api/${method} HTTP/1.1\r\nHost: gateway\r\n${fields}Connection: close\r\nContent-Length: ${bytes.length}\r\n\r\n`;
    const tls = this.out.includes('curl -N https:') ? { tls: { rejectUnauthorized: false } } : {};
    return ask(this.publicPort, Buffer.concat([Buffer.from(head), bytes]), tls);
  }

  /**
   * Publishes, and fails unless that succeeds.
   *
   * @param data A string or bytes, which travel as `b64data`, or any JSON value.
   * @param extra Further members: `{ event, id }`.
   */
  async publish(channel: string, data: unknown, extra: Record<string, unknown> = {}): Promise<void> {
    const content = Buffer.isBuffer(data) ? { b64data: data.toString('base64') } : { data };
    const answer = await this.api('publish', { channel, ...content, ...extra });
    if (answer.status !== 200) throw new Error(`publishing failed: ${answer.status} ${answer.text}`);
  }

  #port(name: string): number {
    const port = new RegExp(`^ +${name} +https?://127\\.0\\.0\\.1:(\\d+)`, 'm').exec(this.out)?.[1];
    if (port === undefined) throw new Error(`the start-up text names no ${name} port: ${this.out}${this.log}`);
    return Number(port);
  }
}

/** One scrape. */
export class Metrics {
  readonly #samples: { name: string; labels: Record<string, string>; value: number }[] = [];

  constructor(text: string) {
    for (const line of text.split('\n')) {
      const [, name, labels = '', value] = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
      if (name === undefined) continue;
      const pairs = [...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, key = '', text = '']) => [key, text]);
      this.#samples.push({ name, labels: Object.fromEntries(pairs), value: Number(value) });
    }
  }

  /** The sum of all samples that have these labels among theirs. */
  value(name: string, labels: Record<string, string> = {}): number {
    let sum = 0;
    for (const sample of this.#samples) {
      if (sample.name !== name) continue;
      if (Object.entries(labels).every(([key, text]) => sample.labels[key] === text)) sum += sample.value;
    }
    return sum;
  }

  /** Every counter by name and labels. */
  counters(): Map<string, number> {
    const counters = this.#samples.filter(({ name }) => name.endsWith('_total') || name.endsWith('_count'));
    return new Map(counters.map(({ name, labels, value }) => [`${name}${JSON.stringify(labels)}`, value]));
  }
}
