// /metrics: the worker table in the Prometheus text format, by prom-client's Registry in the primary.
//
// A scrape reads what workers have pushed and never waits for one of them (prom-client's own cluster aggregation does, and
// fails as a whole when one hangs). Each metric is one entry of `DEFINITIONS`; docs/metrics.md is held against it by a
// test. Each number has one place: slow consumers are `longwire_closed_total{reason="slow-consumer"}` and nothing else.
// All label values are there from the start, at 0, so that `rate()` sees the first increase.
//
// Cost a scrape with 64 workers (1,525 samples, 88 KB): 2.6 ms of the primary, the first one 7; nothing of the workers.

import { readdirSync } from 'node:fs';
import { type Metric, Registry } from 'prom-client';
import type { Config } from '../../config/config.ts';
import { CLOSE_REASONS, NOT_MOVED, REJECTIONS, TOKEN_REFUSALS } from '../close-reason.ts';
import type { Counters } from '../stats.ts';
import { ACCEPT_STATES, FANOUT_BUCKETS_SECONDS, TRANSPORTS } from '../stats.ts';
import { readDescriptorLimit } from './limits.ts';
import { OPERATION_KINDS, type OperationKind, type OperationOutcome } from './operations.ts';
import { FRONT_STATES, WORKER_STATES, type WorkerRow, type WorkerTable } from './worker-table.ts';

/** What a build is: the labels of `longwire_build_info`. */
export interface BuildInfo {
  version: string;
  accept: Config['accept'];
  broker: 'memory' | 'redis';
}

/** How many operations of a kind have ended so. */
export type EndedCount = (kind: OperationKind, outcome: OperationOutcome) => number;

/** What one scrape reads: folded once, then shared by all metrics of it. */
interface Scrape {
  build: BuildInfo;
  table: WorkerTable;
  rows: readonly WorkerRow[];
  totals: Counters;
  ended: EndedCount;
}

/** `suffix` is what a histogram adds to its name. */
interface Sample {
  labels: Record<string, string>;
  value: number;
  suffix?: '_bucket' | '_sum' | '_count';
}

export interface MetricDefinition {
  name: string;
  type: 'counter' | 'gauge' | 'histogram';
  help: string;
  labels: readonly string[];
  read(scrape: Scrape): Sample[];
}

