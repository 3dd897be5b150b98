// SocketWire: the same through an ordinary `net.Socket`. For TLS, for sockets that another process hands over, and where
// the probe finds that this Node does not offer what HandleWire needs. Costs about 2.5 KB a connection more (docs/budgets.md).
//
// The listeners are functions shared by all sockets; they find their wire through one property on the socket. The socket
// is given `DRAIN_MARK_BYTES` to buffer; what comes on top waits here, so that the outbox can be counted as HandleWire's.

import type { Socket } from 'node:net';
import { DRAIN_MARK_BYTES, formatAddress, type Wire, type WireOwner } from './wire.ts';

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
  /** 'ended': the peer's end came while paused and has still to be told. */
  private reading: 'flowing' | 'paused' | 'ended';

  constructor(socket: Socket) {
    this.socket = socket as WiredSocket;
    this.owner = null;
    this.waiting = null;
    this.waitingBytes = 0;
    this.state = 'open';
    this.reading = 'flowing';
    this.socket.wire = this;
    // From the first moment: an 'error' that nobody hears takes the process down.
    socket.on('error', onError);
  }

  get outboxBytes(): number {
    return this.socket === null ? 0 : this.socket.writableLength + this.waitingBytes;
  }

  get outboxEntries(): number {
    return this.waiting === null ? 0 : this.waiting.length;
  }

  attach(owner: WireOwner): void {
    if (this.socket === null) return;
    this.owner = owner;
    this.socket.on('data', onData).on('end', onEnd).on('drain', onDrain).on('close', onClose);
  }

  write(buffer: Buffer): void {
    if (this.state !== 'open' || this.socket === null) return;
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
    socket.destroy();
  }

  peerAddress(): string {
    const address = this.socket?.remoteAddress;
    return address === undefined ? '' : formatAddress(address, this.socket?.remotePort ?? 0);
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
