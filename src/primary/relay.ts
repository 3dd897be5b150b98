// The embedded broker, the primary's end: takes what one worker publishes and sends it to all of them, in one order.
//
// Invariants:
//   - All workers are sent the same sequence of publications; one that joins is sent everything accepted from then on.
//   - A publish is taken whole or refused whole. It is refused, with nothing sent to anyone, while a worker is so far
//     behind that its backlog would pass `backlogLimitBytes`: nothing is dropped silently, and memory stays bounded.
//   - A call is answered after its publications were sent, so its own worker reads them first.
//
// So one worker that hangs stops publishing on this broker until it reads on or is gone; the log says which one it is.
//
// Cost: one message a worker a turn, and a copy of its bytes for each worker (Node serializes for each channel anew).

import type { ToPrimary, ToWorker } from '../ipc.ts';
import type { Log } from '../log.ts';

/** Most bytes that may wait for one worker to read them: the hard limit that Redis has for a subscriber. */
const BACKLOG_LIMIT_BYTES = 32 * 1024 * 1024;

/** Bytes of publications after which a message is sent within the turn, so that messages stay small. */
const MESSAGE_BYTES = 256 * 1024;

/** A refusal is logged at most once in this time. */
const LOG_PERIOD_MS = 5_000;

/** The way to one worker. */
export interface WorkerPort {
  /**
   * Sends in order. `flushed` is called once, later, when the kernel has taken the message or never will because the
   * worker is gone.
   */
  send(message: ToWorker, flushed: () => void): void;
}

/** The part of a forked `ChildProcess` that `portToWorker` needs. */
export interface IpcToWorker {
  readonly connected: boolean;
  send(message: ToWorker, handle: undefined, options: undefined, callback: (error: Error | null) => void): boolean;
}

/** A port over the primary's IPC channel to a worker: pass it the ChildProcess, `worker.process` of a cluster worker. */
export function portToWorker(worker: IpcToWorker): WorkerPort {
  return {
    send(message, flushed) {
      if (worker.connected) worker.send(message, undefined, undefined, flushed);
      else setImmediate(flushed);
    },
  };
}

type Publish = Extract<ToPrimary, { type: 'publish' }>;

interface Member {
  readonly id: number;
  readonly port: WorkerPort;
  /** Bytes sent or about to be sent, and not yet taken by the kernel. */
  backlogBytes: number;
}

export class Relay {
  readonly #log: Log;
  readonly #backlogLimitBytes: number;
  readonly #members = new Map<number, Member>();
  #packed: Uint8Array[] = [];
  #bytes = 0;
  #answers: { member: Member; call: number }[] = [];
  #immediate: NodeJS.Immediate | null = null;
  #loggedAt = Number.NEGATIVE_INFINITY;

  constructor(log: Log, backlogLimitBytes: number = BACKLOG_LIMIT_BYTES) {
    this.#log = log;
    this.#backlogLimitBytes = backlogLimitBytes;
  }

  /** Worker `id` gets everything that is published from now on. It must be able to take `publications` messages. */
  join(id: number, port: WorkerPort): void {
    this.#flush();
    this.#members.set(id, { id, port, backlogBytes: 0 });
  }

  /** Worker `id` is gone: its channel has closed. Unknown ids are ignored. */
  leave(id: number): void {
    this.#members.delete(id);
  }

  /** Bytes that wait for worker `id` to read them; 0 when it has not joined. */
  backlogBytes(id: number): number {
    return this.#members.get(id)?.backlogBytes ?? 0;
  }

  /**
   * Relays what worker `id` publishes, or refuses it; answers with `published` either way. A worker that has not joined
   * is not answered, and so runs into its own deadline.
   */
  publish(id: number, message: Publish): void {
    const publisher = this.#members.get(id);
    if (publisher === undefined) {
      this.#log.warn('a worker that has not joined the relay publishes', { worker: id });
      return;
    }
    const bytes = message.packed.byteLength;
    const behind = this.#behind(bytes);
    if (behind !== null) {
      this.#refuse(publisher, message.call, behind);
      return;
    }
    for (const member of this.#members.values()) member.backlogBytes += bytes;
    if (bytes > 0) this.#packed.push(message.packed);
    this.#bytes += bytes;
    this.#answers.push({ member: publisher, call: message.call });
    if (this.#bytes >= MESSAGE_BYTES) this.#flush();
    else this.#immediate ??= setImmediate(() => this.#flush());
  }

  /** A worker whose backlog has no room for `bytes` more; one with no backlog always has, whatever the size. */
  #behind(bytes: number): Member | null {
    for (const member of this.#members.values()) {
      if (member.backlogBytes > 0 && member.backlogBytes + bytes > this.#backlogLimitBytes) return member;
    }
    return null;
  }

  #refuse(publisher: Member, call: number, behind: Member): void {
    const { id, backlogBytes } = behind;
    const error = `worker ${id} is ${backlogBytes} bytes behind; nothing was published`;
    // Earlier calls of the same worker are answered first: answers come in the order of the calls.
    this.#flush();
    publisher.port.send({ type: 'published', call, error }, ignore);
    const now = performance.now();
    if (now - this.#loggedAt < LOG_PERIOD_MS) return;
    this.#loggedAt = now;
    this.#log.warn('publishing is refused: a worker does not read what it is sent', { worker: id, backlogBytes });
  }

  /** Sends what this turn has gathered: to every worker its publications, then to the publishers their answers. */
  #flush(): void {
    if (this.#immediate !== null) clearImmediate(this.#immediate);
    this.#immediate = null;
    const packed = this.#packed;
    const bytes = this.#bytes;
    const answers = this.#answers;
    this.#packed = [];
    this.#bytes = 0;
    this.#answers = [];

    if (packed.length > 0) {
      const message: ToWorker = { type: 'publications', packed };
      for (const member of this.#members.values()) {
        member.port.send(message, () => {
          member.backlogBytes -= bytes;
        });
      }
    }
    for (const { member, call } of answers) member.port.send({ type: 'published', call, error: null }, ignore);
  }
}

function ignore(): void {}
