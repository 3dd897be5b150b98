// The admin port's commands: what changes something, who may, and what is answered.
//
//   POST /workers/replace    {"atOnce": true}    each worker by a new one; without atOnce one after the other
//   POST /workers/scale      {"workers": 4}      so many workers from now on
//   POST /workers/rebalance                      evens out what they hold
//   POST /primary/replace                        the primary itself, with all workers
//
// Each is answered 202 with its operation, which `GET /operations/{id}` shows until it is over and a while longer.
//
// Who may: whoever knows LONGWIRE_ADMIN_TOKEN (`Authorization: Bearer …`); without one, whoever reaches a port that is bound on
// loopback. Never a page in a browser: those name their Origin.

import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { LongwireError } from '../errors.ts';
import type { Fleet } from './fleet.ts';
import { facts, type Operation } from './operations.ts';

const BODY_LIMIT_BYTES = 1_024;
/** What is read of a body that is too long, so that its sender hears why: an answer is lost when what was sent is not read. */
const READ_LIMIT_BYTES = 64 * 1_024;
const WORKERS_LIMIT = 1_024;
const NOTHING_TO_SAY = 'there is nothing to say in the body';

export interface Reply {
  status: number;
  body: object;
}

export const COMMAND_PATHS = ['/workers/replace', '/workers/scale', '/workers/rebalance', '/primary/replace'] as const;
export type CommandPath = (typeof COMMAND_PATHS)[number];

type CommandedFleet = Pick<Fleet, 'operations' | 'replace' | 'scale' | 'rebalance' | 'replacePrimary'>;

export class Commands {
  readonly #fleet: CommandedFleet;
  readonly #tokenDigest: Buffer | null;

  /** @param token LONGWIRE_ADMIN_TOKEN; '' for none. */
  constructor(fleet: CommandedFleet, token: string) {
    this.#fleet = fleet;
    this.#tokenDigest = token === '' ? null : digest(token);
  }

  /** Why this request may not change anything; null when it may. */
  refusal({ headers }: IncomingMessage, onLoopback: boolean): Reply | null {
    if (headers.origin !== undefined) return refuse(403, 'commands are not for pages in a browser');
    if (this.#tokenDigest === null) {
      if (onLoopback) return null;
      return refuse(403, 'commands need LONGWIRE_ADMIN_TOKEN, because this port is not bound on loopback');
    }
    const given = /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1] ?? '';
    if (timingSafeEqual(digest(given), this.#tokenDigest)) return null;
    return refuse(401, 'commands need Authorization: Bearer, with LONGWIRE_ADMIN_TOKEN');
  }

  /** Begins what is asked for. */
  async run(path: CommandPath, request: IncomingMessage): Promise<Reply> {
    const read = await readObject(request);
    if (read === null) return refuse(413, `the body may have ${BODY_LIMIT_BYTES} bytes`);
    if (typeof read === 'string') return refuse(400, read);
    try {
      const operation = this.#begin(path, read);
      return typeof operation === 'string' ? refuse(400, operation) : { status: 202, body: facts(operation) };
    } catch (thrown) {
      if (thrown instanceof LongwireError) return refuse(503, thrown.message);
      throw thrown;
    }
  }

  #begin(path: CommandPath, given: Record<string, unknown>): Operation | string {
    switch (path) {
      case '/workers/replace': {
        const { atOnce = false, ...rest } = given;
        if (typeof atOnce !== 'boolean' || Object.keys(rest).length > 0) return 'the body is {} or {"atOnce": true}';
        return this.#fleet.replace(atOnce);
      }
      case '/workers/scale': {
        const { workers, ...rest } = given;
        const whole = typeof workers === 'number' && Number.isInteger(workers);
        if (!whole || workers < 1 || workers > WORKERS_LIMIT || Object.keys(rest).length > 0) {
          return `the body is {"workers": n} with n from 1 to ${WORKERS_LIMIT}`;
        }
        return this.#fleet.scale(workers);
      }
      case '/workers/rebalance':
        return Object.keys(given).length > 0 ? NOTHING_TO_SAY : this.#fleet.rebalance();
      case '/primary/replace':
        return Object.keys(given).length > 0 ? NOTHING_TO_SAY : this.#fleet.replacePrimary();
    }
  }

  /** `/operations` and `/operations/{id}`. */
  show(path: string): Reply {
    if (path === '/operations') return { status: 200, body: { operations: this.#fleet.operations.all.map(facts) } };
    const operation = this.#fleet.operations.find(Number(path.slice('/operations/'.length)));
    if (operation === null) return refuse(404, 'there is no such operation, or no more');
    return { status: 200, body: facts(operation) };
  }
}

function refuse(status: number, message: string): Reply {
  return { status, body: { error: { status, message } } };
}

/** Equal lengths, so that comparing tells nothing. */
function digest(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

/** The body as a JSON object, {} where there is none; or what is wrong with it; null when it is too long. */
async function readObject(request: IncomingMessage): Promise<Record<string, unknown> | string | null> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  // Leaving the loop must not destroy the connection, on which the answer is still to go out.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    bytes += (chunk as Buffer).length;
    if (bytes > READ_LIMIT_BYTES) break;
    if (bytes <= BODY_LIMIT_BYTES) chunks.push(chunk as Buffer);
  }
  if (bytes > BODY_LIMIT_BYTES) return null;
  if (bytes === 0) return {};
  try {
    const value: unknown = JSON.parse(Buffer.concat(chunks).toString());
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // Said below.
  }
  return 'the body is a JSON object';
}
