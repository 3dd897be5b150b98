// What the methods of the API have in common in reading their parameters.

import { channelFault } from '../../src/channel.ts';
import { LongwireError } from '../../src/errors.ts';

/** The JSON object of a call. */
export type Params = Record<string, unknown>;

/** @throws LongwireError `bad-request` on bytes that are not UTF-8, where Buffer would replace them: a changed payload is a lost one. */
export function bodyText(body: Buffer): string {
  try {
    return utf8.decode(body);
  } catch {
    throw NOT_JSON;
  }
}

/** @throws LongwireError `bad-request` */
export function parseObject(text: string): Params {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw NOT_JSON;
  }
  if (!isObject(value)) throw new LongwireError('bad-request', 'the body must be a JSON object');
  return value;
}

export function isObject(value: unknown): value is Params {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const utf8 = new TextDecoder('utf-8', { fatal: true });
const NOT_JSON = new LongwireError('bad-request', 'the body is not JSON in UTF-8');

/** What is wrong with a channel name as it came in JSON, or null. */
export function givenChannelFault(given: unknown): LongwireError | null {
  if (typeof given !== 'string') return new LongwireError('bad-request', 'channel must be a string');
  if (!given.isWellFormed()) return new LongwireError('bad-request', 'channel must be well-formed Unicode');
  const fault = channelFault(given);
  return fault === null ? null : new LongwireError('bad-request', fault);
}

/** @throws LongwireError `bad-request` */
export function checkedChannel(given: unknown): string {
  const fault = givenChannelFault(given);
  if (fault !== null) throw fault;
  return given as string;
}
