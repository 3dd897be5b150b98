// One connection to Redis and whether it can be trusted at this moment.
//
// ioredis connects, authenticates and reconnects; what it does not see is a Redis that is there and says nothing. So each
// link is asked with PING four times a second and watched:
//   - nothing heard for 1.25 s: `silent`. The broker counts as down, but the connection is kept: if Redis had only paused,
//     what it has queued for us still comes, and nothing is lost.
//   - nothing heard for 4 s: the connection is destroyed and made anew; its peer may be gone without a word.
// Any byte counts as heard, not only a PONG: on the subscriber's link it waits behind all publications that are on the way.
// While we read no further ourselves (`setPaused`) nothing can be heard, and nothing is held against the other side.
//
// States: away → ready ⇄ silent → away …, stopped at the end. `onChange` is called after each change.
// Cost: a command a link each quarter of a second, no timer of its own.

import { createRequire } from 'node:module';
import type { Redis } from 'ioredis';
import type { LinkOptions } from './redis-options.ts';

/** Not imported: Node searches a package of CommonJS for the names of its exports then, which leaves 3 MB in each worker. */
const ioredis: typeof import('ioredis') = createRequire(import.meta.url)('ioredis');

/** How often `tick` must be called. */
export const TICK_MS = 250;

/** A hang is noticed after this and up to two ticks more, one before the last bytes are seen and one after: 1.75 s. */
const SILENT_AFTER_MS = 1_250;

/** Twice what a loaded Redis may take for a slow command or a fork, and what a client can wait without its answer. */
const DESTROY_AFTER_MS = 4_000;

export type LinkState = 'away' | 'ready' | 'silent' | 'stopped';

export interface LinkOwner {
  onLinkChange(link: RedisLink): void;
  /** PING was answered; it had been sent at `sentAt` (`performance.now()`). */
  onLinkAlive(link: RedisLink, sentAt: number): void;
  /** An error that ioredis reports: a refused connection, a refused password. */
  onLinkError(link: RedisLink, error: Error): void;
}

export class RedisLink {
  readonly name: string;
  readonly client: Redis;
  readonly #owner: LinkOwner;
  #state: LinkState = 'away';
  #bytesRead = 0;
  #heardAt = 0;
  #pinging = false;

  constructor(name: string, options: LinkOptions, owner: LinkOwner) {
    this.name = name;
    this.#owner = owner;
    this.client = new ioredis.Redis(options);
    this.client.on('connect', () => this.#heard());
    this.client.on('ready', () => {
      this.#heard();
      this.#setState('ready');
      this.#ping();
    });
    this.client.on('close', () => this.#setState('away'));
    this.client.on('end', () => this.#setState('away'));
    this.client.on('error', (error) => this.#owner.onLinkError(this, error));
  }

  get state(): LinkState {
    return this.#state;
  }

  /** Begins to connect, and goes on until it is stopped. */
  connect(): void {
    this.#heard();
    this.client.connect().catch(ignore);
  }

  /** Looks whether the other side still speaks, and asks it to. */
  tick(): void {
    if (this.#state === 'stopped') return;
    // ioredis gives up when a connection cannot even be tried, or when it was cut off at the wrong moment.
    if (this.client.status === 'end') this.connect();
    if (this.client.status !== 'ready' && this.client.status !== 'connect') return;
    // The judgement waits for this turn's reads: after a pause of our own, what Redis has said lies there unread.
    setImmediate(() => this.#judge());
    if (this.client.status === 'ready') this.#ping();
  }

  /**
   * Stops reading, and goes on. What Redis has for us waits in the sockets between us and then in its output buffer, which it
   * bounds by cutting us off (client-output-buffer-limit): that is noticed once we read on. Of this connection only.
   */
  setPaused(paused: boolean): void {
    if (this.#state === 'away' || this.#state === 'stopped') return;
    const { stream } = this.client;
    if (paused) stream.pause();
    else stream.resume();
    this.#heard();
  }

  async stop(): Promise<void> {
    this.#setState('stopped');
    this.client.removeAllListeners('pmessageBuffer');
    this.client.disconnect();
    const { stream } = this.client;
    if (stream === undefined || stream.closed) return;
    await new Promise<void>((resolve) => {
      stream.once('close', () => resolve());
      stream.destroy();
    });
  }

  /** Asks, unless it still waits for an answer. */
  #ping(): void {
    if (this.#pinging) return;
    this.#pinging = true;
    const sentAt = performance.now();
    this.client.ping().then(
      () => {
        this.#pinging = false;
        this.#heard();
        if (this.#state === 'ready') this.#owner.onLinkAlive(this, sentAt);
      },
      () => {
        this.#pinging = false;
      },
    );
  }

  #judge(): void {
    const { status, stream } = this.client;
    if (this.#state === 'stopped' || (status !== 'ready' && status !== 'connect')) return;
    if (stream.bytesRead !== this.#bytesRead || stream.isPaused()) this.#heard();
    const silentMs = performance.now() - this.#heardAt;
    if (silentMs > DESTROY_AFTER_MS) stream.destroy();
    else if (silentMs > SILENT_AFTER_MS && this.#state === 'ready') this.#setState('silent');
  }

  #heard(): void {
    this.#bytesRead = this.client.stream?.bytesRead ?? 0;
    this.#heardAt = performance.now();
    if (this.#state === 'silent' && this.client.status === 'ready') this.#setState('ready');
  }

  #setState(state: LinkState): void {
    if (state === this.#state || this.#state === 'stopped') return;
    this.#state = state;
    this.#owner.onLinkChange(this);
  }
}

function ignore(): void {}
