// The relay, with workers that are lists: who is sent what, in which order, and what happens when one does not read.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { packPublications, unpackPublications } from '../../src/broker/packed.ts';
import type { ToWorker } from '../../src/ipc.ts';
import { createLog } from '../../src/log.ts';
import { portToWorker, Relay, type WorkerPort } from '../../src/primary/relay.ts';
import { Publication } from '../../src/publication.ts';

const LIMIT_BYTES = 100_000;

/** A worker that reads only when told to. */
class SlowWorker implements WorkerPort {
  readonly sent: ToWorker[] = [];
  readonly #unread: (() => void)[] = [];

  send(message: ToWorker, flushed: () => void): void {
    this.sent.push(message);
    this.#unread.push(flushed);
  }

  read(): void {
    for (const flushed of this.#unread.splice(0)) flushed();
  }

  get texts(): string[] {
    const texts: string[] = [];
    for (const message of this.sent) {
      if (message.type !== 'publications') continue;
      for (const packed of message.packed) unpackPublications(packed, ({ payload }) => texts.push(payload.toString()));
    }
    return texts;
  }

  get answers(): [call: number, error: string | null][] {
    return this.sent.flatMap((message) =>
      message.type === 'published' ? [[message.call, message.error] as [number, string | null]] : [],
    );
  }
}

function publish(call: number, ...texts: (string | Buffer)[]) {
  const packed = packPublications(texts.map((text) => new Publication('a', Buffer.from(text))));
  return { type: 'publish', call, packed } as const;
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function relayWith(count: number): { relay: Relay; workers: SlowWorker[]; lines: string[] } {
  const lines: string[] = [];
  const relay = new Relay(
    createLog('warn', 'test', (line) => lines.push(line)),
    LIMIT_BYTES,
  );
  const workers = Array.from({ length: count }, () => new SlowWorker());
  for (const [index, worker] of workers.entries()) relay.join(index + 1, worker);
  return { relay, workers, lines };
}

describe('the relay', () => {
  it('sends what a turn brought to every worker as one message, in one order, then the answers', async () => {
    const { relay, workers } = relayWith(3);
    relay.publish(1, publish(1, 'a', 'b'));
    relay.publish(3, publish(1, 'c'));
    relay.publish(1, publish(2, 'd'));
    await turn();
    const packed = [publish(1, 'a', 'b'), publish(1, 'c'), publish(2, 'd')].map((message) => message.packed);
    const first: ToWorker = { type: 'publications', packed };
    const answer = (call: number): ToWorker => ({ type: 'published', call, error: null });
    assert.deepEqual(
      workers.map(({ sent }) => sent),
      [[first, answer(1), answer(2)], [first], [first, answer(1)]],
    );
  });

  it('does not wait for the end of a turn that brings much', () => {
    const { relay, workers } = relayWith(2);
    relay.publish(1, publish(1, Buffer.alloc(300_000)));
    assert.equal(workers[1]?.sent.length, 1);
  });

  it('gives a worker that joins what is accepted from then on, and one that left nothing more', async () => {
    const { relay, workers } = relayWith(2);
    relay.publish(1, publish(1, 'before'));
    const late = new SlowWorker();
    relay.join(3, late);
    relay.publish(1, publish(2, 'between'));
    relay.leave(2);
    relay.publish(1, publish(3, 'after'));
    await turn();
    assert.deepEqual(workers[0]?.texts, ['before', 'between', 'after']);
    assert.deepEqual(workers[1]?.texts, ['before']);
    assert.deepEqual(late.texts, ['between', 'after']);
  });

  it('refuses a publish, to everybody, while one worker is too far behind, and logs which, not each time', async () => {
    const { relay, workers, lines } = relayWith(3);
    const [publisher, slow, other] = workers;
    assert.ok(publisher !== undefined && slow !== undefined && other !== undefined);
    for (let call = 1; call <= 10; call++) {
      relay.publish(1, publish(call, Buffer.alloc(20_000)));
      await turn();
      publisher.read();
      other.read();
    }
    const refusals = publisher.answers.filter(([, error]) => error !== null);
    assert.deepEqual(
      refusals.map(([call]) => call),
      [5, 6, 7, 8, 9, 10],
    );
    assert.match(String(refusals[0]?.[1]), /^worker 2 is \d+ bytes behind; nothing was published$/);
    assert.equal(relay.backlogBytes(1), 0);
    assert.ok(relay.backlogBytes(2) > 80_000 && relay.backlogBytes(2) <= LIMIT_BYTES);
    for (const worker of workers) assert.equal(worker.texts.length, 4);
    assert.equal(lines.length, 1);

    slow.read();
    assert.equal(relay.backlogBytes(2), 0);
    relay.publish(1, publish(11, 'after'));
    await turn();
    for (const worker of workers) assert.deepEqual(worker.texts.slice(4), ['after']);
  });

  it('answers calls in their order, refused ones too', async () => {
    const { relay, workers } = relayWith(1);
    relay.publish(1, publish(1, Buffer.alloc(60_000)));
    relay.publish(1, publish(2, Buffer.alloc(60_000)));
    relay.publish(1, publish(3, 'small'));
    await turn();
    assert.deepEqual(
      workers[0]?.answers.map(([call, error]) => [call, error === null]),
      [
        [1, true],
        [2, false],
        [3, true],
      ],
    );
  });

  it('takes a call over the limit when nothing is waiting: it could never be taken otherwise', async () => {
    const { relay, workers } = relayWith(2);
    relay.publish(1, publish(1, Buffer.alloc(3 * LIMIT_BYTES)));
    await turn();
    assert.deepEqual(workers[0]?.answers, [[1, null]]);
  });

  it('counts what the turn has gathered and not sent yet', async () => {
    const { relay, workers } = relayWith(2);
    for (let call = 1; call <= 6; call++) relay.publish(1, publish(call, Buffer.alloc(20_000)));
    await turn();
    const refused = workers[0]?.answers.filter(([, error]) => error !== null).map(([call]) => call);
    assert.deepEqual(refused, [5, 6]);
  });

  it('does not let a worker that is gone stop anybody, nor its late callbacks count for its successor', async () => {
    const { relay, workers } = relayWith(2);
    const [publisher, gone] = workers;
    relay.publish(1, publish(1, Buffer.alloc(90_000)));
    await turn();
    publisher?.read();
    relay.leave(2);
    relay.publish(1, publish(2, Buffer.alloc(90_000)));
    await turn();
    assert.deepEqual(publisher?.answers, [
      [1, null],
      [2, null],
    ]);
    relay.join(2, new SlowWorker());
    gone?.read();
    assert.equal(relay.backlogBytes(2), 0);
  });

  it('answers a call without publications and sends nothing for it', async () => {
    const { relay, workers } = relayWith(2);
    relay.publish(1, publish(1));
    await turn();
    assert.deepEqual(workers[0]?.sent, [{ type: 'published', call: 1, error: null }]);
    assert.deepEqual(workers[1]?.sent, []);
  });

  it('does not relay for a worker that has not joined', async () => {
    const { relay, workers, lines } = relayWith(1);
    relay.publish(9, publish(1, 'x'));
    await turn();
    assert.deepEqual(workers[0]?.sent, []);
    assert.equal(lines.length, 1);
  });

  it('takes a message to a closed channel for read', async () => {
    const port = portToWorker({ connected: false, send: () => assert.fail('it is closed') });
    await new Promise<void>((resolve) => port.send({ type: 'last', last: false }, resolve));
  });
});
