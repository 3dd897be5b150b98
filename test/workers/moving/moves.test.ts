// Moves between two workers in one process, over the primary's own parts: every step of a batch can be cut, one test a step.
//
// What must hold whatever is cut: a connection is served by one of the two or closed, it has had every publication once and
// in order up to there, and neither side keeps a place, a publication or a subscription that nobody needs.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Config } from '../../../config/config.ts';
import { DEFAULT_OPTIONS, NO_NAMESPACES } from '../../../config/namespaces.ts';
import type { PresenceStore } from '../../../src/broker/broker.ts';
import { COMMAND_CHANNEL } from '../../../src/channel.ts';
import type { Cargo, Descriptor, ToPrimary, ToWorker } from '../../../src/ipc.ts';
import { Batches } from '../../../src/primary/batches.ts';
import { HandOvers, type Party } from '../../../src/primary/hand-overs.ts';
import { Publication } from '../../../src/publication.ts';
import { notMovedIndex } from '../../../src/stats.ts';
import { Admission } from '../../../workers/admission.ts';
import { Connection } from '../../../workers/connection.ts';
import { encodeOrder } from '../../../workers/disconnects.ts';
import { drain } from '../../../workers/drain.ts';
import type { Gateway } from '../../../workers/gateway.ts';
import { ANSWERS_AT_ONCE } from '../../../workers/moving/hand-over.ts';
import { Moves } from '../../../workers/moving/moves.ts';
import type { Wire } from '../../../workers/wire/wire.ts';
import { waitUntil } from '../../harness/wait.ts';
import { handshake } from '../../harness/websocket-client.ts';
import { makeGateway, type StandInBroker } from '../gateways.ts';
import { MemoryWire } from '../memory-wire.ts';
import { closedOf, get } from '../peers.ts';
import { clientFrame, TEXT } from '../websocket/client-frames.ts';

/** What is said on the way, for a test to cut: 'offer', 'accepted', 'fenced', 'over', 'take', 'taken', 'handed-over', … */
type Cut = (word: string) => boolean;

class Worker implements Party {
  readonly gateway: Gateway;
  readonly broker: StandInBroker;
  readonly admission: Admission;
  readonly moves: Moves;
  cut: Cut = () => false;
  /** Descriptors that this process has no room for: what came with them comes without. */
  noRoomFor = 0;

  constructor(slot: number, rig: Rig, changes: Partial<Config>) {
    ({ gateway: this.gateway, broker: this.broker } = makeGateway(changes));
    this.admission = new Admission(
      this.gateway,
      10_000,
      { host: '127.0.0.1', port: 0, reusePort: false, kind: 'handle' },
      () => {},
    );
    this.moves = new Moves(this.gateway, this.admission, {
      send: (message, descriptor) => rig.onMessage(this, message, descriptor ?? null),
      // In one process the descriptor is the wire's other end, and adopting it is another wire over that.
      adopt: (descriptor) => (descriptor as SharedWire).twin(),
      stepLimitMs: 50,
      vainLimitMs: 400,
      answerLimitMs: 150,
    });
    this.broker.onPublish = async () => rig.deliver(slot);
  }

  // The primary says something to it.

  send(message: ToWorker): void {
    const word = message.type === 'batch' ? message.step.kind : message.type;
    if (this.cut(word)) return;
    if (message.type === 'take' || message.type === 'handed-over' || message.type === 'batch') {
      queueMicrotask(() => this.moves.onMessage(message, null));
    }
  }

  give(number: number, cargo: Cargo | Buffer, descriptor: Descriptor): boolean {
    assert.ok(!Buffer.isBuffer(cargo));
    if (this.cut('take')) return true;
    const came = this.noRoomFor-- > 0 ? null : descriptor;
    queueMicrotask(() => this.moves.onMessage({ type: 'take', number, cargo }, came));
    return true;
  }

