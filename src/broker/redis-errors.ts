// What Redis' errors mean: whether it has refused, or its connection was lost, and what a refusal says of the library there.
//
// ioredis gives an error that Redis has answered the name `ReplyError`; every other one is of the connection, and then nobody knows
// whether the command was done.

import { errorText } from '../errors.ts';

/** An error that Redis answered with, as opposed to one of the connection. */
export function isRefusal(error: Error): boolean {
  return error.name === 'ReplyError';
}

/** For what a function answers in place of one of its results. */
export class Refusal extends Error {
  override readonly name = 'ReplyError';
}

/** Redis was flushed, or has lost functions or options in another way, since it was connected to: `connect` brings them. */
export function hasLostLibrary(error: unknown): boolean {
  return (
    error instanceof Error && /Function not found|NOSCRIPT|no gateway has said which namespaces/i.test(error.message)
  );
}

/** How a server answers that knows no functions, or whose operator has taken them away. */
export function isUnknownCommand(error: unknown): boolean {
  return error instanceof Error && /unknown command/i.test(error.message);
}

/** A connection to several addresses fails with an AggregateError, which has a code and no text. */
export function describeError(error: Error): string {
  const text = errorText(error);
  if (text !== '') return text;
  return 'code' in error ? String(error.code) : error.name;
}
