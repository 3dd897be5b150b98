// What the methods of the API have in common in reading their parameters.

import { channelFault } from '../../src/channel.ts';
import { LongwireError } from '../../src/errors.ts';

/** The JSON object of a call. */
export type Params = Record<string, unknown>;

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
