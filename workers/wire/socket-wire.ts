// SocketWire: the same through an ordinary `net.Socket`. For TLS, for sockets that another process hands over, and where
// the probe finds that this Node does not offer what HandleWire needs. Costs about 2.5 KB a connection more (docs/budgets.md).
//
// The listeners are functions shared by all sockets; they find their wire through one property on the socket. The socket
// is given `DRAIN_MARK_BYTES` to buffer; what comes on top waits here, so that the outbox can be counted as HandleWire's.

import { Socket, type SocketConstructorOpts } from 'node:net';
import { closeSent } from '../../src/descriptor-link.ts';
import type { Descriptor } from '../../src/ipc.ts';
import type { Tls } from './tls.ts';
import { DRAIN_MARK_BYTES, type Shared, type Wire, type WireOwner } from './wire.ts';

interface WiredSocket extends Socket {
  wire: SocketWire | undefined;
}

/** What the server must be created with, so that sockets behave as this wire says. */
export const SOCKET_OPTIONS = { allowHalfOpen: true, noDelay: true, highWaterMark: DRAIN_MARK_BYTES } as const;

export class SocketWire implements Wire {
  private socket: WiredSocket | null;
  private owner: WireOwner | null;
  private waiting: Buffer[] | null;
  private waitingBytes: number;
  private state: 'open' | 'ending' | 'ended' | 'closed';
  /** 'ended': the peer's end came while paused and has still to be told. 'shared': the handle itself was stopped. */
  private reading: 'flowing' | 'paused' | 'ended' | 'shared';
  /** What will speak TLS once `secure` is called; until then nothing is written, for it would be read as TLS. */
  private awaitedTls: Tls | null;

  constructor(socket: Socket, awaitedTls: Tls | null = null) {
    this.socket = socket as WiredSocket;
    this.owner = null;
    this.waiting = null;
    this.waitingBytes = 0;
    this.state = 'open';
    this.reading = 'flowing';
    this.awaitedTls = awaitedTls;
    this.socket.wire = this;
    // From the first moment: an 'error' that nobody hears takes the process down.
    socket.on('error', onError);
  }

  get relayed(): boolean {
    return false;
  }

  get outboxBytes(): number {
    return this.socket === null ? 0 : this.socket.writableLength + this.waitingBytes;
  }

  get outboxEntries(): number {
    return this.waiting === null ? 0 : this.waiting.length;
  }

  get shareable(): boolean {
    return this.socket !== null && descriptorOf(this.socket) !== null;
  }

  warm(): number {
    return this.outboxBytes;
  }

  attach(owner: WireOwner): void {
    if (this.socket === null) return;
    this.owner = owner;
    this.socket.on('data', onData).on('end', onEnd).on('drain', onDrain).on('close', onClose);
  }

  /** The accepted socket goes beneath one that speaks TLS, with what was read of that put back. */
  secure(rest: Buffer): boolean {
    const { socket, awaitedTls } = this;
    if (socket === null || awaitedTls === null) return false;
    this.awaitedTls = null;
    socket.off('data', onData).off('end', onEnd).off('drain', onDrain).off('close', onClose).pause();
    socket.wire = undefined;
    if (rest.length > 0) socket.unshift(Buffer.from(rest));
    const secured = awaitedTls.secure(socket) as Socket as WiredSocket;
    this.socket = secured;
    secured.wire = this;
    secured.on('error', onError).on('data', onData).on('end', onEnd).on('drain', onDrain).on('close', onClose);
    return true;
  }

  write(buffer: Buffer): void {
    if (this.state !== 'open' || this.socket === null || this.awaitedTls !== null) return;
    if (this.socket.writableNeedDrain) {
      if (this.waiting === null) this.waiting = [buffer];
      else this.waiting.push(buffer);
      this.waitingBytes += buffer.length;
    } else if (buffer.length > 0) {
      this.socket.write(buffer);
    }
  }

  pause(): void {
    if (this.reading === 'flowing') this.reading = 'paused';
    this.socket?.pause();
  }

  resume(): void {
    if (this.reading === 'ended') process.nextTick(tellEnd, this);
    if (this.reading === 'shared' && this.socket !== null) readAgain(this.socket);
    this.reading = 'flowing';
    this.socket?.resume();
  }

  end(): void {
    if (this.state !== 'open') return;
    this.state = 'ending';
    if (this.waiting === null) this.shutdown();
  }

