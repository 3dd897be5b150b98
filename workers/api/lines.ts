// `POST /api`: several calls in one request, one JSON object a line, as Centrifugo's API was before `/api/{method}`, and as its client
// libraries still send a pipeline.
//
// `{"method":"publish","params":{…}}` → `{"result":{…}}` or `{"error":{…}}`, a line for a line, one after the other. A command that fails
// stops no other. Bound: that of a batch, and what a body may hold.

import { LongwireError } from '../../src/errors.ts';
import type { Gateway } from '../gateway.ts';
import { type ApiMethod, COMMAND_LIMIT } from './batch.ts';
import { isObject, parseObject } from './params.ts';

/** The answer's body. @throws LongwireError when there is no line, or there are too many. */
export async function runLines(
  gateway: Gateway,
  methods: Readonly<Record<string, ApiMethod>>,
  text: string,
): Promise<string> {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  if (lines.length === 0 || lines.length > COMMAND_LIMIT) {
    throw new LongwireError('bad-request', `the body must be 1 to ${COMMAND_LIMIT} lines of JSON, a command each`);
  }
  const replies: string[] = [];
  for (const line of lines) replies.push(JSON.stringify(await replyTo(gateway, methods, line)));
  return replies.join('\n');
}

async function replyTo(gateway: Gateway, methods: Readonly<Record<string, ApiMethod>>, line: string): Promise<object> {
  try {
    const { method: name, params = {} } = parseObject(line);
    if (!isObject(params)) throw new LongwireError('bad-request', 'params must be a JSON object');
    const method = typeof name === 'string' && Object.hasOwn(methods, name) ? methods[name] : undefined;
    if (method === undefined) {
      throw new LongwireError('method-not-found', `the methods are: ${Object.keys(methods).join(', ')}`);
    }
    return { result: await method(gateway, params) };
  } catch (thrown) {
    if (!(thrown instanceof LongwireError)) throw thrown;
    return thrown.toBody();
  }
}
