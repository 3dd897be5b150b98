// One publication to everyone: how long until the last of N connections on one channel has it, against a C epoll loop.
//
// Method, for each subject and run: as measures/fanout.ts says. `--transport` chooses how the clients reach Longwire; the
// references speak SSE whatever it is. A run's figure is the median of its rounds. What sending costs in the kernel (both
// halves of a loopback connection) and what the clients need to read are the same for every subject, hence the ratios. User
// CPU a delivery comes in ticks of 10 ms: it means something over all rounds of a run only.
//
// Usage: npm run bench:fanout -- --help

import { accountRows, cpuUs, exitOn, overRounds, type RoundMoment, runAll } from './bench-run.ts';
import { type FanoutFigures, measureFanout } from './measures/fanout.ts';
import { type Options, readOptions } from './options.ts';
import { atMost, type Row, writeReport } from './report.ts';
import { besideReferences, SUBJECT_NAMES, type SubjectName } from './subjects/subjects.ts';

const DEFAULTS = { connections: 15_000, messages: 20, subjects: SUBJECT_NAMES };

/** docs/budgets.md: SSE's last byte against the C epoll loop. A WebSocket's is held against SSE's, by bench:transports. */
const RATIO_LIMIT = 1.15;

/** Rows of figures, then each moment as a ratio to the same run of a reference, where that took part. */
function rowsFor(results: ReadonlyMap<string, FanoutFigures[]>, { transport }: Options): Row<FanoutFigures>[] {
  const ratio = (reference: SubjectName, of: RoundMoment): Row<FanoutFigures>['of'] => {
    const references = results.get(reference) ?? [];
    return (figures, column) => {
      const beside = references[results.get(column)?.indexOf(figures) ?? -1];
      return beside === undefined ? Number.NaN : overRounds(figures.rounds, of) / overRounds(beside.rounds, of);
    };
  };
  return [
    { name: 'first byte', unit: 'ms', digits: 1, of: (f) => overRounds(f.rounds, 'firstByteMs') },
    { name: 'last byte', unit: 'ms', digits: 1, of: (f) => overRounds(f.rounds, 'lastByteMs') },
    {
      name: '… against the C epoll loop',
      unit: '×',
      digits: 2,
      of: ratio('epoll', 'lastByteMs'),
      ...(transport === 'sse' ? { budget: atMost(RATIO_LIMIT, '×') } : {}),
    },
    { name: '… against node:http', unit: '×', digits: 2, of: ratio('http', 'lastByteMs') },
    { name: 'first byte against the C epoll loop', unit: '×', digits: 2, of: ratio('epoll', 'firstByteMs') },
    { name: 'latency p50', unit: 'ms', digits: 1, of: (f) => overRounds(f.rounds, 'p50Ms') },
    { name: 'latency p99', unit: 'ms', digits: 1, of: (f) => overRounds(f.rounds, 'p99Ms') },
    {
      name: 'user CPU a delivery, serving processes',
      unit: 'µs',
      digits: 2,
      of: (f) => cpuUs(f.rounds, 'servingCpu', 'user'),
      budget: atMost(1.5, 'µs'),
    },
    { name: '… whole tree', unit: 'µs', digits: 2, of: (f) => cpuUs(f.rounds, 'treeCpu', 'user') },
    {
      name: 'kernel CPU a delivery, serving processes',
      unit: 'µs',
      digits: 2,
      of: (f) => cpuUs(f.rounds, 'servingCpu', 'system'),
    },
    {
      name: 'serving processes waited for a core',
      unit: 'ms',
      digits: 1,
      of: (f) => overRounds(f.rounds, 'servingWaitedMs'),
    },
    ...accountRows<FanoutFigures>(),
  ];
}

async function main(): Promise<void> {
  const { options } = readOptions('fanout', DEFAULTS);
  const outcome = await runAll(options, besideReferences(options.transport), measureFanout);
  const notes = [...outcome.notes];
  for (const [column, runs] of outcome.results) {
    for (const { coresShared } of runs) if (coresShared !== null) notes.push(`${column}: ${coresShared}`);
  }
  writeReport('fanout', outcome, options, rowsFor(outcome.results, options), [...new Set(notes)]);
}

main().catch(exitOn);
