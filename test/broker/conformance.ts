// The broker contract as tests (src/broker/broker.ts): one suite, run for every broker, each with real processes.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { PUBLISH_DEADLINE_MS } from '../../src/broker/broker.ts';
import type { Written } from './recorder.ts';
import { PublishFailure, type TestWorker, type TestWorkers } from './workers.ts';

export interface BrokerUnderTest {
  workers: TestWorkers;
  /** Takes away what is behind the broker, so that publishing must fail. */
  takeAway(): Promise<void> | void;
  stop(): Promise<void>;
}

const WORKERS = 3;

const EMOJI = Buffer.from('👩‍👩‍👧');

/** What has broken other gateways. */
export const NASTY_PAYLOADS: Record<string, Buffer> = {
  empty: Buffer.alloc(0),
  CR: Buffer.from('\r'),
  LF: Buffer.from('\n'),
  CRLF: Buffer.from('\r\n'),
  'lines of every kind': Buffer.from('a\rb\nc\r\nd\n\ne\r\r'),
  NUL: Buffer.from([0]),
  'every byte': Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)),
  'first half of an emoji': EMOJI.subarray(0, 2),
  'second half of an emoji': EMOJI.subarray(2),
  'what Redis sends': Buffer.from('*4\r\n$8\r\npmessage\r\n$6\r\npush:*\r\n$6\r\npush:x\r\n$1\r\ny\r\n'),
  'what an envelope begins with': Buffer.from('{"channel":"other"}\nx'),
  '1 MiB': Buffer.alloc(1024 * 1024, 'ünïcödé\n'),
};

const CHANNELS = ['a', 'ümläut', '频道', '👩‍👩‍👧', 'with space', 'a*b?[c]', 'push:push:', '%41', 'x'.repeat(255)];

