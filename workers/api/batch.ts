// `/api/batch`: several calls in one request, in Centrifugo's shape.
//
// `{"commands":[{"publish":{…}},{"history":{…}}],"parallel":false}` → `{"replies":[{"publish":{…}},{"error":{…}}]}`: each command
// has one member, the method's name. One after the other, or all at once; a command that fails stops no other.
//
// Bound: COMMAND_LIMIT commands, and what a body may hold.

import { LongwireError } from '../../src/errors.ts';
import type { Gateway } from '../gateway.ts';
import { isObject, type Params } from './params.ts';

export const COMMAND_LIMIT = 1_000;

/** What a method does with the request's JSON object. Throws or rejects with LongwireError for all but success. */
export type ApiMethod = (gateway: Gateway, params: Params) => Promise<object>;

/** The replies, one a command. @throws LongwireError when it is no batch. */
export async function runBatch(
  gateway: Gateway,
  methods: Readonly<Record<string, ApiMethod>>,
  { commands, parallel = false }: Params,
): Promise<object> {
  if (!Array.isArray(commands) || commands.length === 0 || commands.length > COMMAND_LIMIT) {
    throw new LongwireError('bad-request', `commands must be an array of 1 to ${COMMAND_LIMIT} commands`);
  }
  if (typeof parallel !== 'boolean') throw new LongwireError('bad-request', 'parallel must be true or false');
  const run = (command: unknown): Promise<object> => replyTo(gateway, methods, command);
  if (parallel) return { replies: await Promise.all(commands.map(run)) };
  const replies: object[] = [];
  for (const command of commands) replies.push(await run(command));
  return { replies };
}

async function replyTo(
  gateway: Gateway,
  methods: Readonly<Record<string, ApiMethod>>,
  command: unknown,
): Promise<object> {
  try {
    const [name, params, ...others] = isObject(command) ? Object.entries(command).flat() : [];
    if (typeof name !== 'string' || others.length > 0 || !isObject(params)) {
      throw new LongwireError('bad-request', 'a command is an object with one member, a method and its parameters');
    }
    const method = Object.hasOwn(methods, name) ? methods[name] : undefined;
    if (method === undefined) {
      throw new LongwireError('method-not-found', `the methods of a batch are: ${Object.keys(methods).join(', ')}`);
    }
    return { [name]: await method(gateway, params) };
  } catch (thrown) {
    if (!(thrown instanceof LongwireError)) throw thrown;
    return thrown.toBody();
  }
}
