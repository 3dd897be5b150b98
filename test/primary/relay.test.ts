// The relay, with workers that are lists: who is sent what, in which order, and what happens when one does not read.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { packedBytes, packPublications, unpackPublications } from '../../src/broker/packed.ts';
import { type FrameKind, FrameReader } from '../../src/broker/relay-frames.ts';
import type { FramePort } from '../../src/broker/relay-link.ts';
import { createLog } from '../../src/log.ts';
import { Relay } from '../../src/primary/relay.ts';
import { Publication } from '../../src/publication.ts';

const LIMIT_BYTES = 100_000;

type Frame = [kind: FrameKind, call: number, body: Buffer];

/** A worker that reads only when told to. Until then it keeps what it is sent as a link does: see `RelayLink.send`. */
class SlowWorker implements FramePort {
  readonly #sent: Buffer[] = [];
  backlogBytes = 0;

  send(frames: Buffer): boolean {
    const behind = this.backlogBytes > 0;
    this.#sent.push(behind ? Buffer.from(frames) : frames);
    this.backlogBytes += frames.length;
    return behind;
  }

  read(): void {
    this.backlogBytes = 0;
  }

  /** Looked at only now, so that bytes which the relay has overwritten too early show. */
  get frames(): Frame[] {
    const frames: Frame[] = [];
    const reader = new FrameReader((kind, call, body) => frames.push([kind, call, Buffer.from(body)]));
    for (const bytes of this.#sent) assert.equal(reader.push(bytes), null);
    return frames;
  }

  get texts(): string[] {
    const texts: string[] = [];
    for (const [kind, , body] of this.frames) {
      if (kind === 'publications') unpackPublications(body, ({ payload }) => texts.push(payload.toString()));
    }
    return texts;
  }

  get answers(): [call: number, error: string | null][] {
    return this.frames.flatMap(([kind, call, body]) =>
      kind === 'published' ? [[call, body.length === 0 ? null : body.toString()] as [number, string | null]] : [],
    );
  }
}

function packed(...texts: (string | Buffer)[]): Buffer {
  const publications = texts.map((text) => new Publication('a', Buffer.from(text)));
  const bytes = Buffer.alloc(packedBytes(publications));
  packPublications(bytes, publications);
  return bytes;
}

/** Publishes as worker `id`; the bytes are overwritten afterwards, as a link's are. */
function publish(relay: Relay, id: number, call: number, ...texts: (string | Buffer)[]): void {
  const body = packed(...texts);
  relay.receive(id, 'publish', call, body);
  body.fill('!');
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function relayWith(count: number, limitBytes = LIMIT_BYTES): { relay: Relay; workers: SlowWorker[]; lines: string[] } {
  const lines: string[] = [];
  const relay = new Relay(
    createLog('warn', 'test', (line) => lines.push(line)),
    limitBytes,
  );
  const workers = Array.from({ length: count }, () => new SlowWorker());
  for (const [index, worker] of workers.entries()) relay.join(index + 1, worker);
  return { relay, workers, lines };
}

describe('the relay', () => {
  it('sends what a turn brought to every worker, in one order, then the answers', async () => {
    const { relay, workers } = relayWith(3);
    publish(relay, 1, 1, 'a', 'b');
    publish(relay, 3, 1, 'c');
    publish(relay, 1, 2, 'd');
    await turn();
    const first: Frame[] = [packed('a', 'b'), packed('c'), packed('d')].map((body) => ['publications', 0, body]);
    const answer = (call: number): Frame => ['published', call, Buffer.alloc(0)];
    assert.deepEqual(
      workers.map(({ frames }) => frames),
      [[...first, answer(1), answer(2)], first, [...first, answer(1)]],
    );
  });

  it('does not wait for the end of a turn that brings much', () => {
    const { relay, workers } = relayWith(2);
    publish(relay, 1, 1, Buffer.alloc(300_000));
    assert.equal(workers[1]?.frames.length, 1);
  });

  it('gives a worker that joins what is accepted from then on, and one that left nothing more', async () => {
    const { relay, workers } = relayWith(2);
    publish(relay, 1, 1, 'before');
    const late = new SlowWorker();
    relay.join(3, late);
    publish(relay, 1, 2, 'between');
    relay.leave(2);
    publish(relay, 1, 3, 'after');
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
      publish(relay, 1, call, Buffer.alloc(20_000));
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
    publish(relay, 1, 11, 'after');
    await turn();
    for (const worker of workers) assert.deepEqual(worker.texts.slice(4), ['after']);
  });

  it('answers calls in their order, refused ones too', async () => {
    const { relay, workers } = relayWith(1);
    publish(relay, 1, 1, Buffer.alloc(60_000));
    publish(relay, 1, 2, Buffer.alloc(60_000));
    publish(relay, 1, 3, 'small');
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
    publish(relay, 1, 1, Buffer.alloc(3 * LIMIT_BYTES));
    await turn();
    assert.deepEqual(workers[0]?.answers, [[1, null]]);
  });

  it('counts what the turn has gathered and not sent yet', async () => {
    const { relay, workers } = relayWith(2);
    for (let call = 1; call <= 6; call++) publish(relay, 1, call, Buffer.alloc(20_000));
    await turn();
    const refused = workers[0]?.answers.filter(([, error]) => error !== null).map(([call]) => call);
    assert.deepEqual(refused, [5, 6]);
  });

  it('does not let a worker that is gone stop anybody, nor its late callbacks count for its successor', async () => {
    const { relay, workers } = relayWith(2);
    const [publisher, gone] = workers;
    publish(relay, 1, 1, Buffer.alloc(90_000));
    await turn();
    publisher?.read();
    relay.leave(2);
    publish(relay, 1, 2, Buffer.alloc(90_000));
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
    publish(relay, 1, 1);
    await turn();
    assert.deepEqual(workers[0]?.frames, [['published', 1, Buffer.alloc(0)]]);
    assert.deepEqual(workers[1]?.frames, []);
  });

  it('does not relay for a worker that has not joined', async () => {
    const { relay, workers, lines } = relayWith(1);
    publish(relay, 9, 1, 'x');
    await turn();
    assert.deepEqual(workers[0]?.frames, []);
    assert.equal(lines.length, 1);
  });

  it('leaves what a worker has not read alone, and goes on gathering elsewhere', async () => {
    const { relay, workers } = relayWith(2);
    const texts = Array.from({ length: 500 }, (_, i) => `publication ${i}`);
    for (const [i, text] of texts.entries()) {
      publish(relay, 1, i, text);
      await turn();
      workers[0]?.read();
      if (i % 50 === 0) workers[1]?.read();
    }
    for (const worker of workers) assert.deepEqual(worker.texts, texts);
  });

  it('keeps the order of a turn that brings more than it gathers', async () => {
    const { relay, workers } = relayWith(2, 10_000_000);
    const texts = Array.from({ length: 100 }, (_, i) => `${i} `.padEnd(i % 10 === 0 ? 300_000 : 9_000, 'x'));
    for (const [i, text] of texts.entries()) {
      publish(relay, 1 + (i % 2), i, text);
      for (const worker of workers) worker.read();
    }
    await turn();
    for (const worker of workers)
      assert.ok(worker.texts.every((text, i) => text === texts[i]) && worker.texts.length === 100);
  });
});