export function describeBroker(name: string, open: (workers: number) => Promise<BrokerUnderTest>): void {
  describe(`the ${name} broker`, () => {
    let broker: BrokerUnderTest;
    let workers: TestWorker[];
    const first = (): TestWorker => {
      const worker = workers[0];
      assert.ok(worker !== undefined);
      return worker;
    };

    before(async () => {
      broker = await open(WORKERS);
      workers = broker.workers.all;
    });
    after(() => broker.stop());

    /** Publishes from the first worker, one call each, and returns what each worker was given. */
    async function throughBroker(publications: Written[]): Promise<Written[][]> {
      const before = workers.map(({ recorder }) => recorder.publications.length);
      for (const publication of publications) await first().publish(publication);
      return Promise.all(
        workers.map(async ({ recorder }, index) => {
          const from = before[index] ?? 0;
          await recorder.untilPublications(from + publications.length);
          return recorder.publications.slice(from);
        }),
      );
    }

    /** Compares as text, since a mismatch of a mebibyte is no help to anybody. */
    function assertSame(actual: Written[], expected: Written[]): void {
      const show = ([channel, payload, event, id]: Written) => ({
        channel,
        event,
        id,
        bytes: payload.byteLength,
        payload: Buffer.from(payload).toString('hex', 0, 300),
      });
      assert.deepEqual(actual.map(show), expected.map(show));
      for (const [index, [, payload]] of expected.entries()) {
        assert.ok(Buffer.from(payload).equals(Buffer.from(actual[index]?.[1] ?? [])), `payload ${index} differs`);
      }
    }

    it('is up once it has started, and says so once', async () => {
      for (const { recorder } of workers) {
        await recorder.untilState('up');
        assert.deepEqual(recorder.entries, [{ type: 'state', state: 'up' }]);
      }
    });

    for (const [what, payload] of Object.entries(NASTY_PAYLOADS)) {
      it(`carries the payload '${what}' byte for byte, alone and with event and id`, async () => {
        const publications: Written[] = [
          ['nasty', payload, null, null],
          ['nasty', payload, 'an event', 'ïd "1"'],
        ];
        for (const given of await throughBroker(publications)) assertSame(given, publications);
      });
    }

    it('carries event and id, together and each alone', async () => {
      const publications: Written[] = [
        ['fields', Buffer.from('x'), 'event', null],
        ['fields', Buffer.from('x'), null, 'id'],
        ['fields', Buffer.from('x'), '', ''],
        ['fields', Buffer.from('x'), '{"a":"\\u0000"}', '頻道 👩‍👩‍👧'],
      ];
      for (const given of await throughBroker(publications)) assertSame(given, publications);
    });

    it('carries channel names of every script and of the longest length', async () => {
      const publications = CHANNELS.flatMap((channel): Written[] => [
        [channel, Buffer.from('alone'), null, null],
        [channel, Buffer.from('with an event'), 'event', null],
      ]);
      for (const given of await throughBroker(publications)) assertSame(given, publications);
    });

    it('keeps the order of one call, whatever is in it', async () => {
      const publications = Array.from(
        { length: 2_000 },
        (_, i): Written => [
          `order ${i % 3}`,
          Buffer.alloc(i % 7 === 0 ? 5_000 : 5, `${i} `),
          i % 5 === 0 ? 'event' : null,
          i % 4 === 0 ? String(i) : null,
        ],
      );
      const before = workers.map(({ recorder }) => recorder.publications.length);
      await first().publish(...publications);
      for (const [index, { recorder }] of workers.entries()) {
        const from = before[index] ?? 0;
        await recorder.untilPublications(from + publications.length);
        assertSame(recorder.publications.slice(from), publications);
      }
    });

    it('gives all workers one order, that of each publisher, when all publish at once', async () => {
      const rounds = 400;
      const before = workers.map(({ recorder }) => recorder.publications.length);
      const calls: Promise<void>[] = [];
      for (let round = 0; round < rounds; round++) {
        for (const worker of workers) {
          const text = Buffer.from(`${worker.id} ${String(round).padStart(6, '0')}`);
          const event = round % 3 === 0 ? 'event' : null;
          calls.push(worker.publish(['race', text, event, null], ['aside', text, null, null]));
        }
      }
      await Promise.all(calls);
      const expected = rounds * workers.length * 2;
      const sequences = await Promise.all(
        workers.map(async ({ recorder }, index) => {
          const from = before[index] ?? 0;
          await recorder.untilPublications(from + expected);
          return recorder.publications.slice(from).map(([channel, payload]) => `${channel} ${Buffer.from(payload)}`);
        }),
      );
      for (const sequence of sequences) {
        assert.equal(sequence.length, expected);
        assert.deepEqual(sequence, sequences[0]);
      }
      for (const { id } of workers) {
        const own = (sequences[0] ?? []).filter((text) => text.startsWith(`race ${id} `));
        assert.deepEqual(own, [...own].sort());
      }
    });

    it('takes a flood: 20,000 publications in flight from one worker', async () => {
      const before = workers.map(({ recorder }) => recorder.publications.length);
      const calls = Array.from({ length: 2_000 }, (_, call) =>
        first().publish(
          ...Array.from({ length: 10 }, (_, i): Written => ['flood', Buffer.from(`${call * 10 + i}`), null, null]),
        ),
      );
      await Promise.all(calls);
      for (const [index, { recorder }] of workers.entries()) {
        const from = before[index] ?? 0;
        await recorder.untilPublications(from + 20_000);
        const numbers = recorder.publications.slice(from).map(([, payload]) => Number(Buffer.from(payload)));
        assert.ok(numbers.every((number, at) => number === at));
      }
    });

    it('gives a worker that comes later everything from then on', async () => {
      const late = await broker.workers.add();
      await first().publish(['late', Buffer.from('hello'), null, null]);
      await late.recorder.untilPublications(1);
      assert.deepEqual(late.recorder.texts('late'), ['hello']);
      assert.equal(late.recorder.gaps, 0);
    });

    it('goes on for the others when a worker is killed', async () => {
      const victim = await broker.workers.add();
      const texts = Array.from({ length: 200 }, (_, i) => String(i));
      for (const [i, text] of texts.entries()) {
        if (i === 100) victim.process.kill('SIGKILL');
        await first().publish(['survivors', Buffer.from(text), null, null]);
      }
      for (const { recorder } of workers.slice(0, WORKERS)) {
        await recorder.until(() => recorder.texts('survivors').length >= texts.length, 'the survivors to have it all');
        assert.deepEqual(recorder.texts('survivors'), texts);
      }
    });

    it('takes a call without publications', async () => {
      await first().publish();
    });

    it('has told nobody of a gap', () => {
      for (const { recorder } of workers) assert.equal(recorder.gaps, 0);
    });

    it('refuses to publish by the deadline when what is behind it is away, and says so', async () => {
      await broker.takeAway();
      const begin = performance.now();
      const outcome = await first()
        .publish(['away', Buffer.from('x'), null, null])
        .catch((error: unknown) => error);
      assert.ok(outcome instanceof PublishFailure, `it was published: ${outcome}`);
      assert.equal(outcome.kind, 'unavailable');
      assert.ok(performance.now() - begin < PUBLISH_DEADLINE_MS + 1_000);
    });
  });
}
