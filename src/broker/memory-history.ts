// The history of the embedded broker, a worker's end: asks the primary, which keeps it (src/primary/history-log.ts).

import type { ChannelHistory, HistoryState } from '../history.ts';
import type { HistoryQuery, HistoryStore, Missed } from './broker.ts';
import type { MemoryQuestions, ToldHead } from './memory-questions.ts';

export class MemoryHistory implements HistoryStore {
  readonly #questions: MemoryQuestions;

  constructor(questions: MemoryQuestions) {
    this.#questions = questions;
  }

  async read(channel: string, query: HistoryQuery): Promise<ChannelHistory> {
    const { head, publications } = await this.#questions.ask({
      what: 'read',
      channel,
      ...query,
      // JSON has no Infinity.
      limit: Math.min(query.limit, Number.MAX_SAFE_INTEGER),
    });
    const { top = 0, floor = 0 } = head.channels[0] ?? {};
    return { state: stateOf(head), top, floor, publications };
  }

  async missed(since: number, channels: readonly string[]): Promise<Missed> {
    const { head, publications } = await this.#questions.ask({ what: 'missed', since, channels });
    let at = 0;
    const found = head.channels.map(({ channel, floor, count }) => {
      at += count;
      return { channel, floor, publications: publications.slice(at - count, at) };
    });
    return { state: stateOf(head), channels: found };
  }

  async remove(channel: string): Promise<void> {
    await this.#questions.ask({ what: 'remove', channel });
  }

  /**
   * Where the history stands; all that has a place up to there was sent before the answer.
   *
   * @param onTold Told of it before what was published since, which may be in the same read as the answer.
   */
  async where(onTold: (state: HistoryState) => void): Promise<void> {
    await this.#questions.ask({ what: 'where' }, ({ head }) => onTold(stateOf(head)));
  }

  async mark(): Promise<void> {
    await this.#questions.ask({ what: 'mark' });
  }
}

function stateOf({ epoch, offset }: ToldHead): HistoryState {
  return { epoch, offset, past: NO_PAST };
}

/** The primary's life is the epoch's: nothing of a former one is known. */
const NO_PAST: ReadonlyMap<string, number> = new Map();
