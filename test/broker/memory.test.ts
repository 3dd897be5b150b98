// The embedded broker with real forked workers and a real relay: the contract, and a worker that does not read.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PUBLISH_DEADLINE_MS } from '../../src/broker/broker.ts';
import { MemoryBroker, portToPrimary } from '../../src/broker/memory.ts';
import { packPublications } from '../../src/broker/packed.ts';
import type { ToPrimary } from '../../src/ipc.ts';
import { Publication } from '../../src/publication.ts';
import { describeBroker } from './conformance.ts';
import { Recorder, type Written } from './recorder.ts';
import { PublishFailure, TestWorkers } from './workers.ts';

describeBroker('memory', async (count) => {
  const workers = await TestWorkers.start(count, { redis: null });
  return {
    workers,
    takeAway() {
      workers.relaying = false;
    },
    stop: () => workers.stop(),
  };
});

describe('a worker that hangs, on the memory broker', () => {
  it('stops publishing before anything is lost, and has missed nothing when it goes on', async () => {
    const workers = await TestWorkers.start(3, { redis: null, backlogLimitBytes: 1024 * 1024 });
    const [publisher, hung, other] = workers.all;
    assert.ok(publisher !== undefined && hung !== undefined && other !== undefined);
    try {
      hung.process.kill('SIGSTOP');
      const publication = (text: string): Written => ['flood', Buffer.alloc(50_000, `${text} `), null, null];
      let taken = 0;
      let refusal: unknown = null;
      // The kernel takes a few hundred kilobytes for it; then the backlog grows.
      while (refusal === null && taken < 1_000) {
        try {
          await publisher.publish(publication(String(taken)));
          taken++;
        } catch (error) {
          refusal = error;
        }
      }
      assert.ok(refusal instanceof PublishFailure);
      assert.equal(refusal.kind, 'unavailable');
      assert.match(refusal.message, /worker 2 is \d+ bytes behind; nothing was published/);
      assert.ok(workers.relay.backlogBytes(2) <= 1024 * 1024);
      await other.recorder.untilPublications(taken);

      hung.process.kill('SIGCONT');
      await hung.recorder.untilPublications(taken);
      await publisher.publish(publication('after'));
      for (const { recorder } of workers.all) {
        await recorder.untilPublications(taken + 1);
        const texts = recorder.texts('flood').map((text) => text.split(' ')[0]);
        assert.deepEqual(texts, [...Array.from({ length: taken }, (_, i) => String(i)), 'after']);
      }
    } finally {
      await workers.stop();
    }
  });

  it('no longer stops it once it is gone', async () => {
    const workers = await TestWorkers.start(2, { redis: null, backlogLimitBytes: 1024 * 1024 });
    const [publisher, hung] = workers.all;
    assert.ok(publisher !== undefined && hung !== undefined);
    try {
      hung.process.kill('SIGSTOP');
      const payload = Buffer.alloc(600_000);
      await publisher.publish(['x', payload, null, null]);
      await assert.rejects(async () => {
        for (;;) await publisher.publish(['x', payload, null, null]);
      }, PublishFailure);
      hung.process.kill('SIGKILL');
      await new Promise((resolve) => hung.process.once('exit', resolve));
      await publisher.publish(['x', payload, null, null]);
    } finally {
      await workers.stop();
    }
  });
});

describe('the memory broker', () => {
  const one = [new Publication('a', Buffer.from('x'))];
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

  async function started(send: (message: ToPrimary) => boolean): Promise<{ broker: MemoryBroker; recorder: Recorder }> {
    const recorder = new Recorder();
    const broker = new MemoryBroker({ send }, recorder);
    await broker.start();
    return { broker, recorder };
  }

  it('sends the calls of one turn as one message and settles them with one answer', async () => {
    const sent: ToPrimary[] = [];
    const { broker } = await started((message) => sent.push(message) > 0);
    const calls = [broker.publish(one), broker.publish([]), broker.publish([...one, ...one])];
    assert.deepEqual(sent, []);
    await turn();
    assert.deepEqual(sent, [{ type: 'publish', call: 1, packed: packPublications([...one, ...one, ...one]) }]);
    broker.receive({ type: 'published', call: 1, error: null });
    await Promise.all(calls);
    assert.ok(broker.roundTripSeconds > 0);
  });

  it('takes answers to calls that it no longer has, and messages that are not its own', async () => {
    const { broker, recorder } = await started(() => true);
    broker.receive({ type: 'published', call: 7, error: null });
    broker.receive({ type: 'drain', seconds: 1 });
    assert.deepEqual(recorder.entries, [{ type: 'state', state: 'up' }]);
  });

  it('is down once the primary is gone', async () => {
    const { broker, recorder } = await started(() => false);
    await assert.rejects(broker.publish(one), {
      kind: 'unavailable',
      message: /primary is gone; nothing was published/,
    });
    assert.equal(recorder.state, 'down');
    await assert.rejects(broker.publish(one), { kind: 'unavailable' });
  });

  it('fails a call without an answer at the deadline, and takes no notice of one that comes later', async () => {
    const { broker } = await started(() => true);
    const begin = performance.now();
    await assert.rejects(broker.publish(one), { kind: 'unavailable', message: /may or may not have been taken/ });
    const waitedMs = performance.now() - begin;
    assert.ok(waitedMs > PUBLISH_DEADLINE_MS - 50 && waitedMs < PUBLISH_DEADLINE_MS + 500);
    broker.receive({ type: 'published', call: 1, error: null });
  });

  it('delivers and publishes nothing once it is stopped', async () => {
    const { broker, recorder } = await started(() => true);
    const call = broker.publish(one);
    const refused = assert.rejects(call, { kind: 'unavailable', message: /stopped; nothing was published/ });
    await broker.stop();
    await refused;
    broker.receive({ type: 'publications', packed: [packPublications(one)] });
    assert.deepEqual(recorder.publications, []);
    await assert.rejects(broker.publish(one), { kind: 'unavailable' });
  });

  it('looks at bytes that are no Buffer in place', async () => {
    const { broker, recorder } = await started(() => true);
    const packed = packPublications(one);
    const bytes = new Uint8Array([9, ...packed, 9]).subarray(1, packed.length + 1);
    broker.receive({ type: 'publications', packed: [bytes] });
    assert.deepEqual(recorder.publications, [['a', Buffer.from('x'), null, null]]);
  });

  it('has no way to the primary over a channel that is closed or was never there', () => {
    const hello: ToPrimary = { type: 'hello' };
    assert.equal(portToPrimary({ connected: false, send: () => true }).send(hello), false);
    assert.equal(portToPrimary({ connected: true }).send(hello), false);
    assert.equal(portToPrimary({ connected: true, send: () => false }).send(hello), true);
  });
});
