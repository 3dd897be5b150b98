// `POST /api/{method}`: the backend's API, in the shape of Centrifugo's server API.
//
// The key is checked on the head, before a byte of the body is taken, so that whoever has no key cannot make the gateway
// hold anything. Answers are `{"result":{…}}` with 200 or `{"error":{"code":…,"message":"…"}}` with the error's status, or with 200
// as well where LONGWIRE_API_ERRORS says so.

import { LongwireError } from '../../src/errors.ts';
import type { Exchange, ServedAnswer } from '../exchange.ts';
import type { Gateway } from '../gateway.ts';
import { field } from '../http/answers.ts';
import type { RequestHead } from '../http/request-head.ts';
import { type ApiMethod, runBatch } from './batch.ts';
import { disconnect } from './disconnect.ts';
import { history, historyRemove } from './history.ts';
import { keyMatches } from './key.ts';
import { runLines } from './lines.ts';
import { channels, info } from './nodes.ts';
import { bodyText, type Params, parseObject } from './params.ts';
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

/** Commands say themselves which methods they are. */
const LINES = Symbol('lines');
const LINES_PATH = '/api';
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
  const method = head.pathEquals(LINES_PATH) ? LINES : head.pathSlice(PREFIX_LENGTH);
  exchange.readBody(head, gateway.config.bodyLimitBytes, (body) => call(gateway, method, body));
}

/** Not async, so that a call which waits for the broker holds its answer alone and neither body nor parameters. */
function call(gateway: Gateway, name: string | typeof LINES | null, body: Buffer): Promise<ServedAnswer> {
  try {
    if (name === LINES) return answerWith(gateway, runLines(gateway, METHODS, bodyText(body)), (lines) => lines);
    if (name === BATCH) return answerWith(gateway, runBatch(gateway, METHODS, parametersIn(body)), JSON.stringify);
    const method = name !== null && Object.hasOwn(METHODS, name) ? METHODS[name] : undefined;
    if (method === undefined) throw new LongwireError('method-not-found', `the methods are: ${NAMES}`);
    return answerWith(gateway, method(gateway, parametersIn(body)), (result) => JSON.stringify({ result }));
  } catch (thrown) {
    return answerWith(gateway, Promise.reject(thrown), JSON.stringify);
  }
}

async function answerWith<Result>(
  gateway: Gateway,
  outcome: Promise<Result>,
  write: (result: Result) => string,
): Promise<ServedAnswer> {
  try {
    const body = write(await outcome);
    gateway.counters.apiSucceeded++;
    return { status: 200, body, contentType: 'application/json' };
  } catch (thrown) {
    gateway.counters.apiFailed++;
    if (!(thrown instanceof LongwireError)) throw thrown;
    const status = gateway.config.apiErrors === 'body' ? 200 : thrown.status;
    return { status, body: JSON.stringify(thrown.toBody()), contentType: 'application/json' };
  }
}

/** @throws LongwireError `bad-request` */
const parametersIn = (body: Buffer): Params => parseObject(bodyText(body));

const UNAUTHORIZED = field('WWW-Authenticate', 'apikey realm="longwire"');
