// What a worker asks the primary on the embedded broker, beside what it publishes: of the history and of presence.
//
// Questions are JSON in `ask` frames, answered by `told`: a JSON head, then packed publications. Bounds: a question that has no
// answer by PUBLISH_DEADLINE_MS fails; the primary refuses answers that are too large. What was asked is answered in the order in which
// it was asked, and after all that was published before.

import { LongwireError } from '../errors.ts';
import type { PresenceChange } from '../presence.ts';
import type { Publication } from '../publication.ts';
import { type HistoryQuery, PUBLISH_DEADLINE_MS } from './broker.ts';
import { unpackPublications } from './packed.ts';
import { type FrameWriter, LENGTH_OF_HEAD_BYTES } from './relay-frames.ts';
import type { FramePort } from './relay-link.ts';

export type HistoryQuestion =
  | ({ what: 'read'; channel: string } & HistoryQuery)
  | { what: 'missed'; since: number; channels: readonly string[] }
  | { what: 'remove'; channel: string }
  | { what: 'mark' }
  | { what: 'where' };

export type PresenceQuestion =
  | { what: 'present'; changes: readonly PresenceChange[] }
  | { what: 'members'; channel: string }
  | { what: 'count'; channel: string };

export type Question = HistoryQuestion | PresenceQuestion;

/** The head of an answer that is none. */
export interface Refused {
  error: string;
}

/** Of an answer about the history; `channels` tells whose the publications are that follow it. */
export interface ToldHead {
  epoch: string;
  offset: number;
  channels: { channel: string; top: number; floor: number; count: number }[];
}

/** Of an answer about presence: what PresenceStore says, by what was asked. */
export interface PresentHead {
  unknown?: number[];
  /** Null where there are more than can be told. */
  members?: string[] | null;
  clients?: number;
  users?: number;
}

interface Told<Head> {
  readonly head: Head;
  readonly publications: readonly Publication[];
}

interface Asked {
  readonly resolve: (told: Told<ToldHead & PresentHead>) => void;
  readonly reject: (error: LongwireError) => void;
  readonly deadline: NodeJS.Timeout;
}

export class MemoryQuestions {
  readonly #port: FramePort;
  readonly #frames: FrameWriter;
  readonly #asked = new Map<number, Asked>();
  #number = 0;

  constructor(port: FramePort, frames: FrameWriter) {
    this.#port = port;
    this.#frames = frames;
  }

  /** @param onTold Called with the answer as it is read, before whatever stands behind it on the link. */
  ask(question: HistoryQuestion, onTold?: (told: Told<ToldHead>) => void): Promise<Told<ToldHead>>;
  ask(question: PresenceQuestion): Promise<Told<PresentHead>>;
  ask(
    question: Question,
    onTold: (told: Told<ToldHead & PresentHead>) => void = () => {},
  ): Promise<Told<ToldHead | PresentHead>> {
    const call = ++this.#number;
    const bytes = Buffer.from(JSON.stringify(question));
    return new Promise((resolve, reject) => {
      const deadline = setTimeout(() => {
        this.#asked.delete(call);
        reject(new LongwireError('unavailable', `the primary has not answered for ${PUBLISH_DEADLINE_MS} ms`));
      }, PUBLISH_DEADLINE_MS);
      const settle = (told: Told<ToldHead & PresentHead>): void => {
        onTold(told);
        resolve(told);
      };
      this.#asked.set(call, { resolve: settle, reject, deadline });
      bytes.copy(this.#frames.add('ask', call, bytes.length));
      if (!this.#port.send(this.#frames.take())) this.#frames.leave();
    });
  }

  /** An answer has come. */
  receive(call: number, body: Buffer): void {
    const asked = this.#asked.get(call);
    if (asked === undefined) return;
    this.#asked.delete(call);
    clearTimeout(asked.deadline);
    const headEnd = LENGTH_OF_HEAD_BYTES + body.readUInt32LE(0);
    const head: (ToldHead & PresentHead) | Refused = JSON.parse(body.toString('utf8', LENGTH_OF_HEAD_BYTES, headEnd));
    if ('error' in head) {
      asked.reject(new LongwireError('unavailable', head.error));
      return;
    }
    const publications: Publication[] = [];
    // The frame is overwritten by what is read next, and these are kept: they get memory of their own.
    const packed = Buffer.from(body.subarray(headEnd));
    unpackPublications(packed, (publication) => publications.push(publication), head.epoch);
    asked.resolve({ head, publications });
  }
}
