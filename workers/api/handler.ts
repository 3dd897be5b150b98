// `POST /api/{method}`: the backend's API, in the shape of Centrifugo's server API.
//
// The key is checked on the head, before a byte of the body is taken, so that whoever has no key cannot make the gateway
// hold anything. Answers are `{"result":{…}}` with 200 or `{"error":{"code":…,"message":"…"}}` with the error's status.

import { LongwireError } from '../../src/errors.ts';
import type { Exchange, ServedAnswer } from '../exchange.ts';
import type { Gateway } from '../gateway.ts';
import { field } from '../http/answers.ts';
import type { RequestHead } from '../http/request-head.ts';
import { type ApiMethod, runBatch } from './batch.ts';
import { disconnect } from './disconnect.ts';
import { history, historyRemove } from './history.ts';
import { keyMatches } from './key.ts';
import { channels, info } from './nodes.ts';
import { presence, presenceStats } from './presence.ts';
import { broadcast, publish } from './publish.ts';

const METHODS: Readonly<Record<string, ApiMethod>> = {
  publish,
  broadcast,
  history,
  history_remove: historyRemove,
  presence,
  presence_stats: presenceStats,
  disconnect,
  channels,
  info,
};

/** Its answer has no `result` around it. */
const BATCH = 'batch';
const NAMES = [...Object.keys(METHODS), BATCH].join(', ');

const PREFIX_LENGTH = '/api/'.length;

export function handleApi(exchange: Exchange, head: RequestHead): void {
  const { gateway } = exchange;
  if (!keyMatches(head, gateway.apiKeyDigest)) {
    gateway.counters.apiFailed++;
    exchange.reject(401, 'this call needs the key of LONGWIRE_API_KEY in X-API-Key', 'not-allowed', UNAUTHORIZED);
    return;
  }
  if (head.bodyKind === 'none') {
    gateway.counters.apiFailed++;
    exchange.reject(411, 'a call has a body, and says how long it is', 'malformed');
    return;
  }
  const name = head.pathSlice(PREFIX_LENGTH);
  exchange.readBody(head, gateway.config.bodyLimitBytes, (body) => call(gateway, name, body));
}

/** Not async, so that a call which waits for the broker holds its answer alone and neither body nor parameters. */
function call(gateway: Gateway, name: string | null, body: Buffer): Promise<ServedAnswer> {
  try {
    if (name === BATCH) return answerWith(gateway, runBatch(gateway, METHODS, parseParams(body)), false);
    const method = name !== null && Object.hasOwn(METHODS, name) ? METHODS[name] : undefined;
    if (method === undefined) throw new LongwireError('method-not-found', `the methods are: ${NAMES}`);
    return answerWith(gateway, method(gateway, parseParams(body)));
  } catch (thrown) {
    return answerWith(gateway, Promise.reject(thrown));
  }
}

async function answerWith(gateway: Gateway, outcome: Promise<object>, wrapped = true): Promise<ServedAnswer> {
  try {
    const result = await outcome;
    gateway.counters.apiSucceeded++;
    return json(200, wrapped ? { result } : result);
  } catch (thrown) {
    gateway.counters.apiFailed++;
    if (!(thrown instanceof LongwireError)) throw thrown;
    return json(thrown.status, thrown.toBody());
  }
}

function json(status: number, body: object): ServedAnswer {
  return { status, body: JSON.stringify(body), contentType: 'application/json' };
}

function parseParams(body: Buffer): Record<string, unknown> {
  let params: unknown;
  try {
    params = JSON.parse(utf8.decode(body));
  } catch {
    throw new LongwireError('bad-request', 'the body is not JSON in UTF-8');
  }
  if (typeof params !== 'object' || params === null || Array.isArray(params)) {
    throw new LongwireError('bad-request', 'the body must be a JSON object');
  }
  return params as Record<string, unknown>;
}

/** Throws on bytes that are not UTF-8, where Buffer would replace them: a changed payload is a lost one. */
const utf8 = new TextDecoder('utf-8', { fatal: true });

const UNAUTHORIZED = field('WWW-Authenticate', 'apikey realm="longwire"');
