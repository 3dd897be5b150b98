// Presence in Redis as a worker uses it: the script presence.lua, run by its digest and sent whole where Redis does not know it.
//
// Stateless on this side: it goes over the publisher's connection as publications do, and fails while there is none.
// Who comes and goes is told by the script, on PRESENCE_CHANNEL; `decodeComing` reads that.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Redis } from 'ioredis';
import { channelFault, RESERVED_PREFIX } from '../channel.ts';
import { errorText, LongwireError } from '../errors.ts';
import { MEMBERS_LIMIT, type PresenceChange, type PresenceCount } from '../presence.ts';
import { Publication } from '../publication.ts';
import { type PresenceStore, tooManyMembers } from './broker.ts';

/** What comes after the prefix in the name of the Redis channel on which it is told who comes and goes. */
export const PRESENCE_CHANNEL = `${RESERVED_PREFIX}presence`;

/** Beside the compiled tree, since it is Redis that reads it. */
const SCRIPT = readFileSync(new URL('../../../src/broker/presence.lua', import.meta.url), 'utf8');
const DIGEST = createHash('sha1').update(SCRIPT).digest('hex');

export class RedisPresence implements PresenceStore {
  readonly #client: Redis;
  readonly #prefix: string;
  readonly #ttlMs: number;

  constructor(client: Redis, prefix: string, ttlSeconds: number) {
    this.#client = client;
    this.#prefix = prefix;
    this.#ttlMs = Math.round(ttlSeconds * 1_000);
  }

  async change(changes: readonly PresenceChange[]): Promise<readonly number[]> {
    const args: (string | number)[] = [this.#ttlMs];
    for (const { kind, told, channel, client, user, entry } of changes) {
      args.push(kind, told ? 1 : 0, channel, client, user, entry);
    }
    return (await this.#run('change', args)) as number[];
  }

  async read(channel: string): Promise<readonly string[]> {
    const found = (await this.#run('read', [channel, MEMBERS_LIMIT])) as string[] | number;
    if (typeof found === 'number') throw tooManyMembers(found);
    return found;
  }

  async count(channel: string): Promise<PresenceCount> {
    const [clients, users] = (await this.#run('count', [channel])) as [number, number];
    return { clients, users };
  }

  async #run(what: string, args: readonly (string | number)[]): Promise<unknown> {
    try {
      return await this.#client.evalsha(DIGEST, 0, this.#prefix, what, ...args);
    } catch (error) {
      if (!errorText(error).startsWith('NOSCRIPT')) throw unavailable(error);
    }
    try {
      return await this.#client.eval(SCRIPT, 0, this.#prefix, what, ...args);
    } catch (error) {
      throw unavailable(error);
    }
  }
}

function unavailable(error: unknown): LongwireError {
  return new LongwireError('unavailable', `Redis has not said who is present: ${errorText(error)}`, { cause: error });
}

const LF = 0x0a;
const HEAD = /^(join|leave) (\d{1,3})$/;
const HEAD_LIMIT_BYTES = 16;

/** `join {channel bytes}\n{channel}{entry}`, from the script; or, as a string, what is wrong with it. */
export function decodeComing(bytes: Buffer): Publication | string {
  const end = bytes.subarray(0, HEAD_LIMIT_BYTES).indexOf(LF);
  const [, kind, length] = (end < 0 ? null : HEAD.exec(bytes.toString('latin1', 0, end))) ?? [];
  if (kind !== 'join' && kind !== 'leave') return 'it must begin with a line that says who comes or goes';
  const at = end + 1 + Number(length);
  const channel = bytes.toString('utf8', end + 1, at);
  return channelFault(channel) ?? Publication.coming(kind, channel, bytes.subarray(at));
}
