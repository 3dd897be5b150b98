// The gateway: what all connections of one worker share. Made once, before the first of them.
//
// It owns nothing that a connection would need one of. Limits that are read on hot paths are copied out of the
// configuration here, in the unit in which they are used.

import type { Config } from '../config/config.ts';
import { NamespaceTable } from '../config/namespaces.ts';
import type { Broker, BrokerReceiver } from '../src/broker/broker.ts';
import { Seldom } from '../src/broker/seldom.ts';
import { ANSWER_CHANNEL, COMMAND_CHANNEL, FENCE_CHANNEL } from '../src/channel.ts';
import type { Rejection } from '../src/close-reason.ts';
import type { HistoryState } from '../src/history.ts';
import type { Log } from '../src/log.ts';
import { Publication } from '../src/publication.ts';
import { type BrokerState, type Counters, emptyCounters, rejectionIndex, TRANSPORTS } from '../src/stats.ts';
import { digestKey } from './api/key.ts';
import { type Clients, clientsFor } from './clients.ts';
import { takeCommand } from './commands.ts';
import { Conflation } from './conflation.ts';
import { Cors } from './cors.ts';
import { HeadParser } from './http/head-parser.ts';
import { Hub } from './hub.ts';
import { KeptBack } from './moving/kept-back.ts';
import type { HandOverFunction } from './moving/movable.ts';
import { Nodes } from './nodes/nodes.ts';
import type { PollLimits } from './poll/parts.ts';
import { PollSessions } from './poll/sessions.ts';
import { Presence, RENEWAL_TICK_MS } from './presence/presence.ts';
import { WorkerHistory } from './recovery/worker-history.ts';
import { Stalls } from './stalls.ts';
import { TICK_MS, TimingWheel } from './timing-wheel.ts';
import { TokenEnds } from './token/ends.ts';
import type { Tokens } from './token/tokens.ts';
import { Turns } from './turns.ts';

const SWEEP_MS = 1_000;

export class Gateway implements BrokerReceiver {
  readonly config: Config;
  readonly log: Log;
  readonly seldom: Seldom;
  readonly counters: Counters;
  readonly namespaces: NamespaceTable;
  /** Null where no namespace has history. */
  readonly history: WorkerHistory | null;
  /** Null where no namespace is `latest_only`. */
  readonly conflation: Conflation | null;
  /** Held connections by index in TRANSPORTS. */
  readonly connections: number[];
  readonly hub: Hub;
  readonly wheel: TimingWheel;
  readonly polls: PollSessions;
  readonly presence: Presence;
  readonly stalls: Stalls;
  turns: Turns;
  readonly keptBack: KeptBack;
  readonly cors: Cors;
  /** Null where tokens have no key. */
  readonly tokens: Tokens | null;
  readonly tokenEnds: TokenEnds;
  /** Null where nothing asks who the clients are. */
  readonly clients: Clients | null;
  readonly apiKeyDigest: Buffer;
  readonly headDeadlineMs: number;
  readonly keepAliveMs: number;
  readonly heartbeatMs: number;
  readonly stallMs: number;
  readonly outboxLimitBytes: number;
  broker: Broker;
  readonly nodes: Nodes;
  /** `Publication.order` of the last one: how many were broadcast so far, fences and gaps included. */
  order: number;
  /** Memory of requests that are not over, all connections together: see PENDING_LIMIT_BYTES. */
  pendingBytes: number;
  /** From the moment that this worker gives up its connections. */
  draining: boolean;
  /** Whether another worker of the same slot, the last one or the next one, may have poll sessions that this one has not. */
  sharesSlot: boolean;
  /** For heads that come whole, which is nearly all of them. */
  parser: HeadParser;
  /** Told of each connection's end, and of the broker's changes. */
  onConnectionClosed: () => void;
  onBrokerState: (state: BrokerState) => void;
  /** A fence of the batch `id` has come, at this place in the order. Many are of other workers. */
  onFence: (id: string, order: number) => void;
  /** Hands a connection to another worker: see workers/moving/hand-over.ts. */
  handOver: HandOverFunction;
  /** The slot that has no worker, while a request that wanted to go there is read again; 0 at all other times. */
  goneSlot: number;

