// /metrics: exact names and labels, what the numbers are, Prometheus' own lint, and docs/metrics.md against the code.
// To write the document anew after a change: UPDATE_DOCUMENTS=1 npm test

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { CLOSE_REASONS, NOT_MOVED, REJECTIONS, TOKEN_REFUSALS } from '../../src/close-reason.ts';
import { DEFINITIONS, Metrics } from '../../src/primary/metrics.ts';
import { OPERATION_KINDS } from '../../src/primary/operations.ts';
import { WorkerTable } from '../../src/primary/worker-table.ts';
import {
  ACCEPT_STATES,
  emptyCounters,
  emptyGauges,
  FANOUT_BUCKETS_SECONDS,
  type Snapshot,
  TRANSPORTS,
} from '../../src/stats.ts';
import { PROJECT_ROOT, projectFile } from '../project.ts';

const BUILD = { version: '1.2.3', accept: 'shared', broker: 'memory' } as const;
const ADDRESS = { address: '::', port: 3000, wire: 'handle', wireWhy: '' };

/** A snapshot in which every number is another one, so that a mixed-up field shows. */
function distinctSnapshot(): Snapshot {
  let next = 100;
  const counters = emptyCounters();
  const gauges = emptyGauges();
  for (const part of [counters, gauges] as unknown as Record<string, number | number[] | string>[]) {
    for (const [key, value] of Object.entries(part)) {
      if (typeof value === 'number') part[key] = next++;
      else if (Array.isArray(value)) part[key] = value.map(() => next++);
    }
  }
  gauges.acceptState = 'listening';
  gauges.brokerState = 'up';
  return { counters, gauges };
}

async function scrape(table: WorkerTable): Promise<Map<string, number>> {
  return parse(await new Metrics(table, BUILD).render());
}

function parse(text: string): Map<string, number> {
  const samples = new Map<string, number>();
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const cut = line.lastIndexOf(' ');
    const name = line.slice(0, cut);
    assert.ok(!samples.has(name), `${name} is there twice`);
    const value = line.slice(cut + 1);
    samples.set(name, value === '+Inf' ? Number.POSITIVE_INFINITY : Number(value));
  }
  return samples;
}

