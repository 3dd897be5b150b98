// The canary: a subscriber and a publisher who behave, on the gateway that is being fuzzed. Whatever the others do, each of
// its publications must be taken and reach its stream, in order, once, and before long.

import { connect, type Socket } from 'node:net';

const BETWEEN_MS = 20;
/** Without a turn of luck in scheduling two busy cores; a healthy one takes milliseconds. */
const DEADLINE_MS = 10_000;

export class Canary {
  /** What went wrong, or null. */
  wrong: string | null = null;
  sent = 0;
  longestMs = 0;
  readonly #channel = `canary-${process.pid}-${Math.random().toString(36).slice(2)}`;
  readonly #key: string;
  readonly #subscriber: Socket;
  readonly #publisher: Socket;
  #received = 0;
  #taken = 0;
  #stopped = false;
  #wake: () => void = () => {};

  constructor(port: number, key: string) {
    this.#key = key;
    this.#subscriber = this.#connect(port, (text) => {
      for (const [, number] of text.matchAll(/^data: (\d+)$/gm)) {
        if (Number(number) !== this.#received + 1) this.#fail(`got ${number} behind ${this.#received}`);
        this.#received = Number(number);
      }
    });
    this.#subscriber.write(`GET /sse/${this.#channel} HTTP/1.1\r\nHost: a\r\n\r\n`);
    this.#publisher = this.#connect(port, (text) => {
      if (!text.startsWith('HTTP/1.1 200 '))
        this.#fail(`publishing was answered ${JSON.stringify(text.slice(0, 200))}`);
      this.#taken++;
    });
  }

  /** Resolves when its two connections are held and used. */
  async begin(): Promise<void> {
    await this.#until(() => this.#subscriber.bytesRead > 0, 'the stream to begin');
    await this.#publish();
  }

  /** Publishes, one after the other, until `stop`. */
  async run(): Promise<void> {
    while (!this.#stopped && this.wrong === null) {
      await this.#publish();
      await new Promise((resolve) => setTimeout(resolve, BETWEEN_MS));
    }
    this.#publisher.destroy();
  }

  /** Stops publishing; the subscriber stays until `close`. */
  stop(): void {
    this.#stopped = true;
  }

  close(): void {
    this.#stopped = true;
    this.#subscriber.destroy();
    this.#publisher.destroy();
  }

  async #publish(): Promise<void> {
    const body = JSON.stringify({ channel: this.#channel, data: `${++this.sent}` });
    const began = performance.now();
    this.#publisher.write(
      `POST /api/publish HTTP/1.1\r\nHost: a\r\nX-API-Key: ${this.#key}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    await this.#until(() => this.#received === this.sent && this.#taken === this.sent, `publication ${this.sent}`);
    this.longestMs = Math.max(this.longestMs, performance.now() - began);
  }

  /** Answers and events are small: each comes in one piece. */
  #connect(port: number, onText: (text: string) => void): Socket {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true });
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => {
      onText(text);
      this.#wake();
    });
    socket.on('error', (error) => this.#fail(error.message));
    socket.on('end', () => this.#fail('its connection was ended'));
    return socket;
  }

  async #until(condition: () => boolean, what: string): Promise<void> {
    const deadline = setTimeout(() => this.#fail(`waited ${DEADLINE_MS} ms for ${what}`), DEADLINE_MS);
    while (!condition() && this.wrong === null) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    clearTimeout(deadline);
  }

  #fail(wrong: string): void {
    if (!this.#stopped) this.wrong ??= wrong;
    this.#wake();
  }
}
