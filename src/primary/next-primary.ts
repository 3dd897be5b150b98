// The next primary, as the one that it takes over from sees it: its process, from the start of it to the moment at which this one
// may leave.
//
//   starting ─▶ listening ──ready──▶ taking: connections go to its workers ──over, done──▶ alone
//       └───────────┴────────────────┴── failed, too slow, gone ──▶ gone: this primary goes on as before
//
// It is started as this process was: the same program, flags, folder and environment; what lies there now is what it runs. It has
// a channel for messages, a link for descriptors and, for the embedded broker, one for publications, as workers have them. It leads a process group of
// its own, so that a terminal's Ctrl-C reaches it no more than other programs in the background.
//
// Every wait is bounded: `READY_DEADLINE_MS` to become ready, which is beyond its own for its workers, from the last time that it read
// on of the history, however long that is; `DONE_DEADLINE_MS` to go on alone. Between the two it has the time that moving takes (succession.ts).

import { type ChildProcess, type SendHandle, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import type { FrameTaker } from '../broker/relay-frames.ts';
import { RELAY_LINK_FD, type RelayLink } from '../broker/relay-link.ts';
import { DESCRIPTOR_LINK_FD, DescriptorLink } from '../descriptor-link.ts';
import { LongwireError } from '../errors.ts';
import type { Descriptor } from '../ipc.ts';
import type { LinkPair } from './link-pairs.ts';
import type { Inheritance, PrimaryChannel, ToFormer, ToNext } from './primaries.ts';
import { linkToWorker } from './worker-link.ts';

const READY_DEADLINE_MS = 45_000;
const DONE_DEADLINE_MS = 15_000;
/** Seconds without a word of it, counted by us, who may be held up ourselves. Workers that give to its workers wait longer. */
const SILENCE_LIMIT = 10;
const SECOND_MS = 1_000;

/** How a primary is started that takes over from another one. */
export const TAKE_OVER_FLAG = '--take-over';

export interface NextPrimaryOptions {
  inheritance: Inheritance;
  /** Null where workers do not accept from a socket of the primary's. */
  publicSocket: Descriptor | null;
  adminSocket: Descriptor | null;
  /** Whether publications go by this primary: the embedded broker. */
  linked: boolean;
  /** For held connections; null where they go by the channel. */
  pair: LinkPair | null;
  onFrame: FrameTaker;
  /** What its workers say to ours. */
  onWorker(message: Extract<ToFormer, { type: 'worker' }>, descriptor: Descriptor | null): void;
  /** It was told to end. */
  onStop(): void;
  /** For tests; the defaults are those of production. */
  readyDeadlineMs?: number | undefined;
  doneDeadlineMs?: number | undefined;
  secondMs?: number | undefined;
}

type NextState = 'starting' | 'listening' | 'taking' | 'alone' | 'gone';

export class NextPrimary implements PrimaryChannel {
  readonly #options: NextPrimaryOptions;
  readonly #child: ChildProcess;
  /** Null where publications go by Redis. */
  readonly link: RelayLink | null;
  readonly #descriptors: DescriptorLink | null;
  /** Whether it reads its end of that. */
  #readsDescriptors = false;
  /** Resolves with how many slots it has. @throws LongwireError `unavailable` when it does not become ready. */
  readonly ready: Promise<number>;
  /** Resolves with why, when it is gone, unless it is alone by then. */
  readonly gone: Promise<LongwireError>;
  #state: NextState = 'starting';
  #onReady: (slots: number) => void = () => {};
  #onGone: (error: LongwireError) => void = () => {};
  #onDone: () => void = () => {};
  #reason: string | null = null;
  #silent = 0;
  /** Of what is waited for now. */
  #deadline: NodeJS.Timeout | null = null;
  readonly #listening: NodeJS.Timeout;

  constructor(options: NextPrimaryOptions) {
    this.#options = options;
    this.#child = start(options.linked, options.pair);
    this.#descriptors = options.pair === null ? null : this.#linkBy(options.pair);
    this.link = options.linked
      ? linkToWorker(this.#child, options.onFrame, (fault) => this.#onLinkClosed(fault))
      : null;
    this.gone = new Promise((resolve) => {
      this.#onGone = resolve;
    });
    this.ready = this.#orGone(
      new Promise((resolve) => {
        this.#onReady = resolve;
      }),
      options.readyDeadlineMs ?? READY_DEADLINE_MS,
      'it was not ready in time',
    );
    this.#child.on('message', (message, descriptor) => {
      this.#silent = 0;
      this.#onMessage(message as ToFormer, (descriptor ?? null) as Descriptor | null);
    });
    this.#listening = setInterval(() => this.#lookForHang(), options.secondMs ?? SECOND_MS);
    this.#child.on('error', ({ message }) => this.#end(message));
    // Not `exit`: what it has said is read first.
    this.#child.once('close', (code, signal) => this.#end(signal === null ? `exit code ${code}` : `signal ${signal}`));
  }

  get descriptors(): DescriptorLink | null {
    return this.#readsDescriptors ? this.#descriptors : null;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Whether its workers accept and take connections. */
  get serves(): boolean {
    return this.#state === 'taking' || this.#state === 'alone';
  }

  get listening(): boolean {
    return this.serves || this.#state === 'listening';
  }

  /** It reads what the history keeps, and is not ready before it has. */
  catchesUp(): void {
    if (!this.serves) this.#deadline?.refresh();
  }

  send(message: ToNext, descriptor?: Descriptor): boolean {
    if (!this.#child.connected) return false;
    // The types name the objects that Node makes of descriptors; it takes the handle beneath them as well.
    this.#child.send(message, descriptor as SendHandle | undefined, undefined, ignoreError);
    return true;
  }

  /** Everything is given: resolves when it goes on alone. @throws LongwireError `unavailable` when it is gone before. */
  async over(message: Extract<ToNext, { type: 'over' }>): Promise<void> {
    const done = new Promise<void>((resolve) => {
      this.#onDone = resolve;
    });
    this.send(message);
    await this.#orGone(done, this.#options.doneDeadlineMs ?? DONE_DEADLINE_MS, 'it has not gone on alone in time');
  }

  /** Ends it, and its workers with it. */
  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** This primary was told to end: so is the next one, in good order where it has anybody to say goodbye to. Resolves when it is gone. */
  stop(): Promise<void> {
    this.#stops();
    if (!this.serves || !this.send({ type: 'stop' })) this.kill();
    return this.gone.then(() => {});
  }

  /** Nothing is waited for any more but its end. */
  #stops(): void {
    if (this.#deadline !== null) clearTimeout(this.#deadline);
  }

  #onMessage(message: ToFormer, descriptor: Descriptor | null): void {
    const { inheritance, publicSocket, adminSocket, onWorker } = this.#options;
    switch (message.type) {
      case 'hello':
        this.send({ type: 'begin', inheritance }, publicSocket ?? undefined);
        this.send({ type: 'admin' }, adminSocket ?? undefined);
        break;
      case 'listening':
        if (this.#state === 'starting') this.#state = 'listening';
        break;
      case 'ready':
        if (this.#state === 'starting' || this.#state === 'listening') this.#state = 'taking';
        this.#readsDescriptors = message.descriptorLink === true;
        this.#onReady(message.slots);
        break;
      case 'failed':
        this.#reason = message.text;
        break;
      case 'worker':
        onWorker(message, descriptor);
        break;
      case 'stop':
        this.#stops();
        this.#options.onStop();
        break;
      case 'done':
        this.#state = 'alone';
        this.#onDone();
        break;
    }
  }

  #lookForHang(): void {
    if (++this.#silent < SILENCE_LIMIT) return;
    this.#reason ??= `it hangs: nothing was heard of it for ${SILENCE_LIMIT} seconds`;
    this.kill();
  }

  #linkBy({ ours }: LinkPair): DescriptorLink {
    return new DescriptorLink(
      ours,
      (slot, number, cargo, descriptor) =>
        this.#options.onWorker({ type: 'worker', slot, message: { type: 'take', number, cargo } }, descriptor),
      (fault) => {
        this.#readsDescriptors = false;
        this.#onLinkClosed(fault);
      },
    );
  }

  /** What it sends is no frame: it would go on without publications, or with connections in each other's places. */
  #onLinkClosed(fault: string | null): void {
    if (fault === null) return;
    this.#reason ??= `it sent ${fault}`;
    this.kill();
  }

  #end(ending: string): void {
    clearInterval(this.#listening);
    if (this.#state === 'gone' || this.#state === 'alone') return;
    this.#state = 'gone';
    this.link?.destroy();
    this.#descriptors?.close();
    this.#onGone(new LongwireError('unavailable', `the next primary is gone: ${this.#reason ?? ending}`));
  }

  /** What is waited for; unless the process is gone before, or it takes too long, and then it is ended. */
  async #orGone<Outcome>(outcome: Promise<Outcome>, limitMs: number, why: string): Promise<Outcome> {
    const deadline = setTimeout(() => {
      this.#reason ??= why;
      this.kill();
    }, limitMs);
    this.#deadline = deadline;
    const first = await Promise.race([outcome.then((value) => ({ value })), this.gone]);
    clearTimeout(deadline);
    this.#deadline = null;
    if (first instanceof LongwireError) throw first;
    return first.value;
  }
}

/** It has its end of the pair then, and nobody else. */
function start(linked: boolean, pair: LinkPair | null): ChildProcess {
  const [program = ''] = process.argv.slice(1);
  const stdio: ('inherit' | 'ipc' | 'pipe' | 'ignore' | Socket)[] = ['inherit', 'inherit', 'inherit', 'ipc'];
  stdio[RELAY_LINK_FD] = linked ? 'pipe' : 'ignore';
  stdio[DESCRIPTOR_LINK_FD] = pair?.theirs ?? 'ignore';
  try {
    return spawn(process.execPath, [...process.execArgv, program, TAKE_OVER_FLAG], {
      stdio,
      serialization: 'advanced',
      detached: true,
    });
  } finally {
    pair?.theirs.destroy();
  }
}

/** Given to `send`, so that a failure is handed over instead of being emitted as an 'error' event. */
function ignoreError(): void {}
