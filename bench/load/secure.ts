// A client's connection through TLS, in the shape of a bare handle, so that all the rest of a client is the same for both.
//
// Some 45 KB and half a millisecond a connection: it is there to hold connections against a server's TLS, not to be fast. The
// certificate is not checked. Sessions are not resumed, as those of clients that come for the first time are not.

import { connect as connectPlain, type Socket } from 'node:net';
import { connect, type TLSSocket } from 'node:tls';
import { type ClientHandle, type ConnectRequest, EOF } from './tcp.ts';

/** What a connection that failed is said to have failed with, as libuv has no number for it: its UV_EPROTO. */
const EPROTO = -71;

export class SecureHandle implements ClientHandle {
  onread: (this: ClientHandle) => void = () => undefined;
  /** What `onread` is called for: so many bytes, or a negative error. */
  readLength = 0;
  private localAddress = '';
  private localPort = 0;
  private readBuffer: Uint8Array = new Uint8Array();
  private plain: Socket | null = null;
  private socket: TLSSocket | null = null;

  bind(address: string, port: number): number {
    this.localAddress = address;
    this.localPort = port;
    return 0;
  }

  connect(request: ConnectRequest, address: string, port: number): number {
    const { localAddress, localPort } = this;
    const plain = connectPlain({ host: address, port, localAddress, localPort });
    const socket = connect({ socket: plain, rejectUnauthorized: false });
    this.plain = plain;
    this.socket = socket;
    let secured = false;
    socket.once('secureConnect', () => {
      secured = true;
      request.oncomplete(0, this);
    });
    socket.on('data', (bytes: Buffer) => this.pass(bytes));
    socket.on('end', () => this.tell(EOF));
    socket.on('error', () => {
      if (secured) this.tell(EPROTO);
      else request.oncomplete(EPROTO, this);
    });
    return 0;
  }

  useUserBuffer(buffer: Uint8Array): void {
    this.readBuffer = buffer;
  }

  /** The socket reads from the start. */
  readStart(): number {
    return 0;
  }

  writeLatin1String(_request: object, text: string): number {
    this.socket?.write(text, 'latin1');
    return 0;
  }

  reset(): number {
    this.plain?.resetAndDestroy();
    return 0;
  }

  close(): void {
    this.socket?.destroy();
  }

  private pass(bytes: Buffer): void {
    const most = this.readBuffer.length;
    for (let start = 0; start < bytes.length; start += most) {
      const part = bytes.subarray(start, start + most);
      this.readBuffer.set(part);
      this.tell(part.length);
    }
  }

  private tell(length: number): void {
    this.readLength = length;
    this.onread();
  }
}
