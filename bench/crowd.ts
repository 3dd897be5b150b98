// The clients of one run: forks client processes, has them connect, follows rounds to their end, adds their accounts up.
//
// Each process holds at most `CONNECTIONS_A_CLIENT` connections (RLIMIT_NOFILE is often 20,000) and has a source address of
// its own, different from run to run, so that no address runs out of ports and no run meets another's. Before use the
// processes are warmed up against a small server of ours: their code is compiled, and the pages of the Node binary that
// they share with the subject are mapped, so that neither shows up in what is measured afterwards.

import { type ChildProcess, fork } from 'node:child_process';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { nowMs, sleep } from './clock.ts';
import type { Connected, ConnectOrder, FromClient, RoundReport, Tally, ToClient } from './load/orders.ts';
import type { Transport } from './load/transports.ts';
import { answerTo } from './load/warm-up.ts';
import { mergeSorted } from './statistics.ts';

const CONNECTIONS_A_CLIENT = 18_000;
const WARM_UP_CONNECTIONS = 400;
const START_LIMIT_MS = 20_000;
const REPORT_LIMIT_MS = 20_000;
/** Larger young generation: the clients' own garbage collection must not be what limits them. */
const CLIENT_FLAGS = ['--max-semi-space-size=32'];

export interface CrowdConnected {
  open: number;
  refused: number;
  /** From the first connect begun to the last answer head. */
  seconds: number;
  samples: string[];
}

export interface RoundResult {
  sequence: number;
  /** Connections that it reached before the limit. */
  reached: number;
  firstAtMs: number;
  lastAtMs: number;
  /** Ascending, milliseconds. */
  latencies: Float64Array;
}

interface Client {
  process: ChildProcess;
  sourceAddress: string;
}

let runs = 0;

export class Crowd {
  readonly pids: number[] = [];
  private readonly clients: Client[] = [];
  private readonly connections: number;
  private readonly transport: Transport;
  private readonly secure: boolean;
  private readonly rounds = new Map<number, RoundReport[]>();

  private constructor(connections: number, transport: Transport, secure: boolean) {
    this.connections = connections;
    this.transport = transport;
    this.secure = secure;
  }

  /** Starts as many processes as the connections need, warm and idle. `secure`: they connect through TLS. */
  static async start(connections: number, transport: Transport = 'sse', secure = false): Promise<Crowd> {
    const crowd = new Crowd(connections, transport, secure);
    const run = (runs++ % 200) + 1;
    const count = Math.max(1, Math.ceil(connections / CONNECTIONS_A_CLIENT));
    const script = fileURLToPath(new URL('./load/client.js', import.meta.url));
    for (let i = 0; i < count; i++) {
      const child = fork(script, { serialization: 'advanced', execArgv: CLIENT_FLAGS });
      crowd.clients.push({ process: child, sourceAddress: `127.${run}.${i + 1}.1` });
      crowd.pids.push(child.pid ?? 0);
    }
    try {
      await crowd.each('ready', null, START_LIMIT_MS);
      await crowd.warmUp();
    } catch (error) {
      crowd.kill();
      throw error;
    }
    for (const { process: child } of crowd.clients) {
      child.on('message', (message: FromClient) => {
        if (message.type === 'round') crowd.addRound(message.round);
      });
    }
    return crowd;
  }

  /**
   * Connects all; resolves when each has an answer or was refused.
   *
   * @param prefix Of the channels' names; the channel's whole name when it is shared by all.
   * @param rounds Whether every publication goes to all of them.
   */
  async connect(
    port: number,
    prefix: string,
    shared: boolean,
    inFlight: number,
    limitMs: number,
    rounds = true,
  ): Promise<CrowdConnected> {
    const { connections, secure } = this;
    const orders = this.orders({ connections, secure, port, prefix, shared, inFlight, rounds });
    const answers = (await this.each('connected', orders, limitMs)) as Connected[];
    const { tally } = await this.report();
    const beganAtMs = Math.min(...answers.map((answer) => answer.beganAtMs));
    const endedAtMs = Math.max(...answers.map((answer) => answer.endedAtMs));
    return {
      open: tally.open,
      refused: tally.refused,
      seconds: (endedAtMs - beganAtMs) / 1000,
      samples: tally.samples,
    };
  }

  /** Waits until a round has reached all open connections, or until the limit. */
  async round(sequence: number, limitMs: number): Promise<RoundResult> {
    const deadline = nowMs() + limitMs;
    while ((this.rounds.get(sequence)?.length ?? 0) < this.clients.length && nowMs() < deadline) await sleep(5);
    let reports = this.rounds.get(sequence) ?? [];
    if (reports.length < this.clients.length) {
      const { unfinished } = await this.report();
      reports = [...reports, ...unfinished.filter((round) => round.sequence === sequence)];
    }
    this.rounds.delete(sequence);
    return {
      sequence,
      reached: reports.reduce((total, report) => total + report.count, 0),
      firstAtMs: Math.min(...reports.map((report) => report.firstAtMs)),
      lastAtMs: Math.max(...reports.map((report) => report.lastAtMs)),
      latencies: mergeSorted(reports.map((report) => report.latencies)),
    };
  }