describe('metrics', () => {
  it('are all there from the start, at 0, with every label value', async () => {
    const samples = await scrape(new WorkerTable(2));
    const expected = [
      ...['head', 'given', 'relayed', 'leaving'].map((state) => `longwire_sticky_sockets{state="${state}"}`),
      'longwire_accepted_total',
      ...['out', 'in'].map((direction) => `longwire_moved_total{direction="${direction}"}`),
      ...REJECTIONS.map((reason) => `longwire_rejected_total{reason="${reason}"}`),
      ...TOKEN_REFUSALS.map((reason) => `longwire_tokens_refused_total{reason="${reason}"}`),
      ...CLOSE_REASONS.map((reason) => `longwire_closed_total{reason="${reason}"}`),
      'longwire_poll_sessions_expired_total',
      'longwire_mailbox_lost_total',
      ...NOT_MOVED.map((reason) => `longwire_not_moved_total{reason="${reason}"}`),
      ...FANOUT_BUCKETS_SECONDS.map((bound) => `longwire_move_batch_duration_seconds_bucket{le="${bound}"}`),
      'longwire_move_batch_duration_seconds_bucket{le="+Inf"}',
      'longwire_move_batch_duration_seconds_sum',
      'longwire_move_batch_duration_seconds_count',
      'longwire_publications_total',
      'longwire_publications_too_large_total',
      'longwire_deliveries_total',
      'longwire_delivered_bytes_total',
      ...FANOUT_BUCKETS_SECONDS.map((bound) => `longwire_fanout_duration_seconds_bucket{le="${bound}"}`),
      'longwire_fanout_duration_seconds_bucket{le="+Inf"}',
      'longwire_fanout_duration_seconds_sum',
      'longwire_fanout_duration_seconds_count',
      'longwire_fanout_overruns_total',
      'longwire_broker_pauses_total',
      'longwire_api_requests_total{outcome="succeeded"}',
      'longwire_api_requests_total{outcome="failed"}',
      'longwire_broker_gaps_total',
      ...OPERATION_KINDS.flatMap((kind) =>
        ['done', 'failed'].map((outcome) => `longwire_operations_total{kind="${kind}",outcome="${outcome}"}`),
      ),
      ...['recovered', 'gap'].map((outcome) => `longwire_recoveries_total{outcome="${outcome}"}`),
      'longwire_channel_gaps_total',
      'longwire_conflated_total',
      'longwire_presence_failed_total',
      ...['starting', 'ready', 'leaving', 'draining'].map((state) => `longwire_workers{state="${state}"}`),
      ...['1', '2'].flatMap((worker) => [
        ...TRANSPORTS.map((transport) => `longwire_connections{worker="${worker}",transport="${transport}"}`),
        ...ACCEPT_STATES.map((state) => `longwire_worker_accept_state{worker="${worker}",state="${state}"}`),
        ...['rss', 'heap_total', 'heap_used', 'external', 'array_buffers'].map(
          (kind) => `longwire_worker_memory_bytes{worker="${worker}",kind="${kind}"}`,
        ),
        ...[
          'longwire_worker_restarts_total',
          'longwire_worker_generation',
          'longwire_worker_snapshot_age_seconds',
          'longwire_connection_limit',
          'longwire_channels',
          'longwire_subscriptions',
          'longwire_poll_sessions',
          'longwire_known_clients',
          'longwire_mailbox_bytes',
          'longwire_broker_up',
          'longwire_broker_round_trip_seconds',
          'longwire_event_loop_delay_p50_seconds',
          'longwire_event_loop_delay_p99_seconds',
          'longwire_event_loop_delay_max_seconds',
          'longwire_event_loop_utilization_ratio',
        ].map((name) => `${name}{worker="${worker}"}`),
      ]),
    ];
    for (const name of expected) assert.equal(samples.get(name), 0, name);
    const others = [...samples.keys()].filter((name) => !expected.includes(name));
    assert.deepEqual(others.sort(), [
      `longwire_build_info{version="1.2.3",node="${process.versions.node}",wire="unknown",accept="shared",broker="memory"}`,
      ...['array_buffers', 'external', 'heap_total', 'heap_used', 'rss'].map(
        (kind) => `longwire_primary_memory_bytes{kind="${kind}"}`,
      ),
      'longwire_workers{state="gone"}',
      'process_cpu_seconds_total',
      'process_max_fds',
      'process_open_fds',
      'process_resident_memory_bytes',
      'process_start_time_seconds',
    ]);
    for (const name of others) assert.ok((samples.get(name) ?? 0) > 0, name);
  });

  it('show what workers push: each number in its own place', async () => {
    let nowMs = 1_000;
    const table = new WorkerTable(1, () => nowMs);
    const row = table.begin(1, 1);
    table.ready(row, ADDRESS);
    row.brokerState = 'up';
    const { counters, gauges } = distinctSnapshot();
    table.snapshot(row, { counters, gauges });
    nowMs = 1_750;
    const samples = await scrape(table);
    const worker = (name: string) => samples.get(`${name}{worker="1"}`);

    assert.equal(samples.get('longwire_accepted_total'), counters.accepted);
    for (const [index, reason] of REJECTIONS.entries()) {
      assert.equal(samples.get(`longwire_rejected_total{reason="${reason}"}`), counters.rejected[index]);
    }
    for (const [index, reason] of TOKEN_REFUSALS.entries()) {
      assert.equal(samples.get(`longwire_tokens_refused_total{reason="${reason}"}`), counters.tokensRefused[index]);
    }
    for (const [index, reason] of CLOSE_REASONS.entries()) {
      assert.equal(samples.get(`longwire_closed_total{reason="${reason}"}`), counters.closed[index]);
    }
    assert.equal(samples.get('longwire_publications_total'), counters.publications);
    assert.equal(samples.get('longwire_publications_too_large_total'), counters.publicationsTooLarge);
    assert.equal(samples.get('longwire_deliveries_total'), counters.deliveries);
    assert.equal(samples.get('longwire_delivered_bytes_total'), counters.deliveredBytes);
    assert.equal(samples.get('longwire_fanout_overruns_total'), counters.fanoutOverruns);
    assert.equal(samples.get('longwire_broker_pauses_total'), counters.brokerPauses);
    assert.equal(samples.get('longwire_broker_gaps_total'), counters.gaps);
    assert.equal(samples.get('longwire_recoveries_total{outcome="recovered"}'), counters.recovered);
    assert.equal(samples.get('longwire_recoveries_total{outcome="gap"}'), counters.recoveryGaps);
    assert.equal(samples.get('longwire_channel_gaps_total'), counters.channelGaps);
    assert.equal(samples.get('longwire_conflated_total'), counters.conflated);
    assert.equal(samples.get('longwire_presence_failed_total'), counters.presenceFailed);
    assert.equal(samples.get('longwire_poll_sessions_expired_total'), counters.pollSessionsExpired);
    assert.equal(samples.get('longwire_mailbox_lost_total'), counters.mailboxLost);
    assert.equal(samples.get('longwire_api_requests_total{outcome="succeeded"}'), counters.apiSucceeded);
    assert.equal(samples.get('longwire_api_requests_total{outcome="failed"}'), counters.apiFailed);

    for (const [index, transport] of TRANSPORTS.entries()) {
      const name = `longwire_connections{worker="1",transport="${transport}"}`;
      assert.equal(samples.get(name), gauges.connections[index]);
    }
    assert.equal(worker('longwire_channels'), gauges.channels);
    assert.equal(worker('longwire_subscriptions'), gauges.subscriptions);
    assert.equal(worker('longwire_connection_limit'), gauges.connectionLimit);
    assert.equal(worker('longwire_broker_up'), 1);
    assert.equal(worker('longwire_broker_round_trip_seconds'), gauges.brokerRoundTripSeconds);
    assert.equal(worker('longwire_event_loop_delay_p50_seconds'), gauges.loopDelayP50Seconds);
    assert.equal(worker('longwire_event_loop_delay_p99_seconds'), gauges.loopDelayP99Seconds);
    assert.equal(worker('longwire_event_loop_delay_max_seconds'), gauges.loopDelayMaxSeconds);
    assert.equal(worker('longwire_event_loop_utilization_ratio'), gauges.loopUtilization);
    assert.equal(worker('longwire_worker_snapshot_age_seconds'), 0.75);
    const memory = (kind: string) => samples.get(`longwire_worker_memory_bytes{worker="1",kind="${kind}"}`);
    assert.equal(memory('rss'), gauges.rssBytes);
    assert.equal(memory('heap_total'), gauges.heapTotalBytes);
    assert.equal(memory('heap_used'), gauges.heapUsedBytes);
    assert.equal(memory('external'), gauges.externalBytes);
    assert.equal(memory('array_buffers'), gauges.arrayBuffersBytes);
    for (const state of ACCEPT_STATES) {
      const name = `longwire_worker_accept_state{worker="1",state="${state}"}`;
      assert.equal(samples.get(name), state === 'listening' ? 1 : 0);
    }
    assert.equal(samples.get('longwire_workers{state="ready"}'), 1);
    assert.ok(
      [...samples.keys()].some((name) => name.startsWith('longwire_build_info{') && name.includes('wire="handle"')),
    );
  });

  it('cumulate the fan-out histogram over all workers', async () => {
    const table = new WorkerTable(2);
    for (const id of [1, 2]) {
      const counters = emptyCounters();
      counters.fanoutBuckets = counters.fanoutBuckets.map((_, index) => index + 1);
      counters.fanoutSecondsSum = 1.5;
      table.snapshot(table.begin(id, id), { counters, gauges: emptyGauges() });
    }
    const samples = await scrape(table);
    let count = 0;
    for (const [index, bound] of [...FANOUT_BUCKETS_SECONDS, '+Inf'].entries()) {
      count += 2 * (index + 1);
      assert.equal(samples.get(`longwire_fanout_duration_seconds_bucket{le="${bound}"}`), count);
    }
    assert.equal(samples.get('longwire_fanout_duration_seconds_count'), count);
    assert.equal(samples.get('longwire_fanout_duration_seconds_sum'), 3);
  });

  it('count operations by their kind and how they ended', async () => {
    const metrics = new Metrics(new WorkerTable(1), BUILD, (kind, outcome) =>
      kind === 'replace-primary' && outcome === 'failed' ? 3 : 0,
    );
    const samples = parse(await metrics.render());
    assert.equal(samples.get('longwire_operations_total{kind="replace-primary",outcome="failed"}'), 3);
    assert.equal(samples.get('longwire_operations_total{kind="replace-primary",outcome="done"}'), 0);
  });

  it('keep the counters of a worker that died, and drop its gauges', async () => {
    const table = new WorkerTable(1);
    const metrics = new Metrics(table, BUILD);
    const row = table.begin(1, 1);
    table.ready(row, ADDRESS);
    const { counters, gauges } = distinctSnapshot();
    table.snapshot(row, { counters, gauges });
    const before = parse(await metrics.render());
    table.end(row);
    table.settle(row);
    const dead = parse(await metrics.render());
    table.begin(1, 2);
    const replaced = parse(await metrics.render());
    for (const { name, type } of DEFINITIONS) {
      if (type === 'gauge' || name.startsWith('process_')) continue;
      for (const [sample, value] of before) {
        if (!sample.startsWith(name)) continue;
        assert.ok((dead.get(sample) ?? -1) >= value, sample);
        assert.ok((replaced.get(sample) ?? -1) >= value, sample);
      }
    }
    assert.equal(dead.get('longwire_connections{worker="1",transport="sse"}'), 0);
    assert.equal(dead.get('longwire_broker_up{worker="1"}'), 0);
    assert.equal(replaced.get('longwire_worker_restarts_total{worker="1"}'), 1);
  });

  it('are read in one go, before anything is awaited: a scrape is of one moment and waits for no worker', async () => {
    const table = new WorkerTable(1);
    const metrics = new Metrics(table, BUILD);
    const rendering = metrics.render();
    table.snapshot(table.begin(1, 1), distinctSnapshot());
    for (const [name, value] of parse(await rendering)) {
      if (name.startsWith('longwire_') && /_total(\{|$)/.test(name)) assert.equal(value, 0, name);
    }
  });

  it('have nothing that promtool would complain about', async (context) => {
    if (spawnSync('promtool', ['--version']).error !== undefined) {
      context.skip("promtool is not installed (Debian's package prometheus has it)");
      return;
    }
    const table = new WorkerTable(2);
    const row = table.begin(1, 1);
    table.ready(row, ADDRESS);
    table.snapshot(row, distinctSnapshot());
    const input = await new Metrics(table, BUILD).render();
    const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], { input, encoding: 'utf8' });
    assert.deepEqual({ status, stdout, stderr }, { status: 0, stdout: '', stderr: '' });
  });
});