  /** Connections that are held here, and served. */
  get open(): Connection[] {
    const found: Connection[] = [];
    this.gateway.wheel.forEach((timed) => {
      if (timed instanceof Connection && timed.state === 'open') found.push(timed);
    });
    return found;
  }
}

/** A wire whose descriptor is itself; its twin writes to the same peer. */
class SharedWire extends MemoryWire implements Descriptor {
  readonly read: Buffer[];

  constructor(read: Buffer[] = []) {
    super();
    this.read = read;
  }

  override write(buffer: Buffer): void {
    if (this.state === 'open' && !this.full) this.read.push(Buffer.from(buffer));
    super.write(buffer);
  }

  override share() {
    return super.share() === null ? null : { descriptor: this as Descriptor, unread: null };
  }

  close(): void {}

  twin(): Wire {
    return new SharedWire(this.read);
  }
}

/** As one through TLS: it cannot go anywhere. */
class FixedWire extends SharedWire {
  override readonly shareable = false;
}

class Rig {
  readonly batches = new Batches();
  readonly handOvers = new HandOvers(50);
  readonly giver: Worker;
  readonly taker: Worker;
  readonly wires: SharedWire[] = [];
  /** What the giver, the taker, or the primary for them says. */
  cut: Cut = () => false;
  /** Whether publications, fences among them, come to the one and the other. */
  reaches = { giver: true, taker: true };
  number = 0;

  constructor(changes: Partial<Config> = {}) {
    this.giver = new Worker(1, this, changes);
    this.taker = new Worker(2, this, changes);
  }

  onMessage(from: Worker, message: ToPrimary, descriptor: Descriptor | null): void {
    if (this.cut(message.type === 'batch' ? message.step.kind : message.type)) return;
    const to = from === this.giver ? this.taker : this.giver;
    if (message.type === 'batch') this.batches.pass(from, message.batch, message.step, to);
    else if (message.type === 'hand-over') this.handOvers.pass(from, message.number, to, message.cargo, descriptor);
    else if (message.type === 'taken') this.handOvers.taken(from, message.taken, message.refused);
  }

  /** What the giver's broker was given comes back to both, as from any broker. */
  deliver(slot: number): void {
    const { broker } = slot === 1 ? this.giver : this.taker;
    setImmediate(() => {
      for (const { channel, payload } of broker.published.splice(0)) this.publish(channel, payload);
    });
  }

  publish(channel: string, payload: Buffer): void {
    if (this.reaches.giver) this.giver.gateway.onPublication(new Publication(channel, payload));
    if (this.reaches.taker) this.taker.gateway.onPublication(new Publication(channel, payload));
  }

  /** Publishes a number to everybody. */
  next(): void {
    this.publish('all', Buffer.from(`#${++this.number}#`));
  }

  connect(count: number, target = '/sse/all', to = this.giver, makeWire = () => new SharedWire()): void {
    for (let i = 0; i < count; i++) {
      const wire = makeWire();
      this.wires.push(wire);
      const connection = to.admission.adopt(wire);
      assert.ok(connection !== null);
      connection.start();
      wire.send(get(target));
    }
  }

