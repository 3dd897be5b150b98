// The namespaces file (LONGWIRE_NAMESPACES): from its text to `Namespaces`, or to all that is wrong with it.
//
//   {"default": {options}, "namespaces": {"chat": {options}}}
//
// config/namespaces.example.json is one to begin with. An option that is left out has its default, in a namespace too:
// nothing is inherited from `default`, so that each block reads by itself.
// All faults are found at once, each with its place in the file; a name that is not known is a fault.

import * as v from 'valibot';
import { DEFAULT_OPTIONS, type NamespaceOptions, type Namespaces } from './namespaces.ts';
import { suggest } from './suggest.ts';

export interface NamespaceFault {
  /** `namespaces.chat.payload_limit_bytes`; empty for the file as a whole. */
  path: string;
  /** As JSON; null where there is nothing to show. */
  value: string | null;
  /** Begins with 'must', or says that there is no such name. */
  problem: string;
}

const NAME_LIMIT_BYTES = 64;
const NAMESPACE_LIMIT = 1_000;
const DAY_SECONDS = 86_400;

/** Valibot takes arrays for objects. */
const OBJECT = v.custom<object>(
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  'must be an object',
);

const OPTION_ENTRIES = {
  history_size: whole(0, 10_000),
  history_ttl_seconds: whole(0, 30 * DAY_SECONDS),
  latest_only: flag(),
  presence: flag(),
  join_leave: flag(),
  payload_limit_bytes: whole(1, 64 * 1024 * 1024),
};
const OPTIONS = v.pipe(
  OBJECT,
  v.strictObject(OPTION_ENTRIES),
  v.check(
    ({ history_size: size = 0, history_ttl_seconds: ttl = 0 }) => size > 0 === ttl > 0,
    'must give both history_size and history_ttl_seconds, or neither',
  ),
  v.check(
    ({ history_size: size = 0, latest_only: latestOnly = false }) => size === 0 || !latestOnly,
    'must not give both history_size and latest_only: what is skipped would be a loss without a gap',
  ),
  v.check(
    ({ presence = false, join_leave: joinLeave = false }) => presence || !joinLeave,
    'must give presence together with join_leave',
  ),
  v.check(
    ({ join_leave: joinLeave = false, latest_only: latestOnly = false }) => !joinLeave || !latestOnly,
    'must not give both join_leave and latest_only: who came and went would be skipped',
  ),
);

const FILE_ENTRIES = {
  default: v.optional(OPTIONS, {}),
  namespaces: v.optional(
    v.pipe(
      OBJECT,
      v.record(
        v.pipe(
          v.string(),
          v.regex(/^[^:\p{Cc}]+$/u, 'must not be empty and hold no colon and no control characters'),
          v.maxBytes(NAME_LIMIT_BYTES, `must not be longer than ${NAME_LIMIT_BYTES} bytes`),
        ),
        OPTIONS,
      ),
      v.maxEntries(NAMESPACE_LIMIT, `must not name more than ${NAMESPACE_LIMIT} namespaces`),
    ),
    {},
  ),
};
const FILE = v.pipe(OBJECT, v.strictObject(FILE_ENTRIES));

/**
 * Reads the file's text.
 *
 * @param payloadLimitBytes The gateway's own limit, above which no namespace can go.
 */
export function parseNamespaces(
  text: string,
  payloadLimitBytes: number,
): { namespaces: Namespaces } | { faults: NamespaceFault[] } {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (thrown) {
    return { faults: [{ path: '', value: null, problem: `must be JSON: ${(thrown as SyntaxError).message}` }] };
  }
  const parsed = v.safeParse(FILE, json);
  if (!parsed.success) return { faults: parsed.issues.map(faultOf) };
  const named = Object.entries(parsed.output.namespaces).map(([name, given]) => [name, optionsOf(given)] as const);
  const namespaces: Namespaces = { default: optionsOf(parsed.output.default), named: Object.fromEntries(named) };
  const faults = [['default', namespaces.default] as const, ...named.map(([n, o]) => [`namespaces.${n}`, o] as const)]
    .filter(([, options]) => options.payloadLimitBytes > payloadLimitBytes)
    .map(([path, options]) => ({
      path: `${path}.payload_limit_bytes`,
      value: String(options.payloadLimitBytes),
      problem: `must not be above LONGWIRE_PAYLOAD_LIMIT_BYTES, which is ${payloadLimitBytes}`,
    }));
  return faults.length > 0 ? { faults } : { namespaces };
}

function optionsOf(given: v.InferOutput<typeof OPTIONS>): NamespaceOptions {
  return {
    historySize: given.history_size ?? DEFAULT_OPTIONS.historySize,
    historyTtlSeconds: given.history_ttl_seconds ?? DEFAULT_OPTIONS.historyTtlSeconds,
    latestOnly: given.latest_only ?? DEFAULT_OPTIONS.latestOnly,
    presence: given.presence ?? DEFAULT_OPTIONS.presence,
    joinLeave: given.join_leave ?? DEFAULT_OPTIONS.joinLeave,
    payloadLimitBytes: given.payload_limit_bytes ?? DEFAULT_OPTIONS.payloadLimitBytes,
  };
}

function flag() {
  return v.optional(v.boolean('must be true or false'));
}

function whole(min: number, max: number) {
  const message = `must be a whole number from ${min} to ${max}`;
  return v.optional(v.pipe(v.number(message), v.integer(message), v.minValue(min, message), v.maxValue(max, message)));
}

function faultOf(issue: v.BaseIssue<unknown>): NamespaceFault {
  const keys = (issue.path ?? []).map((item) => String(item.key));
  const path = keys.join('.');
  if (issue.type === 'strict_object' && issue.expected === 'never') {
    const known = Object.keys(keys.length > 1 ? OPTION_ENTRIES : FILE_ENTRIES);
    const meant = suggest(keys.at(-1) ?? '', known);
    return { path, value: null, problem: `is not known here${meant === null ? '' : `; did you mean ${meant}?`}` };
  }
  return { path, value: shown(issue.input), problem: issue.message };
}

function shown(value: unknown): string | null {
  return value === undefined ? null : JSON.stringify(value);
}
