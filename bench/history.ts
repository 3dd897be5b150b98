// What history costs who holds a connection: memory a connection and CPU time a delivery, of Longwire beside itself without.
//
// Method, for each run: without history and with it, `--connections` are held on one worker (measures/hold.ts), each on a channel of its
// own; then both are fanned out to (measures/fanout.ts), on processes of their own. Budgets are for the differences, over the serving
// process: what a history keeps lies in the primary, or in Redis, and is a matter of publications and not of connections. What it
// costs a publisher is bench:publish.
//
// Usage: npm run bench:history -- --help

import { accountRows, cpuUs, exitOn, onStage, whoCan, withSettings } from './bench-run.ts';
import { machine } from './machine.ts';
import { type FanoutFigures, measureFanout } from './measures/fanout.ts';
import { type HoldFigures, measureHold, perConnection } from './measures/hold.ts';
import { type Options, readOptions } from './options.ts';
import { atMost, type Outcome, type Row, writeReport } from './report.ts';
import type { Variant } from './subjects/subjects.ts';

interface HistoryFigures {
  hold: HoldFigures;
  fanout: FanoutFigures;
}

type Results = Map<string, HistoryFigures[]>;

const VARIANTS = (['without', 'with'] as const).map((name): Variant => {
  return { name, subject: 'longwire', transport: 'sse', wire: 'auto' };
});

const DEFAULTS = {
  connections: 10_000,
  messages: 3,
  subjects: VARIANTS.map(({ name }) => name),
  fanout: { connections: 10_000, messages: 20 },
};

/** What history may add. */
const CONNECTION_BYTES = 200;
const DELIVERY_US = 0.5;

const bytes = ({ hold }: HistoryFigures) => perConnection(hold, hold.held, 'serving');
const bytesAfter = ({ hold }: HistoryFigures) => perConnection(hold, hold.afterRounds, 'serving');
const deliveryUs = ({ fanout }: HistoryFigures) => cpuUs(fanout.rounds, 'servingCpu', 'user');
const ownUs = ({ hold }: HistoryFigures) => cpuUs(hold.rounds, 'servingCpu', 'user');

function rowsFor(results: Results): Row<HistoryFigures>[] {
  /** Above what the same run had without. */
  const added = (of: (figures: HistoryFigures) => number): Row<HistoryFigures>['of'] => {
    return (figures, column) => {
      const beside = results.get('without')?.[results.get(column)?.indexOf(figures) ?? -1];
      return column === 'without' || beside === undefined ? Number.NaN : of(figures) - of(beside);
    };
  };
  const judged = ['with'];
  return [
    { name: 'user memory a connection, serving process', unit: 'bytes', digits: 0, of: bytes },
    {
      name: '… added by history',
      unit: 'bytes',
      digits: 0,
      of: added(bytes),
      budget: atMost(CONNECTION_BYTES, 'bytes'),
      judged,
    },
    { name: '… after all were sent to', unit: 'bytes', digits: 0, of: bytesAfter },
    {
      name: '… added by history',
      unit: 'bytes',
      digits: 0,
      of: added(bytesAfter),
      budget: atMost(CONNECTION_BYTES, 'bytes'),
      judged,
    },
    { name: 'fan-out: user CPU a delivery, serving process', unit: 'µs', digits: 3, of: deliveryUs },
    {
      name: '… added by history',
      unit: 'µs',
      digits: 3,
      of: added(deliveryUs),
      budget: atMost(DELIVERY_US, 'µs'),
      judged,
    },
    { name: 'to each its own, publishing included: user CPU', unit: 'µs', digits: 2, of: ownUs },
    ...accountRows<HistoryFigures & HoldFigures>().map(
      ({ of, ...row }): Row<HistoryFigures> => ({
        ...row,
        of: (f, column) => of({ ...f, ...f.hold }, column) + of({ ...f, ...f.hold, account: f.fanout.account }, column),
        judged: VARIANTS.map(({ name }) => name),
      }),
    ),
  ];
}

async function measureAll(options: Options, fanout: Options): Promise<Outcome<HistoryFigures> & { notes: string[] }> {
  return withSettings(options, async (settings) => {
    const facts = machine(settings);
    const { able, notes } = whoCan(options, VARIANTS, settings);
    const results: Results = new Map(able.map(({ name }) => [name, []]));
    for (let run = 1; run <= options.runs; run++) {
      for (const variant of able) {
        process.stderr.write(`run ${run} of ${options.runs}: ${variant.name}\n`);
        const own = { ...settings, history: variant.name === 'with' };
        const hold = await onStage(variant, own, options, measureHold);
        results.get(variant.name)?.push({ hold, fanout: await onStage(variant, own, fanout, measureFanout) });
      }
    }
    return { machine: facts, results, notes };
  });
}

async function main(): Promise<void> {
  const { options, fanout } = readOptions('history', DEFAULTS);
  const outcome = await measureAll(options, fanout);
  writeReport('history', outcome, options, rowsFor(outcome.results), outcome.notes);
}

main().catch(exitOn);