  /** @param slot The worker's, 1 to N. */
  constructor(
    config: Config,
    log: Log,
    slot: number,
    makeBroker: (receiver: BrokerReceiver) => Broker,
    tokens: Tokens | null = null,
  ) {
    this.config = config;
    this.log = log;
    this.seldom = new Seldom(log);
    this.counters = emptyCounters();
    this.namespaces = new NamespaceTable(config.channelOptions);
    this.connections = TRANSPORTS.map(() => 0);
    this.hub = new Hub(this.counters);
    this.wheel = new TimingWheel();
    this.turns = new Turns();
    this.keptBack = new KeptBack();
    this.polls = new PollSessions(slot, pollLimits(config), this, this.wheel, this.counters, this.keptBack);
    this.presence = new Presence({
      namespaces: this.namespaces,
      counters: this.counters,
      lifeSeconds: config.presenceSeconds,
      store: () => this.broker.presence,
    });
    this.polls.presence = this.presence;
    this.headDeadlineMs = config.headDeadlineSeconds * 1_000;
    this.keepAliveMs = config.keepAliveSeconds * 1_000;
    this.heartbeatMs = config.heartbeatSeconds * 1_000;
    this.stallMs = config.stallSeconds * 1_000;
    this.outboxLimitBytes = config.outboxLimitBytes;
    this.stalls = new Stalls(this.stallMs);
    this.cors = new Cors(config.corsOrigins);
    this.tokens = tokens;
    this.tokenEnds = new TokenEnds();
    this.clients = clientsFor(config, log, this.seldom);
    this.apiKeyDigest = digestKey(config.apiKey);
    this.draining = false;
    this.sharesSlot = false;
    this.order = 0;
    this.pendingBytes = 0;
    this.goneSlot = 0;
    this.parser = new HeadParser(config);
    this.onConnectionClosed = () => {};
    this.onBrokerState = () => {};
    this.onFence = () => {};
    this.handOver = () => 'kept';
    this.conflation = this.namespaces.hasLatestOnly
      ? new Conflation(this.namespaces, this.outboxLimitBytes, this.counters)
      : null;
    this.history = this.namespaces.hasHistory ? new WorkerHistory(this) : null;
    this.broker = makeBroker(this);
    this.nodes = new Nodes(this, slot);
    this.hub.onBehind = (behind) => {
      if (behind) this.counters.brokerPauses++;
      this.broker.setPaused(behind);
    };
  }

  /** Starts the clockwork: the wheel's tick and the sweep for stalled outboxes. */
  start(): void {
    setInterval(() => this.wheel.advance(), TICK_MS).unref();
    setInterval(() => this.stalls.sweep(), SWEEP_MS).unref();
    if (this.history !== null) setInterval(() => this.history?.sweep(), SWEEP_MS).unref();
    if (this.namespaces.hasPresence) setInterval(() => this.presence.renew(), RENEWAL_TICK_MS).unref();
  }

  /** Gives the shared parser, stopped in the middle of a head, to the connection whose head that is. */
  lendParser(): HeadParser {
    const lent = this.parser;
    this.parser = new HeadParser(this.config);
    return lent;
  }

  /** Largest payload of a channel: its namespace's limit, else the gateway's. */
  payloadLimitBytes(channel: string): number {
    return this.namespaces.of(channel).payloadLimitBytes || this.config.payloadLimitBytes;
  }

  countTransport(index: number, by: 1 | -1): void {
    this.connections[index] = (this.connections[index] as number) + by;
  }

  countRejected(rejection: Rejection): void {
    const { rejected } = this.counters;
    const index = rejectionIndex[rejection];
    rejected[index] = (rejected[index] as number) + 1;
  }

  // What the broker says.

  onPublication(publication: Publication): void {
    const { history } = this;
    if (publication.channel === FENCE_CHANNEL) {
      // While some publications are held back, or may be missing, there is no place that a fence could mark: its batch is called off.
      if (history === null || history.line.sure) this.onFence(publication.payload.toString('latin1'), ++this.order);
    } else if (publication.channel === COMMAND_CHANNEL) {
      if (!takeCommand(this, publication.payload)) this.seldom.say('warn', 'command', 'a command was not understood');
    } else if (publication.channel === ANSWER_CHANNEL) {
      this.nodes.takeAnswer(publication.payload);
    } else if (history !== null && (publication.offset > 0 || history.has(publication.channel))) {
      history.line.take(publication);
    } else {
      this.broadcast(publication);
    }
  }

  broadcast(publication: Publication): void {
    const { counters } = this;
    publication.order = ++this.order;
    const { kind, channel, payload } = publication;
    // What the gateway itself says of members has bounds of its own.
    if (kind === 'published' && payload.length > this.payloadLimitBytes(channel)) {
      counters.publicationsTooLarge++;
      this.seldom.say('warn', 'payload', 'a publication was dropped: its payload is over the limit of its channel', {
        channel,
        bytes: payload.length,
        limit: this.payloadLimitBytes(channel),
      });
      return;
    }
    counters.publications++;
    this.hub.broadcast(publication);
  }

  /** Puts a gap into the order of its channel. */
  tellGap(gap: Publication): void {
    gap.order = ++this.order;
    this.hub.broadcast(gap);
  }

  onState(state: BrokerState): void {
    if (state === 'up') {
      this.nodes.onUp();
      this.history?.onUp();
    }
    this.onBrokerState(state);
  }

  onHistory(state: HistoryState): void {
    this.history?.onConnected(state);
  }

  onGap(sinceMs: number): void {
    this.counters.gaps++;
    this.history?.line.onGap();
    for (const channel of this.hub.channelNames()) {
      if (this.history?.has(channel) === true) continue;
      this.counters.channelGaps++;
      this.tellGap(Publication.gap(channel));
    }
    this.log.warn('publications may have been missed: the broker was away', {
      broker: this.broker.name,
      forMs: Math.round(sinceMs),
    });
  }
}

function pollLimits(config: Config): PollLimits {
  return {
    sessionLimit: config.pollSessionLimit,
    mailboxLimitBytes: config.mailboxLimitBytes,
    mailboxTotalLimitBytes: config.mailboxTotalLimitBytes,
    answerLimitBytes: config.outboxLimitBytes,
    expiryMs: config.pollExpirySeconds * 1_000,
  };
}
