// What `npm test` runs once everything is compiled: all tests on the installed Node, then those that depend on Node's
// internals on every other major that the project supports.
//
//   npm test                       everything
//   npm test -- broker hub         only files whose path holds one of these, on the installed Node alone
//   npm test -- --majors=none      no other majors; or those named: --majors=24,26
//
// The list of files comes from the sources, so that compiled tests of sources that are gone do not run. A file is a
// process of its own. Most wait for deadlines and other processes far more than they compute, so twice as many run at a
// time as there are cores; those that measure, or fill the machine by themselves, come after them, one by one.

import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { ensurePrograms } from './harness/programs.ts';
import { bringNode, MAJORS } from './harness/runtimes.ts';

/**
 * What must pass on every major, by how its path begins: all that touches Node's internals, and of the rest one way through
 * each part of the gateway. Everything on everything would take half an hour.
 */
const ON_EVERY_MAJOR = [
  'test/broker/relay-link',
  'test/workers/wire/',
  'test/workers/http/',
  'test/end-to-end/api',
  'test/end-to-end/capacity',
  'test/end-to-end/lifecycle',
  'test/end-to-end/moving.test',
  'test/end-to-end/primary-changes',
  'test/end-to-end/primary-replacement',
  'test/end-to-end/sse.test',
  'test/end-to-end/sticky',
  'test/end-to-end/tls.test',
  'test/end-to-end/websocket.test',
  'test/primary/hand-overs',
  'test/primary/bound-socket',
  'test/src/descriptor-link',
];

/**
 * What runs alone, by how its path begins: what measures, because figures of a machine that does something else at the same
 * time say nothing, and the crowds of thousands, which would keep everything else waiting beyond its patience.
 */
const ALONE = [
  'test/bench/',
  'test/end-to-end/capacity',
  'test/end-to-end/deadlines',
  'test/end-to-end/fuzz',
  'test/end-to-end/leaks',
  'test/end-to-end/order',
  'test/end-to-end/slow-consumer',
];

/** Bounds one test and one file: what hangs fails, with its name. */
const TEST_TIMEOUT_MS = 300_000;

const INSTALLED_MAJOR = Number(process.versions.node.split('.')[0]);

process.exitCode = main(process.argv.slice(2));

function main(args: string[]): number {
  const fragments = args.filter((arg) => !arg.startsWith('--'));
  const majors = chosenMajors(args, fragments.length > 0);
  if (typeof majors === 'string') return fail(majors);
  const missing = ensurePrograms();
  if (missing !== null) return fail(missing);

  const files = testFiles().filter((file) => fragments.length === 0 || fragments.some((part) => file.includes(part)));
  if (files.length === 0) return fail(`no test file has ${fragments.join(' or ')} in its path`);
  if (!runTests(process.execPath, files)) return 1;

  const filesOnEveryMajor = files.filter((file) => ON_EVERY_MAJOR.some((folder) => file.startsWith(folder)));
  if (filesOnEveryMajor.length === 0) return 0;
  let passed = true;
  for (const major of majors) {
    try {
      passed = runTests(bringNode(major), filesOnEveryMajor) && passed;
    } catch (error) {
      return fail(`${error instanceof Error ? error.message : error}; --majors=none does without`);
    }
  }
  return passed ? 0 : 1;
}

/** The other majors to test on; or, as a string, what is wrong with the arguments. */
function chosenMajors(args: string[], narrowed: boolean): number[] | string {
  let majors = narrowed ? [] : MAJORS;
  for (const option of args.filter((arg) => arg.startsWith('--'))) {
    const list = /^--majors=(none|\d+(,\d+)*)$/.exec(option)?.[1];
    if (list === undefined) return `unknown option ${option}; there is --majors=none and --majors=22,24`;
    majors = list === 'none' ? [] : list.split(',').map(Number);
  }
  return majors.filter((major) => major !== INSTALLED_MAJOR);
}

/** Paths of the test sources, sorted: 'test/broker/conformance.test.ts'. */
function testFiles(): string[] {
  const names = readdirSync('test', { recursive: true, encoding: 'utf8' });
  return names
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => join('test', name))
    .sort();
}

/** Runs the files on that Node; false when a test failed. All are run, whatever fails. */
function runTests(node: string, files: string[]): boolean {
  const alone = files.filter((file) => ALONE.some((beginning) => file.startsWith(beginning)));
  const others = files.filter((file) => !alone.includes(file));
  const passed = runAtATime(node, others, 2 * availableParallelism());
  return runAtATime(node, alone, 1) && passed;
}

function runAtATime(node: string, files: string[], concurrency: number): boolean {
  if (files.length === 0) return true;
  const compiled = files.map((file) => join('dist', file.replace(/\.ts$/, '.js')));
  const version = spawnSync(node, ['--version'], { encoding: 'utf8' }).stdout.trim();
  console.log(`\nNode ${version}, ${files.length} files, ${concurrency} at a time\n`);
  const flags = [
    ...['--test', '--test-reporter=spec', '--enable-source-maps'],
    ...[`--test-concurrency=${concurrency}`, `--test-timeout=${TEST_TIMEOUT_MS}`],
  ];
  // Programs that call plain `node` get the same one.
  const env = { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env.PATH ?? ''}` };
  return spawnSync(node, [...flags, ...compiled], { stdio: 'inherit', env }).status === 0;
}

function fail(text: string): number {
  console.error(text);
  return 1;
}
