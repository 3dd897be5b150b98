// One publication to everyone: how long until the last of N connections on one channel has it, against a C epoll loop.
//
// Method, for each subject and run: connect N SSE connections to one channel of one serving process, publish `WARM_UP_ROUNDS`
// times without looking, then `--messages` rounds: one POST /api/publish, wait until every connection has the publication,
// wait a little for doubles. First and last byte count from the moment the call is made to the read in the client, on one
// clock. A run's figure is the median of its rounds. What sending costs in the kernel (both halves of a loopback
// connection) and what the clients need to read are the same for every subject, hence the ratios. User CPU a delivery
// comes in ticks of 10 ms: it means something over all rounds of a run only.
//
// Usage: npm run bench:fanout -- --help

import {
  type Account,
  account,
  accountRows,
  type ConnectFigures,
  connectAll,
  cpuUs,
  exitOn,
  overRounds,
  publishRound,
  type RoundFigures,
  runAll,
  type Stage,
} from './bench-run.ts';
import { channelName } from './load/orders.ts';
import { readOptions } from './options.ts';
import { atMost, type Row, writeReport } from './report.ts';
import type { SubjectName } from './subjects/subjects.ts';

const DEFAULTS = { connections: 15_000, messages: 20 };

const CHANNEL = channelName('bench-fanout-', 0);
const WARM_UP_ROUNDS = 3;
/** DESIGN §9: last byte against the C epoll loop. */
const RATIO_LIMIT = 1.15;

interface FanoutFigures {
  connect: ConnectFigures;
  rounds: RoundFigures[];
  account: Account;
}

async function measure(stage: Stage): Promise<FanoutFigures> {
  const { publisher, options } = stage;
  const connect = await connectAll(stage, CHANNEL, true);
  const rounds: RoundFigures[] = [];
  const all = WARM_UP_ROUNDS + options.messages;
  for (let sequence = 1; sequence <= all; sequence++) {
    const round = await publishRound(stage, sequence, () => publisher.one(CHANNEL, sequence));
    if (sequence > WARM_UP_ROUNDS) rounds.push(round);
  }
  return { connect, rounds, account: await account(stage, all) };
}

type Moment = 'firstByteMs' | 'lastByteMs' | 'p50Ms' | 'p99Ms';

/** Rows of figures, then each moment as a ratio to the same run of a reference, where that took part. */
function rowsFor(results: ReadonlyMap<SubjectName, FanoutFigures[]>): Row<FanoutFigures>[] {
  const ratio = (reference: SubjectName, of: Moment): Row<FanoutFigures>['of'] => {
    const references = results.get(reference) ?? [];
    return (figures, subject) => {
      const beside = references[results.get(subject)?.indexOf(figures) ?? -1];
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
      budget: atMost(RATIO_LIMIT, '×'),
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
    ...accountRows<FanoutFigures>(),
  ];
}

async function main(): Promise<void> {
  const options = readOptions('fanout', DEFAULTS);
  const outcome = await runAll(options, measure);
  writeReport('fanout', outcome, options, rowsFor(outcome.results), outcome.notes);
}

main().catch(exitOn);
