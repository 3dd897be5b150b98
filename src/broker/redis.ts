// The Redis broker: each worker has one pattern subscription and one connection to publish on.
//
// Publications without event and id are plain messages, `PUBLISH {prefix}{channel} {payload}`, byte for byte both ways, so
// that any client in any language can publish. Those with an event or id travel in an envelope (envelope.ts). Both come
// by the same `PSUBSCRIBE {prefix}*`, so that their order is the one in which Redis had them, the same for all workers.
// How they are published is redis-publishing.ts.
//
// A connection that is lost comes back by itself. What was published while the subscription did not stand is gone (Redis
// keeps nothing), so `onGap` says so before the first publication that follows, counted from the last PING whose answer
// came back: up to then everything had arrived.
//
// Channels with history (redis-history.ts) are published to through a function in Redis, which keeps and publishes in one
// step. Their library is brought before anything is subscribed to, so that where the counter stood is known from before.
//
// Cost: 2.5 to 3.5 µs of CPU for every publication of the prefix in every worker, whether or not it has a subscriber for it.
// Loads ioredis: import this file only when Redis is used.

import { isUtf8 } from 'node:buffer';
import { type Namespaces, NamespaceTable, NO_NAMESPACES } from '../../config/namespaces.ts';
import { ANSWER_CHANNEL, COMMAND_CHANNEL, channelFault, FENCE_CHANNEL, RESERVED_PREFIX } from '../channel.ts';
import { LongwireError } from '../errors.ts';
import type { Log } from '../log.ts';
import { Publication } from '../publication.ts';
import type { BrokerState } from '../stats.ts';
import type { Broker, BrokerReceiver, HistoryStore, PresenceStore, Taken } from './broker.ts';
import { decodeEnvelope, ENVELOPE_CHANNEL } from './envelope.ts';
import { describeError, isRefusal } from './redis-errors.ts';
import { RedisHistory } from './redis-history.ts';
import { RedisLink, TICK_MS } from './redis-link.ts';
import { connectionOptions, parseRedisUrl } from './redis-options.ts';
import { decodeComing, PRESENCE_CHANNEL, RedisPresence } from './redis-presence.ts';
import { RedisPublishing } from './redis-publishing.ts';
import { Seldom } from './seldom.ts';
import { decodeStored, STORED_CHANNEL } from './stored.ts';

/** How long `start` waits for a Redis that neither answers nor refuses. */
const START_DEADLINE_MS = 3_000;

const OWN_CHANNELS = [FENCE_CHANNEL, COMMAND_CHANNEL, ANSWER_CHANNEL];

const RESERVED_BYTE = RESERVED_PREFIX.charCodeAt(0);

export interface RedisBrokerOptions {
  /** `redis://`, `rediss://` or the path of a Unix socket; see redis-options.ts. */
  url: string;
  /** What comes before the channel in Redis, `push:`. */
  prefix: string;
  /** Names the connections in `CLIENT LIST`: `{connectionName}-subscriber`, `-publisher`. Default `longwire`. */
  connectionName?: string;
  /** Default: none, and so no history. */
  namespaces?: Namespaces;
  /** LONGWIRE_PAYLOAD_LIMIT_BYTES, which Redis holds channels with history to. */
  payloadLimitBytes?: number;
  /** LONGWIRE_HISTORY_POSITION_SECONDS. */
  historyPositionSeconds?: number;
  /** LONGWIRE_PRESENCE_SECONDS. */
  presenceSeconds?: number;
}

const DEFAULT_PRESENCE_SECONDS = 60;
const DEFAULT_HISTORY_POSITION_SECONDS = 86_400;
const DEFAULT_PAYLOAD_LIMIT_BYTES = 1024 * 1024;

