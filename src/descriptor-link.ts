// The descriptor link: a Unix socket between a worker and the primary, or two primaries, on which held connections move to other workers.
//
// node:child_process sends one descriptor at a time on its channel and waits for the other process to say that it has it, twice
// on the way from worker to worker: measured, 4,000 a second whatever the machine has to spare, and each connection waits 20 ms.
// Here frames follow each other without waiting. Where this Node does not offer what it needs there is no link, and
// descriptors go by the channel as others do (docs/adr/0028).
//
// A frame: 4 bytes its length from here on, 2 bytes a slot, 4 bytes a number, the body. Each has one descriptor. The kernel ends a
// read behind the bytes that a descriptor came with, so in one read at most one frame begins, and the descriptor is that frame's;
// one whose descriptor this process had no room for comes without. Anything else is a fault, and ends the link: a descriptor
// must never be taken for another connection's.
//
// Bounds: `BODY_LIMIT_BYTES` a frame. What waits for the kernel is bounded by whoever sends (workers/moving/hand-over.ts).
// Cost: a handle and a buffer of 64 KiB for all links of a process; one system call a frame at either end.

import { deserialize, serialize } from 'node:v8';
import type { Cargo, Descriptor } from './ipc.ts';

/** Where a worker finds its end, behind the embedded broker's link. */
export const DESCRIPTOR_LINK_FD = 5;

/** Half of what one read takes: what is longer goes by the channel. */
export const BODY_LIMIT_BYTES = 32 * 1024;
const LENGTH_BYTES = 4;
const HEAD_BYTES = 10;
const READ_BYTES = 64 * 1024;

/** Takes each frame; `body` is for the time of the call. `descriptor` is null where this process had no room for it. */
export type DescriptorTaker = (slot: number, number: number, body: Buffer, descriptor: Descriptor | null) => void;

/** `uv_pipe_t` as JavaScript sees it. Results are 0 or a negative errno. */
export interface IpcPipe {
  onread: () => void;
  /** Set by Node before `onread` when a descriptor came along. */
  pendingHandle?: Descriptor | null;
  open(fd: number): number;
  connect(request: object, path: string): number;
  readStart(): number;
  useUserBuffer(buffer: Uint8Array): void;
  writeLatin1String(request: WriteRequest, text: string, descriptor: Descriptor): number;
  close(): void;
}

interface WriteRequest {
  oncomplete: (status: number) => void;
}

interface ConnectRequest {
  oncomplete: (status: number) => void;
}

interface Internals {
  Pipe: new (type: number) => IpcPipe;
  PipeConnectWrap: new () => ConnectRequest;
  WriteWrap: new () => WriteRequest;
  ipc: number;
  streamBaseState: Int32Array;
  kReadBytesOrError: number;
  kLastWriteWasAsync: number;
}

/** The end that this process, a worker or a next primary, was started with; null where this Node does not offer it. */
export function openWorkerEnd(): IpcPipe | null {
  const internals = loadInternals();
  if (internals === null) return null;
  const pipe = new internals.Pipe(internals.ipc);
  return pipe.open(DESCRIPTOR_LINK_FD) === 0 ? pipe : null;
}

/** An end that is connected to the socket at `path`; null where this Node does not offer it, or nobody listens there. */
export function connectEnd(path: string): Promise<IpcPipe | null> {
  const internals = loadInternals();
  if (internals === null) return Promise.resolve(null);
  const pipe = new internals.Pipe(internals.ipc);
  const request = new internals.PipeConnectWrap();
  return new Promise((resolve) => {
    const connected = (status: number): void => {
      if (status !== 0) pipe.close();
      resolve(status === 0 ? pipe : null);
    };
    request.oncomplete = connected;
    const status = pipe.connect(request, path);
    if (typeof status === 'number' && status !== 0) connected(status);
  });
}

export class DescriptorLink {
  readonly #pipe: IpcPipe;
  readonly #take: DescriptorTaker;
  readonly #onClosed: (fault: string | null) => void;
  /** Of a frame that came cut in two: what came first, and its descriptor. */
  #begun: Buffer = NOTHING;
  #descriptor: Descriptor | null = null;
  /** Of the frame behind that one, for the time of a read. */
  #nextDescriptor: Descriptor | null = null;
  #state: 'open' | 'closed' = 'open';

  /**
   * @param onClosed Told once, unless it was `close`, that nothing comes any more: because of what is no frame, or, null,
   * because the other end is gone.
   */
  constructor(pipe: IpcPipe, take: DescriptorTaker, onClosed: (fault: string | null) => void) {
    this.#pipe = pipe;
    this.#take = take;
    this.#onClosed = onClosed;
    pipe.onread = () => this.#onRead();
    pipe.useUserBuffer(readBuffer);
    pipe.readStart();
  }

