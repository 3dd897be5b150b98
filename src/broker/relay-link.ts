// The link: one socket between a worker and the primary, on which the embedded broker's frames travel (relay-frames.ts).
//
// It is a socket pair that fork makes, beside node:cluster's channel and without its structured clone. All links of a
// process read into one buffer, and write what others may overwrite once the kernel has it: neither leaves garbage behind.
// First in, first out in each direction; nothing is promised of the order between this and the channel (ipc.ts).
//
// Whoever sends looks at `backlogBytes` first and bounds it: a link takes everything. A socket that fails or ends is gone
// for good, as it is when the other end sends what is no frame.
//
// Cost: a net.Socket, and a buffer of up to 256 KiB for frames that come cut in two.

import { type OnReadOpts, Socket, type SocketConstructorOpts } from 'node:net';
import { FrameReader, type FrameTaker } from './relay-frames.ts';

/** Where a worker finds its end: after stdin, stdout, stderr and node:cluster's channel. */
export const RELAY_LINK_FD = 4;

/** What fork's `stdio` has at `RELAY_LINK_FD`, and before it what it has anyway. */
export const STDIO_WITH_LINK = ['inherit', 'inherit', 'inherit', 'ipc', 'pipe'] as const;

/** As much as the other buffers that sockets are read into; a unix socket holds 208 KiB by default. */
const READ_BYTES = 64 * 1024;

/** The way to the other process. */
export interface FramePort {
  /** Bytes that the kernel has not taken yet. */
  readonly backlogBytes: number;

  /**
   * Sends whole frames, after all that was sent before.
   *
   * @returns whether the caller may overwrite them; else they are needed until the kernel has taken them.
   */
  send(frames: Buffer): boolean;
}

/** Makes the socket, which reads as `onread` says. */
export type SocketMaker = (onread: OnReadOpts) => Socket;

/** A worker's end. */
export const workerEnd: SocketMaker = (onread) => {
  const options: SocketConstructorOpts & { onread: OnReadOpts } = { fd: RELAY_LINK_FD, onread };
  return new Socket({ ...options, readable: true, writable: true });
};

export class RelayLink implements FramePort {
  readonly #socket: Socket;
  #destroyed = false;

  /**
   * @param takeFrame Takes each frame, in order.
   * @param onClosed Told once, unless it was `destroy`, that nothing can be sent or read any more: because of bytes that
   * are no frame, or, null, because the other end is gone.
   */
  constructor(makeSocket: SocketMaker, takeFrame: FrameTaker, onClosed: (fault: string | null) => void) {
    const reader = new FrameReader(takeFrame);
    let fault: string | null = null;
    this.#socket = makeSocket({
      buffer: readBuffer,
      callback: (bytes, buffer) => {
        fault ??= reader.push(Buffer.from(buffer.buffer, buffer.byteOffset, bytes));
        if (fault !== null) this.#socket.destroy();
        return fault === null;
      },
    });
    // A socket pair fails when its other end is gone, and in no other way.
    this.#socket.on('error', () => {});
    this.#socket.once('close', () => {
      if (!this.#destroyed) onClosed(fault);
    });
  }

  get backlogBytes(): number {
    return this.#socket.writableLength;
  }

  send(frames: Buffer): boolean {
    // What is sent to a process that is gone is for nobody.
    if (this.#socket.destroyed) return true;
    // While others wait these will too: they get memory of their own, of their size, so that a buffer that serves many is
    // held by one write at most.
    const behind = this.#socket.writableLength > 0;
    this.#socket.write(behind ? Buffer.from(frames) : frames);
    return behind || this.#socket.writableLength === 0;
  }

  /** Resolves when the kernel has taken all that was sent, or nobody is there any more. */
  drained(): Promise<void> {
    if (this.#socket.destroyed || !this.#socket.writableNeedDrain) return Promise.resolve();
    return new Promise((resolve) => {
      const over = (): void => {
        this.#socket.off('drain', over).off('close', over);
        resolve();
      };
      this.#socket.on('drain', over).on('close', over);
    });
  }

  /** Reads no further, or goes on. What the other end sends meanwhile waits there. */
  setReading(on: boolean): void {
    if (this.#socket.destroyed) return;
    if (on) this.#socket.resume();
    else this.#socket.pause();
  }

  /** Lets go of the socket, and of what it has not sent. */
  destroy(): void {
    this.#destroyed = true;
    this.#socket.destroy();
  }
}

/** All links of a process read into this: what is read has been taken before the next one reads. */
const readBuffer = Buffer.allocUnsafeSlow(READ_BYTES);