export class RedisBroker implements Broker {
  readonly name = 'redis';
  readonly #prefixBytes: number;
  readonly #pattern: string;
  readonly #envelopeChannel: string;
  readonly #storedChannel: string;
  readonly #presenceChannel: string;
  /** Those that workers publish to each other on, by their names in Redis. */
  readonly #ownChannels: ReadonlyMap<string, string>;
  readonly #presence: RedisPresence | null;
  readonly #namespaces: NamespaceTable;
  readonly #history: RedisHistory | null;
  readonly #address: string;
  readonly #receiver: BrokerReceiver;
  readonly #log: Log;
  readonly #seldom: Seldom;
  readonly #publishing: RedisPublishing;
  readonly #subscriber: RedisLink;
  readonly #publisher: RedisLink;
  #state: BrokerState = 'connecting';
  /** Of the subscriber's present connection. */
  #subscription: 'none' | 'asked' | 'stands' = 'none';
  /** When everything published so far had surely arrived (`performance.now()`); null before `start` has resolved. */
  #aliveAt: number | null = null;
  /** Of the publisher's present connection. */
  #library: 'none' | 'asked' | 'stands' = 'none';
  #roundTripSeconds = 0;
  #timer: NodeJS.Timeout | null = null;
  /** Resolves `start`; null before and after. */
  #started: (() => void) | null = null;
  #paused = false;
  #stopped = false;
  #ignored = 0;
  #malformed = 0;

