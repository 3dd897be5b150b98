// Programs that the tests need besides Node: found on PATH, or installed with apt where that needs no password.
//
// Debian and its derivatives only; elsewhere whoever runs the tests is told what to install. Nothing of this is a
// dependency of the product, which runs with Node alone.

import { spawnSync } from 'node:child_process';
import { REDIS_SERVER } from './redis-server.ts';

interface Program {
  command: string;
  /** Arguments that make it say its version and succeed. */
  version: string[];
  /** The Debian package that has it. */
  package: string;
}

/** Tests with these are skipped, and say so, where they cannot be had. A browser is not among them: it is too large. */
const WELCOME: Program[] = [
  { command: 'curl', version: ['--version'], package: 'curl' },
  { command: 'nginx', version: ['-v'], package: 'nginx' },
  { command: 'haproxy', version: ['-v'], package: 'haproxy' },
  { command: '/usr/bin/python3', version: ['-c', 'import websockets'], package: 'python3-websockets' },
];

const PROGRAMS: Program[] = [
  { command: REDIS_SERVER, version: ['--version'], package: 'redis-server' },
  { command: 'openssl', version: ['version'], package: 'openssl' },
];

/**
 * Makes sure that every program is there without which there are no tests, and tries to get the others.
 *
 * @returns null when they all are; otherwise what to tell the person who runs the tests.
 */
export function ensurePrograms(): string | null {
  const missing = PROGRAMS.filter(isMissing);
  const welcome = WELCOME.filter(isMissing);
  if (missing.length + welcome.length === 0) return null;
  const packages = missing.map((program) => program.package);
  const apt = aptCommand();
  if (apt !== null) {
    const all = [...packages, ...welcome.map((program) => program.package)];
    console.log(`installing what the tests need: ${all.join(', ')}`);
    run([...apt, 'update', '-q']);
    // One by one: a package that cannot be had must not keep the others away.
    for (const name of all) run([...apt, 'install', '-q', '-y', '--no-install-recommends', name]);
  }
  const still = missing.filter(isMissing).map((program) => program.command);
  if (still.length === 0) return null;
  const hint = `apt-get install ${packages.join(' ')}`;
  return `the tests need ${still.join(' and ')} on the PATH; on Debian or Ubuntu: ${hint}`;
}

function isMissing({ command, version }: Program): boolean {
  return spawnSync(command, version, { stdio: 'ignore' }).status !== 0;
}

/** How apt-get is run without a password, or null when it cannot be. */
function aptCommand(): string[] | null {
  if (spawnSync('apt-get', ['--version'], { stdio: 'ignore' }).status !== 0) return null;
  if (process.getuid?.() === 0) return ['apt-get'];
  if (spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status === 0) return ['sudo', '-n', '-E', 'apt-get'];
  return null;
}

function run([command, ...args]: string[]): void {
  // RUNLEVEL=1 keeps Debian from starting the Redis service that comes with the package: the tests start their own.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  if (command !== undefined) spawnSync(command, args, { stdio: 'inherit', env });
}
