// A subject: a server under test, started as its users would start it, and stopped without leaving anything behind.
//
// Every subject gets a clean environment (no LONGWIRE_*, no REDIS_URL, no .env of the folder that the benchmark was started in)
// and is ready when its probe answers 200. All processes ever started are remembered by id and killed when the benchmark
// ends, however it ends.

import { type ChildProcess, spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { errorText } from '../../src/errors.ts';
import { nowMs, sleep } from '../clock.ts';
import { BenchError } from '../crowd.ts';
import { processTree } from '../processes.ts';

const READY_LIMIT_MS = 30_000;
const STOP_LIMIT_MS = 5_000;
const OUTPUT_KEPT_CHARACTERS = 4_000;

export interface SubjectPlan {
  name: string;
  command: string;
  args: string[];
  env: Record<string, string>;
  /** Public port of its SSE and publishing surface; 0 for a subject without one. */
  port: number;
  /** Whether that port speaks TLS. */
  secure: boolean;
  apiKey: string;
  /** Answers 200 once the subject serves; null when there is nothing to ask. */
  readyUrl: string | null;
}

export interface Subject {
  readonly plan: SubjectPlan;
  /** The process that was started and all below it. */
  tree(): number[];
  /** Those that serve connections: the whole tree, or without its root where that only supervises. */
  serving(): number[];
  stop(): Promise<void>;
}

const running = new Set<number>();

process.on('exit', () => {
  for (const pid of running) kill(pid, 'SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1));

export async function startSubject(plan: SubjectPlan): Promise<Subject> {
  const child = spawn(plan.command, plan.args, {
    cwd: tmpdir(),
    env: { ...cleanEnvironment(), ...plan.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const pid = child.pid;
  if (pid === undefined) throw new BenchError(`${plan.name}: cannot start ${plan.command}`);
  running.add(pid);
  let output = '';
  const keep = (text: Buffer) => {
    output = (output + text.toString()).slice(-OUTPUT_KEPT_CHARACTERS);
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  const subject: Subject = {
    plan,
    tree: () => processTree(pid),
    serving: () => {
      const tree = processTree(pid);
      return tree.length > 1 ? tree.slice(1) : tree;
    },
    stop: () => stop(child, pid),
  };
  try {
    await ready(plan, child);
  } catch (error) {
    await subject.stop();
    throw new BenchError(`${errorText(error)}\n${output}`);
  }
  return subject;
}

async function ready(plan: SubjectPlan, child: ChildProcess): Promise<void> {
  const deadline = nowMs() + READY_LIMIT_MS;
  while (nowMs() < deadline) {
    if (child.exitCode !== null || child.signalCode !== null) throw new BenchError(`${plan.name}: ended at start`);
    if (plan.readyUrl === null) return;
    const answer = await fetch(plan.readyUrl).catch(() => null);
    await answer?.arrayBuffer();
    if (answer?.status === 200) return;
    await sleep(50);
  }
  throw new BenchError(`${plan.name}: not ready after ${READY_LIMIT_MS / 1000} s`);
}

/** SIGTERM, and SIGKILL for whatever of the tree is left after the limit. */
async function stop(child: ChildProcess, pid: number): Promise<void> {
  const tree = processTree(pid);
  for (const member of tree) running.add(member);
  kill(pid, 'SIGTERM');
  const deadline = nowMs() + STOP_LIMIT_MS;
  while (child.exitCode === null && child.signalCode === null && nowMs() < deadline) await sleep(20);
  for (const member of tree) {
    kill(member, 'SIGKILL');
    running.delete(member);
  }
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // Gone already.
  }
}

function cleanEnvironment(): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (value !== undefined && !name.startsWith('LONGWIRE_') && name !== 'REDIS_URL' && name !== 'PORT')
      env[name] = value;
  }
  return env;
}

/** Ports that nobody listens on just now, below those that the kernel gives out itself. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  for (let port = 20_000 + (process.pid % 5_000); ports.length < count && port < 32_000; port++) {
    if (await isFree(port)) ports.push(port);
  }
  if (ports.length < count) throw new BenchError('no free port');
  return ports;
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, () => server.close(() => resolve(true)));
  });
}