  /** All accounts added up, as they stand. */
  async report(): Promise<{ tally: Tally; unfinished: RoundReport[]; latencies: Float64Array }> {
    const order: ToClient = { type: 'report' };
    const answers = await this.each(
      'report',
      this.clients.map(() => order),
      REPORT_LIMIT_MS,
    );
    const sum: Tally = {
      open: 0,
      refused: 0,
      closed: 0,
      faulty: 0,
      received: 0,
      doubled: 0,
      overtaken: 0,
      samples: [],
    };
    const unfinished: RoundReport[] = [];
    const latencies: Float64Array[] = [];
    for (const answer of answers) {
      if (answer.type !== 'report') continue;
      sum.open += answer.tally.open;
      sum.refused += answer.tally.refused;
      sum.closed += answer.tally.closed;
      sum.faulty += answer.tally.faulty;
      sum.received += answer.tally.received;
      sum.doubled += answer.tally.doubled;
      sum.overtaken += answer.tally.overtaken;
      sum.samples.push(...answer.tally.samples);
      unfinished.push(...answer.unfinished);
      latencies.push(answer.latencies);
    }
    return { tally: sum, unfinished, latencies: mergeSorted(latencies) };
  }

  /** Lets go of every connection, then ends the processes. */
  async stop(): Promise<void> {
    const order: ToClient = { type: 'release' };
    try {
      await this.each(
        'released',
        this.clients.map(() => order),
        REPORT_LIMIT_MS,
      );
    } finally {
      this.kill();
    }
  }

  kill(): void {
    for (const { process: child } of this.clients) child.kill('SIGKILL');
  }

  private addRound(report: RoundReport): void {
    const reports = this.rounds.get(report.sequence);
    if (reports === undefined) this.rounds.set(report.sequence, [report]);
    else reports.push(report);
  }

  /** Gives each process its order and waits for each one's answer of this type. */
  private each(type: FromClient['type'], orders: ToClient[] | null, limitMs: number): Promise<FromClient[]> {
    return Promise.all(
      this.clients.map(({ process: child }, i) => {
        const answer = answerOf(child, type, limitMs);
        const order = orders?.[i];
        if (order !== undefined && child.connected) child.send(order);
        return answer;
      }),
    );
  }

  private orders(all: {
    connections: number;
    secure: boolean;
    port: number;
    prefix: string;
    shared: boolean;
    inFlight: number;
    rounds: boolean;
  }): ConnectOrder[] {
    const { connections, secure, port, prefix, shared, inFlight, rounds } = all;
    const count = this.clients.length;
    let first = 0;
    return this.clients.map(({ sourceAddress }, i) => {
      const share = Math.floor(connections / count) + (i < connections % count ? 1 : 0);
      const order: ConnectOrder = {
        type: 'connect',
        transport: this.transport,
        secure,
        port,
        sourceAddress,
        connections: share,
        channels: { prefix, first, shared },
        rounds,
        inFlight: Math.max(1, Math.ceil(inFlight / count)),
      };
      first += share;
      return order;
    });
  }

  private async warmUp(): Promise<void> {
    const server = createServer((socket) => {
      socket.on('error', () => socket.destroy());
      socket.once('data', (head) => socket.write(answerTo(this.transport, head.toString('latin1')), 'latin1'));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = address !== null && typeof address === 'object' ? address.port : 0;
    const connections = WARM_UP_CONNECTIONS * this.clients.length;
    const plain = { connections, secure: false, port, prefix: 'warm-up', shared: true, inFlight: 64, rounds: true };
    await this.each('connected', this.orders(plain), START_LIMIT_MS);
    const release: ToClient = { type: 'release' };
    await this.each(
      'released',
      this.clients.map(() => release),
      START_LIMIT_MS,
    );
    await new Promise((resolve) => server.close(resolve));
  }
}

/** Resolves with the process's next message of this type; rejects when it ends first or the limit passes. */
function answerOf(child: ChildProcess, type: FromClient['type'], limitMs: number): Promise<FromClient> {
  return new Promise((resolve, reject) => {
    if (!child.connected) {
      reject(new BenchError('a client process has ended'));
      return;
    }
    const timer = setTimeout(() => finish(new BenchError(`no '${type}' from a client process`)), limitMs);
    const onMessage = (message: FromClient) => {
      if (message.type === type) finish(message);
    };
    const onExit = () => finish(new BenchError('a client process ended by itself'));
    const finish = (outcome: FromClient | BenchError) => {
      clearTimeout(timer);
      child.off('message', onMessage);
      child.off('exit', onExit);
      if (outcome instanceof BenchError) reject(outcome);
      else resolve(outcome);
    };
    child.on('message', onMessage);
    child.on('exit', onExit);
  });
}

/** The benchmark cannot go on; the text is for the person who started it. */
export class BenchError extends Error {
  override readonly name = 'BenchError';
}
