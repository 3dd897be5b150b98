// The numbers that a worker pushes to the primary each second: one fixed shape, all zero at birth.
//
// Counters only grow; the primary keeps those of dead workers so that totals never go backwards. Gauges are how things
// stand and die with the worker. Labelled counters are arrays whose index is the label's place in its table
// (`CLOSE_REASONS`, …): counting is one array store, and the snapshot is plain numbers for structured clone.
//
// Cost: some 60 numbers a worker a second; nothing a connection.

import {
  CLOSE_REASONS,
  type CloseReason,
  NOT_MOVED,
  type NotMoved,
  REJECTIONS,
  type Rejection,
  TOKEN_REFUSALS,
  type TokenRefusal,
} from './close-reason.ts';

/** How a held connection is being served; `http` is one that is between requests or in one that ends. */
export const TRANSPORTS = ['http', 'sse', 'stream', 'websocket', 'poll'] as const;
export type Transport = (typeof TRANSPORTS)[number];

/**
 * Upper bounds of the fan-out histogram, in seconds: from one delivery (tens of microseconds) to the fan-out of a
 * publication to some hundred thousand (seconds). The last bucket, +Inf, is implied.
 */
export const FANOUT_BUCKETS_SECONDS = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5] as const;

export interface Counters {
  /** Connections taken from the listening socket. */
  accepted: number;
  /** By index in `REJECTIONS`. */
  rejected: number[];
  /** Clients' tokens that were refused, by index in `TOKEN_REFUSALS`. */
  tokensRefused: number[];
  /** Accepted connections that ended, by index in `CLOSE_REASONS`. */
  closed: number[];
  /** Connections given to and taken from other workers, alive. */
  movedOut: number;
  movedIn: number;
  /** Connections that were to move and stayed, by index in `NOT_MOVED`. */
  notMoved: number[];
  /** Batches of moving connections by duration, in the buckets of fan-outs. */
  batchBuckets: number[];
  batchSecondsSum: number;
  /** Publications that the broker brought to this worker, whether or not it had a subscriber. */
  publications: number;
  /** Publications dropped because the payload was over its limit. */
  publicationsTooLarge: number;
  /** Frames given to connections. */
  deliveries: number;
  /** Bytes of those frames. */
  deliveredBytes: number;
  /** Fan-outs by duration: counts in `FANOUT_BUCKETS_SECONDS` plus +Inf, not cumulated. */
  fanoutBuckets: number[];
  fanoutSecondsSum: number;
  /** Fan-outs finished in one go because too many were waiting for their next slice. */
  fanoutOverruns: number;
  /** Times that the broker was read no further because too many fan-outs were waiting. */
  brokerPauses: number;
  /** Times that publications may have been missed between broker and worker. */
  gaps: number;
  /** Channels of clients that came back with a position, by how that ended. */
  recovered: number;
  recoveryGaps: number;
  /** Channels whose subscribers here were told of a gap. */
  channelGaps: number;
  /** Publications that slow subscribers skipped for a newer one. */
  conflated: number;
  /** Changes of presence that the broker did not take: the next renewal says them again. */
  presenceFailed: number;
  /** API calls that succeeded and that failed. */
  apiSucceeded: number;
  apiFailed: number;
  /** Poll sessions for which no poll came in time. */
  pollSessionsExpired: number;
  /** Publications dropped from mailboxes that were full. */
  mailboxLost: number;
}

export const BROKER_STATES = ['connecting', 'up', 'down'] as const;
export type BrokerState = (typeof BROKER_STATES)[number];

/** Where a worker stands in accepting: `full` has stopped listening at its cap, `rejecting` answers 503 to everyone. */
export const ACCEPT_STATES = ['starting', 'listening', 'full', 'rejecting', 'draining'] as const;
export type AcceptState = (typeof ACCEPT_STATES)[number];

