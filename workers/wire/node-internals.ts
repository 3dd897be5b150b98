// What Node does not document and `HandleWire` needs: the TCP handle beneath `net.Socket`, its write requests and the
// array through which its results come back. The only file that names them, as
// src/descriptor-link.ts is for pipes; checked on Node 20, 22, 24 and 26.
//
// `process.binding` is deprecated (documentation only, DEP0111) and throws under `--permission`; `loadInternals` says so
// as text instead of throwing, and `probe.ts` then proves what it found on a live loopback connection before it is used.

import { getSystemErrorName } from 'node:util';

/** Whom the shared callbacks pass on to: a HandleWire. */
interface HandleOwner {
  onRead(): void;
  onWritten(status: number): void;
  died(status: number): void;
}

/** `uv_tcp_t` as JavaScript sees it. Results are 0 or a negative errno. */
export interface TcpHandle {
  onread: ((this: TcpHandle) => void) | null;
  readonly writeQueueSize: number;
  /** Ours, on every handle: from its callbacks to the wire. */
  wire: HandleOwner | undefined;
  /** Ours, on a handle that is closing because a write failed: the errno. */
  writeError?: number;
  readStart(): number;
  readStop(): number;
  useUserBuffer(buffer: Uint8Array): void;
  writeBuffer(request: WriteRequest, buffer: Uint8Array): number;
  writev(request: WriteRequest, buffers: readonly Uint8Array[], allBuffers: true): number;
  shutdown(request: ShutdownRequest): number;
  setNoDelay(enable: boolean): number;
  getpeername(out: { address?: string; port?: number }): number;
  close(callback?: (this: TcpHandle) => void): void;
}

export interface WriteRequest {
  oncomplete: (this: WriteRequest, status: number) => void;
  wire: HandleOwner | null;
  /** Keeps what is being written alive until the kernel has it. */
  held: Buffer | Buffer[] | null;
}

export interface ShutdownRequest {
  oncomplete: (this: ShutdownRequest, status: number) => void;
  /** Ours: to be told when it is done. */
  wire: HandleOwner | null;
}

export interface Internals {
  WriteWrap: new () => WriteRequest;
  ShutdownWrap: new () => ShutdownRequest;
  /** Results of the last call or callback, indexed by the constants below. */
  streamBaseState: Int32Array;
  kReadBytesOrError: number;
  kLastWriteWasAsync: number;
}

/** A server's handle, which is told of each new connection before a `net.Socket` is made for it. */
export interface ServerHandle {
  onconnection: (error: number, handle: TcpHandle | undefined) => void;
}

/** UV_EOF: the peer's FIN. The same number on every platform. */
export const EOF = -4095;

let loaded: Internals | string | undefined;

/** The internals, or one line that says why they cannot be had. */
export function loadInternals(): Internals | string {
  loaded ??= read();
  return loaded;
}

function read(): Internals | string {
  try {
    // Typed by hand: @types/node does not declare it, since nobody should use it.
    const { binding } = process as unknown as { binding(name: string): Partial<Internals> };
    const found = binding.call(process, 'stream_wrap');
    for (const name of ['WriteWrap', 'ShutdownWrap'] as const) {
      if (typeof found[name] !== 'function') return `this Node has no ${name}`;
    }
    if (!ArrayBuffer.isView(found.streamBaseState)) return 'this Node has no streamBaseState';
    for (const name of ['kReadBytesOrError', 'kLastWriteWasAsync'] as const) {
      if (typeof found[name] !== 'number') return `this Node has no ${name}`;
    }
    return found as Internals;
  } catch (thrown) {
    return `this Node does not give access to its stream internals (${thrown instanceof Error ? thrown.message : thrown})`;
  }
}

/** 'ECONNRESET' for −104. */
export function errnoName(status: number): string {
  return getSystemErrorName(status);
}
