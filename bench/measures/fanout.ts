// Measures one run of fan-out: one publication to all connections of one channel, again and again.
//
// Connect N connections to one channel of one serving process, set a core apart for that (cores.ts), publish
// `WARM_UP_ROUNDS` times without looking, then `--messages` rounds: one POST /api/publish, wait until every connection has
// the publication, wait a little for doubles. First and last byte count from the moment the call is made to the read in the
// client, on one clock.

import {
  type Account,
  account,
  type ConnectFigures,
  connectAll,
  publishRound,
  type RoundFigures,
  type Stage,
} from '../bench-run.ts';
import { withCoresApart } from '../cores.ts';
import { channelName } from '../load/orders.ts';

const CHANNEL = channelName('bench-fanout-', 0);
const WARM_UP_ROUNDS = 3;

export interface FanoutFigures {
  connect: ConnectFigures;
  rounds: RoundFigures[];
  account: Account;
  /** Why no core was set apart for serving; null when one was, or was not to be. */
  coresShared: string | null;
}

export async function measureFanout(stage: Stage): Promise<FanoutFigures> {
  const { options, subject, crowd } = stage;
  const connect = await connectAll(stage, CHANNEL, true);
  const serving = subject.serving();
  const others = [...subject.tree().filter((pid) => !serving.includes(pid)), ...crowd.pids];
  const measured = options.sharedCores
    ? { result: await measureRounds(stage), note: null }
    : await withCoresApart(serving, others, () => measureRounds(stage));
  const published = WARM_UP_ROUNDS + options.messages;
  return { connect, rounds: measured.result, account: await account(stage, published), coresShared: measured.note };
}

async function measureRounds(stage: Stage): Promise<RoundFigures[]> {
  const rounds: RoundFigures[] = [];
  for (let sequence = 1; sequence <= WARM_UP_ROUNDS + stage.options.messages; sequence++) {
    const round = await publishRound(stage, sequence, () => stage.publisher.one(CHANNEL, sequence));
    if (sequence > WARM_UP_ROUNDS) rounds.push(round);
  }
  return rounds;
}
