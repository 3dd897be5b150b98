// Publishing through Redis: what calls.ts gathers in a turn is one write on the publisher's connection.
//
// A plain publication is `PUBLISH {prefix}{channel} {payload}`; one with an event or id is that of an envelope (envelope.ts); those of
// channels with history, and all that have an idempotency key, are arguments of one call of the library's function for up to
// FUNCTION_RUN of them. Their order is that of the calls, and the answers come in it. A batch is written once, to the connection of
// the moment, or refused.
//
// Cost: an entry in one write for every publication published.

import type { NamespaceTable } from '../../config/namespaces.ts';
import { LongwireError } from '../errors.ts';
import type { Position } from '../position.ts';
import type { Publication } from '../publication.ts';
import type { Taken } from './broker.ts';
import { type Batch, type Call, Calls } from './calls.ts';
import { ENVELOPE_CHANNEL, encodeEnvelope } from './envelope.ts';
import { describeError, hasLostLibrary, isRefusal } from './redis-errors.ts';
import { outcomesOf, type RedisHistory } from './redis-history.ts';
import type { RedisLink } from './redis-link.ts';

/** Publications with history in one command: Redis is busy with it for half a millisecond. */
const FUNCTION_RUN = 64;

export interface RedisPublishingParts {
  readonly link: RedisLink;
  readonly prefix: string;
  readonly namespaces: NamespaceTable;
  /** Null where no namespace has history. */
  readonly history: RedisHistory | null;
  /** Redis has no functions, or no options for them, any more. */
  onLibraryLost(): void;
  onRefused(text: string): void;
}

export class RedisPublishing {
  readonly #parts: RedisPublishingParts;
  readonly #envelopeChannel: string;
  readonly #calls: Calls;

  constructor(parts: RedisPublishingParts) {
    this.#parts = parts;
    this.#envelopeChannel = parts.prefix + ENVELOPE_CHANNEL;
    this.#calls = new Calls((batch) => this.#send(batch));
  }

  /** As Broker.publish says. */
  publish(publications: readonly Publication[]): Promise<Taken> {
    return this.#calls.publish(publications);
  }

  stop(): void {
    this.#calls.failAll('the broker was stopped');
  }

  /** Writes a batch in one go. */
  #send(batch: Batch): void {
    const { link, prefix, history } = this.#parts;
    if (link.state !== 'ready') {
      this.#calls.take(batch.number);
      const error = new LongwireError('unavailable', 'the connection to Redis was lost; nothing was published');
      this.#calls.settleBatch(batch, error);
      return;
    }
    const pipeline = link.client.pipeline();
    /** How many publications each command has; 0 for a plain one. */
    const counts: number[] = [];
    let run: Publication[] = [];
    const endRun = (): void => {
      if (run.length === 0 || history === null) return;
      history.append(pipeline, run);
      counts.push(run.length);
      run = [];
    };
    for (const call of batch.calls) {
      for (const publication of call.publications) {
        if (history !== null && this.#needsFunction(publication)) {
          run.push(publication);
          if (run.length === FUNCTION_RUN) endRun();
          continue;
        }
        endRun();
        counts.push(0);
        if (publication.event === null && publication.id === null) {
          pipeline.publish(prefix + publication.channel, publication.payload);
        } else {
          pipeline.publish(this.#envelopeChannel, encodeEnvelope(publication));
        }
      }
    }
    endRun();
    pipeline.exec().then(
      (results) => this.#answered(batch, counts, results ?? []),
      (error: unknown) => this.#failed(batch, error instanceof Error ? error : new Error(String(error))),
    );
  }

  #needsFunction({ channel, idempotencyKey }: Publication): boolean {
    return idempotencyKey !== null || this.#parts.namespaces.of(channel).historySize > 0;
  }

  #answered(batch: Batch, counts: readonly number[], results: readonly Result[]): void {
    if (this.#calls.take(batch.number) === null) return;
    const outcomes = counts.flatMap((count, i): (Position | null | Error)[] => {
      const [error, result] = results[i] ?? UNANSWERED;
      if (count === 0) return [error];
      return error === null ? outcomesOf(result, count) : Array.from({ length: count }, () => error);
    });
    let at = 0;
    for (const call of batch.calls) {
      let error: Error | null = null;
      const taken: (Position | null)[] = [];
      for (const end = at + call.count; at < end; at++) {
        const outcome = outcomes[at] ?? null;
        if (outcome instanceof Error) error ??= outcome;
        else if (this.#parts.history !== null) taken.push(outcome);
      }
      this.#settle(call, error, taken);
    }
  }

  #failed(batch: Batch, error: Error): void {
    if (this.#calls.take(batch.number) === null) return;
    for (const call of batch.calls) this.#settle(call, error);
  }

  #settle(call: Call, error: Error | null, taken: Taken = []): void {
    if (error === null) {
      this.#calls.settle(call, null, taken);
      return;
    }
    const text = describeError(error);
    if (hasLostLibrary(error)) this.#parts.onLibraryLost();
    if (isRefusal(error)) this.#parts.onRefused(text);
    const what = isRefusal(error)
      ? `Redis refused: ${text}`
      : 'the connection to Redis was lost; what was published may or may not have been taken';
    this.#calls.settle(call, new LongwireError('unavailable', what, { cause: error }));
  }
}

/** For a command of a pipeline that has no result: never a success. */
const UNANSWERED: Result = [new Error('no answer'), null];

/** Of a command in a pipeline. */
type Result = [error: Error | null, result: unknown];
