// A subscriber: one event stream, taken apart by `eventsource-parser`, over a connection whose bytes and end can be looked at.

import { createParser, type EventSourceMessage } from 'eventsource-parser';
import { RawClient, type RawOptions } from './raw-client.ts';
import { waitUntil } from './wait.ts';

export class SseClient {
  readonly connection: RawClient;
  readonly events: EventSourceMessage[] = [];
  /** What the gateway itself says of positions and gaps. */
  readonly notices: EventSourceMessage[] = [];
  comments = 0;
  retry: number | null = null;
  /** The answer's head, once it is whole. */
  head = '';
  #early = Buffer.alloc(0);
  readonly #decoder = new TextDecoder();
  readonly #parser = createParser({
    onEvent: (event) => (event.event === 'longwire' ? this.notices : this.events).push(event),
    onComment: () => {
      this.comments++;
    },
    onRetry: (milliseconds) => {
      this.retry = milliseconds;
    },
  });

  /** Asks for `target`, '/sse/alice' for example. `fields` are header lines with their CRLF. */
  constructor(port: number, target: string, fields = '', options: RawOptions = {}) {
    this.connection = new RawClient(port, { keep: false, ...options });
    this.connection.write(`GET ${target} HTTP/1.1\r\nHost: gateway\r\n${fields}\r\n`);
    this.connection.socket.on('data', (chunk: Buffer) => this.#read(chunk));
  }

  /** Resolves once the stream is open: the retry field, which follows the subscription, has come. */
  async opened(): Promise<this> {
    await waitUntil(
      () => this.retry !== null || this.connection.ending !== 'none',
      () => `the stream to open; its head: ${this.head}`,
    );
    if (this.retry === null) throw new Error(`no stream was opened: ${this.head}${this.#early.toString()}`);
    return this;
  }

  /** Resolves once `count` events have come in all, with the data of all of them. */
  async data(count: number): Promise<string[]> {
    await waitUntil(
      () => this.events.length >= count || this.connection.ending !== 'none',
      () => `${count} events; there came: ${JSON.stringify(this.events).slice(0, 500)}`,
    );
    return this.events.map(({ data }) => data);
  }

  close(): void {
    this.connection.close();
  }

  #read(chunk: Buffer): void {
    if (this.head !== '') {
      this.#parser.feed(this.#decoder.decode(chunk, { stream: true }));
      return;
    }
    this.#early = Buffer.concat([this.#early, chunk]);
    const end = this.#early.indexOf('\r\n\r\n');
    if (end < 0) return;
    this.head = this.#early.toString('latin1', 0, end);
    if (this.head.startsWith('HTTP/1.1 200 ')) {
      this.#parser.feed(this.#decoder.decode(this.#early.subarray(end + 4), { stream: true }));
    }
  }
}

/** Opens streams for all targets and resolves when all are open. */
export function openStreams(port: number, ...targets: string[]): Promise<SseClient[]> {
  return Promise.all(targets.map((target) => new SseClient(port, target).opened()));
}
