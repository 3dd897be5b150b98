// The history in Redis as a worker uses it: the functions of longwire.lua, loaded where they are missing or others, and
// called; reading is redis-reading.ts. What they promise is said there. Where the server knows no functions (Redis before 7, and some that are hosted) the same
// file is one script, by EVALSHA, with the function's name before its arguments (docs/adr/0027).
//
// `connect` is called once for each connection to Redis, before anything is published or subscribed on it: it brings the
// library, tells it the options of the namespaces, and learns where the counter stands. A Redis that was flushed while it
// ran may have lost functions and options; calls then fail until `connect` is called again.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { ChainableCommander, Redis } from 'ioredis';
import type { Namespaces } from '../../config/namespaces.ts';
import { LongwireError } from '../errors.ts';
import type { ChannelHistory, HistoryState } from '../history.ts';
import type { Position } from '../position.ts';
import type { Publication } from '../publication.ts';
import type { HistoryQuery, Missed } from './broker.ts';
import { hasLostLibrary, isUnknownCommand, Refusal } from './redis-errors.ts';
import { readHistory, readMissed, stateOf } from './redis-reading.ts';

/** Beside the compiled tree, since it is Redis that reads it: longwire.lua. */
const SOURCE = new URL('../../../src/broker/longwire.lua', import.meta.url);

export class RedisHistory {
  readonly #client: Redis;
  readonly #prefix: string;
  readonly #options: string;
  readonly #library: string;
  readonly #script: string;
  readonly #sha: string;
  readonly #version: string;
  /** How this server is called, found out at each connection. */
  #by: 'functions' | 'script' = 'functions';

  constructor(
    client: Redis,
    prefix: string,
    namespaces: Namespaces,
    payloadLimitBytes: number,
    positionSeconds: number,
  ) {
    this.#client = client;
    this.#prefix = prefix;
    this.#options = optionsJson(namespaces, payloadLimitBytes, positionSeconds);
    const source = readFileSync(SOURCE, 'utf8');
    this.#version = createHash('sha256').update(source).digest('hex').slice(0, 16);
    this.#library = source.replace('{version}', this.#version);
    // The first line is for FUNCTION LOAD alone.
    this.#script = this.#library.slice(this.#library.indexOf('\n') + 1);
    this.#sha = createHash('sha1').update(this.#script).digest('hex');
  }

  /** By what it is called, for the log. */
  get by(): 'functions' | 'script' {
    return this.#by;
  }

  /** Brings Redis what it lacks. @throws what Redis answers. */
  async connect(): Promise<HistoryState> {
    this.#by = 'functions';
    const known = await this.#connected().catch((error: unknown) => {
      if (isUnknownCommand(error)) this.#by = 'script';
      else if (!hasLostLibrary(error)) throw error;
      return null;
    });
    if (known !== null) return known;
    if (this.#by === 'functions') await this.#client.call('FUNCTION', 'LOAD', 'REPLACE', this.#library);
    else await this.#client.call('SCRIPT', 'LOAD', this.#script);
    const state = await this.#connected();
    if (state === null) throw new LongwireError('unavailable', 'another version of the library was loaded meanwhile');
    return state;
  }

  /** Adds publications to what is about to be sent, as one command; `outcomesOf` reads its answer. */
  append(pipeline: ChainableCommander, publications: readonly Publication[]): void {
    const args: (string | Buffer)[] = [];
    for (const { channel, payload, event, id, idempotencyKey: key } of publications) {
      args.push(channel, payload, `${event === null ? '' : 'e'}${id === null ? '' : 'i'}${key === null ? '' : 'k'}`);
      if (event !== null) args.push(event);
      if (id !== null) args.push(id);
      if (key !== null) args.push(key);
    }
    const [command, ...named] = this.#named('longwire_publish_many');
    pipeline.call(command, ...named, this.#prefix, ...args);
  }

  read(channel: string, query: HistoryQuery): Promise<ChannelHistory> {
    return readHistory(this.#call, channel, query);
  }

  missed(offset: number, channels: readonly string[]): Promise<Missed> {
    return readMissed(this.#call, offset, channels);
  }

  async mark(): Promise<void> {
    await this.#call('longwire_mark');
  }

  async remove(channel: string): Promise<void> {
    await this.#call('longwire_remove', channel);
  }

  async #connected(): Promise<HistoryState | null> {
    const sha = this.#by === 'script' ? [this.#sha] : [];
    const [version, state] = (await this.#call('longwire_connect', this.#options, ...sha)) as [Buffer, unknown];
    return String(version) === this.#version ? stateOf(state) : null;
  }

  readonly #call = (name: string, ...args: (string | number)[]): Promise<unknown> => {
    const [command, ...named] = this.#named(name);
    return this.#client.callBuffer(command, ...named, this.#prefix, ...args);
  };

  /** The command, and what stands before a function's arguments. */
  #named(name: string): [command: string, ...(string | number)[]] {
    return this.#by === 'functions' ? ['FCALL', name, 0] : ['EVALSHA', this.#sha, 0, name];
  }
}

/** What became of each publication of a command: its place, null where its channel has no history, or why it was refused. */
export function outcomesOf(result: unknown, count: number): (Position | null | Error)[] {
  const outcomes: unknown[] = Array.isArray(result) ? result : [];
  return Array.from({ length: count }, (_, i) => {
    const outcome = outcomes[i];
    if (!Array.isArray(outcome)) return new Refusal(String(outcome));
    const epoch = String(outcome[0]);
    return epoch === '' ? null : { epoch, offset: Number(outcome[1]) };
  });
}

function optionsJson(namespaces: Namespaces, payloadLimitBytes: number, positionSeconds: number): string {
  const shown = (options: Namespaces['default']): object => ({
    size: options.historySize,
    ttl: options.historyTtlSeconds,
    limit: options.payloadLimitBytes || payloadLimitBytes,
  });
  const named = Object.entries(namespaces.named).map(([name, options]) => [name, shown(options)]);
  return JSON.stringify({
    default: shown(namespaces.default),
    named: Object.fromEntries(named),
    top: positionSeconds,
  });
}
