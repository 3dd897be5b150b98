// One scenario of the history's promise: what clients see while publications, disconnects and reconnects come in an order that a
// seed decides, and whether that is what docs/guarantees.md promises them.
//
// The ledger knows what was published where, and with which offset. A publish that failed may or may not have been taken: it
// may be seen or not. A client is followed over all its connections: of a channel with history it must have seen everything
// behind its first position, once each and in order, but for what a `gap` stands in place of; of one without, no more than
// that within each connection. One that may not have been taken has no place in that order.

import type { GatewayProcess } from './gateway.ts';
import { type Entry, HISTORY_TRANSPORTS, HistoryClient } from './history-client.ts';
import { waitUntil } from './wait.ts';

/** mulberry32: small, seeded, good enough to choose with. */
export function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/** Namespaces that scenarios need. */
export const SCENARIO_NAMESPACES = {
  namespaces: {
    long: { history_size: 1_000, history_ttl_seconds: 300 },
    short: { history_size: 3, history_ttl_seconds: 300 },
  },
};

interface Published {
  number: number;
  /** Null where the publish failed and may have been taken all the same. */
  offset: number | null;
}

class Follower {
  readonly channels: readonly string[];
  readonly transport: (typeof HISTORY_TRANSPORTS)[number];
  /** What came, by connection. */
  readonly connections: Entry[][] = [];
  position: string | null = null;
  firstPosition: string | null = null;
  client: HistoryClient | null = null;

  constructor(channels: readonly string[], transport: (typeof HISTORY_TRANSPORTS)[number]) {
    this.channels = channels;
    this.transport = transport;
  }

  async connect(port: number): Promise<void> {
    this.disconnect();
    this.client = new HistoryClient(this.transport, port, this.channels, this.position);
    if (this.firstPosition !== null) return;
    await this.client.opened().catch(() => {});
    this.firstPosition = this.client.position;
  }

  disconnect(): void {
    if (this.client === null) return;
    this.client.look();
    this.connections.push(this.client.entries);
    this.position = this.client.position;
    this.client.close();
    this.client = null;
  }
}

/**
 * Runs the scenario of a seed to its end.
 *
 * @returns what was not as promised, nothing if all is well, and how many publications and gaps there were.
 */
export async function runScenario(
  gateway: GatewayProcess,
  seed: number,
): Promise<{ faults: string[]; publications: number; gaps: number; connections: number }> {
  const random = randomFrom(seed);
  const port = gateway.publicPort;
  const names = [`long:a${seed}`, `long:b${seed}`, `short:${seed}`, `plain${seed}`];
  const ledger = new Map<string, Published[]>(names.map((name) => [name, []]));
  let number = 0;

  const publish = async (channel: string): Promise<void> => {
    const entry: Published = { number: ++number, offset: null };
    ledger.get(channel)?.push(entry);
    try {
      const answer = await gateway.api('publish', { channel, data: String(entry.number) });
      if (answer.status === 200) entry.offset = JSON.parse(answer.text).result.offset ?? 0;
    } catch {
      // The worker that was asked is gone.
    }
  };

  const followers = Array.from({ length: 2 + random(2) }, () => {
    const channels = names.filter(() => random(3) > 0);
    const held = channels.some((name) => !name.startsWith('plain')) ? channels : [names[0] ?? '', ...channels];
    return new Follower(held, HISTORY_TRANSPORTS[random(HISTORY_TRANSPORTS.length)] ?? 'sse');
  });
  for (const follower of followers) {
    while (follower.firstPosition === null) await follower.connect(port);
  }
  const steps = 12 + random(20);
  for (let step = 0; step < steps; step++) {
    const follower = followers[random(followers.length)] as Follower;
    switch (random(6)) {
      case 0:
        follower.disconnect();
        break;
      case 1:
      case 2:
        await follower.connect(port);
        break;
      default: {
        const channel = names[random(names.length)] as string;
        // One publisher a channel, so that the order of its numbers is that of its offsets.
        for (let i = random(4); i >= 0; i--) await publish(channel);
      }
    }
  }

  // Everybody comes back, and is published to until it has seen the last of each of its channels.
  const last = new Map<string, number>();
  for (const name of names) {
    const published = ledger.get(name) as Published[];
    do await publish(name);
    while (published.at(-1)?.offset === null);
    last.set(name, (published.at(-1) as Published).number);
  }
  const faults: string[] = [];
  for (const follower of followers) {
    try {
      await waitUntil(
        async () => {
          if (follower.client === null || follower.client.ended) await follower.connect(port);
          const { client } = follower;
          if (client === null) return false;
          client.look();
          const all = [...follower.connections.flat(), ...client.entries];
          return follower.channels
            .filter((name) => !name.startsWith('plain'))
            .every(
              (name) =>
                all.some(
                  (entry) => 'channel' in entry && entry.channel === name && entry.data === String(last.get(name)),
                ) || isBeyond(client.position, ledger.get(name) ?? []),
            );
        },
        'the last publications',
        20_000,
      );
    } catch (error) {
      faults.push(`${follower.transport} ${follower.channels}: ${error}`);
    }
    follower.disconnect();
    for (const name of follower.channels) faults.push(...faultsOf(follower, name, ledger.get(name) as Published[]));
  }
  const entries = followers.flatMap(({ connections }) => connections.flat());
  return {
    faults: faults.map((fault) => `seed ${seed}: ${fault}`),
    publications: number,
    gaps: entries.filter((entry) => !('channel' in entry) && entry.gap !== undefined).length,
    connections: followers.reduce((sum, { connections }) => sum + connections.length, 0),
  };
}

