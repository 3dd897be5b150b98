// Every knob once: environment name, unit, default, what is allowed and one line of why. The README's table, `.env.example`,
// the parsing and the texts of faults are all read from here.
//
// Invariants, held by test/config/: each default passes its own schema; `allowed` is made from the same figures as the
// schema; every duration and size has its unit last in its name. An empty value means the default, so that
// `LONGWIRE_HOST=` in an env file and no line at all are the same. Values are not trimmed: what is written is what is read.
//
// Durations in seconds take fractions from 0.1 up: nobody needs a heartbeat each tenth of a second in production, but tests
// and demonstrations do.

import { isIP } from 'node:net';
import { availableParallelism } from 'node:os';
import * as v from 'valibot';
import { parseNetwork } from './address.ts';
import type { Config } from './config.ts';

/** The fields that come from the environment; `apiKeyMade` says how one of them came about, the other two may be in files. */
export type KnobField = Exclude<keyof Config, 'apiKeyMade' | 'channelOptions' | 'tokenKey'>;

export interface Knob<Value> {
  /** Its name in the environment. */
  environment: string;
  unit: Unit;
  /** As it would be written in the environment; '' where the default is no value. */
  default: string;
  /** For people: what may be written. */
  allowed: string;
  /** For people: what it decides, and why one would change it. */
  why: string;
  /** Whether the value must never be shown. */
  secret: boolean;
  /** From what is written to what the code reads. Its messages begin with 'must'. */
  schema: v.GenericSchema<string, Value>;
}

export type Unit = 'seconds' | 'milliseconds' | 'bytes' | 'percent' | null;

/** An address is at most this long: RFC 1035, 2.3.4. */
const HOST_LIMIT_CHARACTERS = 253;
/** PATH_MAX on Linux, the NUL behind it included. */
const PATH_LIMIT_BYTES = 4095;
/** 16 characters of base64 are 96 bits: nobody guesses that over a network. */
const API_KEY_MIN_CHARACTERS = 16;
const SECRET_MAX_CHARACTERS = 512;
/** RFC 7518 §3.2: a key of HS256 is at least as long as its hash. */
const TOKEN_SECRET_MIN_CHARACTERS = 32;
const TOKEN_AUDIENCE_LIMIT_BYTES = 255;
/** Each preflight walks the list. */
const CORS_ORIGIN_LIMIT = 100;
/** Each connection of a proxy walks the list. */
const TRUSTED_PROXY_LIMIT = 100;
const REDIS_PREFIX_LIMIT_BYTES = 64;
/** cluster keeps one channel and one process a worker; no machine has more cores than this today. */
const WORKER_LIMIT = 1024;
/** About a hundred workers with the most descriptors that a process may have by default (fs.nr_open, 2^20). */
const CONNECTION_CEILING = 100_000_000;
const HOUR_SECONDS = 3600;
const MONTH_SECONDS = 2_592_000;
const KIB = 1024;
const MIB = 1024 * KIB;

