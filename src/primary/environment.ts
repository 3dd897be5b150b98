// Reads `.env`, once, in the primary; workers are sent the parsed `Config`.
//
// The real environment wins over the file. `process.env` is left as it was, so that what the file holds (a Redis password,
// the API key) does not show in the environment of the workers, which anyone with the same user can read in /proc.

import { join } from 'node:path';
import { config as readDotenv } from 'dotenv';
import type { Environment, Fault } from '../../config/load.ts';
import { errorText } from '../errors.ts';

/**
 * The environment with `.env` beneath it.
 *
 * @param directory Where `.env` lies, if there is one.
 * @param environment What wins over it.
 * @returns The two together, or the fault that the file is there and cannot be read.
 */
export function readEnvironment(
  directory: string = process.cwd(),
  environment: Environment = process.env,
): { environment: Environment } | { faults: Fault[] } {
  const merged: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment)) if (value !== undefined) merged[name] = value;

  // All options are given, because dotenv takes those that are not from DOTENV_* in the environment. Without `quiet` it
  // writes a line to stderr; with `debug`, to stdout.
  const { error } = readDotenv({
    path: join(directory, '.env'),
    encoding: 'utf8',
    processEnv: merged,
    override: false,
    quiet: true,
    debug: false,
    fast: false,
  });
  if (error === undefined || error.code === 'ENOENT') return { environment: merged };
  const problem = `must be a file that this user can read (${errorText(error)})`;
  return { faults: [{ name: '.env', value: null, problem, allowed: null, default: null }] };
}
