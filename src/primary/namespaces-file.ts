// Reads the file that LONGWIRE_NAMESPACES names, once, in the primary; workers are sent what it says with their configuration.

import type { Config } from '../../config/config.ts';
import { KNOBS } from '../../config/knobs.ts';
import type { Fault } from '../../config/load.ts';
import { type Namespaces, NO_NAMESPACES } from '../../config/namespaces.ts';
import { parseNamespaces } from '../../config/parse-namespaces.ts';
import { errorText } from '../errors.ts';
import { readBounded } from './bounded-file.ts';

/** @returns what the file says, every default where none is named, or all its faults by place. */
export function readNamespaces(
  config: Pick<Config, 'namespaces' | 'payloadLimitBytes'>,
): { namespaces: Namespaces } | { faults: Fault[] } {
  const { namespaces: file, payloadLimitBytes } = config;
  if (file === '') return { namespaces: NO_NAMESPACES };
  const knob = KNOBS.namespaces.environment;
  let text: string;
  try {
    text = readBounded(file);
  } catch (thrown) {
    return { faults: [fault(knob, file, `must be a file that this user can read (${errorText(thrown)})`)] };
  }
  const parsed = parseNamespaces(text, payloadLimitBytes);
  if ('namespaces' in parsed) return parsed;
  return {
    faults: parsed.faults.map(({ path, value, problem }) =>
      path === '' ? fault(knob, file, problem) : fault(`${file}: ${path}`, value, problem),
    ),
  };
}

function fault(name: string, value: string | null, problem: string): Fault {
  return { name, value, problem, allowed: null, default: null };
}
