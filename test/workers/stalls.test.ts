// Stalls on a fake clock: whose outbox stands still for the deadline is closed as a slow consumer, and nobody else is.

import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import type { CloseReason } from '../../src/close-reason.ts';
import { Stalls } from '../../workers/stalls.ts';

const DEADLINE_MS = 30_000;
const SWEEP_MS = 1_000;

let nowMs = 0;
let stalls: Stalls;

beforeEach(() => {
  nowMs = 0;
  stalls = new Stalls(DEADLINE_MS, () => nowMs);
});

/** A connection as the sweep sees it: an outbox that is written to and that a peer reads from. */
class Peer {
  readonly wire = { outboxBytes: 0 };
  readonly closed: CloseReason[] = [];

  close(reason: CloseReason): void {
    this.closed.push(reason);
    this.wire.outboxBytes = 0;
    stalls.forget(this);
  }

  write(bytes: number): void {
    this.wire.outboxBytes += bytes;
    stalls.watch(this, bytes);
  }

  read(bytes: number): void {
    this.wire.outboxBytes -= bytes;
  }
}

/** Sweeps each second; `between` is what happens before each sweep. */
function pass(ms: number, between: () => void = () => {}): void {
  for (const end = nowMs + ms; nowMs < end; ) {
    nowMs += SWEEP_MS;
    between();
    stalls.sweep();
  }
}

describe('a stalled outbox', () => {
  it('is closed at the deadline, not before', () => {
    const peer = new Peer();
    peer.write(100);
    pass(DEADLINE_MS - SWEEP_MS);
    assert.deepEqual(peer.closed, []);
    pass(SWEEP_MS);
    assert.deepEqual(peer.closed, ['slow-consumer']);
    assert.equal(stalls.size, 0);
  });

  it('is closed however often something more is written to it', () => {
    const peer = new Peer();
    peer.write(100);
    pass(DEADLINE_MS, () => peer.write(3));
    assert.deepEqual(peer.closed, ['slow-consumer']);
  });

  it('is not closed while it moves, be it by a byte and with more coming than going', () => {
    const peer = new Peer();
    peer.write(100);
    for (let i = 0; i < 20; i++) {
      pass(DEADLINE_MS - SWEEP_MS, () => peer.write(10));
      peer.read(1);
      pass(SWEEP_MS);
    }
    assert.deepEqual(peer.closed, []);
    pass(DEADLINE_MS);
    assert.deepEqual(peer.closed, ['slow-consumer']);
  });

  it('is not closed when what goes is as much as what comes, so that its size stands still', () => {
    const peer = new Peer();
    peer.write(100);
    pass(4 * DEADLINE_MS, () => {
      peer.write(10);
      peer.read(10);
    });
    assert.deepEqual(peer.closed, []);
  });

  it('is no longer watched once it is empty, and begins anew with the next stall', () => {
    const peer = new Peer();
    peer.write(100);
    pass(DEADLINE_MS - SWEEP_MS);
    peer.read(100);
    pass(SWEEP_MS);
    assert.equal(stalls.size, 0);
    peer.write(100);
    pass(DEADLINE_MS - SWEEP_MS);
    assert.deepEqual(peer.closed, []);
    pass(SWEEP_MS);
    assert.deepEqual(peer.closed, ['slow-consumer']);
  });

  it('that was empty for a moment between two sweeps has moved', () => {
    const peer = new Peer();
    peer.write(100);
    pass(DEADLINE_MS - SWEEP_MS);
    peer.read(100);
    peer.write(100);
    pass(DEADLINE_MS - SWEEP_MS);
    assert.deepEqual(peer.closed, []);
  });

  it('that is forgotten is left alone', () => {
    const peer = new Peer();
    peer.write(100);
    stalls.forget(peer);
    stalls.forget(peer);
    assert.equal(stalls.size, 0);
    pass(2 * DEADLINE_MS);
    assert.deepEqual(peer.closed, []);
  });

  it('does not touch others: all that stall are closed in one sweep, the rest stay', () => {
    const peers = Array.from({ length: 30 }, () => new Peer());
    for (const peer of peers) peer.write(50);
    pass(DEADLINE_MS, () => {
      for (let i = 0; i < peers.length; i += 3) peers[i]?.read(1);
    });
    for (const [i, { closed }] of peers.entries())
      assert.deepEqual(closed, i % 3 === 0 ? [] : ['slow-consumer'], `${i}`);
    assert.equal(stalls.size, 10);
  });
});
