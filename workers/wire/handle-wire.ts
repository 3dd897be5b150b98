// HandleWire: reads and writes the bare TCP handle that the `net` server accepted, with no `net.Socket` made for it.
//
// An idle connection costs this object (6 fields, 72 bytes) and one property on the handle. Nothing else exists until the kernel
// refuses bytes: then a write request, and an array for what comes after it, live until the outbox is empty again.
//
// One write is in flight at a time. What follows waits in `waiting` and goes out in one `writev` when the first is done,
// so that a client that reads slowly costs one system call for many frames, and what waits is countable and ours.
//
// All handles read into one shared buffer: a read allocates nothing (Node would make a 64 KiB ArrayBuffer for each).

import { closeSent } from '../../src/descriptor-link.ts';
import {
  EOF,
  errnoName,
  type Internals,
  loadInternals,
  type ShutdownRequest,
  type TcpHandle,
  type WriteRequest,
} from './node-internals.ts';
import type { Shared, Wire, WireOwner } from './wire.ts';

const READ_BUFFER_BYTES = 65_536;

export class HandleWire implements Wire {
  private handle: TcpHandle | null;
  private owner: WireOwner | null;
  private inFlight: WriteRequest | null;
  private waiting: Buffer[] | null;
  private waitingBytes: number;
  /** 'half' and 'last': as 'open' and 'ending', but the peer has ended. */
  private state: 'open' | 'half' | 'ending' | 'last' | 'ended' | 'failed' | 'closed';

  constructor(handle: TcpHandle) {
    this.handle = handle;
    this.owner = null;
    this.inFlight = null;
    this.waiting = null;
    this.waitingBytes = 0;
    this.state = 'open';
    handle.wire = this;
  }

  get relayed(): boolean {
    return false;
  }

  get outboxBytes(): number {
    if (this.inFlight === null || this.handle === null) return 0;
    return this.handle.writeQueueSize + this.waitingBytes;
  }

  get outboxEntries(): number {
    return this.waiting === null ? 0 : this.waiting.length;
  }

  get shareable(): boolean {
    return true;
  }

  warm(): number {
    return this.state === 'open' && this.handle?.wire !== null ? 1 : 0;
  }

  attach(owner: WireOwner): void {
    const handle = this.handle;
    if (handle === null) return;
    this.owner = owner;
    // Frames are whole when they are written: waiting for more (Nagle) would only delay them. A dead handle is told by the
    // read that follows, so the results of these calls say nothing more.
    handle.setNoDelay(true);
    handle.onread = onRead;
    handle.useUserBuffer(readBuffer);
    handle.readStart();
  }

  write(buffer: Buffer): void {
    if ((this.state !== 'open' && this.state !== 'half') || this.handle === null) return;
    if (this.inFlight !== null) {
      if (this.waiting === null) this.waiting = [buffer];
      else this.waiting.push(buffer);
      this.waitingBytes += buffer.length;
      return;
    }
    const request = takeRequest();
    const status = this.handle.writeBuffer(request, buffer);
    this.sent(request, status, buffer);
  }

  /** A bare handle knows no TLS. */
  secure(_rest: Buffer): boolean {
    return false;
  }

  pause(): void {
    this.handle?.readStop();
  }

  resume(): void {
    this.handle?.readStart();
  }

  end(): void {
    if (this.state !== 'open' && this.state !== 'half') return;
    this.state = this.state === 'open' ? 'ending' : 'last';
    if (this.inFlight === null) this.shutdown();
  }

  destroy(): void {
    const handle = this.handle;
    this.state = 'closed';
    this.owner = null;
    this.handle = null;
    this.waiting = null;
    this.waitingBytes = 0;
    if (handle === null) return;
    handle.wire = undefined;
    closeSent(handle);
  }

  share(): Shared | null {
    const { handle } = this;
    if (handle === null || this.state !== 'open' || this.inFlight !== null) return null;
    handle.readStop();
    return { descriptor: handle, unread: null };
  }

  peerAddress(): string {
    const out: { address?: string; port?: number } = {};
    return this.handle === null || this.handle.getpeername(out) !== 0 ? '' : (out.address ?? '');
  }

