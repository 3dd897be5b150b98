// One connection of the fuzz: carries out its plan over a real socket and says what came of it.
//
// Whatever it does, the gateway must end a connection that we have ended, answer what was sound, and never leave one hanging.

import { connect, type Socket } from 'node:net';
import { type AnswersRead, readAnswers } from './answers.ts';
import type { Plan } from './plan.ts';

/** After this the gateway may end a connection whose request has not arrived in full, or on which nothing is asked. */
export const DEADLINE_SECONDS = 4;
/** From our end to the gateway's, or from the last byte where it is the gateway that must end. Its deadlines are shorter. */
const HANG_MS = 30_000;
/** A stream that we only wait on would be held for ever. */
const STREAM_MS = 200;

export type Ending =
  /** The gateway's FIN, ours before or after it. */
  | 'ended'
  /** The gateway's RST. */
  | 'reset by the gateway'
  | 'reset by us'
  | 'closed by us'
  | 'refused'
  | 'hung';

export interface Outcome {
  plan: Plan;
  ending: Ending;
  answers: AnswersRead;
  /** What the gateway did that it must not, or null. */
  wrong: string | null;
}

export function runConnection(plan: Plan, port: number, localAddress: string | undefined): Promise<Outcome> {
  return new Promise((resolve) => new FuzzConnection(plan, port, localAddress, resolve));
}

class FuzzConnection {
  readonly #plan: Plan;
  readonly #socket: Socket;
  readonly #settle: (outcome: Outcome) => void;
  readonly #chunks: Buffer[] = [];
  readonly #began = performance.now();
  #timer: NodeJS.Timeout | null = null;
  #connected = false;
  #settled = false;

  constructor(plan: Plan, port: number, localAddress: string | undefined, settle: (outcome: Outcome) => void) {
    this.#plan = plan;
    this.#settle = settle;
    const address = localAddress === undefined ? {} : { localAddress };
    const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true, ...address });
    this.#socket = socket;
    if (plan.leaving === 'deaf') socket.pause();
    else socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    socket.on('connect', () => {
      this.#connected = true;
      void this.#write();
    });
    socket.on('end', () => this.#finish('ended'));
    socket.on('error', () => this.#finish(this.#connected ? 'reset by the gateway' : 'refused'));
    socket.on('close', () => this.#finish('reset by the gateway'));
  }

  async #write(): Promise<void> {
    const { pieces, turns, leaving, number } = this.#plan;
    // One in two resets does not wait for its last byte.
    const until = leaving === 'reset' && number % 2 === 0 ? pieces.length / 2 : pieces.length;
    for (let i = 0; i < until && !this.#settled; i++) {
      this.#socket.write(pieces[i] as Buffer);
      if (turns[i]) await new Promise((resolve) => setImmediate(resolve));
    }
    if (this.#settled) return;
    this.#timer = setTimeout(() => this.#finish('hung'), HANG_MS);
    if (leaving === 'end') this.#socket.end();
    else if (leaving === 'reset') this.#socket.resetAndDestroy();
    else if (leaving === 'deaf') this.#socket.destroy();
    else if (leaving === 'close') this.#closeWhenAnswered();
    if (leaving === 'reset') this.#finish('reset by us');
    else if (leaving === 'deaf') this.#finish('closed by us');
  }

  #onData(chunk: Buffer): void {
    this.#chunks.push(chunk);
    if (this.#timer === null) return;
    if (this.#plan.leaving === 'close') this.#closeWhenAnswered();
    else if (this.#plan.leaving === 'wait' && this.#read(false).stream) setTimeout(() => this.#socket.end(), STREAM_MS);
  }

  /** Sound ones are waited for; behind the odd ones nobody knows what is to come, so these end as soon as anything has. */
  #closeWhenAnswered(): void {
    const { statuses, sound } = this.#plan;
    const got = this.#read(false).statuses.length;
    if (sound ? got < statuses.length : this.#chunks.length === 0 && statuses.length > 0) return;
    this.#socket.end();
  }

  #read(whole: boolean): AnswersRead {
    return readAnswers(Buffer.concat(this.#chunks), whole);
  }

  #finish(ending: Ending): void {
    if (this.#settled) return;
    this.#settled = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    const answers = this.#read(ending === 'ended');
    this.#socket.destroy();
    this.#settle({ plan: this.#plan, ending, answers, wrong: this.#wrong(ending, answers) });
  }

  #wrong(ending: Ending, { statuses, wrong }: AnswersRead): string | null {
    const plan = this.#plan;
    if (ending === 'refused') return 'the connection was refused';
    if (ending === 'hung') return `not ended by the gateway ${HANG_MS} ms after we had (${plan.leaving})`;
    if (wrong !== null) return wrong;
    // On a busy machine we may ourselves be slower than a deadline: then fewer answers, or a 408 behind them, are right.
    const late = performance.now() - this.#began >= DEADLINE_SECONDS * 1_000;
    const expected = plan.statuses;
    const got = late && statuses.at(-1) === 408 ? statuses.slice(0, -1) : statuses;
    const differs = got.slice(0, expected.length).some((status, i) => status !== expected[i]);
    if (differs) return `sound requests were answered ${got.join(' ')} instead of ${expected.join(' ')}`;
    if (ending !== 'ended' || late) return null;
    if (got.length < expected.length) return `${got.join(' ')}: answers are missing, ${expected.join(' ')} was due`;
    return plan.sound && got.length > expected.length ? `${got.join(' ')}: too many answers` : null;
  }
}