export const DEFINITIONS: readonly MetricDefinition[] = [
  gauge(
    'longwire_build_info',
    'What is running; always 1.',
    ['version', 'node', 'wire', 'accept', 'broker'],
    (scrape) => {
      const { version, accept, broker } = scrape.build;
      const wire = scrape.rows.find((row) => row.address !== null)?.address?.wire ?? 'unknown';
      return [{ labels: { version, node: process.versions.node, wire, accept, broker }, value: 1 }];
    },
  ),

  // Workers
  gauge('longwire_workers', 'Worker slots by the state of the worker in them.', ['state'], ({ table }) =>
    WORKER_STATES.map((state) => ({ labels: { state }, value: table.inState(state).length })),
  ),
  {
    name: 'longwire_worker_restarts_total',
    type: 'counter',
    help: 'Workers that were started in place of one that had died.',
    labels: ['worker'],
    read: ({ table, rows }) => rows.map(({ id }) => ({ labels: { worker: `${id}` }, value: table.restarts(id) })),
  },
  {
    name: 'longwire_operations_total',
    type: 'counter',
    help: 'Operations on workers, and replacements of the primary, by how they ended.',
    labels: ['kind', 'outcome'],
    read: ({ ended }) =>
      OPERATION_KINDS.flatMap((kind) =>
        (['done', 'failed'] as const).map((outcome) => ({ labels: { kind, outcome }, value: ended(kind, outcome) })),
      ),
  },
  byWorker(
    'longwire_worker_snapshot_age_seconds',
    'Time since the worker last pushed its numbers, or since its start; above 2 it hangs or is overloaded, 0 when it is gone.',
    (row, { table }) =>
      row.state === 'gone' ? 0 : Math.max(0, table.nowMs() - (row.snapshotAtMs ?? row.startedAtMs)) / 1000,
  ),
  gauge(
    'longwire_worker_accept_state',
    'Where the worker stands in accepting: 1 for its present state; full has stopped listening, rejecting answers 503.',
    ['worker', 'state'],
    ({ rows }) =>
      rows.flatMap((row) =>
        ACCEPT_STATES.map((state) => ({
          labels: { worker: `${row.id}`, state },
          value: row.state !== 'gone' && row.acceptState === state ? 1 : 0,
        })),
      ),
  ),
  gauge('longwire_worker_memory_bytes', 'Memory of the worker by kind.', ['worker', 'kind'], ({ rows }) =>
    rows.flatMap(({ id, gauges }) =>
      memorySamples({ worker: `${id}` }, [
        gauges.rssBytes,
        gauges.heapTotalBytes,
        gauges.heapUsedBytes,
        gauges.externalBytes,
        gauges.arrayBuffersBytes,
      ]),
    ),
  ),
  byWorker('longwire_event_loop_delay_p50_seconds', 'Median event-loop delay of the last second.', ({ gauges }) => {
    return gauges.loopDelayP50Seconds;
  }),
  byWorker(
    'longwire_event_loop_delay_p99_seconds',
    '99th percentile of event-loop delay of the last second.',
    (row) => {
      return row.gauges.loopDelayP99Seconds;
    },
  ),
  byWorker('longwire_event_loop_delay_max_seconds', 'Longest event-loop delay of the last second.', ({ gauges }) => {
    return gauges.loopDelayMaxSeconds;
  }),
  byWorker(
    'longwire_event_loop_utilization_ratio',
    'Share of the last second in which the event loop was busy, 0 to 1.',
    (row) => row.gauges.loopUtilization,
  ),

  // Connections
  gauge(
    'longwire_connections',
    'Held connections by how they are served; those of a worker that is being replaced count with its slot.',
    ['worker', 'transport'],
    ({ table }) =>
      [...new Set(table.lives.map(({ id }) => id))].flatMap((id) =>
        TRANSPORTS.map((transport, index) => ({
          labels: { worker: `${id}`, transport },
          value: table.lives.reduce((sum, row) => sum + (row.id === id ? (row.gauges.connections[index] ?? 0) : 0), 0),
        })),
      ),
  ),
  {
    name: 'longwire_worker_generation',
    type: 'gauge',
    help: 'Which process the worker is in its slot, counted from 1.',
    labels: ['worker'],
    read: ({ rows }) => rows.map(({ id, generation }) => ({ labels: { worker: `${id}` }, value: generation })),
  },
  byWorker('longwire_connection_limit', 'Most connections that the worker will hold.', (row) => {
    return row.gauges.connectionLimit;
  }),
  gauge(
    'longwire_sticky_sockets',
    'Sockets that the sticky primary holds, by what becomes of them; 0 unless it accepts.',
    ['state'],
    ({ table }) => FRONT_STATES.map((state) => ({ labels: { state }, value: table.front.sockets[state] })),
  ),
  counter('longwire_accepted_total', 'Connections taken from the listening socket.', (totals) => totals.accepted),
  {
    name: 'longwire_moved_total',
    type: 'counter',
    help: 'Connections that went alive from one worker to another: given away and taken in.',
    labels: ['direction'],
    read: ({ totals }) => [
      { labels: { direction: 'out' }, value: totals.movedOut },
      { labels: { direction: 'in' }, value: totals.movedIn },
    ],
  },
  counterBy(
    'longwire_not_moved_total',
    'Times that a connection was to move and stayed.',
    'reason',
    NOT_MOVED,
    (totals) => totals.notMoved,
  ),
  {
    name: 'longwire_move_batch_duration_seconds',
    type: 'histogram',
    help: 'Time that a batch of connections took to move, from the offer to the last answer.',
    labels: [],
    read: ({ totals }) => histogramSamples(totals.batchBuckets, totals.batchSecondsSum),
  },
  counterBy('longwire_rejected_total', 'Connections and requests turned away.', 'reason', REJECTIONS, (totals) => {
    return totals.rejected;
  }),
  counterBy(
    'longwire_tokens_refused_total',
    "Clients' tokens that were refused, by what was wrong.",
    'reason',
    TOKEN_REFUSALS,
    (totals) => totals.tokensRefused,
  ),
  counterBy('longwire_closed_total', 'Accepted connections that ended, by why.', 'reason', CLOSE_REASONS, (totals) => {
    return totals.closed;
  }),
  byWorker('longwire_channels', 'Channels with a subscriber on the worker.', ({ gauges }) => gauges.channels),
  byWorker('longwire_subscriptions', 'Subscriptions: pairs of a connection and a channel.', ({ gauges }) => {
    return gauges.subscriptions;
  }),

  // Poll sessions
  byWorker('longwire_poll_sessions', 'Poll sessions, between polls and in them.', ({ gauges }) => gauges.pollSessions),
  byWorker('longwire_known_clients', 'Connections and poll sessions that are known by a client id.', ({ gauges }) => {
    return gauges.knownClients;
  }),
  byWorker('longwire_mailbox_bytes', "Memory of poll sessions' mailboxes.", ({ gauges }) => gauges.mailboxBytes),
  counter('longwire_poll_sessions_expired_total', 'Poll sessions for which no poll came in time.', (totals) => {
    return totals.pollSessionsExpired;
  }),
  counter('longwire_mailbox_lost_total', 'Publications dropped from mailboxes that were full.', (totals) => {
    return totals.mailboxLost;
  }),

  // Publications
  counter(
    'longwire_publications_total',
    'Publications taken from the broker; each worker takes and counts every one.',
    (totals) => totals.publications,
  ),
  counter('longwire_publications_too_large_total', 'Publications dropped for the size of their payload.', (totals) => {
    return totals.publicationsTooLarge;
  }),
  counter('longwire_deliveries_total', 'Frames given to connections.', (totals) => totals.deliveries),
  counter('longwire_delivered_bytes_total', 'Bytes of the frames given to connections.', (totals) => {
    return totals.deliveredBytes;
  }),
  {
    name: 'longwire_fanout_duration_seconds',
    type: 'histogram',
    help: "Time from a publication's arrival at a worker to its last delivery there.",
    labels: [],
    read: ({ totals }) => histogramSamples(totals.fanoutBuckets, totals.fanoutSecondsSum),
  },
  counter('longwire_fanout_overruns_total', 'Fan-outs finished in one go because too many were waiting.', (totals) => {
    return totals.fanoutOverruns;
  }),
  counter('longwire_broker_pauses_total', 'Times that the broker was read no further for a while.', (totals) => {
    return totals.brokerPauses;
  }),
  {
    name: 'longwire_api_requests_total',
    type: 'counter',
    help: 'Requests to the backend API by outcome.',
    labels: ['outcome'],
    read: ({ totals }) => [
      { labels: { outcome: 'succeeded' }, value: totals.apiSucceeded },
      { labels: { outcome: 'failed' }, value: totals.apiFailed },
    ],
  },

  // Broker
  byWorker('longwire_broker_up', "Whether the worker's connection to the broker stands: 1 or 0.", (row) => {
    return row.state !== 'gone' && row.brokerState === 'up' ? 1 : 0;
  }),
  counter(
    'longwire_broker_gaps_total',
    'Times that publications may have been missed between broker and worker.',
    (totals) => {
      return totals.gaps;
    },
  ),
  {
    name: 'longwire_recoveries_total',
    type: 'counter',
    help: 'Channels of clients that came back with a position, by how that ended.',
    labels: ['outcome'],
    read: ({ totals }) => [
      { labels: { outcome: 'recovered' }, value: totals.recovered },
      { labels: { outcome: 'gap' }, value: totals.recoveryGaps },
    ],
  },
  counter(
    'longwire_channel_gaps_total',
    'Channels whose subscribers on a worker were told of a gap, because the worker had missed something.',
    (totals) => {
      return totals.channelGaps;
    },
  ),
  counter('longwire_conflated_total', 'Publications that slow subscribers skipped for a newer one.', (totals) => {
    return totals.conflated;
  }),
  counter(
    'longwire_presence_failed_total',
    'Changes of presence that the broker did not take; the next renewal says them again.',
    (totals) => {
      return totals.presenceFailed;
    },
  ),
  byWorker('longwire_broker_round_trip_seconds', 'Last round trip to the broker; 0 before the first.', ({ gauges }) => {
    return gauges.brokerRoundTripSeconds;
  }),

  // The primary, under the names that every Prometheus client library uses
  {
    name: 'process_cpu_seconds_total',
    type: 'counter',
    help: 'CPU time of the primary.',
    labels: [],
    read: () => {
      const { user, system } = process.cpuUsage();
      return one((user + system) / 1e6);
    },
  },
  gauge('process_start_time_seconds', 'Start of the primary since the Unix epoch.', [], () => {
    return one(performance.timeOrigin / 1000);
  }),
  gauge('process_resident_memory_bytes', 'Resident memory of the primary.', [], () => one(process.memoryUsage.rss())),
  gauge('process_open_fds', 'Open descriptors of the primary.', [], () => one(openDescriptors())),
  gauge('process_max_fds', 'RLIMIT_NOFILE of the primary.', [], () => one(readDescriptorLimit())),
  gauge('longwire_primary_memory_bytes', 'Memory of the primary by kind.', ['kind'], () => {
    const { rss, heapTotal, heapUsed, external, arrayBuffers } = process.memoryUsage();
    return memorySamples({}, [rss, heapTotal, heapUsed, external, arrayBuffers]);
  }),
];

