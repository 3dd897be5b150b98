// Which Redis the tests start, and what that one can do: `redis-server` from the PATH, or the program that TEST_REDIS_SERVER names, an
// older Redis or another make. What a server has not got is left out on it, and only on it, by a test that asks here.

import { spawnSync } from 'node:child_process';
import type { Redis } from 'ioredis';

export const REDIS_SERVER = process.env.TEST_REDIS_SERVER ?? 'redis-server';

let version = 0;

/** 7.002 for 7.2. */
function redisVersion(): number {
  if (version > 0) return version;
  const text = spawnSync(REDIS_SERVER, ['--version'], { encoding: 'utf8' }).stdout;
  const [, major, minor] = /v=(\d+)\.(\d+)/.exec(text) ?? [];
  if (major === undefined) throw new Error(`${REDIS_SERVER} does not say its version: ${text}`);
  version = Number(major) + Number(minor) / 1_000;
  return version;
}

/** FUNCTION and FCALL. */
export const hasFunctions = (): boolean => redisVersion() >= 7;

/** Rights to channels: `&push:*`. */
export const hasChannelRights = (): boolean => redisVersion() >= 6.002;

/** Publishes with history as any backend would, not through a gateway. */
export async function publishAsBackend(
  client: Redis,
  args: readonly string[],
  by: 'functions' | 'script' = hasFunctions() ? 'functions' : 'script',
): Promise<unknown> {
  if (by === 'functions') return client.fcall('longwire_publish', 0, ...args);
  const sha = await client.hget('push::history', 'script');
  if (sha === null) throw new Error('nobody tells the sha of the script');
  return client.evalsha(sha, 0, 'longwire_publish', ...args);
}
