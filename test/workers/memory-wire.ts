// A wire without a socket, for what is hard to bring about over TCP: the test is the peer and the kernel at once.
//
// It keeps the promises of workers/wire/wire.ts and watches that its owner keeps to them: bytes are valid during the call
// alone (the buffer is overwritten behind it), and nothing reaches the owner while paused, after `destroy`, or from inside
// the owner's own call.

import assert from 'node:assert/strict';
import type { Shared, Wire, WireOwner } from '../../workers/wire/wire.ts';

type Arrival = Buffer | 'end' | 'reset';

export class MemoryWire implements Wire {
  outboxBytes = 0;
  outboxEntries = 0;
  readonly shareable: boolean = true;
  relayed = false;
  paused = false;
  /** Whom the kernel says we speak to. */
  peer = '192.0.2.1';
  /** What we have done to it: 'ended' once our FIN is out, which waits for the outbox. */
  state: 'open' | 'ending' | 'ended' | 'destroyed' = 'open';
  /** Whether the peer's FIN has been told. */
  peerEnded = false;
  /** Whether the kernel takes no more bytes: the peer does not read. */
  full = false;
  readonly #outbox: Buffer[] = [];
  readonly #read: Buffer[] = [];
  readonly #arrivals: Arrival[] = [];
  #owner: WireOwner | null = null;
  #calling = false;

  warm(): number {
    return 0;
  }

  attach(owner: WireOwner): void {
    assert.equal(this.#owner, null, 'attached once');
    this.#owner = owner;
  }

  write(buffer: Buffer): void {
    if (this.state !== 'open') return;
    if (!this.full) {
      this.#read.push(Buffer.from(buffer));
      return;
    }
    this.#outbox.push(buffer);
    this.outboxBytes += buffer.length;
    this.outboxEntries = this.#outbox.length - 1;
  }

  secure(_rest: Buffer): boolean {
    return false;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  end(): void {
    if (this.state === 'open') this.state = this.outboxBytes > 0 ? 'ending' : 'ended';
  }

  destroy(): void {
    this.state = 'destroyed';
    this.#arrivals.length = 0;
    this.#outbox.length = 0;
    this.outboxBytes = 0;
    this.outboxEntries = 0;
  }

  share(): Shared | null {
    if (this.state !== 'open' || this.outboxBytes > 0) return null;
    this.paused = true;
    return { descriptor: { close() {} }, unread: null };
  }

  peerAddress(): string {
    return this.peer;
  }

  // The peer's side.

  /** What the peer has read so far. */
  get received(): Buffer {
    return Buffer.concat(this.#read);
  }

  /** The peer sends; the owner hears of it at once unless the wire is paused, else once it is resumed and pumped. */
  send(...arrivals: (Arrival | string)[]): void {
    for (const arrival of arrivals) {
      const text = typeof arrival === 'string' && arrival !== 'end' && arrival !== 'reset';
      this.#arrivals.push(text ? Buffer.from(arrival, 'latin1') : (arrival as Arrival));
    }
    this.pump();
  }

  /** Hands over what has arrived, as far as the owner reads. True when there was something. */
  pump(): boolean {
    assert.equal(this.#calling, false);
    let pumped = false;
    while (!this.paused && this.state !== 'destroyed' && this.#arrivals.length > 0) {
      const arrival = this.#arrivals.shift() as Arrival;
      pumped = true;
      this.#call((owner) => {
        if (arrival === 'end') {
          this.peerEnded = true;
          owner.onWireEnd();
        } else if (arrival === 'reset') owner.onWireClosed('ECONNRESET');
        else {
          const shared = Buffer.alloc(arrival.length + 16, '\r\n');
          arrival.copy(shared);
          owner.onWireRead(shared, arrival.length);
          shared.fill('!');
        }
      });
    }
    return pumped;
  }

  /** The peer reads on: the outbox empties, what waits for that happens. */
  drain(): void {
    this.full = false;
    const had = this.#outbox.length > 0;
    this.#read.push(...this.#outbox.splice(0));
    this.outboxBytes = 0;
    this.outboxEntries = 0;
    if (this.state === 'ending') {
      this.state = 'ended';
      if (this.peerEnded) this.#call((owner) => owner.onWireClosed('EOF'));
    } else if (this.state === 'open' && had) this.#call((owner) => owner.onWireDrained());
    this.pump();
  }

  #call(tell: (owner: WireOwner) => void): void {
    const owner = this.#owner;
    assert.ok(owner !== null);
    this.#calling = true;
    tell(owner);
    this.#calling = false;
  }
}
