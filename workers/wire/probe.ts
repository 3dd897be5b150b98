// Which wire this worker uses, and why: decided once at start, said in the log and in /workers.
//
// The decision is not taken from version numbers. A loopback connection of its own is accepted as a bare handle, reads,
// writes, counts what it could not write, ends and closes, before the first client does. Takes about 5 ms.

import { connect, createServer, type Server } from 'node:net';
import type { Descriptor } from '../../src/ipc.ts';
import { bindHandleWire, HandleWire } from './handle-wire.ts';
import { errnoName, type ServerHandle, type TcpHandle } from './node-internals.ts';
import { SocketWire, socketOf } from './socket-wire.ts';
import type { Wire, WireOwner } from './wire.ts';

export type WireKind = 'handle' | 'socket';

export interface WireChoice {
  kind: WireKind;
  /** For people: what decided. */
  why: string;
}

const PROBE_DEADLINE_MS = 2_000;

/**
 * Chooses the wire. `wish` is the knob LONGWIRE_WIRE.
 *
 * @throws Error when 'handle' was asked for and this Node cannot do it: the text says what is missing.
 */
export async function chooseWire(wish: 'auto' | WireKind): Promise<WireChoice> {
  if (wish === 'socket') return { kind: 'socket', why: 'LONGWIRE_WIRE=socket' };
  const fault = bindHandleWire() ?? (await probeHandleWire());
  if (fault === null) return { kind: 'handle', why: wish === 'auto' ? 'the probe passed' : 'LONGWIRE_WIRE=handle' };
  if (wish === 'handle') throw new Error(`LONGWIRE_WIRE=handle cannot be had: ${fault}`);
  return { kind: 'socket', why: `no bare handles: ${fault}` };
}

/** Has the server give its connections as bare handles. Call once it is listening. */
export function acceptHandles(
  server: Server,
  onHandle: (wire: HandleWire) => void,
  onFault: (text: string) => void,
): string | null {
  const { _handle: handle } = server as unknown as { _handle: ServerHandle | null };
  if (handle === null || typeof handle !== 'object' || typeof handle.onconnection !== 'function') {
    return 'the server has no handle of the kind expected';
  }
  handle.onconnection = (error, client) => {
    if (error === 0 && client !== undefined) onHandle(new HandleWire(client));
    else onFault(`accepting failed: ${errnoName(error)}`);
  };
  return null;
}

/** The wire of a connection whose descriptor another process has sent. */
export function adopt(descriptor: Descriptor, kind: WireKind): Wire {
  return kind === 'handle' ? new HandleWire(descriptor as TcpHandle) : new SocketWire(socketOf(descriptor));
}

/** An echo over loopback through a bare handle: null when it works, else what did not. */
async function probeHandleWire(): Promise<string | null> {
  const server = createServer();
  // `exclusive`: this socket is the probe's alone; without it a cluster worker would ask the primary for one.
  server.listen({ host: '127.0.0.1', port: 0, exclusive: true });
  return new Promise((resolve) => {
    const said: string[] = [];
    const finish = (fault: string | null) => {
      clearTimeout(deadline);
      client?.destroy();
      accepted?.destroy();
      server.close();
      resolve(fault);
    };
    const deadline = setTimeout(
      () => finish(`the probe got as far as: ${said.join(', ') || 'nothing'}`),
      PROBE_DEADLINE_MS,
    );
    let client: ReturnType<typeof connect> | undefined;
    let accepted: HandleWire | undefined;
    server.on('error', (error) => finish(`the probe could not listen on loopback (${error.message})`));
    server.on('listening', () => {
      const fault = acceptHandles(
        server,
        (wire) => {
          said.push('accepted');
          accepted = wire;
          wire.attach(echo(wire, said));
        },
        finish,
      );
      const address = server.address();
      if (fault !== null || address === null || typeof address === 'string') {
        finish(fault ?? 'the probe could not listen on loopback');
        return;
      }
      let echoed = '';
      client = connect(address.port, '127.0.0.1', () => client?.end('probe'));
      client.on('data', (chunk) => {
        echoed += chunk.toString('latin1');
      });
      client.on('end', () => finish(echoed === 'probe' ? null : `the probe read '${echoed}' instead of 'probe'`));
      client.on('error', (error) => finish(`the probe's connection failed (${error.message})`));
    });
  });
}

function echo(wire: HandleWire, said: string[]): WireOwner {
  return {
    onWireRead(buffer, length) {
      said.push('read');
      wire.write(Buffer.from(buffer.subarray(0, length)));
      if (wire.outboxBytes === 0) said.push('written');
    },
    onWireEnd() {
      said.push('ended');
      wire.end();
    },
    onWireDrained() {},
    onWireClosed() {},
  };
}