export const KNOBS: { readonly [Field in KnobField]: Knob<Config[Field]> } = {
  port: knob('PORT', '3000', whole(0, 65_535), 'Public port. 0 takes a free one.'),
  host: knob('LONGWIRE_HOST', '', host(), 'Public address to listen on. Empty: all, IPv6 and IPv4.'),
  tlsCert: knob(
    'LONGWIRE_TLS_CERT',
    '',
    path('PEM'),
    'Certificate and its chain, for TLS on the public port; read again on SIGHUP. Empty: no TLS.',
  ),
  tlsKey: knob('LONGWIRE_TLS_KEY', '', path('PEM'), "The certificate's private key, without a passphrase."),
  trustedProxies: knob(
    'LONGWIRE_TRUSTED_PROXIES',
    '',
    networks(),
    "Proxies in front whose word on the client's address is taken. Empty: nobody's.",
  ),
  forwardedHeader: knob(
    'LONGWIRE_FORWARDED_HEADER',
    'x-forwarded-for',
    oneOf('x-forwarded-for', 'forwarded'),
    'The field in which those proxies name the client. The other one comes through them unchanged and is not read.',
  ),
  proxyProtocol: knob(
    'LONGWIRE_PROXY_PROTOCOL',
    'off',
    oneOf('off', 'on'),
    'Whether the proxies in front begin each connection with a PROXY header, v1 or v2. on: whoever sends none is rejected.',
  ),
  redisUrl: secretKnob(
    'REDIS_URL',
    '',
    redisUrl(),
    'Redis with user, password and database number. Empty: the embedded broker, for one machine only.',
  ),
  redisPrefix: knob(
    'LONGWIRE_REDIS_PREFIX',
    'push:',
    redisPrefix(),
    'What comes before the channel in Redis: `PUBLISH push:alice hello`. Glob characters would widen the pattern subscription.',
  ),
  workers: knob('LONGWIRE_WORKERS', 'auto', workers(), 'Worker processes. auto: one a core that this process may use.'),
  accept: knob(
    'LONGWIRE_ACCEPT',
    'shared',
    oneOf('shared', 'reuseport', 'sticky'),
    'How connections reach workers: one shared listening socket, one each with SO_REUSEPORT (Node ≥ 22.12), or the primary, which gives polls to the worker of their session.',
  ),
  wire: knob(
    'LONGWIRE_WIRE',
    'auto',
    oneOf('auto', 'handle', 'socket'),
    'What a connection is held by: the bare TCP handle, about a quarter of the memory, or a net.Socket. auto probes.',
  ),
  maxConnections: knob(
    'LONGWIRE_MAX_CONNECTIONS',
    'auto',
    maxConnections(),
    'Most connections of all workers together, rounded up to a multiple of them. auto: as many as RLIMIT_NOFILE allows, less a reserve.',
  ),
  maxConnectionsPerAddress: knob(
    'LONGWIRE_MAX_CONNECTIONS_PER_ADDRESS',
    '0',
    whole(0, CONNECTION_CEILING),
    "Most connections of one client's address (of one /64 of IPv6) on one worker; over it: 429. 0: no limit, for phones share addresses.",
  ),
  adminHost: knob(
    'LONGWIRE_ADMIN_HOST',
    '127.0.0.1',
    host(),
    'Address of the admin port. Its pages have no password: keep it off public networks.',
  ),
  adminPort: knob(
    'LONGWIRE_ADMIN_PORT',
    '3001',
    whole(0, 65_535),
    'Port of /metrics, /live, /ready, /workers and the commands.',
  ),
  adminToken: secretKnob(
    'LONGWIRE_ADMIN_TOKEN',
    '',
    secret(API_KEY_MIN_CHARACTERS),
    'What commands on the admin port need as a Bearer token. Empty: none where it is on loopback, and no commands elsewhere.',
  ),
  apiKey: secretKnob(
    'LONGWIRE_API_KEY',
    '',
    secret(API_KEY_MIN_CHARACTERS),
    "The backend's key, sent in X-API-Key. Empty: one is made at start and printed.",
  ),
  apiErrors: knob(
    'LONGWIRE_API_ERRORS',
    'status',
    oneOf('status', 'body'),
    "Whether the API's errors have an HTTP status that says so, or 200 with the error in the body alone, as Centrifugo's. For libraries that read no body beside another status.",
  ),
  tokenHmacSecret: secretKnob(
    'LONGWIRE_TOKEN_HMAC_SECRET',
    '',
    secret(TOKEN_SECRET_MIN_CHARACTERS),
    "What the backend signs its clients' tokens with (JWT, HS256). Then `user` and `info` are what a token says. Empty: no tokens, or those of a key.",
  ),
  tokenPublicKey: knob(
    'LONGWIRE_TOKEN_PUBLIC_KEY',
    '',
    path('PEM'),
    'In place of that secret: the public key of tokens that are signed with a private one, RSA (RS256) or P-256 (ES256).',
  ),
  tokenRequired: knob(
    'LONGWIRE_TOKEN_REQUIRED',
    'auto',
    oneOf('auto', 'off', 'on'),
    'Whether a client without a token is refused. auto: where there is a key for tokens. off: it is nobody, and may hold any channel. on: as auto, and no start without a key.',
  ),
  tokenAudience: knob(
    'LONGWIRE_TOKEN_AUDIENCE',
    '',
    audience(),
    'What tokens must name as their `aud`, where one key signs for several services. Empty: tokens that name somebody are refused.',
  ),
  corsOrigins: knob(
    'LONGWIRE_CORS_ORIGINS',
    '',
    corsOrigins(),
    'Origins whose pages may read the streams. Empty: only those of our own origin.',
  ),
  heartbeatSeconds: knob(
    'LONGWIRE_HEARTBEAT_SECONDS',
    '25',
    decimal(0.1, HOUR_SECONDS, 'seconds'),
    'Silence after which a stream is sent a comment. Below the 30 to 60 seconds after which proxies and mobile networks cut.',
  ),
  headDeadlineSeconds: knob(
    'LONGWIRE_HEAD_DEADLINE_SECONDS',
    '10',
    decimal(0.1, HOUR_SECONDS, 'seconds'),
    'Time for a head to arrive in full, and again for a body. Bounds what slow or silent clients can hold.',
  ),
  keepAliveSeconds: knob(
    'LONGWIRE_KEEPALIVE_SECONDS',
    '60',
    decimal(0.1, HOUR_SECONDS, 'seconds'),
    'Time between requests on one connection before it is closed. Above the idle time of the proxy in front.',
  ),
  stallSeconds: knob(
    'LONGWIRE_STALL_SECONDS',
    '30',
    decimal(0.1, HOUR_SECONDS, 'seconds'),
    'Time for which an outbox may stand still before the connection is closed as a slow consumer.',
  ),
  drainSeconds: knob(
    'LONGWIRE_DRAIN_SECONDS',
    '10',
    decimal(0, HOUR_SECONDS, 'seconds'),
    'Time over which a stopping worker spreads the end of its streams, so that clients do not come back all at once.',
  ),
  drainDelaySeconds: knob(
    'LONGWIRE_DRAIN_DELAY_SECONDS',
    '0',
    decimal(0, HOUR_SECONDS, 'seconds'),
    'Time from the signal to the drain, in which /ready says 503 and everybody is served. For balancers that poll it.',
  ),
  hangSeconds: knob(
    'LONGWIRE_HANG_SECONDS',
    '15',
    decimal(0, HOUR_SECONDS, 'seconds'),
    "Time for which no turn of a worker's event loop may end before it is killed and replaced. 0: never.",
  ),
  workerMemoryLimitBytes: knob(
    'LONGWIRE_WORKER_MEMORY_LIMIT_BYTES',
    '0',
    whole(0, 1024 * 1024 * MIB, 'bytes'),
    'Resident memory of a worker above which it is replaced by moving its connections. 0: no limit.',
  ),
  rebalancePercent: knob(
    'LONGWIRE_REBALANCE_PERCENT',
    '0',
    whole(0, 1000, 'percent'),
    'How far the largest and the smallest worker may be apart, of the mean, before connections move. 0: whatever comes.',
  ),
  retryMilliseconds: knob(
    'LONGWIRE_RETRY_MILLISECONDS',
    '2000',
    whole(1, HOUR_SECONDS * 1000, 'milliseconds'),
    'How long SSE clients are told to wait before they come back.',
  ),
  pollWaitSeconds: knob(
    'LONGWIRE_POLL_WAIT_SECONDS',
    '25',
    decimal(0.1, HOUR_SECONDS, 'seconds'),
    'Time that a poll waits for a publication, unless it asks for less. Below the time after which proxies cut.',
  ),
  pollExpirySeconds: knob(
    'LONGWIRE_POLL_EXPIRY_SECONDS',
    '60',
    decimal(0.1, HOUR_SECONDS, 'seconds'),
    'Time without a poll after which a poll session and its mailbox are forgotten.',
  ),
  pollSessionLimit: knob(
    'LONGWIRE_POLL_SESSION_LIMIT',
    '100000',
    whole(1, 10_000_000),
    'Most poll sessions of one worker. Beyond it new ones are answered 503.',
  ),
  mailboxLimitBytes: knob(
    'LONGWIRE_MAILBOX_LIMIT_BYTES',
    String(MIB),
    whole(KIB, 1024 * MIB, 'bytes'),
    'Most bytes kept for one poll session. Beyond it the oldest are dropped and the client is told how many.',
  ),
  mailboxTotalLimitBytes: knob(
    'LONGWIRE_MAILBOX_TOTAL_LIMIT_BYTES',
    String(256 * MIB),
    whole(MIB, 1024 * 1024 * MIB, 'bytes'),
    'Most bytes kept for all poll sessions of one worker. Bounds memory. Not below the limit of one.',
  ),
  outboxLimitBytes: knob(
    'LONGWIRE_OUTBOX_LIMIT_BYTES',
    String(MIB),
    whole(KIB, 1024 * MIB, 'bytes'),
    'Most bytes waiting for one connection before it is closed as a slow consumer. Bounds memory.',
  ),
  payloadLimitBytes: knob(
    'LONGWIRE_PAYLOAD_LIMIT_BYTES',
    String(MIB),
    whole(1, 64 * MIB, 'bytes'),
    'Largest payload that is delivered. Not above the outbox limit, or one publication would cut every subscriber off.',
  ),
  bodyLimitBytes: knob(
    'LONGWIRE_BODY_LIMIT_BYTES',
    String(2 * MIB),
    whole(KIB, 128 * MIB, 'bytes'),
    'Largest request body of the API. Base64 makes a payload a third larger.',
  ),
  headLimitBytes: knob(
    'LONGWIRE_HEAD_LIMIT_BYTES',
    String(16 * KIB),
    whole(256, MIB, 'bytes'),
    'Largest request head, request line included. Over it: 431.',
  ),
  targetLimitBytes: knob(
    'LONGWIRE_TARGET_LIMIT_BYTES',
    String(8 * KIB),
    whole(64, MIB, 'bytes'),
    'Longest request target. Over it: 414. RFC 9112 asks for at least 8000. Not above the head limit.',
  ),
  headerLimit: knob('LONGWIRE_HEADER_LIMIT', '100', whole(1, 1000), 'Most header fields in one head. Over it: 431.'),
  channelLimit: knob('LONGWIRE_CHANNEL_LIMIT', '64', whole(1, 1024), 'Most channels on one connection.'),
  historyLimitBytes: knob(
    'LONGWIRE_HISTORY_LIMIT_BYTES',
    String(64 * MIB),
    whole(MIB, 64 * 1024 * MIB, 'bytes'),
    'Most that the histories of the embedded broker hold, all channels together. Beyond it the oldest are forgotten, which is a gap.',
  ),
  historyPositionSeconds: knob(
    'LONGWIRE_HISTORY_POSITION_SECONDS',
    '86400',
    whole(1, MONTH_SECONDS, 'seconds'),
    'How long a position in a channel in which nothing is published is surely good, over Redis. Each channel takes about 250 bytes there for so long.',
  ),
  presenceSeconds: knob(
    'LONGWIRE_PRESENCE_SECONDS',
    '60',
    whole(1, HOUR_SECONDS, 'seconds'),
    'Time after which those are no longer present whose worker or machine has died. Renewed three times within it. Over Redis only: the primary sees by itself who has died.',
  ),
  namespaces: knob(
    'LONGWIRE_NAMESPACES',
    '',
    path('JSON'),
    'Options of channels by what stands before their first colon: docs/namespaces.md. Empty: every option at its default.',
  ),
  logLevel: knob(
    'LONGWIRE_LOG_LEVEL',
    'info',
    oneOf('debug', 'info', 'warn', 'error'),
    'Least level that is logged, as JSON lines on stderr.',
  ),
};

