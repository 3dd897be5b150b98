// REDIS_URL as options of ioredis, and the options that make its connections keep the broker contract.
//
//   redis://user:password@host:port/database     rediss:// for TLS     ?family=4 or 6
//   unix:///run/redis.sock?db=1                  /run/redis.sock       a Unix socket
//
// The URL is read here and not by ioredis, which takes any query parameter for an option of its own that overrides ours.
// TLS trusts what Node trusts: its own store and NODE_EXTRA_CA_CERTS. The database number is selected, so that a wrong one
// shows, but publications have none: Redis delivers them across databases.

import type { RedisOptions } from 'ioredis';

const DEFAULT_PORT = 6379;

/** TCP and TLS handshake. */
const CONNECT_DEADLINE_MS = 2_000;

const RETRY_FIRST_MS = 50;
const RETRY_LIMIT_MS = 2_000;
/** Full jitter may draw next to nothing: not even then does a loop of refusals get hot. */
const RETRY_FLOOR_MS = 10;

/** What a connection is made with; `replyMapping` is there for the type alone, it means nothing with RESP2. */
export type LinkOptions = RedisOptions & { replyMapping: 'legacy' };

export interface RedisAddress {
  options: RedisOptions;
  /** Where it is, for logs: no user, no password. */
  text: string;
}

/** @throws TypeError when `url` is no URL; configuration has looked at it before. */
export function parseRedisUrl(url: string): RedisAddress {
  if (url.startsWith('/') || url.startsWith('unix:')) {
    const { pathname, searchParams } = new URL(url, 'unix:///');
    const path = decodeURIComponent(pathname);
    return { options: { path, db: Number(searchParams.get('db') ?? 0) }, text: path };
  }
  const { protocol, hostname, port, username, password, pathname, searchParams } = new URL(url);
  const options: RedisOptions = {
    host: hostname.replace(/^\[|\]$/g, '') || 'localhost',
    port: port === '' ? DEFAULT_PORT : Number(port),
    db: Number(pathname.slice(1)),
    family: Number(searchParams.get('family') ?? 0),
  };
  if (username !== '') options.username = decodeURIComponent(username);
  if (password !== '') options.password = decodeURIComponent(password);
  if (protocol === 'rediss:') options.tls = {};
  return { options, text: `${hostname}:${options.port}` };
}

/** Options of a connection that never retries a command behind its caller's back and never gives up connecting. */
export function connectionOptions(address: RedisAddress, connectionName: string): LinkOptions {
  return {
    ...address.options,
    connectionName,
    lazyConnect: true,
    // RESP2: nothing that RESP3 adds is used here, and HELLO is unknown to Redis before 6 and to many proxies. It also
    // keeps authentication a command of its own, whose refusal says what is wrong.
    protocol: 2,
    replyMapping: 'legacy',
    connectTimeout: CONNECT_DEADLINE_MS,
    retryStrategy: retryDelayMs,
    // A command lives and dies with the connection it was written to: no queue while there is none, nothing sent again
    // on the next one, and everything unanswered rejected the moment it closes (that is what 0 says).
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    // The broker subscribes by itself, so that it knows when the subscription stands.
    autoResubscribe: false,
    // It asks with INFO whether Redis is still loading, which pub/sub does not mind, and for which a user may lack the right.
    enableReadyCheck: false,
    disableClientInfo: true,
    disconnectTimeout: 500,
  };
}

/** Full jitter: anything up to 50 ms, doubled with each attempt, up to 2 s. */
export function retryDelayMs(attempt: number): number {
  const ceiling = Math.min(RETRY_LIMIT_MS, RETRY_FIRST_MS * 2 ** Math.min(attempt - 1, 10));
  return Math.max(RETRY_FLOOR_MS, Math.random() * ceiling);
}
