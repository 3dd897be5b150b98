// All transports of Longwire in one table, on both wires, and Bun's WebSocket server beside them.
//
// Method, for each run: every variant holds `--connections` on one worker (measures/hold.ts), one after the other; then every
// variant is fanned out to (measures/fanout.ts), on processes of its own, as the two want different channels. A variant is
// a transport on a wire: `sse/handle` is SSE on bare handles, `sse/tls` SSE through TLS, on sockets. Each run's figures are also taken as ratios to those of SSE
// on the same wire in the same run, which is what the budgets of streams and WebSockets are about; that of memory is
// taken over the serving process, as the primary beside it knows no transports but moves by megabytes. The budget in bytes is
// for bare handles, as `net.Socket` alone is above it. All payloads are in the raw format. A poll is held as its first: it
// waits and has no session yet; after all were sent to, each waits again and has one, with its mailbox.
//
// Usage: npm run bench:transports -- --help

import {
  type Account,
  accountRows,
  cpuUs,
  exitOn,
  onStage,
  overRounds,
  type RoundFigures,
  whoCan,
  withSettings,
} from './bench-run.ts';
import { TRANSPORTS } from './load/transports.ts';
import { machine } from './machine.ts';
import { type FanoutFigures, measureFanout } from './measures/fanout.ts';
import { growth, type HoldFigures, isSettled, measureHold, perConnection } from './measures/hold.ts';
import { type Options, readOptions } from './options.ts';
import { atMost, type Outcome, type Row, writeReport } from './report.ts';
import { ensureBun, type Variant } from './subjects/subjects.ts';

interface TransportFigures {
  hold: HoldFigures;
  fanout: FanoutFigures;
}

type Results = Map<string, TransportFigures[]>;

const WIRES = ['handle', 'socket'] as const;
const VARIANTS: readonly Variant[] = [
  ...WIRES.flatMap((wire) =>
    TRANSPORTS.map((transport): Variant => ({ name: `${transport}/${wire}`, subject: 'longwire', transport, wire })),
  ),
  { name: 'sse/tls', subject: 'longwire', transport: 'sse', wire: 'tls' },
  { name: 'bun', subject: 'bun', transport: 'websocket', wire: 'auto' },
  { name: 'bun-topics', subject: 'bun-topics', transport: 'websocket', wire: 'auto' },
];

const DEFAULTS = {
  connections: 19_000,
  messages: 3,
  subjects: VARIANTS.map(({ name }) => name),
  fanout: { connections: 15_000, messages: 20 },
};

/** The budgets of the transports beside SSE: a stream's and a waiting poll's memory, a WebSocket's memory, and its last byte. */
const STREAM_MEMORY_RATIO = 1.05;
const WEBSOCKET_BYTES = 1_400;
const WEBSOCKET_LAST_BYTE_RATIO = 1.1;

const onEachWire = (transport: string) => WIRES.map((wire) => `${transport}/${wire}`);

/** The column that ratios of this one are taken to; Bun's to bare handles. */
const sseOf = (column: string) => (column.endsWith('/socket') ? 'sse/socket' : 'sse/handle');

const heldBytes = ({ hold }: TransportFigures) => perConnection(hold, hold.held, 'tree');
const servingBytes = ({ hold }: TransportFigures) => perConnection(hold, hold.held, 'serving');
const lastByteMs = ({ fanout }: TransportFigures) => overRounds(fanout.rounds, 'lastByteMs');

