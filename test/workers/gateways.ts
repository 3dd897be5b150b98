// A gateway for unit tests: the real one, on a configuration of defaults and a broker that keeps what it is given.

import type { Config } from '../../config/config.ts';
import { loadConfig } from '../../config/load.ts';
import type { Broker, HistoryStore, PresenceStore, Taken } from '../../src/broker/broker.ts';
import type { Publication } from '../../src/publication.ts';
import type { BrokerState } from '../../src/stats.ts';
import { Gateway } from '../../workers/gateway.ts';
import type { Tokens } from '../../workers/token/tokens.ts';
import { Turns } from '../../workers/turns.ts';
import { type LogLine, logLines } from '../broker/log-lines.ts';

export const API_KEY = 'the-key-of-this-test';

/** A broker that takes publications at once, or as `onPublish` says. */
export class StandInBroker implements Broker {
  readonly name = 'memory';
  state: BrokerState = 'up';
  readonly roundTripSeconds = 0;
  history: HistoryStore | null = null;
  presence: PresenceStore | null = null;
  readonly published: Publication[] = [];
  onPublish: () => Promise<void> = () => Promise.resolve();

  async start(): Promise<void> {}

  async publish(publications: readonly Publication[]): Promise<Taken> {
    await this.onPublish();
    this.published.push(...publications);
    return [];
  }

  readonly pauses: boolean[] = [];
  setPaused(paused: boolean): void {
    this.pauses.push(paused);
  }

  async stop(): Promise<void> {}
}

export interface TestGateway {
  gateway: Gateway;
  broker: StandInBroker;
  lines: LogLine[];
}

export function makeGateway(changes: Partial<Config> = {}, tokens: Tokens | null = null): TestGateway {
  const loaded = loadConfig({ LONGWIRE_API_KEY: API_KEY });
  if ('faults' in loaded) throw new TypeError(JSON.stringify(loaded.faults));
  const { log, lines } = logLines();
  const broker = new StandInBroker();
  const gateway = new Gateway({ ...loaded.config, ...changes }, log, 1, () => broker, tokens);
  // Tests do in one turn what takes a worker many; turns.test.ts is about those that are over.
  gateway.turns = new Turns(Number.POSITIVE_INFINITY);
  return { gateway, broker, lines };
}