export class Metrics {
  readonly #registry = new Registry();
  readonly #table: WorkerTable;
  readonly #build: BuildInfo;
  readonly #ended: EndedCount;
  #scrape: Scrape;

  constructor(table: WorkerTable, build: BuildInfo, ended: EndedCount = () => 0) {
    this.#table = table;
    this.#build = build;
    this.#ended = ended;
    this.#scrape = this.#fold();
    for (const definition of DEFINITIONS) {
      // The Registry serialises whatever has a name and a `get`; its types know only the library's own four classes.
      this.#registry.registerMetric(new TableMetric(definition, () => this.#scrape) as unknown as Metric);
    }
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** The text of one scrape. All metrics are read before this returns, so they are of one moment. */
  render(): Promise<string> {
    this.#scrape = this.#fold();
    return this.#registry.metrics();
  }

  #fold(): Scrape {
    const table = this.#table;
    return { build: this.#build, table, rows: table.rows, totals: table.totals(), ended: this.#ended };
  }
}

/** What a Registry needs of a metric: its name, and `get`, which prom-client's own classes answer from their state. */
class TableMetric {
  readonly name: string;
  readonly #definition: MetricDefinition;
  readonly #scrape: () => Scrape;

  constructor(definition: MetricDefinition, scrape: () => Scrape) {
    this.name = definition.name;
    this.#definition = definition;
    this.#scrape = scrape;
  }