/** Whether a position is behind the last publication: then it was told to be a gap. */
function isBeyond(position: string | null, published: readonly Published[]): boolean {
  return position !== null && offsetOf(position) >= (published.at(-1)?.offset ?? Number.POSITIVE_INFINITY);
}

function offsetOf(position: string): number {
  return Number(position.split('.')[1]);
}

/** What one client saw of one channel that it was not promised. */
function faultsOf(follower: Follower, channel: string, published: readonly Published[]): string[] {
  const history = !channel.startsWith('plain');
  const faults: string[] = [];
  const said = (text: string): void => {
    faults.push(`${follower.transport} ${channel}: ${text}`);
  };
  let next: number | null = history ? firstOwed(published, follower.firstPosition) : null;
  let newest = 0;
  const doubtful = new Set<number>();
  for (const entries of follower.connections) {
    if (!history) next = null;
    for (const entry of entries) {
      if (!('channel' in entry)) {
        if (entry.gap?.includes(channel) === true) next = null;
        continue;
      }
      if (entry.channel !== channel) continue;
      const at = published.findIndex(({ number }) => String(number) === entry.data);
      const number = Number(entry.data);
      if (at < 0) said(`${entry.data} was never published`);
      if (published[at]?.offset === null) {
        // Whoever sent it gave up, and it may have been taken after what was sent later: it has no place, but comes once.
        if (doubtful.has(number)) said(`${number} came twice`);
        doubtful.add(number);
        continue;
      }
      if (number <= newest) said(`${number} came after ${newest}`);
      for (let i = next ?? at; i < at; i++) {
        const missing = published[i] as Published;
        if (missing.offset !== null) said(`${missing.number} is missing before ${number}, and there was no gap`);
      }
      newest = Math.max(newest, number);
      next = at + 1;
    }
  }
  if (!history || next === null) return faults;
  for (const missing of published.slice(next)) {
    if (missing.offset !== null) said(`${missing.number} is missing at the end, and there was no gap`);
  }
  return faults;
}

/** Index of the first publication behind a position. */
function firstOwed(published: readonly Published[], position: string | null): number {
  const from = position === null ? 0 : offsetOf(position);
  const index = published.findIndex(({ offset }) => offset !== null && offset > from);
  return index < 0 ? published.length : index;
}
