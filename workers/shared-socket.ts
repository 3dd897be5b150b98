// The primary's listening socket, as a worker asks for it: one copy each time that it begins to listen.
//
// node:child_process drops a descriptor that a process has no room for, and the message with it, so the wait has a deadline.

import { LongwireError } from '../src/errors.ts';
import type { Descriptor } from '../src/ipc.ts';

/** A primary that hangs for longer is about to be replaced. */
const DEADLINE_MS = 5_000;

interface Asked {
  readonly resolve: (descriptor: Descriptor) => void;
  readonly deadline: NodeJS.Timeout;
}

export class SharedSocket {
  private readonly send: (message: { type: 'listen' }) => void;
  private asked: Asked | null;

  constructor(send: (message: { type: 'listen' }) => void) {
    this.send = send;
    this.asked = null;
  }

  /**
   * A copy of it, the caller's to close. Not to be called again before the first call is over.
   *
   * @throws LongwireError `unavailable` when it does not come.
   */
  ask(): Promise<Descriptor> {
    return new Promise((resolve, reject) => {
      const deadline = setTimeout(() => {
        this.asked = null;
        reject(new LongwireError('unavailable', 'the primary has not sent its listening socket'));
      }, DEADLINE_MS);
      this.asked = { resolve, deadline };
      this.send({ type: 'listen' });
    });
  }

  /** The primary has sent one. */
  receive(descriptor: Descriptor | null): void {
    const { asked } = this;
    if (asked === null || descriptor === null) {
      descriptor?.close();
      return;
    }
    this.asked = null;
    clearTimeout(asked.deadline);
    asked.resolve(descriptor);
  }
}
