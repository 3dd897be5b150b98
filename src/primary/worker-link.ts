// The primary's end of a worker's link (src/broker/relay-link.ts): the socket that fork made for it, read in place.
//
// node:child_process gives the socket as it is, and a socket is told where to read to only when it is made (`onread`). Read
// as it is, each read would leave an ArrayBuffer behind that nothing hurries to collect: megabytes (docs/adr/0008). So the
// handle beneath it changes owner before the first read. Outside workers/wire Node does not document that, what src/descriptor-link.ts
// does, and how bound-socket.ts binds. Where it cannot be done the socket is read as it is, at that cost.

import type { ChildProcess } from 'node:child_process';
import { type OnReadOpts, Socket, type SocketConstructorOpts } from 'node:net';
import type { FrameTaker } from '../broker/relay-frames.ts';
import { RELAY_LINK_FD, RelayLink } from '../broker/relay-link.ts';

/** The link to a process that was forked with `STDIO_WITH_LINK`, right after the fork; null when it has none, or did not start. */
export function linkToWorker(
  child: Partial<Pick<ChildProcess, 'stdio'>>,
  takeFrame: FrameTaker,
  onClosed: (fault: string | null) => void,
): RelayLink | null {
  // Without descriptors to start it with, Node leaves a process without any.
  const socket = child.stdio?.[RELAY_LINK_FD];
  if (!(socket instanceof Socket)) return null;
  return new RelayLink((onread) => readInPlace(socket, onread), takeFrame, onClosed);
}

/** What `net.Socket` has and takes beyond its types. */
type WithHandle = Socket & { _handle?: object | null };
type InPlace = SocketConstructorOpts & { handle: object; onread: OnReadOpts };

function readInPlace(made: WithHandle, onread: OnReadOpts): Socket {
  const handle = made._handle;
  if (typeof handle !== 'object' || handle === null) {
    made.on('data', (bytes) => onread.callback(bytes.length, bytes));
    return made;
  }
  made._handle = null;
  made.destroy();
  const options: InPlace = { handle, onread, readable: true, writable: true };
  return new Socket(options);
}
