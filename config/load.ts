// From the environment to a `Config`, or to all that is wrong with it at once.
//
// Reads no file and no `process.env`: the caller says what the environment is (src/primary/environment.ts reads `.env`).
// Apart from the key that it makes when none is given, the outcome depends on its argument and on the number of cores.
// Invariant: no fault ever holds the value of a secret, nor that of an unknown name, which may be a secret mistyped.

import { randomBytes } from 'node:crypto';
import * as v from 'valibot';
import type { Config } from './config.ts';
import { KNOB_FIELDS, KNOBS, type KnobField } from './knobs.ts';
import { NO_NAMESPACES } from './namespaces.ts';
import { suggest } from './suggest.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Fault {
  /** Name in the environment. */
  name: string;
  /** As given; null when it must not be shown or when nothing was given. */
  value: string | null;
  /** Begins with 'must', or says that there is no such knob. */
  problem: string;
  /** What may be written; null for a name that is not known. */
  allowed: string | null;
  /** As it would be written, '' where it is no value; null for a name that is not known. */
  default: string | null;
}

/** 192 bits, 32 characters. */
const MADE_KEY_BYTES = 24;

/** Values are shown up to here: enough to find the line, not enough to fill a screen. */
const SHOWN_CHARACTERS = 80;

const TOKEN_KEYS = `${KNOBS.tokenHmacSecret.environment} or ${KNOBS.tokenPublicKey.environment}`;

type Entries = { [Field in KnobField]: v.GenericSchema<string, Config[Field]> };
type Knobs = Omit<Config, 'apiKeyMade' | 'channelOptions' | 'tokenKey'>;