/** All fields, in the order of the README's table. */
export const KNOB_FIELDS = Object.keys(KNOBS) as readonly KnobField[];

interface Kind<Value> {
  unit: Unit;
  allowed: string;
  schema: v.GenericSchema<string, Value>;
}

function knob<Value>(environment: string, initial: string, kind: Kind<Value>, why: string): Knob<Value> {
  return { environment, default: initial, why, secret: false, ...kind };
}

function secretKnob<Value>(environment: string, initial: string, kind: Kind<Value>, why: string): Knob<Value> {
  return { ...knob(environment, initial, kind, why), secret: true };
}

/** Decimal digits only: `1e3`, `0x10`, `+1` and ` 1` are somebody's mistake more often than somebody's wish. */
function whole(min: number, max: number, unit: Unit = null): Kind<number> {
  return {
    unit,
    allowed: range(min, max, unit),
    schema: bounded(/^\d{1,15}$/, 'must be a whole number', min, max),
  };
}

function decimal(min: number, max: number, unit: Unit): Kind<number> {
  return {
    unit,
    allowed: `${range(min, max, unit)}, fractions too`,
    schema: bounded(/^\d{1,15}(\.\d{1,9})?$/, 'must be a number', min, max),
  };
}

function bounded(pattern: RegExp, message: string, min: number, max: number): v.GenericSchema<string, number> {
  return v.pipe(
    v.string(),
    v.regex(pattern, message),
    v.transform(Number),
    v.minValue(min, `must not be below ${min}`),
    v.maxValue(max, `must not be above ${max}`),
  );
}

