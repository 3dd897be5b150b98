// The subjects by name: Longwire itself and the references it is held against, each as one plan to start it.
//
//   longwire  dist/src/main.js beside this benchmark's own build, embedded broker or Redis
//   http      reference/http-sse.ts: plain node:http, one process
//   epoll     reference/epoll-sse.c, compiled with cc into a folder of this run's own
//   bun       reference/bun-websocket.ts on Bun from the npm registry: WebSocket on uWebSockets, one process; bun-topics the
//             same with Bun's own publish and subscribe
//   bare      reference/bare.ts: a Node that does nothing, for base memory only

import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { errorText } from '../../src/errors.ts';
import { type Certificates, makeCertificates } from '../../test/harness/certificates.ts';
import { bringBun } from '../../test/harness/runtimes.ts';
import { BenchError } from '../crowd.ts';
import type { Transport } from '../load/transports.ts';
import { freePorts, type SubjectPlan } from './subject.ts';

export type SubjectName = 'longwire' | 'http' | 'epoll' | 'bun' | 'bun-topics';

/** A column of a benchmark's table: a subject, and how it is reached. */
export interface Variant {
  /** Unique within a benchmark. */
  readonly name: string;
  readonly subject: SubjectName;
  readonly transport: Transport;
  /** LONGWIRE_WIRE of Longwire; `tls`: its sockets, with a certificate. */
  readonly wire: 'auto' | 'handle' | 'socket' | 'tls';
}

/** Longwire in one transport beside the references of the machine, which speak SSE. */
export const SUBJECT_NAMES = ['longwire', 'http', 'epoll'] as const;

export function besideReferences(transport: Transport): Variant[] {
  return SUBJECT_NAMES.map((name) => {
    return { name, subject: name, transport: name === 'longwire' ? transport : 'sse', wire: 'auto' };
  });
}

export interface SubjectSettings {
  node: string;
  /** Flags for all processes of the subject, worker and primary alike: they go by NODE_OPTIONS. */
  nodeFlags: string[];
  workers: number;
  redisUrl: string;
  /** LONGWIRE_ACCEPT of Longwire; shared unless given. */
  accept?: 'shared' | 'sticky';
  /** Whether every channel has presence; not unless given. */
  presence?: boolean;
  /** Whether every channel has history; not unless given, and not together with presence. */
  history?: boolean;
}

const API_KEY = 'benchmark-api-key';
const EPOLL_SOURCE = 'bench/reference/epoll-sse.c';
const C_FLAGS = ['-O2'];

/** Namespaces in which it is known who holds a channel. */
const PRESENCE = fileURLToPath(new URL('../../../bench/subjects/presence.json', import.meta.url));
/** Namespaces in which what was published is kept. */
const HISTORY = fileURLToPath(new URL('../../../bench/subjects/history.json', import.meta.url));

/** One process of a reference can hold what RLIMIT_NOFILE leaves it; Longwire as many times that as it has workers. */
export function processesOf(name: SubjectName, settings: SubjectSettings): number {
  return name === 'longwire' ? settings.workers : 1;
}

/** How to start a subject, on free ports. */
export async function planOf(
  name: SubjectName | 'bare',
  settings: SubjectSettings,
  wire: Variant['wire'] = 'auto',
): Promise<SubjectPlan> {
  const [port = 0, adminPort = 0] = name === 'bare' ? [] : await freePorts(2);
  const url = `http://127.0.0.1:${port}/healthz`;
  const secure = wire === 'tls';
  const node = (script: string) => ({ name, secure, command: settings.node, args: [built(script)] });
  const flags: Record<string, string> =
    settings.nodeFlags.length === 0 ? {} : { NODE_OPTIONS: settings.nodeFlags.join(' ') };
  const env = { ...flags, PORT: String(port) };
  switch (name) {
    case 'longwire':
      return {
        ...node('src/main.js'),
        env: {
          ...env,
          LONGWIRE_ADMIN_PORT: String(adminPort),
          LONGWIRE_WORKERS: String(settings.workers),
          LONGWIRE_API_KEY: API_KEY,
          LONGWIRE_LOG_LEVEL: 'warn',
          ...(secure ? certificate() : { LONGWIRE_WIRE: wire }),
          LONGWIRE_ACCEPT: settings.accept ?? 'shared',
          ...(settings.presence === true ? { LONGWIRE_NAMESPACES: PRESENCE } : {}),
          ...(settings.history === true ? { LONGWIRE_NAMESPACES: HISTORY } : {}),
          ...(settings.redisUrl === '' ? {} : { REDIS_URL: settings.redisUrl }),
        },
        port,
        apiKey: API_KEY,
        readyUrl: `http://127.0.0.1:${adminPort}/ready`,
      };
    case 'http':
      return { ...node('bench/reference/http-sse.js'), env, port, apiKey: '', readyUrl: url };
    case 'epoll':
      return { name, secure, command: epoll, args: [], env, port, apiKey: '', readyUrl: url };
    case 'bun':
    case 'bun-topics': {
      const args = [built('bench/reference/bun-websocket.js')];
      const bunEnv = { PORT: env.PORT, TOPICS: name === 'bun-topics' ? '1' : '0' };
      return { name, secure, command: bun.path, args, env: bunEnv, port, apiKey: '', readyUrl: url };
    }
    case 'bare':
      return { ...node('bench/reference/bare.js'), env: flags, port: 0, apiKey: '', readyUrl: null };
  }
}

let certificates: Certificates | null = null;

/** Where Longwire finds one, made once a run and removed with it. */
function certificate(): Record<string, string> {
  if (certificates === null) {
    const made = makeCertificates();
    process.on('exit', () => made.remove());
    certificates = made;
  }
  return { LONGWIRE_TLS_CERT: certificates.cert, LONGWIRE_TLS_KEY: certificates.key };
}

/** A file of the build that this benchmark belongs to. */
function built(path: string): string {
  const file = fileURLToPath(new URL(`../../${path}`, import.meta.url));
  if (!existsSync(file)) throw new BenchError(`${file} is missing: build first`);
  return file;
}

let epoll = '';

/** Compiles the C reference, once; false where there is no C compiler that does it. */
export function compileEpoll(): boolean {
  if (epoll !== '') return true;
  const folder = mkdtempSync(join(tmpdir(), 'longwire-bench-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  const binary = join(folder, 'epoll-sse');
  try {
    execFileSync('cc', [...C_FLAGS, '-o', binary, join(projectRoot(), EPOLL_SOURCE)], { stdio: 'ignore' });
  } catch {
    return false;
  }
  epoll = binary;
  return true;
}

let bun: Bun = { path: '', version: '' };

interface Bun {
  path: string;
  version: string;
}

/** Brings Bun, once; or, as a string, why it cannot be had. */
export function ensureBun(): Bun | string {
  if (bun.path !== '') return bun;
  try {
    bun = bringBun();
    return bun;
  } catch (error) {
    return errorText(error);
  }
}

/** The folder that holds the sources: above the build, or the one that the benchmark was started in. */
export function projectRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (dirname(folder) !== folder) {
    if (existsSync(join(folder, EPOLL_SOURCE))) return folder;
    folder = dirname(folder);
  }
  return process.cwd();
}