const SCHEMA = v.pipe(
  v.object(Object.fromEntries(KNOB_FIELDS.map((field) => [field, KNOBS[field].schema])) as Entries),
  v.forward(
    v.partialCheck(
      [['targetLimitBytes'], ['headLimitBytes']],
      (knobs: Pick<Knobs, 'targetLimitBytes' | 'headLimitBytes'>) => knobs.targetLimitBytes <= knobs.headLimitBytes,
      `must not be above ${KNOBS.headLimitBytes.environment}, which holds it`,
    ),
    ['targetLimitBytes'],
  ),
  v.forward(
    v.partialCheck(
      [['payloadLimitBytes'], ['outboxLimitBytes']],
      (knobs: Pick<Knobs, 'payloadLimitBytes' | 'outboxLimitBytes'>) =>
        knobs.payloadLimitBytes <= knobs.outboxLimitBytes,
      `must not be above ${KNOBS.outboxLimitBytes.environment}, or one publication would cut every subscriber off`,
    ),
    ['payloadLimitBytes'],
  ),
  v.forward(
    v.partialCheck(
      [['maxConnections'], ['workers']],
      (knobs: Pick<Knobs, 'maxConnections' | 'workers'>) =>
        knobs.maxConnections === 0 || knobs.maxConnections >= knobs.workers,
      `must be at least one for each worker (${KNOBS.workers.environment})`,
    ),
    ['maxConnections'],
  ),
  v.forward(
    v.partialCheck(
      [['mailboxLimitBytes'], ['mailboxTotalLimitBytes']],
      (knobs: Pick<Knobs, 'mailboxLimitBytes' | 'mailboxTotalLimitBytes'>) =>
        knobs.mailboxLimitBytes <= knobs.mailboxTotalLimitBytes,
      `must not be below ${KNOBS.mailboxLimitBytes.environment}`,
    ),
    ['mailboxTotalLimitBytes'],
  ),
  v.forward(
    v.partialCheck(
      [['tlsCert'], ['tlsKey']],
      (knobs: Pick<Knobs, 'tlsCert' | 'tlsKey'>) => knobs.tlsCert !== '' || knobs.tlsKey === '',
      `must be set when ${KNOBS.tlsKey.environment} is`,
    ),
    ['tlsCert'],
  ),
  v.forward(
    v.partialCheck(
      [['tlsCert'], ['tlsKey']],
      (knobs: Pick<Knobs, 'tlsCert' | 'tlsKey'>) => knobs.tlsKey !== '' || knobs.tlsCert === '',
      `must be set when ${KNOBS.tlsCert.environment} is`,
    ),
    ['tlsKey'],
  ),
  v.forward(
    v.partialCheck(
      [['tokenPublicKey'], ['tokenHmacSecret']],
      (knobs: Pick<Knobs, 'tokenPublicKey' | 'tokenHmacSecret'>) =>
        knobs.tokenPublicKey === '' || knobs.tokenHmacSecret === '',
      `must be empty where ${KNOBS.tokenHmacSecret.environment} is set: tokens have one kind of key`,
    ),
    ['tokenPublicKey'],
  ),
  v.forward(
    v.partialCheck(
      [['tokenRequired'], ['tokenHmacSecret'], ['tokenPublicKey']],
      (knobs: Pick<Knobs, 'tokenRequired' | 'tokenHmacSecret' | 'tokenPublicKey'>) =>
        knobs.tokenRequired !== 'on' || knobs.tokenHmacSecret !== '' || knobs.tokenPublicKey !== '',
      `must be auto or off without a key: ${TOKEN_KEYS}`,
    ),
    ['tokenRequired'],
  ),
  v.forward(
    v.partialCheck(
      [['tokenAudience'], ['tokenHmacSecret'], ['tokenPublicKey']],
      (knobs: Pick<Knobs, 'tokenAudience' | 'tokenHmacSecret' | 'tokenPublicKey'>) =>
        knobs.tokenAudience === '' || knobs.tokenHmacSecret !== '' || knobs.tokenPublicKey !== '',
      `must be empty without a key: ${TOKEN_KEYS}`,
    ),
    ['tokenAudience'],
  ),
  v.forward(
    v.partialCheck(
      [['wire'], ['tlsCert']],
      (knobs: Pick<Knobs, 'wire' | 'tlsCert'>) => knobs.wire !== 'handle' || knobs.tlsCert === '',
      `must be auto or socket with ${KNOBS.tlsCert.environment}: bare handles know no TLS`,
    ),
    ['wire'],
  ),
  v.forward(
    v.partialCheck(
      [['proxyProtocol'], ['trustedProxies']],
      (knobs: Pick<Knobs, 'proxyProtocol' | 'trustedProxies'>) =>
        knobs.proxyProtocol === 'off' || knobs.trustedProxies.length > 0,
      `must be off unless ${KNOBS.trustedProxies.environment} says who may send the header`,
    ),
    ['proxyProtocol'],
  ),
  v.forward(
    v.partialCheck(
      [['accept'], ['tlsCert']],
      (knobs: Pick<Knobs, 'accept' | 'tlsCert'>) => knobs.accept !== 'sticky' || knobs.tlsCert === '',
      `must be shared or reuseport with ${KNOBS.tlsCert.environment}: sticky reads requests where TLS hides them`,
    ),
    ['accept'],
  ),
  v.forward(
    v.partialCheck(
      [['accept'], ['proxyProtocol']],
      (knobs: Pick<Knobs, 'accept' | 'proxyProtocol'>) => knobs.accept !== 'sticky' || knobs.proxyProtocol === 'off',
      `must be shared or reuseport with ${KNOBS.proxyProtocol.environment}: sticky knows requests alone, and no header before them`,
    ),
    ['accept'],
  ),
  v.forward(
    v.partialCheck(
      [['wire'], ['accept']],
      (knobs: Pick<Knobs, 'wire' | 'accept'>) => knobs.wire !== 'handle' || knobs.accept !== 'sticky',
      'must be auto or socket with LONGWIRE_ACCEPT=sticky: what the primary gives away comes as a socket',
    ),
    ['wire'],
  ),
  v.forward(
    v.partialCheck(
      [['port'], ['host'], ['adminPort'], ['adminHost']],
      (knobs: Pick<Knobs, 'port' | 'host' | 'adminPort' | 'adminHost'>) =>
        knobs.port === 0 || knobs.port !== knobs.adminPort || !overlap(knobs.host, knobs.adminHost),
      `must differ from ${KNOBS.port.environment} on the same address`,
    ),
    ['adminPort'],
  ),
);

