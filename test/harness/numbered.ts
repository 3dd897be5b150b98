// Numbered publications: what shows that nothing is lost, doubled or out of order while connections move.
//
// A publisher numbers all it publishes and knows what went to which channel. A client is checked against that: each channel
// of its own in order, every number once.

import assert from 'node:assert/strict';
import type { GatewayProcess } from './gateway.ts';
import type { Held } from './transports.ts';

const NUMBER = /#(\d+)#/;

export interface NumberedClient {
  held: Held;
  channels: readonly string[];
  /** For whoever reads that a test has failed. */
  name?: string;
}

export class NumberedPublisher {
  readonly #gateway: GatewayProcess;
  readonly #channels: readonly string[];
  readonly #sent = new Map<string, number[]>();
  #number = 0;
  #state: 'running' | 'stopped' = 'stopped';
  #over: Promise<void> = Promise.resolve();

  constructor(gateway: GatewayProcess, channels: readonly string[]) {
    this.#gateway = gateway;
    this.#channels = channels;
    for (const channel of channels) this.#sent.set(channel, []);
  }

  get published(): number {
    return this.#number;
  }

  /** Publishes to one channel after the other, each call when the last is answered, until `stop`. */
  start(): void {
    this.#state = 'running';
    this.#over = this.#run();
  }

  async stop(): Promise<void> {
    this.#state = 'stopped';
    await this.#over;
  }

  async #run(): Promise<void> {
    for (let i = 0; this.#state === 'running'; i++)
      await this.publish(this.#channels[i % this.#channels.length] as string);
  }

  async publish(channel: string): Promise<void> {
    const number = this.#number++;
    this.#sent.get(channel)?.push(number);
    await this.#gateway.publish(channel, `#${number}#`);
  }

  /** Fails unless the client has had everything of its channels since they were all open, once and in order. */
  async check({ held, channels, name }: NumberedClient, from = 0): Promise<void> {
    const expected = channels.map((channel) => (this.#sent.get(channel) ?? []).filter((number) => number >= from));
    const count = expected.reduce((sum, { length }) => sum + length, 0);
    // Where there is history, a stream may say first where it stands.
    const notices = (await held.received(count)).filter((bytes) => !NUMBER.test(bytes.toString())).length;
    const got = (await held.received(count + notices))
      .map((bytes) => Number(NUMBER.exec(bytes.toString())?.[1]))
      .filter((number) => !Number.isNaN(number));
    for (const [i, channel] of channels.entries()) {
      const own = new Set(expected[i]);
      assert.deepEqual(
        got.filter((number) => own.has(number)),
        expected[i],
        `what was published to ${channel}${name === undefined ? '' : `, by ${name}`}`,
      );
    }
    assert.equal(got.length, count, 'and nothing else');
    assert.equal(held.connection.ending, 'none', 'the connection is still open');
  }
}