  /** Numbers that a client has read. */
  numbersOf(wire: SharedWire): number[] {
    return [
      ...Buffer.concat(wire.read)
        .toString()
        .matchAll(/#(\d+)#/g),
    ].map(([, number]) => Number(number));
  }

  /** Fails unless all clients have had all numbers, and nothing is left over anywhere. */
  check(expected: { giver: number; taker: number }): void {
    const all = Array.from({ length: this.number }, (_, i) => i + 1);
    for (const wire of this.wires) assert.deepEqual(this.numbersOf(wire), all);
    this.checkLeftovers(expected);
  }

  checkLeftovers({ giver, taker }: { giver: number; taker: number }): void {
    for (const [worker, count] of [
      [this.giver, giver],
      [this.taker, taker],
    ] as const) {
      assert.equal(worker.open.length, count);
      assert.equal(worker.gateway.hub.subscriptionCount, count);
      assert.equal(worker.admission.heldCount, count);
      assert.equal(worker.gateway.keptBack.size, 0);
    }
    assert.equal(this.batches.underWayCount, 0);
    assert.equal(this.handOvers.underWayCount, 0);
  }

  /** Gives everything, under a publication each turn, and lets what is under way end. */
  async give(): Promise<{ moved: number; stayed: number }> {
    const publishing = setInterval(() => this.next(), 1);
    this.next();
    const outcome = await this.giver.moves.give([{ to: 2, count: null }], true);
    clearInterval(publishing);
    this.next();
    await waitUntil(() => this.handOvers.underWayCount === 0, 'hand-overs to end');
    const waiting = () => this.giver.gateway.hub.waitingCount + this.taker.gateway.hub.waitingCount;
    await waitUntil(() => waiting() === 0, 'fan-outs to end');
    return outcome;
  }
}

describe('a move', () => {
  it('takes everything to the other worker, each publication once and in order', async () => {
    const rig = new Rig();
    rig.connect(150);
    assert.deepEqual(await rig.give(), { moved: 150, stayed: 0 });
    rig.check({ giver: 0, taker: 150 });
    assert.deepEqual(closedOf(rig.giver.gateway), []);
    assert.equal(rig.giver.gateway.counters.movedOut, 150);
    assert.equal(rig.taker.gateway.counters.movedIn, 150);
  });

  it('keeps what is left of a heartbeat', async () => {
    const rig = new Rig();
    rig.connect(1);
    const [before] = rig.giver.open;
    assert.ok(before !== undefined);
    rig.giver.gateway.wheel.schedule(before, 12_000);
    await rig.give();
    const [after] = rig.taker.open;
    assert.ok(after !== undefined);
    const left = rig.taker.gateway.wheel.remainingMs(after);
    assert.ok(left > 10_000 && left <= 12_200, `${left}`);
  });

  it('takes what waits between two requests as well', async () => {
    const rig = new Rig();
    rig.connect(3, '/healthz');
    const silent = rig.giver.admission.adopt(new SharedWire());
    silent?.start();
    assert.deepEqual(await rig.give(), { moved: 0, stayed: 0 });
    assert.equal(rig.giver.admission.heldCount, 0);
    assert.equal(rig.taker.admission.heldCount, 4);
    assert.equal(rig.taker.gateway.counters.movedIn, 4);
  });

  it('takes nobody of whom the broker has not answered yet who comes and goes: two workers would speak of one', async () => {
    const rig = new Rig({ channelOptions: { default: { ...DEFAULT_OPTIONS, presence: true }, named: {} } });
    const said: string[] = [];
    const storeOf = (worker: string, answered: Promise<void>): PresenceStore => ({
      async change(changes) {
        await answered;
        said.push(...changes.map(({ kind }) => `${worker} ${kind}`));
        return [];
      },
      read: async () => [],
      count: async () => ({ clients: 0, users: 0 }),
    });
    let answer = (): void => {};
    rig.giver.broker.presence = storeOf('giver', new Promise((resolve) => (answer = resolve)));
    rig.taker.broker.presence = storeOf('taker', Promise.resolve());
    rig.connect(10);
    let fences = 0;
    rig.cut = (word) => {
      if (word === 'fenced' && ++fences === 1) setImmediate(answer);
      return false;
    };
    assert.deepEqual(await rig.give(), { moved: 10, stayed: 0 });
    rig.check({ giver: 0, taker: 10 });
    assert.ok(fences > 1);
    await waitUntil(() => said.length >= 20, 'all to be said');
    assert.deepEqual(said, [...Array(10).fill('giver join'), ...Array(10).fill('taker join')]);
  });

  it('takes along what the token allows that a client shows just then, and not the one before', async () => {
    const rig = new Rig();
    rig.connect(5);
    const { identities } = rig.giver.gateway.presence;
    const wide = { expiresAtMs: Date.now() + 600_000, channels: null };
    const narrow = { expiresAtMs: Date.now() + 300_000, channels: ['all'] };
    for (const connection of rig.giver.open) identities.make(connection, { user: 'u', info: '', grant: wide });
    let offers = 0;
    rig.cut = (word) => {
      if (word === 'accepted' && ++offers === 1) {
        for (const connection of rig.giver.open.slice(0, 2)) identities.regrant(connection, narrow);
      }
      return false;
    };
    assert.deepEqual(await rig.give(), { moved: 5, stayed: 0 });
    rig.check({ giver: 0, taker: 5 });
    const held = [...rig.taker.gateway.presence.identities.entries()].map(([, { grant }]) => grant);
    const allowedBy = ({ expiresAtMs }: { expiresAtMs: number }) =>
      held.filter((grant) => grant?.expiresAtMs === expiresAtMs).map((grant) => grant?.channels);
    assert.deepEqual([allowedBy(narrow), allowedBy(wide)], [Array(2).fill(['all']), Array(3).fill(null)]);
    assert.equal(offers, 2, 'the next pass takes them');
    assert.equal(identities.size, 0);
  });

  it('of those that the backend ends meanwhile closes them where they go on, and nobody who came later', async () => {
    for (const calledOff of [false, true]) {
      const rig = new Rig();
      rig.connect(100);
      const ended = [...rig.wires];
      const order = encodeOrder({ channel: 'all', reason: 'over', reconnect: false });
      let until = 0;
      rig.cut = (word) => {
        if (word !== 'fenced') return false;
        if (until === 0) {
          assert.equal(rig.giver.gateway.keptBack.size, 64);
          rig.next();
          until = rig.number;
          rig.publish(COMMAND_CHANNEL, order);
          rig.connect(1);
          rig.connect(1, '/sse/all', rig.taker);
        }
        return calledOff;
      };
      await rig.give();
      for (const wire of ended) {
        const told = Buffer.concat(wire.read).toString();
        assert.ok(told.endsWith('data: {"disconnect":{"reason":"over","reconnect":false}}\n\n'), told);
        // A crowd that is being served is not waited for; nothing that came after the order is given.
        const numbers = rig.numbersOf(wire);
        assert.deepEqual(
          numbers,
          numbers.map((_, i) => i + 1),
        );
        assert.ok(numbers.length <= until);
      }
      for (const wire of rig.wires.slice(100)) assert.doesNotMatch(Buffer.concat(wire.read).toString(), /disconnect/);
      const { giver, taker } = rig;
      assert.deepEqual([giver.open.length, taker.open.length], calledOff ? [1, 1] : [0, 2]);
      for (const { gateway } of [giver, taker]) assert.equal(gateway.keptBack.size, 0);
      assert.equal(giver.gateway.hub.subscriptionCount + taker.gateway.hub.subscriptionCount, 2);
    }
  });

  it('leaves who does not read, and takes him once he does', async () => {
    const rig = new Rig();
    rig.connect(2);
    const [slow] = rig.wires;
    assert.ok(slow !== undefined);
    slow.full = true;
    rig.next();
    assert.deepEqual(await rig.give(), { moved: 1, stayed: 1 });
    rig.checkLeftovers({ giver: 1, taker: 1 });
  });
});

describe('a move of WebSockets', () => {
  function connected(): Rig {
    const rig = new Rig();
    for (let i = 0; i < 3; i++) {
      const wire = new SharedWire();
      rig.wires.push(wire);
      rig.giver.admission.adopt(wire)?.start();
      wire.send(handshake('/ws/all'));
    }
    assert.equal(rig.giver.open.length, 3);
    return rig;
  }

  it('does not read them from the offer on: who says one wish after the other moves as well', async () => {
    const rig = connected();
    const before: boolean[] = [];
    rig.cut = (word) => {
      if (word === 'accepted') before.push(...rig.wires.map(({ paused }) => paused));
      return false;
    };
    assert.deepEqual(await rig.give(), { moved: 3, stayed: 0 });
    assert.deepEqual(before, [true, true, true]);
    rig.check({ giver: 0, taker: 3 });
  });

  it('waits for the rest of a message, and reads on where they stay', async () => {
    const rig = connected();
    const [half, ...whole] = rig.wires;
    const wish = clientFrame(TEXT, '{"ping":1}');
    half?.send(wish.subarray(0, 5));
    const paused: (boolean | undefined)[] = [];
    rig.cut = (word) => {
      if (word === 'accepted') paused.push(half?.paused, ...whole.map((wire) => wire.paused));
      return word === 'accepted';
    };
    assert.deepEqual(await rig.give(), { moved: 0, stayed: 3 });
    assert.deepEqual(paused.slice(0, 3), [false, true, true]);
    assert.ok(rig.wires.every((wire) => !wire.paused));
    half?.send(wish.subarray(5));
    rig.cut = () => false;
    assert.deepEqual(await rig.give(), { moved: 3, stayed: 0 });
    rig.check({ giver: 0, taker: 3 });
  });
});

describe('what a move leaves', () => {
  it('counts those that go through TLS among those that stay', async () => {
    const rig = new Rig();
    rig.connect(2);
    rig.connect(3, '/sse/all', rig.giver, () => new FixedWire());
    assert.deepEqual(await rig.give(), { moved: 2, stayed: 3 });
    assert.equal(rig.giver.gateway.counters.notMoved[notMovedIndex.tls], 3);
  });
});

describe('a move of a channel that is latest_only', () => {
  it('waits until who was behind has the newest', async () => {
    const latestOnly = { ...NO_NAMESPACES, default: { ...NO_NAMESPACES.default, latestOnly: true } };
    const rig = new Rig({ channelOptions: latestOnly, outboxLimitBytes: 4_096 });
    rig.connect(1);
    const [slow] = rig.wires;
    assert.ok(slow !== undefined);
    slow.full = true;
    rig.publish('all', Buffer.alloc(2_048, 'x'));
    rig.next();
    rig.next();
    const giving = rig.giver.moves.give([{ to: 2, count: null }], false);
    await waitUntil(() => rig.giver.gateway.keptBack.size === 1, 'the fence');
    slow.drain();
    assert.equal((await giving).moved, 1);
    assert.deepEqual(rig.numbersOf(slow), [2]);
    rig.checkLeftovers({ giver: 0, taker: 1 });
  });
});

describe('a worker that is to give everything away', () => {
  it('and has nobody to give it to keeps it', async () => {
    const rig = new Rig();
    rig.connect(3, '/healthz');
    assert.equal((await rig.giver.moves.give([], true)).moved, 0);
    assert.equal(rig.giver.admission.heldCount, 3);
  });

  it('and drains meanwhile closes with their hint those that come back', async () => {
    const rig = new Rig();
    rig.connect(3);
    rig.reaches.taker = false;
    const giving = rig.giver.moves.give([{ to: 2, count: null }], false);
    await waitUntil(() => rig.giver.gateway.keptBack.size === 3, 'the fence');
    const draining = drain(rig.giver.gateway, 0, () => rig.giver.open.length + rig.giver.gateway.keptBack.size);
    await giving;
    await draining;
    assert.deepEqual(closedOf(rig.giver.gateway), ['drained', 'drained', 'drained']);
    // By FIN, behind what is their transport's last; one that is cut off has no state but 'destroyed'.
    for (const { state } of rig.wires) assert.equal(state, 'ended');
  });
});

describe('a step of a move that is cut', () => {
  it('a descriptor does not come to the primary: that one is closed, the rest move, and the move ends', async () => {
    const rig = new Rig();
    let left = 1;
    rig.cut = (said) => said === 'hand-over' && left-- > 0;
    rig.connect(40);
    assert.equal((await rig.give()).moved, 39);
    assert.deepEqual(closedOf(rig.giver.gateway), ['lost']);
    assert.equal(rig.giver.admission.heldCount, 0);
  });

  for (const word of ['taken', 'handed-over']) {
    it(`${word}: those that it was said of are closed, the rest move, and the move ends`, async () => {
      const rig = new Rig();
      let left = 1;
      const once = (said: string): boolean => said === word && left-- > 0;
      if (word === 'taken') rig.cut = once;
      else rig.giver.cut = once;
      rig.connect(40);
      const { moved } = await rig.give();
      const lost = closedOf(rig.giver.gateway);
      assert.ok(lost.length >= 1 && lost.length <= ANSWERS_AT_ONCE, `${lost.length} are lost`);
      assert.ok(lost.every((reason) => reason === 'lost'));
      assert.equal(moved, 40 - lost.length);
      assert.equal(rig.giver.open.length, 0);
      assert.equal(rig.giver.gateway.keptBack.size + rig.taker.gateway.keptBack.size, 0);
    });
  }

  for (const word of ['offer', 'accepted', 'fenced']) {
    it(`${word}: the giver goes on, and a later pass moves them`, async () => {
      const rig = new Rig();
      let left = 1;
      rig.cut = (said) => said === word && left-- > 0;
      rig.connect(5);
      assert.deepEqual(await rig.give(), { moved: 5, stayed: 0 });
      rig.check({ giver: 0, taker: 5 });
    });
  }

  it('the fence does not come to the taker: the giver goes on with nothing missed', async () => {
    const rig = new Rig();
    rig.connect(5);
    rig.reaches.taker = false;
    const outcome = await rig.give();
    assert.deepEqual(outcome, { moved: 0, stayed: 5 });
    rig.check({ giver: 5, taker: 0 });
  });

  it('the fence does not come to the giver: it goes on with nothing missed', async () => {
    const rig = new Rig();
    rig.connect(5);
    rig.reaches.giver = false;
    const outcome = await rig.giver.moves.give([{ to: 2, count: null }], false);
    assert.deepEqual(outcome, { moved: 0, stayed: 5 });
    rig.reaches.giver = true;
    rig.next();
    rig.check({ giver: 5, taker: 0 });
  });

  it('a descriptor does not come to the taker: that one is closed, the rest move', async () => {
    const rig = new Rig();
    let left = 1;
    rig.taker.cut = (said) => said === 'take' && left-- > 0;
    rig.connect(5);
    assert.equal((await rig.give()).moved, 4);
    assert.deepEqual(closedOf(rig.giver.gateway), ['lost']);
    assert.equal(rig.giver.open.length, 0);
    assert.equal(rig.giver.gateway.keptBack.size + rig.taker.gateway.keptBack.size, 0);
  });

  it('the taker’s process has no descriptor left for some: they go on, and a later pass moves them', async () => {
    const rig = new Rig();
    rig.connect(100);
    rig.taker.noRoomFor = 30;
    assert.deepEqual(await rig.give(), { moved: 100, stayed: 0 });
    rig.check({ giver: 0, taker: 100 });
    assert.equal(rig.giver.gateway.counters.notMoved[notMovedIndex.refused], 30);
  });

  it('the queue of descriptors is full: what has no place in it goes on, and moves when there is room', async () => {
    const rig = new Rig();
    // As many as may wait and be on their way, and more.
    const idle = 4_096 + 64 + 500;
    for (let i = 0; i < idle; i++) rig.giver.admission.adopt(new SharedWire())?.start();
    rig.connect(20);
    assert.deepEqual(await rig.give(), { moved: 20, stayed: 0 });
    const all = Array.from({ length: rig.numbersOf(rig.wires[0] as SharedWire).length }, (_, i) => i + 1);
    for (const wire of rig.wires) assert.deepEqual(rig.numbersOf(wire), all);
    assert.equal(rig.giver.admission.heldCount, 0);
    assert.equal(rig.taker.admission.heldCount, idle + 20);
    assert.deepEqual(closedOf(rig.giver.gateway), []);
  });

  it('the taker has no room: they stay', async () => {
    const rig = new Rig();
    rig.connect(5);
    rig.taker.admission.stop();
    assert.deepEqual(await rig.give(), { moved: 0, stayed: 5 });
    rig.check({ giver: 5, taker: 0 });
  });

  it('the taker’s broker is away: they wait for as long as that lasts, and move once it is back', async () => {
    const rig = new Rig();
    rig.connect(5);
    rig.taker.broker.state = 'down';
    let offers = 0;
    rig.cut = (said) => {
      if (said === 'offer') offers++;
      return false;
    };
    const giving = rig.give();
    // One each 100 ms: far beyond the time after which those that are refused stay.
    await waitUntil(() => offers >= 10, 'offers to go on');
    rig.taker.broker.state = 'up';
    assert.deepEqual(await giving, { moved: 5, stayed: 0 });
    rig.check({ giver: 0, taker: 5 });
  });

  it('the taker dies after it has accepted: they stay', async () => {
    const rig = new Rig();
    rig.connect(5);
    rig.cut = (said) => {
      if (said !== 'fenced') return false;
      setImmediate(() => rig.batches.takerLeft(rig.taker));
      return true;
    };
    const outcome = await rig.giver.moves.give([{ to: 2, count: null }], false);
    assert.deepEqual(outcome, { moved: 0, stayed: 5 });
    assert.equal(rig.giver.open.length, 5);
  });

  it('the giver dies after the fence: the taker lets the places go', async () => {
    const rig = new Rig();
    rig.connect(5);
    rig.cut = (said) => said === 'hand-over' || said === 'over';
    void rig.giver.moves.give([{ to: 2, count: null }], false);
    await waitUntil(() => rig.taker.gateway.hub.subscriptionCount === 5, 'the places');
    rig.next();
    rig.batches.giverLeft(rig.giver);
    await waitUntil(() => rig.taker.gateway.hub.subscriptionCount === 0, 'the places to be let go');
    assert.equal(rig.taker.admission.heldCount, 0);
    assert.equal(rig.taker.gateway.keptBack.size, 0);
  });

  it('too much is kept back: those are closed with their hint when they are served again, and nobody else is', async () => {
    const rig = new Rig();
    rig.connect(2);
    rig.taker.cut = (said) => said === 'take';
    const giving = rig.giver.moves.give([{ to: 2, count: null }], false);
    await waitUntil(() => rig.giver.gateway.keptBack.size === 2, 'the fence');
    for (let i = 0; i < 17; i++) rig.publish('all', Buffer.alloc(1024 * 1024, 'x'));
    assert.equal(rig.giver.gateway.keptBack.size, 2);
    await giving;
    assert.deepEqual(closedOf(rig.giver.gateway), ['lost', 'lost']);
    assert.equal(rig.giver.gateway.keptBack.size, 0);
  });
});

describe('a poll session', () => {
  /** One poll's answer, as JSON. */
  async function pollOn(rig: Rig, worker: Worker, wire: SharedWire, target: string): Promise<Record<string, unknown>> {
    const before = Buffer.concat(wire.read).length;
    wire.send(get(target));
    let text = '';
    await waitUntil(
      () => {
        text = Buffer.concat(wire.read).subarray(before).toString();
        return text.includes('\r\n\r\n') && (text.startsWith('HTTP/1.1 204') || text.endsWith('}'));
      },
      () => `an answer at ${worker === rig.giver ? 'the giver' : 'the taker'}: ${text}`,
    );
    const sid = /Longwire-Sid: (\S+)/.exec(text)?.[1];
    const since = /Longwire-Since: (\S+)/.exec(text)?.[1];
    return { sid, since, numbers: [...text.matchAll(/#(\d+)#/g)].map(([, number]) => Number(number)) };
  }

  it('moves with what its mailbox holds, and nobody else has it', async () => {
    const rig = new Rig();
    rig.connect(1, '/poll/all?timeout=0');
    const [wire] = rig.wires;
    assert.ok(wire !== undefined);
    await waitUntil(() => wire.read.length > 0, 'the first answer');
    const sid = /Longwire-Sid: (\S+)/.exec(Buffer.concat(wire.read).toString())?.[1] ?? '';
    rig.next();
    rig.next();
    await rig.give();
    assert.equal(rig.giver.gateway.polls.sessionCount, 0);
    assert.equal(rig.giver.gateway.hub.subscriptionCount, 0);
    assert.equal(rig.taker.gateway.polls.sessionCount, 1);
    const again = new SharedWire();
    rig.taker.admission.adopt(again)?.start();
    const { numbers } = await pollOn(rig, rig.taker, again, `/poll/all?sid=${sid}&since=0&timeout=0`);
    assert.deepEqual(
      numbers,
      Array.from({ length: (numbers as number[]).length }, (_, i) => i + 1),
    );
    assert.ok((numbers as number[]).length >= 4);
    assert.equal(rig.giver.gateway.keptBack.size + rig.taker.gateway.keptBack.size, 0);
  });

  it('that the backend ends on its way is ended where it goes on', async () => {
    const rig = new Rig();
    rig.connect(1, '/poll/all?timeout=0');
    const [wire] = rig.wires;
    assert.ok(wire !== undefined);
    await waitUntil(() => wire.read.length > 0, 'the first answer');
    const sid = /Longwire-Sid: (\S+)/.exec(Buffer.concat(wire.read).toString())?.[1] ?? '';
    rig.cut = (word) => {
      if (word === 'fenced')
        rig.publish(COMMAND_CHANNEL, encodeOrder({ channel: 'all', reason: 'over', reconnect: true }));
      return false;
    };
    await rig.give();
    const again = new SharedWire();
    rig.taker.admission.adopt(again)?.start();
    again.send(get(`/poll/all?sid=${sid}&timeout=0`));
    await waitUntil(() => again.read.length > 0, 'an answer');
    assert.match(
      Buffer.concat(again.read).toString(),
      /410 Gone[\s\S]*"disconnect":\{"reason":"over","reconnect":true\}/,
    );
    assert.equal(rig.giver.gateway.polls.sessionCount + rig.taker.gateway.polls.sessionCount, 0);
  });

  it('does not come to a worker whose limit of sessions it would pass, and does not keep others from coming', async () => {
    const rig = new Rig({ pollSessionLimit: 5 });
    rig.connect(4, '/poll/all?timeout=0');
    rig.connect(2, '/poll/all?timeout=0', rig.taker);
    await waitUntil(() => rig.wires.every(({ read }) => read.length > 0), 'the first answers');
    rig.connect(3);
    assert.equal((await rig.give()).moved, 3);
    assert.equal(rig.giver.gateway.polls.sessionCount, 4);
    assert.equal(rig.taker.gateway.polls.sessionCount, 2);
    assert.equal(rig.taker.open.length, 3);
  });

  it('goes on where it is when the move is called off', async () => {
    const rig = new Rig();
    rig.connect(1, '/poll/all?timeout=0');
    const [wire] = rig.wires;
    assert.ok(wire !== undefined);
    await waitUntil(() => wire.read.length > 0, 'the first answer');
    rig.reaches.taker = false;
    await rig.give();
    const session = rig.giver.gateway.polls.sessions[0];
    assert.equal(session?.state, 'here');
    assert.ok((session?.mailbox.position ?? 0) > 1);
    assert.equal(rig.giver.gateway.keptBack.size, 0);
    assert.equal(rig.taker.gateway.polls.sessionCount, 0);
  });
});