export interface Gauges {
  /** Held connections by index in `TRANSPORTS`. */
  connections: number[];
  channels: number;
  subscriptions: number;
  pollSessions: number;
  /** Connections and poll sessions that are known by a client id. */
  knownClients: number;
  /** Of all mailboxes, with what holds them. */
  mailboxBytes: number;
  /** Most connections this worker will hold. */
  connectionLimit: number;
  acceptState: AcceptState;
  brokerState: BrokerState;
  /** The last round trip to the broker, in seconds; 0 before the first. */
  brokerRoundTripSeconds: number;
  /** Over the last second, in seconds. */
  loopDelayP50Seconds: number;
  loopDelayP99Seconds: number;
  loopDelayMaxSeconds: number;
  /** Share of the last second in which the event loop was busy, 0 to 1. */
  loopUtilization: number;
  /** `process.memoryUsage()`, bytes. */
  rssBytes: number;
  heapTotalBytes: number;
  heapUsedBytes: number;
  externalBytes: number;
  arrayBuffersBytes: number;
}

export interface Snapshot {
  counters: Counters;
  gauges: Gauges;
}

export function emptyCounters(): Counters {
  return {
    accepted: 0,
    rejected: REJECTIONS.map(() => 0),
    tokensRefused: TOKEN_REFUSALS.map(() => 0),
    closed: CLOSE_REASONS.map(() => 0),
    movedOut: 0,
    movedIn: 0,
    notMoved: NOT_MOVED.map(() => 0),
    batchBuckets: [...FANOUT_BUCKETS_SECONDS.map(() => 0), 0],
    batchSecondsSum: 0,
    publications: 0,
    publicationsTooLarge: 0,
    deliveries: 0,
    deliveredBytes: 0,
    fanoutBuckets: [...FANOUT_BUCKETS_SECONDS.map(() => 0), 0],
    fanoutSecondsSum: 0,
    fanoutOverruns: 0,
    brokerPauses: 0,
    gaps: 0,
    recovered: 0,
    recoveryGaps: 0,
    channelGaps: 0,
    conflated: 0,
    presenceFailed: 0,
    apiSucceeded: 0,
    apiFailed: 0,
    pollSessionsExpired: 0,
    mailboxLost: 0,
  };
}

export function emptyGauges(): Gauges {
  return {
    connections: TRANSPORTS.map(() => 0),
    channels: 0,
    subscriptions: 0,
    pollSessions: 0,
    knownClients: 0,
    mailboxBytes: 0,
    connectionLimit: 0,
    acceptState: 'starting',
    brokerState: 'connecting',
    brokerRoundTripSeconds: 0,
    loopDelayP50Seconds: 0,
    loopDelayP99Seconds: 0,
    loopDelayMaxSeconds: 0,
    loopUtilization: 0,
    rssBytes: 0,
    heapTotalBytes: 0,
    heapUsedBytes: 0,
    externalBytes: 0,
    arrayBuffersBytes: 0,
  };
}

/** Counts a duration into buckets that have `FANOUT_BUCKETS_SECONDS` as their upper bounds. */
export function countDuration(buckets: number[], seconds: number): void {
  let bucket = 0;
  while (bucket < FANOUT_BUCKETS_SECONDS.length && seconds > (FANOUT_BUCKETS_SECONDS[bucket] as number)) bucket++;
  buckets[bucket] = (buckets[bucket] as number) + 1;
}

/** Adds `b` into `a`, field by field: how the primary keeps the counters of workers that are gone. */
export function addCounters(a: Counters, b: Counters): void {
  for (const key of Object.keys(a) as (keyof Counters)[]) {
    const mine = a[key];
    const theirs = b[key];
    if (typeof mine === 'number' && typeof theirs === 'number') (a[key] as number) = mine + theirs;
    else if (Array.isArray(mine) && Array.isArray(theirs)) {
      for (let i = 0; i < mine.length; i++) mine[i] = (mine[i] ?? 0) + (theirs[i] ?? 0);
    }
  }
}

export const closeReasonIndex = indexOf<CloseReason>(CLOSE_REASONS);
export const rejectionIndex = indexOf<Rejection>(REJECTIONS);
export const tokenRefusalIndex = indexOf<TokenRefusal>(TOKEN_REFUSALS);
export const notMovedIndex = indexOf<NotMoved>(NOT_MOVED);
export const transportIndex = indexOf<Transport>(TRANSPORTS);

function indexOf<T extends string>(table: readonly T[]): Readonly<Record<T, number>> {
  return Object.fromEntries(table.map((name, index) => [name, index])) as Record<T, number>;
}
