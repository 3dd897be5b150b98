// Real redis-server processes for tests: each on a free port of its own, with its files in a temporary folder.
//
// `startRedis` resolves when the server accepts connections. `kill` and `restart` keep port and folder, so that clients
// find the new server where the old one was. A server does not keep the test process alive, and one that nobody has
// stopped is ended from an exit handler.

import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { REDIS_SERVER } from './redis-server.ts';

const START_DEADLINE_MS = 10_000;

export interface RedisServerOptions {
  /** `requirepass`. */
  password?: string;
  /** PEM files; with them the server speaks TLS only, and `url` begins with `rediss://`. */
  tls?: { cert: string; key: string; ca: string };
  /** Further lines of redis.conf, as arguments: `['--appendonly', 'yes']`. */
  arguments?: string[];
}

export interface RedisServer {
  /** `redis://127.0.0.1:{port}`, with the password when there is one. */
  readonly url: string;
  readonly port: number;
  /** The Unix socket that it listens on too. */
  readonly path: string;
  readonly pid: number;
  /** SIGKILL; resolves when the process is gone and the port is closed. */
  kill(): Promise<void>;
  /** Starts it again on the same port, killing it first if it runs; resolves when it accepts connections. */
  restart(): Promise<void>;
  /** SIGSTOP: connections stay, nothing answers. */
  pause(): void;
  /** SIGCONT. */
  resume(): void;
  /** Ends it and removes its folder. */
  stop(): Promise<void>;
}

/** Starts a server and resolves when it accepts connections. */
export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  const folder = mkdtempSync(join(tmpdir(), 'longwire-redis-'));
  const path = join(folder, 'redis.sock');
  const port = await freePort();
  let server: ChildProcess | null = null;

  const end = async (): Promise<void> => {
    if (server === null) return;
    const ended = server;
    server = null;
    if (ended.exitCode !== null || ended.signalCode !== null) return;
    const exit = once(ended, 'exit');
    ended.ref();
    ended.kill('SIGKILL');
    await exit;
  };
  const start = async (): Promise<void> => {
    server = await launch(serverArguments(port, folder, path, options));
  };
  const onProcessExit = (): void => {
    server?.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  };
  process.on('exit', onProcessExit);

  const auth = options.password === undefined ? '' : `:${encodeURIComponent(options.password)}@`;
  try {
    await start();
  } catch (error) {
    process.off('exit', onProcessExit);
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
  return {
    url: `${options.tls === undefined ? 'redis' : 'rediss'}://${auth}127.0.0.1:${port}`,
    port,
    path,
    get pid() {
      return server?.pid ?? 0;
    },
    kill: end,
    async restart() {
      await end();
      await start();
    },
    pause() {
      server?.kill('SIGSTOP');
    },
    resume() {
      server?.kill('SIGCONT');
    },
    async stop() {
      await end();
      process.off('exit', onProcessExit);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function serverArguments(port: number, folder: string, path: string, options: RedisServerOptions): string[] {
  const ports =
    options.tls === undefined
      ? ['--port', String(port)]
      : [
          ...['--port', '0', '--tls-port', String(port), '--tls-auth-clients', 'no'],
          ...['--tls-cert-file', options.tls.cert, '--tls-key-file', options.tls.key],
          ...['--tls-ca-cert-file', options.tls.ca],
        ];
  return [
    ...ports,
    ...['--bind', '127.0.0.1', '--unixsocket', path, '--dir', folder],
    ...['--save', '', '--appendonly', 'no', '--daemonize', 'no'],
    ...(options.password === undefined ? [] : ['--requirepass', options.password]),
    ...(options.arguments ?? []),
  ];
}

/** Runs redis-server until it says that it is ready; its log is the error's text when it never does. */
function launch(args: string[]): Promise<ChildProcess> {
  const server = spawn(REDIS_SERVER, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  return new Promise((resolve, reject) => {
    let output = '';
    const timer = setTimeout(() => fail('did not become ready in time'), START_DEADLINE_MS);
    const fail = (why: string): void => {
      clearTimeout(timer);
      server.kill('SIGKILL');
      reject(new Error(`${REDIS_SERVER} ${why}\n${output}`));
    };
    const read = (chunk: Buffer): void => {
      if (output.length < 65_536) output += chunk.toString();
      if (!output.includes('Ready to accept connections') && !output.includes('ready to accept connections at')) return;
      clearTimeout(timer);
      server.stdout.off('data', read);
      server.stdout.resume();
      server.unref();
      for (const pipe of [server.stdout, server.stderr]) if (pipe instanceof Socket) pipe.unref();
      resolve(server);
    };
    server.stdout.on('data', read);
    server.stderr.on('data', read);
    server.once('error', (error) => fail(`could not be started: ${error.message}`));
    server.once('exit', (code, signal) => fail(`exited with ${code ?? signal}`));
  });
}

/**
 * A port that nothing listens on at this moment. Below those that the kernel gives out by itself (32,768 to 60,999 unless
 * changed), so that whoever lets go of it for a moment finds it free again.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(20_000, 32_000);
    const server = createServer().listen(port, '127.0.0.1');
    const free = await once(server, 'listening').then(
      () => true,
      () => false,
    );
    server.close();
    if (free) return port;
  }
}
