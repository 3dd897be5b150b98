// The history of the embedded broker, a worker's end: asks the primary, which keeps it (src/primary/history-log.ts).
//
// Questions are JSON in `ask` frames, answered by `told`: a JSON head, then packed publications. Bounds: a question that has no
// answer by PUBLISH_DEADLINE_MS fails; the primary refuses answers that are too large.

import { LongwireError } from '../errors.ts';
import type { ChannelHistory, HistoryState } from '../history.ts';
import type { Publication } from '../publication.ts';
import { type HistoryQuery, type HistoryStore, type Missed, PUBLISH_DEADLINE_MS } from './broker.ts';
import { unpackPublications } from './packed.ts';
import { type FrameWriter, LENGTH_OF_HEAD_BYTES } from './relay-frames.ts';
import type { FramePort } from './relay-link.ts';

/** What a worker asks. */
export type Question =
  | ({ what: 'read'; channel: string } & HistoryQuery)
  | { what: 'missed'; since: number; channels: readonly string[] }
  | { what: 'remove'; channel: string }
  | { what: 'mark' }
  | { what: 'where' };

/** The head of the answer; `channels` tells whose the publications are that follow it. */
export interface ToldHead {
  error?: string;
  epoch: string;
  offset: number;
  channels: { channel: string; top: number; floor: number; count: number }[];
}

interface Asked {
  readonly resolve: (told: { head: ToldHead; publications: Publication[] }) => void;
  readonly reject: (error: LongwireError) => void;
  readonly deadline: NodeJS.Timeout;
}

export class MemoryHistory implements HistoryStore {
  readonly #port: FramePort;
  readonly #frames: FrameWriter;
  readonly #asked = new Map<number, Asked>();
  #number = 0;

  constructor(port: FramePort, frames: FrameWriter) {
    this.#port = port;
    this.#frames = frames;
  }

  async read(channel: string, query: HistoryQuery): Promise<ChannelHistory> {
    const { head, publications } = await this.#ask({ what: 'read', channel, ...query });
    const { top = 0, floor = 0 } = head.channels[0] ?? {};
    return { state: stateOf(head), top, floor, publications };
  }

  async missed(since: number, channels: readonly string[]): Promise<Missed> {
    const { head, publications } = await this.#ask({ what: 'missed', since, channels });
    let at = 0;
    const found = head.channels.map(({ channel, floor, count }) => {
      at += count;
      return { channel, floor, publications: publications.slice(at - count, at) };
    });
    return { state: stateOf(head), channels: found };
  }

  async remove(channel: string): Promise<void> {
    await this.#ask({ what: 'remove', channel });
  }

  /** Where the history stands; all that has a place up to there was sent before the answer. */
  async where(): Promise<HistoryState> {
    return stateOf((await this.#ask({ what: 'where' })).head);
  }

  async mark(): Promise<void> {
    await this.#ask({ what: 'mark' });
  }

  /** An answer has come. */
  receive(call: number, body: Buffer): void {
    const asked = this.#asked.get(call);
    if (asked === undefined) return;
    this.#asked.delete(call);
    clearTimeout(asked.deadline);
    const headEnd = LENGTH_OF_HEAD_BYTES + body.readUInt32LE(0);
    const head: ToldHead = JSON.parse(body.toString('utf8', LENGTH_OF_HEAD_BYTES, headEnd));
    if (head.error !== undefined) {
      asked.reject(new LongwireError('unavailable', head.error));
      return;
    }
    const publications: Publication[] = [];
    // The frame is overwritten by what is read next, and these are kept: they get memory of their own.
    const packed = Buffer.from(body.subarray(headEnd));
    unpackPublications(packed, (publication) => publications.push(publication), head.epoch);
    asked.resolve({ head, publications });
  }

  #ask(question: Question): Promise<{ head: ToldHead; publications: Publication[] }> {
    const call = ++this.#number;
    const bytes = Buffer.from(JSON.stringify(question));
    return new Promise((resolve, reject) => {
      const deadline = setTimeout(() => {
        this.#asked.delete(call);
        reject(new LongwireError('unavailable', `the history has not answered for ${PUBLISH_DEADLINE_MS} ms`));
      }, PUBLISH_DEADLINE_MS);
      this.#asked.set(call, { resolve, reject, deadline });
      bytes.copy(this.#frames.add('ask', call, bytes.length));
      if (!this.#port.send(this.#frames.take())) this.#frames.leave();
    });
  }
}

function stateOf({ epoch, offset }: ToldHead): HistoryState {
  return { epoch, offset, past: NO_PAST };
}

/** The primary's life is the epoch's: nothing of a former one is known. */
const NO_PAST: ReadonlyMap<string, number> = new Map();
