// Measures one run of holding: memory before, with all connected, and after each connection was sent something.
//
// Wait until memory stands still: base. Connect N connections, each on its own channel of 24 characters; wait: memory a
// connection is the growth since base, divided by N (user: PSS of the process tree, no forced garbage collection; kernel:
// see memory.ts). Publish one publication to every channel, `--messages` times, each after the one before has arrived
// everywhere; wait: growth.

import {
  type Account,
  account,
  type ConnectFigures,
  connectAll,
  publishRound,
  type RoundFigures,
  type Stage,
} from '../bench-run.ts';
import { type KernelMemory, kernelMemory, serverShare, settledMemory, type UserMemory } from '../memory.ts';

const PREFIX = 'bench-';

export interface Memory {
  tree: UserMemory;
  serving: UserMemory;
  bare: UserMemory;
  kernel: KernelMemory;
}

export interface HoldFigures {
  processes: { tree: number; serving: number };
  base: Memory;
  connect: ConnectFigures;
  held: Memory;
  published: string;
  rounds: RoundFigures[];
  afterRounds: Memory;
  account: Account;
}

export async function measureHold(stage: Stage): Promise<HoldFigures> {
  const { subject, publisher, options } = stage;
  const base = await memory(stage);
  const connect = await connectAll(stage, PREFIX, false);
  const held = await memory(stage);
  const rounds: RoundFigures[] = [];
  for (let sequence = 1; sequence <= options.messages; sequence++) {
    const publish = () => publisher.each(PREFIX, options.connections, sequence);
    rounds.push(await publishRound(stage, sequence, publish));
  }
  const afterRounds = await memory(stage);
  return {
    processes: { tree: subject.tree().length, serving: subject.serving().length },
    base,
    connect,
    held,
    published: publisher.how,
    rounds,
    afterRounds,
    account: await account(stage, options.messages),
  };
}

async function memory({ subject, bare, options }: Stage): Promise<Memory> {
  const groups = [subject.tree(), subject.serving(), bare.tree()];
  const [tree, serving, idle] = await settledMemory(groups, options.settleSeconds * 1000);
  if (tree === undefined || serving === undefined || idle === undefined)
    throw new RangeError('three groups, three readings');
  return { tree, serving, bare: idle, kernel: kernelMemory() };
}

/** Bytes of user memory a connection, at one reading. */
export function perConnection(
  figures: HoldFigures,
  memory: Memory,
  of: 'tree' | 'serving',
  kind: 'pssBytes' | 'anonBytes' = 'pssBytes',
): number {
  return (memory[of][kind] - figures.base[of][kind]) / figures.connect.open;
}

/** Bytes of kernel memory of the server's ends of all connections, at one reading. */
export function kernelBytes(figures: HoldFigures, memory: Memory): number {
  return serverShare(figures.base.kernel, memory.kernel);
}

/** Percent by which user memory a connection grew as all were sent to. */
export function growth(figures: HoldFigures): number {
  return (perConnection(figures, figures.afterRounds, 'tree') / perConnection(figures, figures.held, 'tree') - 1) * 100;
}

/** Whether memory stood still at every reading. */
export function isSettled({ base, held, afterRounds }: HoldFigures): boolean {
  return [base, held, afterRounds].every((memory) => memory.tree.settled);
}
