// Admission: how many connections this worker holds, and what happens at its cap.
//
//   listening ──at the cap──▶ full (not listening: the others take over)  ──below it──▶ listening
//       └──at the cap, and no other has room──▶ rejecting (listening, each told 503) ──below it──▶ listening
//
// The primary knows who has room and tells the only one left (`setLast`), so that nobody is refused while there is room
// anywhere, and everybody hears why when there is none. The cap keeps the worker clear of EMFILE, on which libuv would
// close all pending connections; `TURNED_AWAY_LIMIT` does the same for those that are being told 503.

import { errorText } from '../src/errors.ts';
import type { Log } from '../src/log.ts';
import { type AcceptState, transportIndex } from '../src/stats.ts';
import { Connection } from './connection.ts';
import type { Gateway } from './gateway.ts';
import { Listener, type ListenerOptions, type ListeningAddress } from './wire/listener.ts';
import type { Wire } from './wire/wire.ts';

/** Connections above the cap that wait for the peer to read its 503; half of the reserve that the primary left us. */
const TURNED_AWAY_LIMIT = 128;
const LISTEN_AGAIN_MS = 1_000;
/** Where a worker listens that does not. */
const NOWHERE: ListeningAddress = { address: '', port: 0 };

export class Admission {
  private readonly gateway: Gateway;
  private limit: number;
  /** The highest that it was: what the descriptors carry for sure. */
  private highestLimit: number;
  /** Room is announced again below this: a little under the cap, so that one client that comes and goes is not a storm. */
  private roomAt: number;
  /** Null where the primary accepts. */
  private readonly listener: Listener | null;
  private readonly onRoom: (room: boolean) => void;
  private readonly log: Log;
  /** Accepted and not yet closed, those being turned away included. */
  private held: number;
  private last: boolean;
  state: AcceptState;

  constructor(gateway: Gateway, limit: number, options: ListenerOptions | null, onRoom: (room: boolean) => void) {
    this.gateway = gateway;
    this.limit = limit;
    this.highestLimit = limit;
    this.roomAt = roomBelow(limit);
    const onFault = (text: string): void => gateway.seldom.say('error', 'accept', text);
    this.listener = options === null ? null : new Listener(options, (wire) => this.onWire(wire), onFault);
    this.onRoom = onRoom;
    this.log = gateway.log;
    this.held = 0;
    this.last = false;
    this.state = 'starting';
    gateway.onConnectionClosed = () => this.onClosed();
  }

  get connectionLimit(): number {
    return this.limit;
  }

  /** Another limit from now on. What is held beyond it stays. */
  setLimit(limit: number): void {
    this.limit = limit;
    this.highestLimit = Math.max(this.highestLimit, limit);
    this.roomAt = roomBelow(limit);
    if (this.held >= limit) this.onCap();
    else this.lookForRoom();
  }

  get heldCount(): number {
    return this.held;
  }

  /** @throws what `net.Server.listen` fails with. */
  async start(): Promise<ListeningAddress> {
    const address = this.listener === null ? NOWHERE : await this.listener.listen();
    this.state = 'listening';
    return address;
  }

  /** Whether all other workers are full: then somebody must go on listening to say so, and that is this one. */
  setLast(last: boolean): void {
    this.last = last;
    if (last && this.state === 'full') {
      this.state = 'rejecting';
      this.listen();
    } else if (!last && this.state === 'rejecting') {
      this.state = 'full';
      this.listener?.close();
    }
  }

  /** Accepts no more, for good. */
  stop(): void {
    this.state = 'draining';
    this.listener?.close();
  }

  /** Whether `count` connections of other workers could be taken in. */
  hasRoom(count: number): boolean {
    return this.state !== 'draining' && this.held + count <= this.limit;
  }

  /**
   * Makes the connection that another worker gives, not started yet; null when there is no room for it. Also while this one leaves: a
   * poll's session may be here still, and both go on together.
   */
  adopt(wire: Wire): Connection | null {
    if (this.gateway.draining || this.held >= this.limit) return null;
    const connection = this.hold(wire);
    if (this.held === this.limit) this.onCap();
    return connection;
  }

  /** Takes a connection that the primary has accepted and given, with the bytes that were read of it. */
  receive(wire: Wire, first: Buffer): void {
    this.onWire(wire).onWireRead(first, first.length);
  }

  private hold(wire: Wire): Connection {
    this.held++;
    this.gateway.countTransport(transportIndex.http, 1);
    return new Connection(this.gateway, wire);
  }

  private onWire(wire: Wire): Connection {
    const { gateway } = this;
    gateway.counters.accepted++;
    const connection = this.hold(wire);
    // One that leaves gives on what came in its last moment.
    if (gateway.draining) connection.turnAway('draining', 'this worker is draining; try again');
    else if (this.held <= this.limit) {
      connection.start();
      if (this.held === this.limit) this.onCap();
    } else if (this.held <= this.highestLimit + TURNED_AWAY_LIMIT) {
      connection.turnAway('capacity', 'the gateway holds as many connections as it may; try again later');
    } else {
      gateway.countRejected('capacity');
      connection.close('finished');
    }
    return connection;
  }

  private onCap(): void {
    if (this.state !== 'listening') return;
    if (this.last) {
      this.state = 'rejecting';
    } else {
      this.state = 'full';
      this.listener?.close();
    }
    this.log.info('this worker is at its connection limit', { limit: this.limit, state: this.state });
    this.onRoom(false);
  }

  private onClosed(): void {
    this.held--;
    this.gateway.countTransport(transportIndex.http, -1);
    this.lookForRoom();
  }

  private lookForRoom(): void {
    if (this.held > this.roomAt || (this.state !== 'full' && this.state !== 'rejecting')) return;
    this.state = 'listening';
    this.onRoom(true);
    if (this.listener?.listening === false) this.listen();
  }

  /** Listens again; what goes wrong is tried again for as long as we ought to be listening. */
  private listen(): void {
    this.listener?.listen().catch((thrown: unknown) => {
      this.log.error('cannot listen again', { error: errorText(thrown) });
      setTimeout(() => {
        if ((this.state === 'listening' || this.state === 'rejecting') && this.listener?.listening === false)
          this.listen();
      }, LISTEN_AGAIN_MS);
    });
  }
}

/** Room is announced again a little under the cap. */
function roomBelow(limit: number): number {
  return limit - Math.max(1, Math.floor(limit / 100));
}
