// The bounds on what is in flight, and that a call settles once.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Batch, Calls, IN_FLIGHT_LIMIT_BYTES, IN_FLIGHT_LIMIT_CALLS } from '../../src/broker/calls.ts';
import { LongwireError } from '../../src/errors.ts';
import { Publication } from '../../src/publication.ts';

const LARGE = Buffer.alloc(1024 * 1024);

function publications(count: number, payload = Buffer.from('x')): Publication[] {
  return Array.from({ length: count }, () => new Publication('a', payload));
}

function gathered(): { calls: Calls; batches: Batch[]; turn: () => Promise<void> } {
  const batches: Batch[] = [];
  const calls = new Calls((batch) => batches.push(batch));
  return { calls, batches, turn: () => new Promise((resolve) => setImmediate(resolve)) };
}

/** Settles everything that has been sent. */
function answer({ calls, batches }: { calls: Calls; batches: Batch[] }): void {
  for (const { number } of batches.splice(0)) {
    const batch = calls.take(number);
    if (batch !== null) calls.settleBatch(batch, null);
  }
}

describe('publish calls', () => {
  it('of one turn are one batch, in their order; those of the next are the next', async () => {
    const fixture = gathered();
    const settled = [fixture.calls.publish(publications(1)), fixture.calls.publish(publications(2))];
    await fixture.turn();
    settled.push(fixture.calls.publish(publications(3)));
    await fixture.turn();
    assert.deepEqual(
      fixture.batches.map(({ number, calls }) => [number, ...calls.map((call) => call.publications.length)]),
      [
        [1, 1, 2],
        [2, 3],
      ],
    );
    answer(fixture);
    await Promise.all(settled);
  });

  it('are refused when too many bytes are in flight, and taken again afterwards', async () => {
    const fixture = gathered();
    const settled: Promise<unknown>[] = [];
    for (let i = 0; i < 31; i++) settled.push(fixture.calls.publish(publications(1, LARGE)));
    await assert.rejects(fixture.calls.publish(publications(1, LARGE)), {
      kind: 'unavailable',
      message: /nothing was published/,
    });
    settled.push(fixture.calls.publish(publications(1)));
    await fixture.turn();
    answer(fixture);
    await Promise.all(settled);
    const again = fixture.calls.publish(publications(1, LARGE));
    await fixture.turn();
    answer(fixture);
    await again;
  });

  it('are refused when too many are in flight', async () => {
    const fixture = gathered();
    const settled = Array.from({ length: IN_FLIGHT_LIMIT_CALLS }, () => fixture.calls.publish(publications(1)));
    await assert.rejects(fixture.calls.publish(publications(1)), { kind: 'unavailable' });
    await fixture.turn();
    answer(fixture);
    await Promise.all(settled);
  });

  it('that could never be taken say so, instead of asking to try again', async () => {
    const { calls } = gathered();
    const tooMany = publications(IN_FLIGHT_LIMIT_BYTES / LARGE.length, LARGE);
    await assert.rejects(calls.publish(tooMany), { kind: 'limit-exceeded', message: /nothing was published/ });
    await assert.rejects(calls.publish(publications(300_000)), { kind: 'limit-exceeded' });
  });

  it('count beyond their deadline, for as long as the broker has not answered', async () => {
    const fixture = gathered();
    const late = Array.from({ length: 31 }, () => fixture.calls.publish(publications(1, LARGE)));
    for (const outcome of await Promise.allSettled(late)) assert.equal(outcome.status, 'rejected');
    await assert.rejects(fixture.calls.publish(publications(1, LARGE)), { message: /the broker is behind/ });
    answer(fixture);
    const taken = fixture.calls.publish(publications(1, LARGE));
    await fixture.turn();
    answer(fixture);
    await taken;
  });

  it('settle once: what comes after the first outcome changes nothing', async () => {
    const fixture = gathered();
    const call = fixture.calls.publish(publications(1));
    await fixture.turn();
    const batch = fixture.calls.take(1);
    assert.ok(batch !== null);
    assert.equal(fixture.calls.take(1), null);
    fixture.calls.settleBatch(batch, new LongwireError('unavailable', 'first'));
    fixture.calls.settleBatch(batch, null);
    await assert.rejects(call, { message: 'first' });
  });

  it('all fail when the broker goes, and say whether anything may have been published', async () => {
    const fixture = gathered();
    const sent = fixture.calls.publish(publications(1));
    await fixture.turn();
    const unsent = fixture.calls.publish(publications(1));
    const outcomes = Promise.allSettled([sent, unsent]);
    fixture.calls.failAll('gone');
    assert.deepEqual(
      (await outcomes).map((outcome) => (outcome.status === 'rejected' ? outcome.reason.message : 'published')),
      ['gone; what was published may or may not have been taken', 'gone; nothing was published'],
    );
    await fixture.turn();
    assert.equal(fixture.batches.length, 1);
  });
});