function range(min: number, max: number, unit: Unit): string {
  return `${min} to ${max}${unit === null ? '' : ` ${unit}`}`;
}

function oneOf<const Name extends string>(...names: Name[]): Kind<Name> {
  const schema = v.pipe(v.string(), v.picklist(names, `must be ${listed(names)}`));
  return { unit: null, allowed: listed(names), schema };
}

function listed(names: readonly string[]): string {
  return `${names.slice(0, -1).join(', ')} or ${names.at(-1)}`;
}

function workers(): Kind<number> {
  return autoOr(WORKER_LIMIT, () => Math.min(availableParallelism(), WORKER_LIMIT));
}

function maxConnections(): Kind<number> {
  return autoOr(CONNECTION_CEILING, () => 0);
}

function autoOr(max: number, resolve: () => number): Kind<number> {
  const auto = v.pipe(v.string(), v.literal('auto'), v.transform(resolve));
  const counted = bounded(/^\d{1,15}$/, 'must be auto or a whole number', 1, max);
  return {
    unit: null,
    allowed: `auto or ${range(1, max, null)}`,
    schema: v.lazy((input) => (input === 'auto' ? auto : counted)),
  };
}

/** An IP address or a host name (RFC 1123: letters, digits and hyphens between dots); '' is taken as it is. */
function host(): Kind<string> {
  const label = '[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?';
  const name = new RegExp(`^${label}(\\.${label})*$`, 'i');
  const schema = v.pipe(
    v.string(),
    v.check(
      (text) => text === '' || isIP(text) !== 0 || (text.length <= HOST_LIMIT_CHARACTERS && name.test(text)),
      'must be an address or a host name, without port and without brackets',
    ),
  );
  return { unit: null, allowed: 'an IP address or a host name', schema };
}

