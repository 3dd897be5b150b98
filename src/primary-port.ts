// A worker's way to the primary: node:cluster's channel, whose messages are in ipc.ts. A port, so that nothing but the worker's
// main touches `process`.

import type { SendHandle } from 'node:child_process';
import type { Descriptor, ToPrimary } from './ipc.ts';

export interface PrimaryPort {
  /** Sends in order, with a connection's descriptor or without; false when the channel is gone and nothing was taken. */
  send(message: ToPrimary, descriptor?: Descriptor): boolean;
}

/** The part of `process` in a forked worker that `portToPrimary` needs. */
export interface IpcToPrimary {
  readonly connected: boolean;
  send?(
    message: ToPrimary,
    handle: SendHandle | undefined,
    options: undefined,
    callback: (error: Error | null) => void,
  ): boolean;
}

/** A port over a worker's IPC channel: pass it `process`. */
export function portToPrimary(worker: IpcToPrimary): PrimaryPort {
  return {
    send(message, descriptor) {
      if (!worker.connected || worker.send === undefined) return false;
      // Its return value tells of backlog, not of failure. The callback keeps a late failure from being thrown as an
      // 'error' event: whoever waits for an answer has a deadline.
      // Its types name the objects that Node makes of descriptors; it takes the handle beneath them as well.
      worker.send(message, descriptor as SendHandle | undefined, undefined, ignore);
      return true;
    },
  };
}

function ignore(): void {}
