// Node's bare TCP handle, as a client: what `net.Socket` stands on, without what it costs.
//
// A `net.Socket` client reaches some 8,000 connects a second a core, a bare handle three times that, and the load generator
// shares the machine with what it measures. These bindings are undocumented; only the benchmark depends on this file, and
// it runs the load generator on the Node that the benchmark itself was started with. See Node's lib/net.js
// (`internalConnect`) and lib/internal/stream_base_commons.js for the calls.

export interface ConnectRequest {
  oncomplete: (status: number, handle: ClientHandle) => void;
}

export interface ClientHandle {
  onread: (this: ClientHandle) => void;
  /** Inside `onread`, of a handle that is none of libuv's (secure.ts): see `lastRead`. */
  readonly readLength?: number;
  /** Flags are only read for IPv6, on Nodes that read them at all. */
  bind(address: string, port: number, flags: number): number;
  connect(request: ConnectRequest, address: string, port: number): number;
  readStart(): number;
  useUserBuffer(buffer: Uint8Array): void;
  writeLatin1String(request: object, text: string): number;
  reset(done?: () => void): number;
  close(done?: () => void): void;
}

interface TcpBinding {
  TCP: new (type: number) => ClientHandle;
  TCPConnectWrap: new () => ConnectRequest;
  constants: { SOCKET: number };
}

interface StreamBinding {
  WriteWrap: new () => { oncomplete?: (status: number) => void };
  kReadBytesOrError: number;
  kLastWriteWasAsync: number;
  streamBaseState: Int32Array;
}

interface WithBinding {
  binding(name: 'tcp_wrap'): TcpBinding;
  binding(name: 'stream_wrap'): StreamBinding;
}

const internals = process as unknown as WithBinding;
const tcp = internals.binding('tcp_wrap');
const stream = internals.binding('stream_wrap');

/** libuv's name for the peer's FIN, as `onread` reports it. */
export const EOF = -4095;
export const EADDRINUSE = -98;
export const EADDRNOTAVAIL = -99;

export function newHandle(): ClientHandle {
  return new tcp.TCP(tcp.constants.SOCKET);
}

export function newConnectRequest(oncomplete: ConnectRequest['oncomplete']): ConnectRequest {
  const request = new tcp.TCPConnectWrap();
  request.oncomplete = oncomplete;
  return request;
}

/** Inside `onread` of that handle: bytes read, or a negative error. */
export function lastRead(handle: ClientHandle): number {
  return handle.readLength ?? stream.streamBaseState[stream.kReadBytesOrError] ?? 0;
}

let idleWrite = new stream.WriteWrap();

/** Writes; a request object that the kernel was done with at once is used again for the next write. */
export function writeText(handle: ClientHandle, text: string): number {
  const error = handle.writeLatin1String(idleWrite, text);
  if (stream.streamBaseState[stream.kLastWriteWasAsync] !== 0) {
    idleWrite.oncomplete = () => undefined;
    idleWrite = new stream.WriteWrap();
  }
  return error;
}