  get() {
    const { name, help, type, read } = this.#definition;
    const values = read(this.#scrape()).map(({ labels, value, suffix }) => ({
      labels,
      value,
      metricName: suffix === undefined ? name : name + suffix,
    }));
    return { name, help, type, values, aggregator: 'sum' };
  }
}

function gauge(name: string, help: string, labels: string[], read: (scrape: Scrape) => Sample[]): MetricDefinition {
  return { name, type: 'gauge', help, labels, read };
}

function byWorker(name: string, help: string, read: (row: WorkerRow, scrape: Scrape) => number): MetricDefinition {
  return gauge(name, help, ['worker'], (scrape) =>
    scrape.rows.map((row) => ({ labels: { worker: `${row.id}` }, value: read(row, scrape) })),
  );
}

function counter(name: string, help: string, read: (totals: Counters) => number): MetricDefinition {
  return { name, type: 'counter', help, labels: [], read: ({ totals }) => one(read(totals)) };
}

function counterBy(
  name: string,
  help: string,
  label: string,
  values: readonly string[],
  read: (totals: Counters) => number[],
): MetricDefinition {
  return {
    name,
    type: 'counter',
    help,
    labels: [label],
    read: ({ totals }) =>
      values.map((value, index) => ({ labels: { [label]: value }, value: read(totals)[index] ?? 0 })),
  };
}

function one(value: number): Sample[] {
  return [{ labels: {}, value }];
}

const MEMORY_KINDS = ['rss', 'heap_total', 'heap_used', 'external', 'array_buffers'];

function memorySamples(labels: Record<string, string>, bytes: number[]): Sample[] {
  return MEMORY_KINDS.map((kind, index) => ({ labels: { ...labels, kind }, value: bytes[index] ?? 0 }));
}

/** Prometheus cumulates: each bucket counts all that were no longer than its bound. */
function histogramSamples(buckets: number[], sum: number): Sample[] {
  let count = 0;
  const samples: Sample[] = [...FANOUT_BUCKETS_SECONDS, Number.POSITIVE_INFINITY].map((bound, index) => {
    count += buckets[index] ?? 0;
    return {
      labels: { le: bound === Number.POSITIVE_INFINITY ? '+Inf' : `${bound}` },
      value: count,
      suffix: '_bucket',
    };
  });
  return [...samples, { labels: {}, value: sum, suffix: '_sum' }, { labels: {}, value: count, suffix: '_count' }];
}

/** Of the primary, which holds a few a worker; 0 where there is no /proc. */
function openDescriptors(): number {
  try {
    return readdirSync('/proc/self/fd').length;
  } catch {
    return 0;
  }
}
