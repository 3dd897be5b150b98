// The benchmarks' command line: whole numbers, lists and texts with defaults, all faults told in one line.

import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { BenchError } from './crowd.ts';
import { TRANSPORTS, type Transport } from './load/transports.ts';

const ACCEPTS = ['shared', 'sticky'] as const;

export interface Options {
  connections: number;
  workers: number;
  /** Of what the benchmark measures, those that take part. */
  subjects: string[];
  /** Longwire's; references have their own. */
  transport: Transport;
  /** Times that each subject is measured, interleaved; figures are medians over them. */
  runs: number;
  /** Rounds: publications that each connection gets. */
  messages: number;
  payloadBytes: number;
  /** Connects without an answer head, over all client processes. */
  inFlight: number;
  redis: boolean;
  /** Whether it is known who holds each of Longwire's channels. */
  presence: boolean;
  /** Whether the scheduler alone says which core serves: see cores.ts. */
  sharedCores: boolean;
  /** LONGWIRE_ACCEPT of Longwire. */
  accept: (typeof ACCEPTS)[number];
  node: string;
  nodeFlags: string[];
  /** Where the JSON goes; empty for a file in the system's folder for temporary files. */
  json: string;
  /** Longest wait for the memory to stand still, in seconds. */
  settleSeconds: number;
}

const usage = (
  bench: string,
  { connections, messages, subjects, fanout }: Defaults,
) => `Usage: npm run bench:${bench} -- [options]
  --connections N     held at the same time (${connections})
  --workers N         Longwire's (1)
  --subjects LIST     of ${subjects.join(', ')} (all)
  --runs N            each subject so often, interleaved; medians are shown (3)
  --messages N        publications to each connection, one round each (${messages})
${
  fanout === undefined
    ? `  --transport NAME    Longwire's: ${TRANSPORTS.join(', ')} (sse)`
    : `  --fanout-connections N, --fanout-messages N
                      the same of the fan-out, which is a run of its own (${fanout.connections}, ${fanout.messages})`
}
  --payload-bytes N   of each publication (32)
  --in-flight N       connects without an answer, all clients together (1024)
  --settle-seconds N  longest wait for the memory to stand still (30)
  --redis             Longwire on a redis-server of this run's own
  --presence          Longwire's channels have presence
  --shared-cores      no cores set apart for serving during a fan-out
  --accept NAME       how connections reach Longwire's workers: ${ACCEPTS.join(', ')} (shared)
  --node PATH         Node of the subjects (the one that runs this)
  --node-flags LIST   flags for all processes of the subjects, one text; must be allowed in NODE_OPTIONS
  --json FILE         raw results (a file in the folder for temporary files)`;

/** What differs between benchmarks when nothing is said. */
interface Sizes {
  connections: number;
  messages: number;
}

export interface Defaults extends Sizes {
  /** Names that `--subjects` may choose from. */
  subjects: readonly string[];
  /** For a benchmark that measures all transports, and fan-out beside memory: its sizes. */
  fanout?: Sizes;
}

/** Reads the command line. The second set of options is that of the fan-out, where the benchmark has one. */
export function readOptions(bench: string, defaults: Defaults): { options: Options; fanout: Options } {
  const { values } = parseArgs({
    options: {
      connections: { type: 'string' },
      workers: { type: 'string' },
      subjects: { type: 'string' },
      runs: { type: 'string' },
      messages: { type: 'string' },
      transport: { type: 'string' },
      'fanout-connections': { type: 'string' },
      'fanout-messages': { type: 'string' },
      'payload-bytes': { type: 'string' },
      'in-flight': { type: 'string' },
      'settle-seconds': { type: 'string' },
      redis: { type: 'boolean' },
      presence: { type: 'boolean' },
      'shared-cores': { type: 'boolean' },
      accept: { type: 'string' },
      node: { type: 'string' },
      'node-flags': { type: 'string' },
      json: { type: 'string' },
      help: { type: 'boolean' },
    },
  });
  if (values.help === true) {
    process.stdout.write(`${usage(bench, defaults)}\n`);
    process.exit(0);
  }
  const { fanout } = defaults;
  if (fanout === undefined && (values['fanout-connections'] ?? values['fanout-messages']) !== undefined) {
    throw new BenchError(`--fanout-connections and --fanout-messages are not for bench:${bench}`);
  }
  if (fanout !== undefined && values.transport !== undefined) {
    throw new BenchError(`--transport is not for bench:${bench}: it measures all; --subjects chooses`);
  }
  const options: Options = {
    connections: whole('connections', values.connections, defaults.connections, 1, 1_000_000),
    workers: whole('workers', values.workers, 1, 1, 256),
    subjects: values.subjects === undefined ? [...defaults.subjects] : listOf(values.subjects, defaults.subjects),
    transport: oneOf('transport', values.transport ?? 'sse', TRANSPORTS),
    runs: whole('runs', values.runs, 3, 1, 100),
    messages: whole('messages', values.messages, defaults.messages, 1, 10_000),
    payloadBytes: whole('payload-bytes', values['payload-bytes'], 32, 32, 65_536),
    inFlight: whole('in-flight', values['in-flight'], 1_024, 1, 4_096),
    settleSeconds: whole('settle-seconds', values['settle-seconds'], 30, 3, 300),
    redis: values.redis ?? false,
    presence: values.presence ?? false,
    sharedCores: values['shared-cores'] ?? false,
    accept: oneOf('accept', values.accept ?? 'shared', ACCEPTS),
    node: values.node === undefined ? process.execPath : commandPath(values.node),
    nodeFlags: values['node-flags']?.split(/\s+/).filter((flag) => flag !== '') ?? [],
    json: values.json ?? '',
  };
  if (fanout === undefined) return { options, fanout: options };
  const most = Math.min(options.connections, fanout.connections);
  return {
    options,
    fanout: {
      ...options,
      connections: whole('fanout-connections', values['fanout-connections'], most, 1, 1_000_000),
      messages: whole('fanout-messages', values['fanout-messages'], fanout.messages, 1, 10_000),
    },
  };
}

function whole(name: string, text: string | undefined, otherwise: number, least: number, most: number): number {
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new BenchError(`--${name} is ${text}: a whole number from ${least} to ${most} is wanted`);
}

/** Subjects run in another folder: a relative path is taken from this one, a bare name from PATH. */
function commandPath(command: string): string {
  return command.includes('/') ? resolve(command) : command;
}

function listOf(text: string, known: readonly string[]): string[] {
  return text.split(',').map((name) => oneOf('subjects', name.trim(), known));
}

function oneOf<Name extends string>(option: string, text: string, known: readonly Name[]): Name {
  const found = known.find((name) => name === text);
  if (found === undefined) throw new BenchError(`--${option}: ${text} is none of ${known.join(', ')}`);
  return found;
}