  /** Sends a frame with its descriptor, which only `closeSent` may close. False: nothing was sent. */
  send(slot: number, number: number, body: Buffer, descriptor: Descriptor): boolean {
    const internals = loadInternals();
    if (this.#state === 'closed' || internals === null || body.length > BODY_LIMIT_BYTES) return false;
    head.writeUInt32BE(HEAD_BYTES - LENGTH_BYTES + body.length, 0);
    head.writeUInt16BE(slot, LENGTH_BYTES);
    head.writeUInt32BE(number, LENGTH_BYTES + 2);
    const request = new internals.WriteWrap();
    // Whether it arrives is the other side's to say: this end fails only with the other process.
    request.oncomplete = ignore;
    const text = head.toString('latin1') + body.toString('latin1');
    if (this.#pipe.writeLatin1String(request, text, descriptor) !== 0) return false;
    if (internals.streamBaseState[internals.kLastWriteWasAsync] !== 0) {
      waiting.set(descriptor, 'open');
      request.oncomplete = () => sent(descriptor);
    }
    return true;
  }

  close(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#descriptor?.close();
    this.#nextDescriptor?.close();
    this.#descriptor = null;
    this.#nextDescriptor = null;
    this.#pipe.onread = ignore;
    this.#pipe.close();
  }

  #end(fault: string | null): void {
    this.close();
    this.#onClosed(fault);
  }

  #onRead(): void {
    const internals = loadInternals();
    if (internals === null) return;
    const length = internals.streamBaseState[internals.kReadBytesOrError] as number;
    const descriptor = this.#pipe.pendingHandle ?? null;
    this.#pipe.pendingHandle = null;
    if (length < 0) this.#end(null);
    else if (length > 0) this.#readFrames(readBuffer.subarray(0, length), descriptor);
  }

  #readFrames(bytes: Buffer, descriptor: Descriptor | null): void {
    const wasBegun = this.#begun.length > 0;
    // What comes along is of the frame that begins in this read, which may be the next one.
    if (wasBegun) this.#nextDescriptor = descriptor;
    else this.#descriptor = descriptor;
    const read = wasBegun ? Buffer.concat([this.#begun, bytes]) : bytes;
    const size = read.length < LENGTH_BYTES ? HEAD_BYTES : LENGTH_BYTES + read.readUInt32BE(0);
    if (size < HEAD_BYTES || size > HEAD_BYTES + BODY_LIMIT_BYTES) {
      this.#end(`a frame of ${size} bytes`);
    } else if (read.length < size) {
      if (this.#nextDescriptor !== null) this.#end('two descriptors with one frame');
      else this.#begun = wasBegun ? read : Buffer.from(read);
    } else {
      this.#takeWhole(read.subarray(0, size));
      if (this.#state === 'closed') return;
      if (read.length === size && this.#descriptor === null) return;
      if (wasBegun && read.length > size) this.#readFrames(read.subarray(size), this.#descriptor);
      else this.#end('frames and descriptors do not match');
    }
  }

  #takeWhole(frame: Buffer): void {
    const descriptor = this.#descriptor;
    this.#descriptor = this.#nextDescriptor;
    this.#nextDescriptor = null;
    this.#begun = NOTHING;
    const slot = frame.readUInt16BE(LENGTH_BYTES);
    this.#take(slot, frame.readUInt32BE(LENGTH_BYTES + 2), frame.subarray(HEAD_BYTES), descriptor);
  }
}

/** Descriptors whose frames wait for the kernel: libuv has them in its hands until those are out, or given up. */
const waiting = new Map<Descriptor, 'open' | CloseFunction>();

type CloseFunction = () => void;

/**
 * Closes a descriptor that may have been sent, as soon as its frame is out: a process that hangs may leave it waiting for long.
 *
 * @param close How, where it belongs to something that is closed with it.
 */
export function closeSent(descriptor: Descriptor, close: CloseFunction = () => descriptor.close()): void {
  if (waiting.has(descriptor)) waiting.set(descriptor, close);
  else close();
}

function sent(descriptor: Descriptor): void {
  const then = waiting.get(descriptor);
  waiting.delete(descriptor);
  if (typeof then === 'function') then();
}

/** What goes with a descriptor, as a frame's body; the primary passes it on unread. */
export function packCargo(cargo: Cargo): Buffer {
  return serialize(cargo);
}

/** Bytes in it lie in `body` still. */
export function unpackCargo(body: Buffer): Cargo {
  return deserialize(body);
}

const NOTHING = Buffer.alloc(0);
const readBuffer = Buffer.allocUnsafeSlow(READ_BYTES);
const head = Buffer.alloc(HEAD_BYTES);

function ignore(): void {}

let loaded: Internals | null | undefined;

function loadInternals(): Internals | null {
  if (loaded === undefined) loaded = read();
  return loaded;
}

/** Not documented, as what a HandleWire needs is not (workers/wire/node-internals.ts); null where any of it is missing. */
function read(): Internals | null {
  try {
    const { binding } = process as unknown as { binding(name: string): Record<string, unknown> };
    const pipes = binding.call(process, 'pipe_wrap') as Partial<Internals> & { constants?: { IPC?: number } };
    const streams = binding.call(process, 'stream_wrap') as Partial<Internals>;
    // Node makes a TCP handle of what comes, and aborts where nothing has asked for those yet.
    binding.call(process, 'tcp_wrap');
    const { Pipe, PipeConnectWrap, constants } = pipes;
    const { WriteWrap, streamBaseState, kReadBytesOrError, kLastWriteWasAsync } = streams;
    const ipc = constants?.IPC;
    if (Pipe === undefined || PipeConnectWrap === undefined || WriteWrap === undefined) return null;
    if (ipc === undefined || kReadBytesOrError === undefined || kLastWriteWasAsync === undefined) return null;
    if (!ArrayBuffer.isView(streamBaseState)) return null;
    if (typeof Pipe.prototype.writeLatin1String !== 'function' || typeof Pipe.prototype.useUserBuffer !== 'function')
      return null;
    return { Pipe, PipeConnectWrap, WriteWrap, ipc, streamBaseState, kReadBytesOrError, kLastWriteWasAsync };
  } catch {
    return null;
  }
}