describe('docs/metrics.md', () => {
  const BEGIN = '<!-- metrics:begin -->\n';
  const END = '<!-- metrics:end -->';

  it('has the table that the code says', () => {
    const path = 'docs/metrics.md';
    const text = projectFile(path);
    const begin = text.indexOf(BEGIN) + BEGIN.length;
    const end = text.indexOf(END);
    assert.ok(begin >= BEGIN.length && end >= begin, 'the table stands between its two marks');
    const expected = `${text.slice(0, begin)}${metricsMarkdown()}${text.slice(end)}`;
    if (process.env.UPDATE_DOCUMENTS === '1') writeFileSync(join(PROJECT_ROOT, path), expected);
    else assert.equal(text, expected, 'run UPDATE_DOCUMENTS=1 npm test to write it anew');
  });

  it('explains every label and each of its values', () => {
    const text = projectFile('docs/metrics.md');
    const labels = new Set(DEFINITIONS.flatMap((definition) => definition.labels));
    const values = [...REJECTIONS, ...CLOSE_REASONS, ...TRANSPORTS, ...ACCEPT_STATES];
    for (const word of [...labels, ...values]) assert.ok(text.includes(`\`${word}\``), `\`${word}\` is not explained`);
  });
});

function metricsMarkdown(): string {
  const rows = DEFINITIONS.map(({ name, type, labels, help }) => {
    return `| \`${name}\` | ${type} | ${labels.map((label) => `\`${label}\``).join(', ')} | ${help} |\n`;
  });
  return `| name | type | labels | what it is |\n| --- | --- | --- | --- |\n${rows.join('')}`;
}