function rowsFor(results: Results): Row<TransportFigures>[] {
  const toSse = (of: (figures: TransportFigures) => number): Row<TransportFigures>['of'] => {
    return (figures, column) => {
      const beside = results.get(sseOf(column))?.[results.get(column)?.indexOf(figures) ?? -1];
      return beside === undefined ? Number.NaN : of(figures) / of(beside);
    };
  };
  const cpu = (of: 'servingCpu' | 'treeCpu', rounds: (figures: TransportFigures) => RoundFigures[]) => {
    return (figures: TransportFigures) => cpuUs(rounds(figures), of, 'user');
  };
  return [
    {
      name: 'user memory a connection',
      unit: 'bytes',
      digits: 0,
      of: heldBytes,
      budget: atMost(WEBSOCKET_BYTES, 'bytes'),
      judged: ['websocket/handle'],
    },
    {
      name: '… of the serving process alone',
      unit: 'bytes',
      digits: 0,
      of: servingBytes,
    },
    {
      name: "… against SSE's on that wire",
      unit: '×',
      digits: 3,
      of: toSse(servingBytes),
      budget: atMost(STREAM_MEMORY_RATIO, '×'),
      judged: [...onEachWire('stream'), ...onEachWire('poll')],
    },
    {
      name: '… of the tree, anonymous pages alone',
      unit: 'bytes',
      digits: 0,
      of: ({ hold }) => perConnection(hold, hold.held, 'tree', 'anonBytes'),
    },
    {
      name: '… after all were sent to',
      unit: 'bytes',
      digits: 0,
      of: ({ hold }) => perConnection(hold, hold.afterRounds, 'tree'),
    },
    {
      name: '… of the serving process alone',
      unit: 'bytes',
      digits: 0,
      of: ({ hold }) => perConnection(hold, hold.afterRounds, 'serving'),
    },
    { name: 'growth of the tree by that', unit: '%', digits: 1, of: ({ hold }) => growth(hold) },
    { name: 'connects', unit: 'a second', digits: 0, of: ({ hold }) => hold.connect.perSecond },
    { name: '… cores busy: subject', unit: '', digits: 2, of: ({ hold }) => hold.connect.subjectCores },
    { name: 'to each its own: user CPU, serving', unit: 'µs', digits: 2, of: cpu('servingCpu', (f) => f.hold.rounds) },
    { name: 'fan-out: last byte', unit: 'ms', digits: 1, of: lastByteMs },
    {
      name: "… against SSE's on that wire",
      unit: '×',
      digits: 2,
      of: toSse(lastByteMs),
      budget: atMost(WEBSOCKET_LAST_BYTE_RATIO, '×'),
      judged: onEachWire('websocket'),
    },
    { name: '… user CPU a delivery, serving', unit: 'µs', digits: 2, of: cpu('servingCpu', (f) => f.fanout.rounds) },
    { name: '… user CPU a delivery, whole tree', unit: 'µs', digits: 2, of: cpu('treeCpu', (f) => f.fanout.rounds) },
    ...accountRows<TransportFigures & { account: Account }>().map(
      ({ of, ...row }): Row<TransportFigures> => ({
        ...row,
        of: (f, column) =>
          of({ ...f, account: f.hold.account }, column) + of({ ...f, account: f.fanout.account }, column),
        judged: TRANSPORTS.flatMap(onEachWire),
      }),
    ),
  ];
}

/** Every variant holds, then every variant is fanned out to: what is compared was measured as near in time as can be. */
function measureAll(
  options: Options,
  fanoutOptions: Options,
): Promise<Outcome<TransportFigures> & { notes: string[] }> {
  return withSettings(options, async (settings) => {
    const facts = machine(settings);
    const { able, notes } = whoCan(options, VARIANTS, settings);
    const results: Results = new Map(able.map(({ name }) => [name, []]));
    for (let run = 1; run <= options.runs; run++) {
      const held: HoldFigures[] = [];
      for (const variant of able) {
        process.stderr.write(`run ${run} of ${options.runs}: ${variant.name} held\n`);
        held.push(await onStage(variant, settings, options, measureHold));
      }
      for (const [i, variant] of able.entries()) {
        process.stderr.write(`run ${run} of ${options.runs}: ${variant.name} fanned out to\n`);
        const fanout = await onStage(variant, settings, fanoutOptions, measureFanout);
        results.get(variant.name)?.push({ hold: held[i] as HoldFigures, fanout });
      }
    }
    return { machine: facts, results, notes };
  });
}

function remarks(results: Results, fanout: Options): string[] {
  const lines = [`fan-out: ${fanout.connections} connections on one channel, ${fanout.messages} rounds`];
  const bun = ['bun', 'bun-topics'].some((name) => results.has(name)) ? ensureBun() : '';
  if (typeof bun !== 'string') {
    lines.push(`bun ${bun.version}: Bun.serve with a table of channels; bun-topics with its own publish and subscribe`);
  }
  for (const [column, runs] of results) {
    if (!runs.every(({ hold }) => isSettled(hold)))
      lines.push(`${column}: memory did not stand still in at least one run`);
    for (const { fanout: measured } of runs) {
      if (measured.coresShared !== null) lines.push(`${column}: ${measured.coresShared}`);
    }
    const samples = runs.flatMap(({ hold, fanout }) => [...hold.account.samples, ...fanout.account.samples]);
    for (const sample of new Set(samples)) lines.push(`${column}: ${sample}`);
  }
  return [...new Set(lines)];
}

async function main(): Promise<void> {
  const { options, fanout } = readOptions('transports', DEFAULTS);
  const outcome = await measureAll(options, fanout);
  const notes = [...outcome.notes, ...remarks(outcome.results, fanout)];
  writeReport('transports', outcome, options, rowsFor(outcome.results), notes);
}

main().catch(exitOn);