/**
 * Parses and validates everything.
 *
 * @param environment Names and values; undefined and '' both mean the default.
 * @returns The configuration, or all faults in the order of the table, unknown names last.
 */
export function loadConfig(environment: Environment): { config: Config } | { faults: Fault[] } {
  const written = Object.fromEntries(
    KNOB_FIELDS.map((field) => [field, environment[KNOBS[field].environment] || KNOBS[field].default]),
  );
  const parsed = v.safeParse(SCHEMA, written);
  const unknown = unknownNames(environment);
  if (!parsed.success || unknown.length > 0) {
    return { faults: [...(parsed.issues ? faultsOf(parsed.issues, environment) : []), ...unknown] };
  }
  const knobs: Knobs = parsed.output;
  const apiKeyMade = knobs.apiKey === '';
  const apiKey = apiKeyMade ? randomBytes(MADE_KEY_BYTES).toString('base64url') : knobs.apiKey;
  // The caller reads the files, where some are named.
  return { config: { ...knobs, apiKey, apiKeyMade, channelOptions: NO_NAMESPACES, tokenKey: null } };
}

/** For people: one line a fault, with the value, what is allowed and the default. Ends with a line break. */
export function formatFaults(faults: readonly Fault[]): string {
  const lines = faults.map((fault) => {
    const sentences = [`${fault.name}${fault.value === null ? '' : `=${shown(fault.value)}`} ${fault.problem}`];
    if (fault.allowed !== null) sentences.push(`Allowed: ${fault.allowed}`);
    if (fault.default !== null) sentences.push(`Default: ${fault.default === '' ? 'empty' : fault.default}`);
    return `  ${sentences.join('. ')}\n`;
  });
  return `${faults.length === 1 ? '1 fault' : `${faults.length} faults`} in the configuration:\n${lines.join('')}`;
}

/** The first fault of each knob: a value that is not a number need not be told that it is also out of range. */
function faultsOf(issues: readonly v.BaseIssue<unknown>[], environment: Environment): Fault[] {
  const problems = new Map<unknown, string>();
  for (const issue of issues) {
    const field = issue.path?.[0]?.key;
    if (!problems.has(field)) problems.set(field, issue.message);
  }
  return KNOB_FIELDS.filter((field) => problems.has(field)).map((field) => {
    const knob = KNOBS[field];
    return {
      name: knob.environment,
      value: knob.secret ? null : environment[knob.environment] || null,
      problem: problems.get(field) ?? '',
      allowed: knob.allowed.replaceAll('`', ''),
      default: knob.default,
    };
  });
}

/** Whatever the case: `longwire_workers` would otherwise do nothing and say nothing. */
function unknownNames(environment: Environment): Fault[] {
  const known = KNOB_FIELDS.map((field) => KNOBS[field].environment);
  return Object.keys(environment)
    .filter((name) => /^LONGWIRE_/i.test(name) && !known.includes(name))
    .sort()
    .map((name) => {
      const meant = suggest(name, known);
      const problem = `is not a knob${meant === null ? '' : `; did you mean ${meant}?`}`;
      return { name, value: null, problem, allowed: null, default: null };
    });
}

/** Whether listening on both addresses would meet on one port. */
function overlap(a: string, b: string): boolean {
  return a === b || isWildcard(a) || isWildcard(b);
}

function isWildcard(host: string): boolean {
  return host === '' || host === '0.0.0.0' || host === '::';
}

function shown(value: string): string {
  return JSON.stringify(value.length > SHOWN_CHARACTERS ? `${value.slice(0, SHOWN_CHARACTERS)}…` : value);
}
