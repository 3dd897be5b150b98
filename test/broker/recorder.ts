// What a broker told its receiver, in order, and a way to wait for more of it.

import type { BrokerReceiver } from '../../src/broker/broker.ts';
import type { Publication } from '../../src/publication.ts';
import type { BrokerState } from '../../src/stats.ts';

/** A publication as tests write it down: channel, payload, event, id. */
export type Written = [channel: string, payload: Uint8Array, event: string | null, id: string | null];

/** One call of a `BrokerReceiver`; plain data, so that it crosses process borders. */
export type Entry =
  | { type: 'publication'; publication: Written }
  | { type: 'state'; state: BrokerState }
  | { type: 'gap'; sinceMs: number };

/** Of a publication, so that it outlives the read that brought it. */
export function entryOf({ channel, payload, event, id }: Publication): Entry {
  return { type: 'publication', publication: [channel, Buffer.from(payload), event, id] };
}

export class Recorder implements BrokerReceiver {
  readonly entries: Entry[] = [];
  readonly #waiting = new Set<() => void>();

  onPublication(publication: Publication): void {
    this.add([entryOf(publication)]);
  }

  onState(state: BrokerState): void {
    this.add([{ type: 'state', state }]);
  }

  onGap(sinceMs: number): void {
    this.add([{ type: 'gap', sinceMs }]);
  }

  onHistory(): void {}

  add(entries: readonly Entry[]): void {
    this.entries.push(...entries);
    for (const look of [...this.#waiting]) look();
  }

  get publications(): Written[] {
    return this.entries.flatMap((entry) => (entry.type === 'publication' ? [entry.publication] : []));
  }

  /** Payloads of one channel as text, in order. */
  texts(channel: string): string[] {
    return this.publications.filter(([name]) => name === channel).map(([, payload]) => Buffer.from(payload).toString());
  }

  get gaps(): number {
    return this.entries.filter((entry) => entry.type === 'gap').length;
  }

  /** The last state told; 'connecting' before the first. */
  get state(): BrokerState {
    return this.entries.reduce<BrokerState>(
      (last, entry) => (entry.type === 'state' ? entry.state : last),
      'connecting',
    );
  }

  /** Resolves as soon as `condition` holds, looked at now and after each entry. */
  until(condition: () => boolean, what: string, timeoutMs = 15_000): Promise<void> {
    if (condition()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const end = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(look);
      };
      const look = (): void => {
        if (!condition()) return;
        end();
        resolve();
      };
      const timer = setTimeout(() => {
        end();
        const last = this.entries.slice(-3).map((entry) => JSON.stringify(entry).slice(0, 200));
        reject(new Error(`waited in vain for ${what}; ${this.entries.length} entries, the last: ${last.join(' ')}`));
      }, timeoutMs);
      this.#waiting.add(look);
    });
  }

  untilState(state: BrokerState, timeoutMs?: number): Promise<void> {
    return this.until(() => this.state === state, `the broker to be ${state}`, timeoutMs);
  }

  untilPublications(count: number, timeoutMs?: number): Promise<void> {
    // Counted as they come: `publications` walks through all of them.
    let at = 0;
    let seen = 0;
    const enough = (): boolean => {
      for (; at < this.entries.length; at++) if (this.entries[at]?.type === 'publication') seen++;
      return seen >= count;
    };
    return this.until(enough, `${count} publications`, timeoutMs);
  }
}
