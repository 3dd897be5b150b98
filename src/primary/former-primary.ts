// The former primary, as the one that takes over from it sees it: what it leaves, and how it goes.
//
//   hello ─▶ begin, admin: what is inherited ─▶ ready ─▶ its workers give ours all they have ─▶ over ─▶ done
//
// Until this primary is ready it ends with the former one: nobody has asked for a gateway of its own. From then on it is one: should
// the former one die, its workers and what they still held are gone with it, and this one goes on with all that has come.

import type { SendHandle } from 'node:child_process';
import type { Config } from '../../config/config.ts';
import { DescriptorLink, openWorkerEnd } from '../descriptor-link.ts';
import { LongwireError } from '../errors.ts';
import type { Descriptor } from '../ipc.ts';
import { BoundSocket } from './bound-socket.ts';
import type { Inheritance, PrimaryChannel, ToFormer, ToNext } from './primaries.ts';
import type { Inherited } from './supervisor.ts';

/** For its first word: it has nothing to do but to read ours. */
const MEET_LIMIT_MS = 10_000;
export const ALIVE_MS = 1_000;

type FromWorker = Extract<ToNext, { type: 'worker' }>;
type Over = Extract<ToNext, { type: 'over' }>;

export class FormerPrimary implements PrimaryChannel {
  readonly inheritance: Inheritance;
  /** Null where workers have sockets of their own. */
  readonly publicSocket: BoundSocket | null;
  readonly adminSocket: BoundSocket | null;
  /** Null where there is none, and descriptors come by the channel. */
  readonly descriptors: DescriptorLink | null;
  /** It was told to end. */
  onStop: () => void = () => {};
  /** What came by the link is no frame. It is closed, and descriptors come by the channel from now on. */
  onLinkFault: (fault: string) => void = () => {};
  readonly listening = true;
  /** Resolves when it has given everything; null when it is gone before. */
  readonly over: Promise<Over | null>;
  readonly #gone: Promise<void>;
  readonly #pid = process.ppid;
  #state: 'met' | 'followed' | 'gone' = 'met';
  /** Before there is somebody to take it, a connection that comes is nobody's: it was not to be sent. */
  #onWorker: (message: FromWorker, descriptor: Descriptor | null) => void = (_message, descriptor) =>
    descriptor?.close();

  /**
   * Says hello, and waits for what is inherited.
   *
   * @throws LongwireError `unavailable` when there is nobody.
   */
  static async meet(): Promise<FormerPrimary> {
    if (process.send === undefined) throw nobody();
    let inheritance: Inheritance | null = null;
    let publicSocket: BoundSocket | null = null;
    return new Promise((resolve, reject) => {
      const deadline = setTimeout(() => reject(nobody()), MEET_LIMIT_MS);
      process.once('disconnect', () => reject(nobody()));
      const onMessage = (message: ToNext, descriptor: unknown): void => {
        const received = (descriptor ?? null) as Descriptor | null;
        if (message.type === 'begin') {
          inheritance = message.inheritance;
          publicSocket = socketOf(received);
        } else if (message.type === 'admin' && inheritance !== null) {
          clearTimeout(deadline);
          process.off('message', onMessage);
          resolve(new FormerPrimary(inheritance, publicSocket, socketOf(received)));
        } else {
          received?.close();
        }
      };
      process.on('message', onMessage);
      say({ type: 'hello' });
    });
  }

