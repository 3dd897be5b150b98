// What a figure was measured on: recorded with every result, as figures of different machines must not be compared.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release, totalmem, version } from 'node:os';
import { projectRoot, type SubjectSettings } from './subjects/subjects.ts';

export interface Machine {
  date: string;
  /** Short name of the commit; `+` behind it when tracked files differ from it. */
  commit: string;
  cpu: string;
  cpus: number;
  memoryBytes: number;
  kernel: string;
  /** Node of the subjects, and of the load generator. */
  node: string;
  loadNode: string;
  nodeFlags: string[];
  nodeOptions: string;
  descriptorLimit: string;
  tcpRmem: string;
  tcpWmem: string;
  somaxconn: string;
  /** Load average of the minute before: well below 1, or the machine was not ours alone. */
  loadBefore: number;
}

export function machine(settings: SubjectSettings): Machine {
  const changed = output('git', ['status', '--porcelain', '--untracked-files=no']) !== '';
  return {
    date: new Date().toISOString(),
    commit: (output('git', ['rev-parse', '--short', 'HEAD']) || 'unknown') + (changed ? '+' : ''),
    cpu: cpus()[0]?.model ?? 'unknown',
    cpus: availableParallelism(),
    memoryBytes: totalmem(),
    kernel: `${release()} ${version()}`,
    node: output(settings.node, ['--version']),
    loadNode: process.version,
    nodeFlags: settings.nodeFlags,
    nodeOptions: process.env.NODE_OPTIONS ?? '',
    descriptorLimit: /^Max open files\s+(\d+|unlimited)/m.exec(read('/proc/self/limits'))?.[1] ?? 'unknown',
    tcpRmem: read('/proc/sys/net/ipv4/tcp_rmem'),
    tcpWmem: read('/proc/sys/net/ipv4/tcp_wmem'),
    somaxconn: read('/proc/sys/net/core/somaxconn'),
    loadBefore: loadavg()[0] ?? 0,
  };
}

function output(command: string, args: string[]): string {
  try {
    return execFileSync(command, args, {
      cwd: projectRoot(),
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return '';
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1').trim().replaceAll('\t', ' ');
  } catch {
    return 'unknown';
  }
}
