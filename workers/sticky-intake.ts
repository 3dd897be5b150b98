// The sticky intake: with LONGWIRE_ACCEPT=sticky this worker listens to nobody and takes what the primary gives it, in
// @socket.io/sticky's messages. A socket with the first chunk that was read from it becomes a connection like any other; a
// request with a body comes chunk by chunk, to a RelayedWire.
//
// It tells the primary which sessions it holds, so that their polls are given to it, and how much, so that what has no session
// goes to whoever holds the least: each at once, and a few times a second where something has changed.

import type { Socket } from 'node:net';
import type { StickyToPrimary, StickyToWorker, ToPrimary } from '../src/ipc.ts';
import type { Admission } from './admission.ts';
import type { Gateway } from './gateway.ts';
import { RelayedWire } from './wire/relayed-wire.ts';
import { wireOfGiven } from './wire/socket-wire.ts';

const REPORT_MS = 50;

export class StickyIntake {
  private readonly gateway: Gateway;
  private readonly admission: Admission;
  private readonly send: (message: ToPrimary) => void;
  private readonly relayed: Map<string, RelayedWire>;
  private taken: number;
  /** What was last reported, as text. */
  private reported: string;

  constructor(gateway: Gateway, admission: Admission, send: (message: ToPrimary) => void) {
    this.gateway = gateway;
    this.admission = admission;
    this.send = send;
    this.relayed = new Map();
    this.taken = 0;
    this.reported = '';
    gateway.polls.onOpened = (sid) => send({ type: 'sticky:connection', data: sid });
    gateway.polls.onExpired = (sid) => send({ type: 'sticky:disconnection', data: sid });
  }

  start(): void {
    setInterval(() => this.report(), REPORT_MS).unref();
  }

  /** `socket` came with the message; undefined where its peer had gone before, or this process had no room for it. */
  receive(message: StickyToWorker, socket: Socket | undefined): void {
    switch (message.type) {
      case 'sticky:connection':
        this.taken++;
        if (socket !== undefined) this.admission.receive(wireOfGiven(socket), bytesOf(message.data));
        return;
      case 'sticky:http-chunk-start':
        this.taken++;
        this.relay(message.connectionId, message.socketInfo.remoteAddress ?? '', bytesOf(message.data));
        return;
      case 'sticky:http-chunk':
        this.relayed.get(message.connectionId)?.arrived(bytesOf(message.data));
        return;
      case 'sticky:abort':
        this.relayed.get(message.connectionId)?.aborted();
        this.relayed.delete(message.connectionId);
        return;
    }
  }

  private relay(connectionId: string, address: string, first: Buffer): void {
    const send = (message: StickyToPrimary): void => {
      // What has been answered to the end hears nothing more.
      if (message.type !== 'sticky:http-response') this.relayed.delete(connectionId);
      this.send(message);
    };
    const wire = new RelayedWire(connectionId, address, send);
    this.relayed.set(connectionId, wire);
    this.admission.receive(wire, first);
  }

  private report(): void {
    const connections = this.admission.heldCount;
    const sessions = this.gateway.polls.sessionCount;
    const text = `${connections} ${sessions} ${this.taken}`;
    if (text === this.reported) return;
    this.reported = text;
    this.send({ type: 'load', load: { connections, sessions, taken: this.taken } });
  }
}

/** Structured clone gives bytes as a Buffer or as what is beneath one. */
function bytesOf(data: Uint8Array): Buffer {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
}