  constructor(options: RedisBrokerOptions, receiver: BrokerReceiver, log: Log) {
    const address = parseRedisUrl(options.url);
    this.#prefixBytes = Buffer.byteLength(options.prefix);
    this.#pattern = `${options.prefix.replace(/[\\*?[\]]/g, '\\$&')}*`;
    this.#envelopeChannel = options.prefix + ENVELOPE_CHANNEL;
    this.#storedChannel = options.prefix + STORED_CHANNEL;
    this.#presenceChannel = options.prefix + PRESENCE_CHANNEL;
    this.#ownChannels = new Map(OWN_CHANNELS.map((channel) => [options.prefix + channel, channel]));
    this.#address = address.text;
    this.#receiver = receiver;
    this.#log = log;
    this.#seldom = new Seldom(log);

    const owner = {
      onLinkChange: () => this.#onLinkChange(),
      onLinkAlive: (link: RedisLink, sentAt: number) => this.#onLinkAlive(link, sentAt),
      onLinkError: (link: RedisLink, error: Error) => this.#onLinkError(link, error),
    };
    const name = options.connectionName ?? 'longwire';
    this.#subscriber = new RedisLink('subscriber', connectionOptions(address, `${name}-subscriber`), owner);
    this.#publisher = new RedisLink('publisher', connectionOptions(address, `${name}-publisher`), owner);
    const namespaces = options.namespaces ?? NO_NAMESPACES;
    this.#namespaces = new NamespaceTable(namespaces);
    const payloadLimitBytes = options.payloadLimitBytes ?? DEFAULT_PAYLOAD_LIMIT_BYTES;
    const positionSeconds = options.historyPositionSeconds ?? DEFAULT_HISTORY_POSITION_SECONDS;
    this.#history = this.#namespaces.hasHistory
      ? new RedisHistory(this.#publisher.client, options.prefix, namespaces, payloadLimitBytes, positionSeconds)
      : null;
    this.#publishing = new RedisPublishing({
      link: this.#publisher,
      prefix: options.prefix,
      namespaces: this.#namespaces,
      history: this.#history,
      onLibraryLost: () => {
        this.#library = 'none';
      },
      onRefused: (error) => {
        this.#seldom.say('error', 'publish', 'Redis refuses to publish', { address: this.#address, error });
      },
    });
    const presenceSeconds = options.presenceSeconds ?? DEFAULT_PRESENCE_SECONDS;
    this.#presence = this.#namespaces.hasPresence
      ? new RedisPresence(this.#publisher.client, options.prefix, presenceSeconds)
      : null;
    this.#subscriber.client.on('pmessageBuffer', (_pattern: string, channel: Buffer, payload: Buffer) =>
      this.#receive(channel, payload),
    );
  }

  get state(): BrokerState {
    return this.#state;
  }

  /** Calls on the publisher's connection; they fail while there is none. */
  get history(): HistoryStore | null {
    return this.#history;
  }

  /** On the same connection. */
  get presence(): PresenceStore | null {
    return this.#presence;
  }

  /** Of the last PING on the publisher's connection: what a publish takes to Redis and back. */
  get roundTripSeconds(): number {
    return this.#roundTripSeconds;
  }

  /** Resolves when up or found to be away, after 3 s at the latest. Call it once. */
  async start(): Promise<void> {
    const startedAt = performance.now();
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    const deadline = setTimeout(() => this.#startedAway('no answer'), START_DEADLINE_MS);
    await new Promise<void>((resolve) => {
      this.#started = resolve;
      this.#subscriber.connect();
      this.#publisher.connect();
    });
    clearTimeout(deadline);
    // From now on subscribers may count on publications: what comes before the first subscription is a gap.
    this.#aliveAt ??= startedAt;
  }

  publish(publications: readonly Publication[]): Promise<Taken> {
    // One link is found silent up to two ticks before the other, and both have the same Redis behind them.
    const silent = this.#publisher.state === 'silent' || this.#subscriber.state === 'silent';
    if (this.#publisher.state === 'ready' && this.#hasLibrary && !silent) return this.#publishing.publish(publications);
    const why = silent ? 'Redis does not answer' : 'there is no connection to Redis';
    return Promise.reject(new LongwireError('unavailable', `${why}; nothing was published`));
  }

  setPaused(paused: boolean): void {
    this.#paused = paused;
    if (this.#subscription === 'stands') this.#subscriber.setPaused(paused);
  }

  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#state = 'down';
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#publishing.stop();
    await Promise.all([this.#subscriber.stop(), this.#publisher.stop()]);
    this.#resolveStart();
  }

  #tick(): void {
    this.#subscriber.tick();
    this.#publisher.tick();
    this.#connectHistory();
    this.#subscribe();
  }

  get #hasLibrary(): boolean {
    return this.#history === null || this.#library === 'stands';
  }

  #onLinkChange(): void {
    if (this.#stopped) return;
    if (this.#subscriber.state === 'away') this.#subscription = 'none';
    if (this.#publisher.state === 'away') this.#library = 'none';
    this.#connectHistory();
    this.#subscribe();
    this.#updateState();
  }

  #onLinkAlive(link: RedisLink, sentAt: number): void {
    if (link === this.#publisher) this.#roundTripSeconds = (performance.now() - sentAt) / 1000;
    else if (this.#subscription === 'stands') this.#aliveAt = Math.max(sentAt, this.#aliveAt ?? sentAt);
  }

  #onLinkError(link: RedisLink, error: Error): void {
    const text = describeError(error);
    if (isRefusal(error)) {
      this.#seldom.say('error', 'refused', 'Redis refuses us', {
        address: this.#address,
        link: link.name,
        error: text,
      });
    } else {
      this.#seldom.say('warn', 'away', 'Redis cannot be reached', {
        address: this.#address,
        link: link.name,
        error: text,
      });
    }
    this.#startedAway(text);
  }

  /** Brings the history's functions over a connection that has none; a refusal is tried again at the next tick. */
  #connectHistory(): void {
    if (this.#history === null || this.#library !== 'none' || this.#publisher.state !== 'ready') return;
    this.#library = 'asked';
    this.#history.connect().then(
      (state) => {
        if (this.#library !== 'asked' || this.#stopped) return;
        this.#library = 'stands';
        if (this.#history?.by === 'script') {
          this.#seldom.say('info', 'script', 'Redis has no functions: the history is called as a script');
        }
        this.#receiver.onHistory(state);
        this.#subscribe();
        this.#updateState();
      },
      (error: unknown) => {
        if (this.#library !== 'asked' || this.#stopped) return;
        this.#library = 'none';
        if (error instanceof Error && isRefusal(error)) this.#onLinkError(this.#publisher, error);
      },
    );
  }

  /** Subscribes when there is a connection without a subscription; a refusal is tried again at the next tick. */
  #subscribe(): void {
    if (this.#subscription !== 'none' || this.#subscriber.state !== 'ready' || !this.#hasLibrary) return;
    this.#subscription = 'asked';
    this.#subscriber.client.psubscribe(this.#pattern).then(
      () => this.#subscribed(),
      (error: unknown) => {
        // A connection that closed has set it to 'none' already, and the next one may have asked again since.
        if (this.#stopped || !(error instanceof Error) || !isRefusal(error)) return;
        this.#subscription = 'none';
        this.#onLinkError(this.#subscriber, error);
      },
    );
  }

  /** Called by whichever is seen first, Redis' answer or the first publication that it sent after it. */
  #subscribed(): void {
    if (this.#subscription !== 'asked' || this.#stopped) return;
    this.#subscription = 'stands';
    if (this.#paused) this.#subscriber.setPaused(true);
    const now = performance.now();
    const since = this.#aliveAt;
    this.#aliveAt = now;
    if (since !== null) {
      const sinceMs = now - since;
      this.#log.warn('publications may have been missed: the subscription did not stand', { sinceMs });
      this.#receiver.onGap(sinceMs);
    } else {
      // What was published since the counter was read has not come, and shows when something with a place does.
      this.#history?.mark().catch(ignore);
    }
    this.#updateState();
  }

  #updateState(): void {
    const links = [this.#subscriber, this.#publisher];
    if (links.every((link) => link.state === 'ready') && this.#hasLibrary && this.#subscription === 'stands') {
      this.#setState('up');
      this.#resolveStart();
    } else if (this.#state === 'up') {
      this.#setState('down');
    }
  }

  #startedAway(why: string): void {
    if (this.#started === null) return;
    this.#setState('down', why);
    this.#resolveStart();
  }

  #resolveStart(): void {
    this.#started?.();
    this.#started = null;
  }

  #setState(state: BrokerState, why?: string): void {
    if (state === this.#state || this.#stopped) return;
    this.#state = state;
    const links = { subscriber: this.#subscriber.state, publisher: this.#publisher.state };
    if (state === 'up') this.#log.info('Redis is up', { address: this.#address });
    else this.#log.warn('Redis is away', { address: this.#address, ...links, why });
    this.#receiver.onState(state);
  }

  #receive(name: Buffer, payload: Buffer): void {
    if (this.#subscription !== 'stands') this.#subscribed();
    if (name[this.#prefixBytes] === RESERVED_BYTE) {
      this.#receiveReserved(name, payload);
      return;
    }
    const channel = name.toString('utf8', this.#prefixBytes);
    if (!isUtf8(name) || channelFault(channel) !== null) {
      this.#ignored++;
      this.#seldom.say('debug', 'ignored', 'ignored a publication: its channel is not a valid name', {
        sinceStart: this.#ignored,
      });
      return;
    }
    this.#receiver.onPublication(new Publication(channel, payload));
  }

  #receiveReserved(name: Buffer, payload: Buffer): void {
    const channel = name.toString();
    const own = this.#ownChannels.get(channel);
    if (own !== undefined) this.#receiver.onPublication(new Publication(own, payload));
    const decode = this.#decoderOf(channel);
    if (decode === null) return;
    const decoded = decode(payload);
    if (typeof decoded !== 'string') {
      this.#receiver.onPublication(decoded);
      return;
    }
    this.#malformed++;
    this.#seldom.say('warn', 'malformed', `dropped a malformed envelope: ${decoded}`, { sinceStart: this.#malformed });
  }

  #decoderOf(channel: string): ((payload: Buffer) => Publication | string) | null {
    if (channel === this.#storedChannel) return decodeStored;
    if (channel === this.#envelopeChannel) return decodeEnvelope;
    return channel === this.#presenceChannel ? decodeComing : null;
  }
}

function ignore(): void {}
