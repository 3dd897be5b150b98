// Measures one run of fan-out: one publication to all connections of one channel, again and again.
//
// Connect N connections to one channel of one serving process, publish `WARM_UP_ROUNDS` times without looking, then
// `--messages` rounds: one POST /api/publish, wait until every connection has the publication, wait a little for doubles.
// First and last byte count from the moment the call is made to the read in the client, on one clock.

import {
  type Account,
  account,
  type ConnectFigures,
  connectAll,
  publishRound,
  type RoundFigures,
  type Stage,
} from '../bench-run.ts';
import { channelName } from '../load/orders.ts';

const CHANNEL = channelName('bench-fanout-', 0);
const WARM_UP_ROUNDS = 3;

export interface FanoutFigures {
  connect: ConnectFigures;
  rounds: RoundFigures[];
  account: Account;
}

export async function measureFanout(stage: Stage): Promise<FanoutFigures> {
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
