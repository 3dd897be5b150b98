// The embedded broker with real forked workers and a real relay: the contract, and a worker that does not read.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DEFAULT_OPTIONS } from '../../config/namespaces.ts';
import { type BrokerReceiver, PUBLISH_DEADLINE_MS } from '../../src/broker/broker.ts';
import { MemoryBroker } from '../../src/broker/memory.ts';
import { packedBytes, packPublications } from '../../src/broker/packed.ts';
import { type FrameKind, FrameReader } from '../../src/broker/relay-frames.ts';
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

  function packed(publications: Publication[]): Buffer {
    const bytes = Buffer.alloc(packedBytes(publications));
    packPublications(bytes, publications);
    return bytes;
  }

  /** `sent` has what the broker sent, each frame with a copy of its body. */
  async function started() {
    const recorder = new Recorder();
    const sent: [kind: FrameKind, call: number, body: Buffer][] = [];
    const reader = new FrameReader((kind, call, body) => sent.push([kind, call, Buffer.from(body)]));
    const send = (frames: Buffer): boolean => {
      assert.equal(reader.push(frames), null);
      return true;
    };
    const broker = new MemoryBroker({ send, backlogBytes: 0 }, recorder);
    await broker.start();
    return { broker, recorder, sent };
  }

  it('sends the calls of one turn as one frame and settles them with one answer', async () => {
    const { broker, sent } = await started();
    const calls = [broker.publish(one), broker.publish([]), broker.publish([...one, ...one])];
    assert.deepEqual(sent, []);
    await turn();
    assert.deepEqual(sent, [['publish', 1, packed([...one, ...one, ...one])]]);
    broker.receive('published', 1, Buffer.alloc(0));
    await Promise.all(calls);
    assert.ok(broker.roundTripSeconds > 0);
  });

  it('fails a call with the reason that the relay gives', async () => {
    const { broker } = await started();
    const call = broker.publish(one);
    await turn();
    broker.receive('published', 1, Buffer.from('worker 2 is away'));
    await assert.rejects(call, { kind: 'unavailable', message: 'worker 2 is away' });
  });

  it('takes answers to calls that it no longer has, and frames that are not for workers', async () => {
    const { broker, recorder } = await started();
    broker.receive('published', 7, Buffer.alloc(0));
    broker.receive('publish', 1, packed(one));
    assert.deepEqual(recorder.entries, [{ type: 'state', state: 'up' }]);
  });

  it('fails a call without an answer at the deadline, and takes no notice of one that comes later', async () => {
    const { broker } = await started();
    const begin = performance.now();
    await assert.rejects(broker.publish(one), { kind: 'unavailable', message: /may or may not have been taken/ });
    const waitedMs = performance.now() - begin;
    assert.ok(waitedMs > PUBLISH_DEADLINE_MS - 50 && waitedMs < PUBLISH_DEADLINE_MS + 500);
    broker.receive('published', 1, Buffer.alloc(0));
  });

  it('delivers what stands behind the word of where the history stands, though it comes in the same read', async () => {
    const told: string[] = [];
    const receiver: BrokerReceiver = {
      onHistory: ({ epoch, offset }) => void told.push(`history ${epoch}.${offset}`),
      onPublication: ({ payload }) => void told.push(`${payload}`),
      onState: (state) => void told.push(state),
      onGap: () => assert.fail('nothing is missing'),
    };
    let asked = 0;
    const reader = new FrameReader((kind, call) => {
      assert.equal(kind, 'ask');
      asked = call;
    });
    const send = (frames: Buffer): boolean => reader.push(frames) === null;
    const history = { ...DEFAULT_OPTIONS, historySize: 10, historyTtlSeconds: 60 };
    const broker = new MemoryBroker({ send, backlogBytes: 0 }, receiver, { default: history, named: {} });
    const starting = broker.start();
    broker.receive('publications', 0, packed([new Publication('a', Buffer.from('before'))]));
    const head = Buffer.from(JSON.stringify({ epoch: 'e', offset: 6, channels: [] }));
    const length = Buffer.alloc(4);
    length.writeUInt32LE(head.length);
    // One after the other, as frames of one read are taken: nothing else of this process runs between them.
    broker.receive('told', asked, Buffer.concat([length, head]));
    broker.receive('publications', 0, packed([new Publication('a', Buffer.from('behind'))]));
    await starting;
    assert.deepEqual(told, ['history e.6', 'behind', 'up']);
  });

  it('delivers and publishes nothing once it is stopped', async () => {
    const { broker, recorder } = await started();
    const call = broker.publish(one);
    const refused = assert.rejects(call, { kind: 'unavailable', message: /stopped; nothing was published/ });
    await broker.stop();
    await refused;
    broker.receive('publications', 0, packed(one));
    assert.deepEqual(recorder.publications, []);
    await assert.rejects(broker.publish(one), { kind: 'unavailable' });
  });
});
