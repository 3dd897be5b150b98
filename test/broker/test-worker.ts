// A worker for broker tests: a forked process that holds one broker, does what the test says and tells what the broker told.
//
// The embedded broker has its own link, as it has in the gateway; the channel is the test's. Entries are gathered for a
// turn, so that a flood of publications is not one message each.

import type { Broker, BrokerReceiver } from '../../src/broker/broker.ts';
import { MemoryBroker } from '../../src/broker/memory.ts';
import { RelayLink, workerEnd } from '../../src/broker/relay-link.ts';
import { LongwireError } from '../../src/errors.ts';
import { createLog } from '../../src/log.ts';
import { Publication } from '../../src/publication.ts';
import { type Entry, entryOf, type Written } from './recorder.ts';

/** What the test says. */
export type ToTestWorker =
  | { test: 'start'; redis: { url: string; prefix: string } | null }
  | { test: 'publish'; call: number; publications: Written[] };

/** What the worker says to the test. */
export type FromTestWorker =
  | { test: 'loaded' }
  | { test: 'started' }
  | { test: 'entries'; entries: Entry[] }
  /** `error` is null when the broker has taken the publications. */
  | { test: 'settled'; call: number; error: { kind: string; text: string } | null }
  /** A line of its log, parsed. */
  | { test: 'log'; line: { level: string; text: string; error?: string } };

let broker: Broker | null = null;
let gathered: Entry[] = [];

function say(message: FromTestWorker): void {
  process.send?.(message);
}

function record(entry: Entry): void {
  if (gathered.length === 0) {
    setImmediate(() => {
      const entries = gathered;
      gathered = [];
      say({ test: 'entries', entries });
    });
  }
  gathered.push(entry);
}

const receiver: BrokerReceiver = {
  onPublication: (publication) => record(entryOf(publication)),
  onState: (state) => record({ type: 'state', state }),
  onGap: (sinceMs) => record({ type: 'gap', sinceMs }),
  onHistory: () => {},
};

async function start(redis: { url: string; prefix: string } | null): Promise<void> {
  if (redis === null) {
    const link: RelayLink = new RelayLink(
      workerEnd,
      (kind, call, body) => memory.receive(kind, call, body),
      () => process.exit(),
    );
    const memory = new MemoryBroker(link, receiver);
    broker = memory;
  } else {
    const { RedisBroker } = await import('../../src/broker/redis.ts');
    const log = createLog('debug', 'test worker', (line) => say({ test: 'log', line: JSON.parse(line) }));
    broker = new RedisBroker(redis, receiver, log);
  }
  await broker.start();
  say({ test: 'started' });
}

async function publish(call: number, publications: Written[]): Promise<void> {
  try {
    await broker?.publish(
      publications.map(([channel, payload, event, id]) => new Publication(channel, Buffer.from(payload), event, id)),
    );
    say({ test: 'settled', call, error: null });
  } catch (error) {
    const kind = error instanceof LongwireError ? error.kind : 'not a LongwireError';
    say({ test: 'settled', call, error: { kind, text: String(error) } });
  }
}

process.on('message', (message: ToTestWorker) => {
  if (message.test === 'start') {
    void start(message.redis);
  } else {
    void publish(message.call, message.publications);
  }
});
process.on('disconnect', () => process.exit());

say({ test: 'loaded' });