/** Whether there is such a file, and what is in it, is found out where it is read, in src/primary/. */
function path(kind: 'PEM' | 'JSON'): Kind<string> {
  const schema = v.pipe(
    v.string(),
    v.regex(/^\P{Cc}*$/u, 'must hold no control characters'),
    v.maxBytes(PATH_LIMIT_BYTES, `must not be longer than ${PATH_LIMIT_BYTES} bytes`),
  );
  return { unit: null, allowed: `the path of a ${kind} file`, schema };
}

/**
 * What ioredis reads from a URL and nothing more: it takes query parameters for options of its own, so that a stray one
 * could change the protocol under the gateway. `family` alone is let through, for networks that have IPv6 only.
 */
function redisUrl(): Kind<string> {
  const schema = v.pipe(
    v.string(),
    v.check((text) => text === '' || /^rediss?:\/\//.test(text), 'must begin with redis:// or rediss://'),
    v.check(
      (text) => text === '' || parsedUrl(text) !== null,
      'must be a valid URL; write @ : / # % in a password as %40 %3A %2F %23 %25',
    ),
    v.check((text) => (parsedUrl(text)?.hostname ?? 'none') !== '', 'must name a host'),
    v.check((text) => decodes(parsedUrl(text)), 'must have its user and password percent-encoded'),
    v.check(
      (text) => /^(\/(\d{1,5})?)?$/.test(parsedUrl(text)?.pathname ?? ''),
      'must end in /N, the number of a database, or in no path',
    ),
    v.check(
      (text) => /^(\?family=[046])?$/.test(parsedUrl(text)?.search ?? ''),
      'must have no query but ?family=0, 4 or 6',
    ),
    v.check((text) => !text.includes('#'), 'must have no fragment; write # in a password as %23'),
  );
  return { unit: null, allowed: '`redis://` or `rediss://` (TLS), then `user:password@host:port/database`', schema };
}

function parsedUrl(text: string): URL | null {
  try {
    return new URL(text);
  } catch {
    return null;
  }
}

function decodes(url: URL | null): boolean {
  try {
    decodeURIComponent(url?.username ?? '');
    decodeURIComponent(url?.password ?? '');
    return true;
  } catch {
    return false;
  }
}

function redisPrefix(): Kind<string> {
  const schema = v.pipe(
    v.string(),
    v.regex(/^[^*?[\]\\]*$/, 'must hold none of * ? [ ] \\'),
    v.regex(/^[^\p{Cc}\s]*$/u, 'must hold no spaces and no control characters'),
    v.maxBytes(REDIS_PREFIX_LIMIT_BYTES, `must not be longer than ${REDIS_PREFIX_LIMIT_BYTES} bytes`),
  );
  return { unit: null, allowed: `1 to ${REDIS_PREFIX_LIMIT_BYTES} bytes, none of \`* ? [ ] \\\`, no spaces`, schema };
}

function secret(minCharacters: number): Kind<string> {
  const schema = v.pipe(
    v.string(),
    v.regex(/^[!-~]*$/, 'must be visible ASCII without spaces'),
    v.check((text) => text === '' || text.length >= minCharacters, `must be at least ${minCharacters} characters`),
    v.maxLength(SECRET_MAX_CHARACTERS, `must be at most ${SECRET_MAX_CHARACTERS} characters`),
  );
  const allowed = `${minCharacters} to ${SECRET_MAX_CHARACTERS} visible ASCII characters, no spaces`;
  return { unit: null, allowed, schema };
}

function audience(): Kind<string> {
  const schema = v.pipe(
    v.string(),
    v.regex(/^\P{Cc}*$/u, 'must hold no control characters'),
    v.maxBytes(TOKEN_AUDIENCE_LIMIT_BYTES, `must not be longer than ${TOKEN_AUDIENCE_LIMIT_BYTES} bytes`),
  );
  return { unit: null, allowed: `a text of at most ${TOKEN_AUDIENCE_LIMIT_BYTES} bytes`, schema };
}

function networks(): Kind<string[]> {
  const schema = v.pipe(
    v.string(),
    v.transform(listOf),
    v.maxLength(TRUSTED_PROXY_LIMIT, `must be at most ${TRUSTED_PROXY_LIMIT} addresses and networks`),
    v.check(
      (list) => list.every((text) => parseNetwork(text) !== null),
      'must be addresses, or networks with a length and no bits set beyond it, IPv4 written as IPv4',
    ),
  );
  return { unit: null, allowed: 'addresses and networks with commas between: `10.0.0.0/8,2001:db8::7`', schema };
}

function listOf(text: string): string[] {
  return text === '' ? [] : text.split(',').map((part) => part.trim());
}

/** Origins are compared as text with the `Origin` header, so they must be written as browsers send them. */
function corsOrigins(): Kind<string[]> {
  const schema = v.pipe(
    v.string(),
    v.transform(listOf),
    v.maxLength(CORS_ORIGIN_LIMIT, `must be at most ${CORS_ORIGIN_LIMIT} origins`),
    v.check((list) => !list.includes('*') || list.length === 1, 'must be * alone or a list without it'),
    v.check(
      (list) => list.every((origin) => origin === '*' || isOrigin(origin)),
      'must be origins as browsers send them: scheme and host in lower case, a port only if it is not the usual one, no path and no slash at the end',
    ),
  );
  return {
    unit: null,
    allowed: '`*`, or origins with commas between: `https://app.example,https://example.org:8443`',
    schema,
  };
}

function isOrigin(text: string): boolean {
  // Apps built on a web view send such as capacitor://localhost, whose URL.origin is 'null': only the form is checked.
  if (!/^[a-z][a-z0-9+.-]*:\/\/[^\s/?#@,*]+$/.test(text)) return false;
  return /^https?:/.test(text) ? parsedUrl(text)?.origin === text : true;
}