  destroy(): void {
    const socket = this.socket;
    this.state = 'closed';
    this.owner = null;
    this.socket = null;
    this.waiting = null;
    this.waitingBytes = 0;
    if (socket === null) return;
    socket.wire = undefined;
    const descriptor = this.reading === 'shared' ? descriptorOf(socket) : null;
    if (descriptor === null) socket.destroy();
    else closeSent(descriptor, () => socket.destroy());
  }

  share(): Shared | null {
    const { socket } = this;
    if (socket === null || this.state !== 'open' || this.outboxBytes > 0 || this.awaitedTls !== null) return null;
    if (this.reading === 'ended' || socket.readableEnded) return null;
    const descriptor = descriptorOf(socket);
    if (descriptor === null) return null;
    socket.pause();
    // The kernel may have been read further than the owner was told. It is put back for the case that we go on; nor is the
    // owner told now, for `read` says 'data' too.
    socket.wire = undefined;
    const unread: Buffer | null = socket.read();
    socket.wire = this;
    if (unread !== null) socket.unshift(unread);
    descriptor.reading = false;
    descriptor.readStop();
    this.reading = 'shared';
    return { descriptor, unread };
  }

  peerAddress(): string {
    return this.socket?.remoteAddress ?? '';
  }

  onRead(chunk: Buffer): void {
    this.owner?.onWireRead(chunk, chunk.length);
  }

  /** A paused socket that has nothing buffered says 'end' all the same: it is kept back until the owner reads on. */
  onEnd(): void {
    if (this.reading === 'flowing') this.owner?.onWireEnd();
    else this.reading = 'ended';
  }

  onDrain(): void {
    const { socket, waiting } = this;
    if (socket === null) return;
    if (waiting !== null) {
      this.waiting = null;
      this.waitingBytes = 0;
      socket.cork();
      for (const buffer of waiting) socket.write(buffer);
      socket.uncork();
    }
    if (this.state === 'ending') this.shutdown();
    else if (socket.writableLength === 0) this.owner?.onWireDrained();
  }

  onClosed(error: string): void {
    const owner = this.owner;
    this.destroy();
    owner?.onWireClosed(error);
  }

  private shutdown(): void {
    this.state = 'ended';
    this.socket?.end();
  }
}

interface PlainHandle extends Descriptor {
  /** Kept by Node: whether it has started to read. */
  reading: boolean;
  readStart(): number;
  readStop(): number;
}

/** The TCP handle beneath a socket, which Node does not document; null for TLS, whose state cannot be sent along. */
function descriptorOf(socket: Socket & { encrypted?: boolean }): PlainHandle | null {
  if (socket.encrypted === true) return null;
  const { _handle: handle } = socket as unknown as { _handle: PlainHandle | null };
  return typeof handle?.readStop === 'function' ? handle : null;
}

/** The stream above believes that it is being read all the while, and would not start it by itself. */
function readAgain(socket: Socket): void {
  const descriptor = descriptorOf(socket);
  if (descriptor === null) return;
  descriptor.reading = true;
  descriptor.readStart();
}

/** The wire of a socket that another process has accepted and given, as node:child_process has made it. */
export function wireOfGiven(socket: Socket): SocketWire {
  socket.allowHalfOpen = true;
  socket.setNoDelay(true);
  return new SocketWire(socket);
}

/** A socket for a descriptor that another process has sent; node:child_process makes them in the same way. */
export function socketOf(descriptor: Descriptor): Socket {
  const options: SocketConstructorOpts & { handle: Descriptor; noDelay: boolean; highWaterMark: number } = {
    ...SOCKET_OPTIONS,
    handle: descriptor,
    readable: true,
    writable: true,
  };
  return new Socket(options);
}

function onData(this: WiredSocket, chunk: Buffer): void {
  this.wire?.onRead(chunk);
}

function onEnd(this: WiredSocket): void {
  this.wire?.onEnd();
}

function tellEnd(wire: SocketWire): void {
  wire.onEnd();
}

function onDrain(this: WiredSocket): void {
  this.wire?.onDrain();
}

function onError(this: WiredSocket, error: NodeJS.ErrnoException): void {
  // 'close' follows, but without the reason.
  this.wire?.onClosed(error.code ?? 'EIO');
}

function onClose(this: WiredSocket): void {
  this.wire?.onClosed('ECONNRESET');
}