  private constructor(inheritance: Inheritance, publicSocket: BoundSocket | null, adminSocket: BoundSocket | null) {
    this.inheritance = inheritance;
    this.publicSocket = publicSocket;
    this.adminSocket = adminSocket;
    let onLinkClosed = (): void => {};
    const linkClosed = new Promise<void>((resolve) => {
      onLinkClosed = resolve;
    });
    this.descriptors = inheritance.descriptorLink === true ? this.#link(onLinkClosed) : null;
    let onGone = (): void => {};
    this.#gone = new Promise((resolve) => {
      onGone = resolve;
    });
    this.over = new Promise((resolve) => {
      const left = (): void => {
        clearInterval(living);
        onGone();
        // It was not ready, and so is nobody's.
        if (this.#state === 'met') process.exit(1);
        this.#state = 'gone';
        // Connections that it had sent may still lie in the link.
        if (this.descriptors === null) resolve(null);
        else void linkClosed.then(() => resolve(null));
      };
      // Node does not say 'disconnect' where it dies while a descriptor that it was sent is not acknowledged.
      const living = setInterval(() => {
        if (!say({ type: 'alive' })) left();
      }, ALIVE_MS).unref();
      process.on('message', (message: ToNext, descriptor: unknown) => {
        if (message.type === 'worker') this.#onWorker(message, (descriptor ?? null) as Descriptor | null);
        else if (message.type === 'over') resolve(message);
        else if (message.type === 'stop') this.onStop();
      });
      process.once('disconnect', left);
    });
  }

  /** Takes what its workers say to ours from now on. */
  listen(onWorker: (message: FromWorker, descriptor: Descriptor | null) => void): void {
    this.#onWorker = onWorker;
    say({ type: 'listening' });
  }

  /** What a supervisor goes on with. */
  get inherited(): Inherited {
    const { port, slots, heirs } = this.inheritance;
    return { socket: this.publicSocket, port, slots, heirs };
  }

  /** The admin port's socket where that is to be at the same address; null, and it is closed, where it is not. */
  adminSocketFor({ adminHost, adminPort }: Pick<Config, 'adminHost' | 'adminPort'>): BoundSocket | null {
    const { config } = this.inheritance;
    if (adminHost === config.adminHost && adminPort === config.adminPort) return this.adminSocket;
    this.adminSocket?.close();
    return null;
  }

  /** Our workers accept, and take what is given. */
  ready(slots: number): void {
    this.#state = 'followed';
    say({ type: 'ready', slots, descriptorLink: this.descriptors !== null });
  }

  /** This primary cannot start. Resolves when it has been told so. */
  failed(text: string): Promise<void> {
    return new Promise((resolve) => say({ type: 'failed', text }, undefined, () => resolve()));
  }

  /** This primary was told to end: so is the former one. Resolves when it is gone; null when it is not there any more, or not ours yet. */
  stop(): Promise<void> | null {
    if (this.#state !== 'followed' || !say({ type: 'stop' })) return null;
    return this.#gone;
  }

  /** Ends it at once: it has no workers any more and does not answer. */
  kill(): void {
    if (process.connected) process.kill(this.#pid, 'SIGKILL');
  }

  /** It may leave. */
  done(): void {
    say({ type: 'done' });
  }

  #link(onClosed: () => void): DescriptorLink | null {
    const pipe = openWorkerEnd();
    if (pipe === null) return null;
    return new DescriptorLink(
      pipe,
      (slot, number, cargo, descriptor) =>
        this.#onWorker({ type: 'worker', slot, message: { type: 'take', number, cargo } }, descriptor),
      (fault) => {
        if (fault !== null) this.onLinkFault(fault);
        onClosed();
      },
    );
  }

  send(message: Extract<ToFormer, { type: 'worker' }>, descriptor?: Descriptor): boolean {
    return say(message, descriptor);
  }
}

function say(message: ToFormer, descriptor?: Descriptor, then: () => void = () => {}): boolean {
  if (!process.connected || process.send === undefined) {
    then();
    return false;
  }
  process.send(message, descriptor as SendHandle | undefined, undefined, then);
  return true;
}

function socketOf(descriptor: Descriptor | null): BoundSocket | null {
  return descriptor === null ? null : new BoundSocket(descriptor);
}

function nobody(): LongwireError {
  return new LongwireError('unavailable', 'a primary that takes over is started by the one that it takes over from');
}