  /** What became of a write that was tried at once: all gone, some left, or failed. */
  private sent(request: WriteRequest, status: number, held: Buffer | Buffer[]): void {
    if (status !== 0) {
      this.fail(status);
    } else if (streamBaseState[kLastWriteWasAsync] === 0) {
      spareRequest = request;
    } else {
      request.wire = this;
      request.held = held;
      this.inFlight = request;
    }
  }

  /** A write that had to wait is done. */
  onWritten(status: number): void {
    this.inFlight = null;
    if (status < 0) {
      this.fail(status);
      return;
    }
    const buffers = this.waiting;
    if (buffers !== null && this.handle !== null) {
      this.waiting = null;
      this.waitingBytes = 0;
      const request = takeRequest();
      this.sent(request, this.handle.writev(request, buffers, true), buffers);
      if (this.inFlight !== null) return;
    }
    if (this.state === 'ending' || this.state === 'last') this.shutdown();
    else if (this.state === 'open' || this.state === 'half') this.owner?.onWireDrained();
  }

  onRead(): void {
    const owner = this.owner;
    if (owner === null) return;
    const length = streamBaseState[kReadBytesOrError] as number;
    if (length > 0) owner.onWireRead(readBuffer, length);
    else if (length === EOF) this.peerEnded(owner);
    else if (length < 0) this.died(length);
  }

  private peerEnded(owner: WireOwner): void {
    if (this.state === 'open') this.state = 'half';
    else if (this.state === 'ending') this.state = 'last';
    owner.onWireEnd();
    if (this.state === 'ended') this.died(EOF);
  }

  /** FIN. Once both sides have ended and the outbox is out, there is nothing left to wait for. */
  private shutdown(): void {
    const request = new ShutdownWrap();
    request.wire = this.state === 'last' ? this : null;
    request.oncomplete = onShutDown;
    this.state = 'ended';
    const status = this.handle?.shutdown(request) ?? 0;
    // ENOTCONN and its like mean that the peer is gone, which the next read tells, unless that has told its end already.
    if (status !== 0 && request.wire !== null) this.fail(status);
  }

  /** A write failed: the owner hears of it when the handle has closed, never from inside its own call. */
  private fail(status: number): void {
    if (this.handle === null || this.state === 'failed') return;
    this.state = 'failed';
    this.handle.writeError = status;
    this.handle.close(onFailedClosed);
  }

  /** Reading or writing failed; called from the loop only. */
  died(status: number): void {
    const owner = this.owner;
    this.destroy();
    owner?.onWireClosed(errnoName(status));
  }
}

// Shared by all wires of the worker: one function each, so that a connection needs none of its own.

function onRead(this: TcpHandle): void {
  this.wire?.onRead();
}

function onWritten(this: WriteRequest, status: number): void {
  const wire = this.wire;
  this.wire = null;
  this.held = null;
  wire?.onWritten(status);
}

function onFailedClosed(this: TcpHandle): void {
  this.wire?.died(this.writeError ?? EOF);
}

function onShutDown(this: ShutdownRequest): void {
  this.wire?.died(EOF);
}

/** A request whose write ended at once was never used by the kernel side, and serves again. */
let spareRequest: WriteRequest | null = null;

function takeRequest(): WriteRequest {
  if (spareRequest !== null) {
    const request = spareRequest;
    spareRequest = null;
    return request;
  }
  const request = new WriteWrap();
  request.oncomplete = onWritten;
  request.wire = null;
  request.held = null;
  return request;
}

const readBuffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES);

// Bound by `bindHandleWire`, once, before the first wire is made; separate variables because they are read on each write.
let WriteWrap: Internals['WriteWrap'];
let ShutdownWrap: new () => ShutdownRequest;
let streamBaseState: Int32Array;
let kReadBytesOrError: number;
let kLastWriteWasAsync: number;

/** Makes `HandleWire` usable. Returns null, or why this Node cannot. */
export function bindHandleWire(): string | null {
  const internals = loadInternals();
  if (typeof internals === 'string') return internals;
  ({ WriteWrap, ShutdownWrap, streamBaseState, kReadBytesOrError, kLastWriteWasAsync } = internals);
  return null;
}
