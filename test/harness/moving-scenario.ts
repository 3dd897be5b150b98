// One scenario of the promise that moves make: clients that number everything while a seed chooses what is done to their gateway.
// Workers are replaced, added, taken away and evened out, the primary is replaced, a worker is killed, its connections to Redis are cut;
// some of it in the middle of something else.
//
// What is owed: each client is brought everything that was published to its channels since it was there, once and in order, and
// hears of no gap; nobody is closed but who was held by a worker when that was killed, or was on its way to or from it. A publish
// that failed may or may not have been taken, and may fail only around a kill or a cut.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { clientPorts } from './client-sockets.ts';
import { type GatewayProcess, startGateway } from './gateway.ts';
import { randomFrom } from './history-scenario.ts';
import { MOVING_KINDS, type MovingClient, openMovingClient } from './moving-clients.ts';
import { freePort, type RedisServer, startRedis } from './redis.ts';
import { waitUntil } from './wait.ts';

const CHANNELS = ['a', 'b', 'c', 'all'];
const OPERATION_LIMIT_MS = 60_000;
const ARRIVAL_LIMIT_MS = 15_000;
const NUMBER = /#(\d+)#/;

export interface MovingScenarioOptions {
  /** Clients of each kind. */
  clients: number;
  /** What is done to the gateway. */
  steps: number;
}

export interface MovingOutcome {
  seed: number;
  /** What the seed has chosen. */
  setup: string;
  steps: string[];
  faults: string[];
  published: number;
  moved: number;
  closed: number;
  /** The gateway's, where there were faults. */
  log: string;
}

interface Published {
  number: number;
  state: 'sent' | 'taken' | 'doubtful';
}

interface Ally {
  /** Decides its kind and its channels. */
  index: number;
  client: MovingClient;
  /** How many were sent to each of its channels when it was there, by channel. */
  from: readonly number[];
  /** Whether a worker held it that was killed. */
  excused: boolean;
  /** Whether its end has been looked at. */
  judged: boolean;
}

/** Runs the scenario of a seed to its end. */
export async function runMovingScenario(seed: number, options: MovingScenarioOptions): Promise<MovingOutcome> {
  const random = randomFrom(seed);
  const broker = random(2) === 0 ? 'memory' : 'redis';
  const history = random(2) === 0 ? 'history' : 'no history';
  const accept = random(4) === 0 ? 'sticky' : 'shared';
  const wire = accept === 'sticky' || random(4) === 0 ? 'socket' : 'handle';
  const folder = mkdtempSync(join(tmpdir(), 'longwire-moves-'));
  const env: Record<string, string> = {
    PORT: String(await freePort()),
    LONGWIRE_ACCEPT: accept,
    LONGWIRE_WIRE: wire,
    LONGWIRE_DRAIN_SECONDS: '2',
    LONGWIRE_KEEPALIVE_SECONDS: '60',
    LONGWIRE_HEARTBEAT_SECONDS: '2',
  };
  const redis = broker === 'redis' ? await startRedis() : null;
  if (redis !== null) env.REDIS_URL = redis.url;
  if (history === 'history') {
    env.LONGWIRE_NAMESPACES = join(folder, 'namespaces.json');
    writeFileSync(
      env.LONGWIRE_NAMESPACES,
      JSON.stringify({ default: { history_size: 1_000, history_ttl_seconds: 60 } }),
    );
  }
  const gateway = await startGateway({ env });
  const scenario = new Scenario(gateway, redis, seed, { history: history === 'history', sticky: accept === 'sticky' });
  try {
    await scenario.run(options);
  } catch (thrown) {
    scenario.outcome.faults.push(`${thrown instanceof Error ? (thrown.stack ?? thrown.message) : thrown}`);
  } finally {
    scenario.close();
    await gateway.kill();
    await redis?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  scenario.outcome.setup = [broker, history, accept, wire].join(', ');
  if (scenario.outcome.faults.length > 0) scenario.outcome.log = gateway.log;
  return scenario.outcome;
}

class Scenario {
  readonly outcome: MovingOutcome;
  readonly #gateway: GatewayProcess;
  readonly #redis: RedisServer | null;
  readonly #history: boolean;
  readonly #sticky: boolean;
  readonly #random: (below: number) => number;
  readonly #sent = new Map<string, Published[]>(CHANNELS.map((name) => [name, []]));
  readonly #allies: Ally[] = [];
  #number = 0;
  #workers = 2;
  /** Killing and cutting make publishes fail. */
  #troubles = 0;
  #kills = 0;
  #state: 'running' | 'stopped' = 'running';

  constructor(
    gateway: GatewayProcess,
    redis: RedisServer | null,
    seed: number,
    { history, sticky }: { history: boolean; sticky: boolean },
  ) {
    this.#gateway = gateway;
    this.#redis = redis;
    this.#history = history;
    this.#sticky = sticky;
    this.#random = randomFrom(seed + 1_000_000);
    this.outcome = { seed, setup: '', steps: [], faults: [], published: 0, moved: 0, closed: 0, log: '' };
  }

  async run({ clients, steps }: MovingScenarioOptions): Promise<void> {
    await Promise.all(Array.from({ length: clients * MOVING_KINDS.length }, (_, i) => this.#open(i)));
    const publishing = CHANNELS.map((channel) => this.#publishAll(channel));
    for (let step = 0; step < steps; step++) {
      const kills = this.#kills;
      await this.#step();
      // Whoever was on his way to or from a worker that was killed may be closed with it: who that was nobody can tell from outside.
      this.#judgeEndings(this.#kills > kills);
      await this.#replaceClosed(clients);
    }
    this.#state = 'stopped';
    await Promise.all(publishing);
    // The last ones show that everybody is there.
    for (const channel of CHANNELS) await this.#publish(channel);
    await waitUntil(() => this.#allies.every((ally) => this.#isDone(ally)), 'the last', ARRIVAL_LIMIT_MS).catch(
      () => {},
    );
    this.#judgeEndings(false);
    for (const ally of this.#allies) this.#check(ally);
    await this.#checkGateway();
    this.outcome.published = this.#number;
  }

  close(): void {
    for (const { client } of this.#allies) client.close();
  }

  // Clients.

  async #open(index: number): Promise<void> {
    const kind = MOVING_KINDS[index % MOVING_KINDS.length] ?? 'sse';
    const single = CHANNELS[index % (CHANNELS.length - 1)] ?? 'a';
    const channels = kind === 'asker' ? [] : [single, 'all'];
    const client = await openMovingClient(kind, this.#gateway.publicPort, channels, (below) =>
      Math.floor(Math.random() * below),
    );
    const from = client.channels.map((name) => this.#of(name).length);
    this.#allies.push({ index, client, from, excused: false, judged: false });
  }

  /** Others come for those whose worker was killed, so that there is always somebody to move. */
  async #replaceClosed(clients: number): Promise<void> {
    for (let index = 0; index < clients * MOVING_KINDS.length; index++) {
      const last = this.#allies.findLast((ally) => ally.index === index);
      if (last?.client.ending() !== null) await this.#open(index);
    }
  }

  // Publishing.

  #of(channel: string): Published[] {
    return this.#sent.get(channel) ?? [];
  }

  /** One publisher a channel, so that the order of its numbers is that of its publications. */
  async #publishAll(channel: string): Promise<void> {
    while (this.#state === 'running') {
      await this.#publish(channel);
      await pause(Math.random() * 10);
    }
  }

  async #publish(channel: string): Promise<void> {
    const published: Published = { number: ++this.#number, state: 'sent' };
    this.#of(channel).push(published);
    let why: string;
    try {
      const answer = await this.#gateway.api('publish', { channel, data: `#${published.number}#` });
      published.state = answer.status === 200 ? 'taken' : 'doubtful';
      why = `${answer.status} ${answer.text}`;
    } catch (thrown) {
      published.state = 'doubtful';
      why = String(thrown);
    }
    if (published.state === 'doubtful' && this.#troubles === 0)
      this.outcome.faults.push(`publishing to ${channel}: ${why}`);
  }

  // What is done to the gateway.

  async #step(): Promise<void> {
    const random = this.#random;
    const kind = random(10);
    const killing = random(3) === 0;
    const cutting = this.#redis !== null && this.#history && random(3) === 0;
    let name: string;
    let over: Promise<void>;
    if (kind < 3) {
      const atOnce = random(2) === 0;
      name = atOnce ? 'replace all at once' : 'replace';
      over = this.#operate('/workers/replace', JSON.stringify({ atOnce }));
    } else if (kind < 6) {
      this.#workers = 1 + random(4);
      name = `scale to ${this.#workers}`;
      over = this.#operate('/workers/scale', JSON.stringify({ workers: this.#workers }));
    } else if (kind === 6) {
      name = 'rebalance';
      over = this.#operate('/workers/rebalance', '');
    } else if (!this.#sticky) {
      // The number of workers is what the configuration says again.
      this.#workers = 2;
      name = 'replace the primary';
      over = this.#operate('/primary/replace', '');
    } else {
      name = 'nothing';
      over = Promise.resolve();
    }
    const also: string[] = [];
    const afterMs = random(1_200);
    const said = [name];
    if (cutting) also.push('cut');
    if (killing) also.push('kill');
    if (also.length > 0) said.push(`${also} after ${afterMs} ms`);
    this.outcome.steps.push(said.join(', '));
    const troubled = (async () => {
      await pause(afterMs);
      if (cutting) await this.#cut();
      if (killing) await this.#kill();
    })();
    await Promise.all([over, troubled]);
    await waitUntil(
      async () => (await this.#gateway.readiness()) === 200 && (await this.#settled()),
      `the gateway to be ready after ${name}`,
      OPERATION_LIMIT_MS,
    );
  }

  async #settled(): Promise<boolean> {
    const workers = await this.#gateway.workers();
    return workers.every(({ state }) => state === 'ready');
  }

  /** Runs an operation to its end; it may fail where somebody was killed meanwhile. */
  async #operate(path: string, body: string): Promise<void> {
    const troubles = this.#troubles;
    const answer = await this.#gateway.command(path, body);
    if (answer.status !== 202) throw new Error(`${path}: ${answer.status} ${answer.text}`);
    const { operation } = JSON.parse(answer.text);
    let now: { state: string; moved: number; stayed: number; reason: string | null } = {
      state: 'waiting',
      moved: 0,
      stayed: 0,
      reason: null,
    };
    await waitUntil(
      async () => {
        // A primary that leaves closes what it has not answered.
        const told = await this.#gateway.admin(`/operations/${operation}`).catch(() => null);
        if (told?.status === 200) now = JSON.parse(told.text);
        return now.state === 'done' || now.state === 'failed';
      },
      () => `${path} to end: ${JSON.stringify(now)}`,
      OPERATION_LIMIT_MS,
    );
    this.outcome.moved += now.moved;
    if (troubles !== this.#troubles) return;
    if (now.state === 'failed') this.outcome.faults.push(`${path} ${body} failed: ${now.reason}`);
    else if (now.stayed > 0) this.outcome.faults.push(`${path} ${body}: ${now.stayed} stayed`);
  }

  async #kill(): Promise<void> {
    const ready = (await this.#gateway.workers()).filter(({ state }) => state === 'ready');
    const { pid = null } = ready[this.#random(Math.max(1, ready.length))] ?? {};
    if (pid === null) return;
    this.#troubles++;
    try {
      process.kill(pid, 'SIGSTOP');
      const held = clientPorts(pid, this.#gateway.publicPort);
      for (const ally of this.#allies) if (ally.client.ports().some((port) => held.has(port))) ally.excused = true;
      process.kill(pid, 'SIGKILL');
      this.#kills++;
    } catch {
      // It was leaving, and is gone.
    }
  }

  async #cut(): Promise<void> {
    if (this.#redis === null) return;
    const client = new Redis(this.#redis.url);
    try {
      const ids = String(await client.client('LIST'))
        .split('\n')
        .filter((line) => line.includes('name=longwire-worker'))
        .flatMap((line) => /id=(\d+)/.exec(line)?.[1] ?? []);
      const id = ids[this.#random(Math.max(1, ids.length))];
      if (id === undefined) return;
      this.#troubles++;
      await client.client('KILL', 'ID', Number(id));
    } finally {
      client.disconnect();
    }
  }

  // What is checked.

  #isDone({ client }: Ally): boolean {
    if (client.ending() !== null) return true;
    const texts = client.texts();
    return client.channels.every((name) => {
      const last = this.#of(name).findLast(({ state }) => state === 'taken');
      return last === undefined || texts.some((text) => text.includes(`#${last.number}#`));
    });
  }

  #judgeEndings(killed: boolean): void {
    for (const ally of this.#allies) {
      const ending = ally.client.ending();
      if (ending === null || ally.judged) continue;
      ally.judged = true;
      this.outcome.closed++;
      // The worker of a session need not be that of its poll's connection.
      const sessionDied = this.#kills > 0 && ending.includes('410');
      if (killed || ally.excused || sessionDied) continue;
      this.outcome.faults.push(`${ally.client.kind} ended after "${this.outcome.steps.at(-1)}": ${ending}`);
    }
  }

  #check({ client, from }: Ally): void {
    const ending = client.ending();
    const who = `${client.kind} ${client.ports()}`;
    const said = (text: string): void => {
      this.outcome.faults.push(`${who}: ${text}`);
    };
    const texts = client.texts();
    for (const text of texts) if (/"gap"/.test(text)) said(`heard ${text}`);
    const numbers = texts.flatMap((text) => NUMBER.exec(text)?.[1] ?? []).map(Number);
    for (const [i, channel] of client.channels.entries()) {
      const published = this.#of(channel);
      const at = new Map(published.map(({ number }, index) => [number, index]));
      const seen = numbers.flatMap((number) => at.get(number) ?? []);
      const doubled = seen.filter((index, n) => seen.indexOf(index) !== n);
      if (doubled.length > 0)
        said(`${channel}: ${doubled.length} doubled, first ${published[doubled[0] ?? 0]?.number}`);
      const sure = seen.filter((index) => published[index]?.state === 'taken');
      const late = sure.find((index, n) => n > 0 && index < (sure[n - 1] ?? 0));
      if (late !== undefined) said(`${channel}: ${published[late]?.number} came late`);
      const first = Math.min(from[i] ?? 0, ...sure);
      const last = ending === null ? published.length - 1 : Math.max(-1, ...sure);
      const all = new Set(seen);
      const missing = published
        .slice(first, last + 1)
        .filter(({ state }, n) => state === 'taken' && !all.has(first + n))
        .map(({ number }) => number);
      if (missing.length > 0) said(`${channel}: ${missing.length} missing, from ${missing[0]} to ${missing.at(-1)}`);
    }
  }

  async #checkGateway(): Promise<void> {
    const open = this.#allies.filter(({ client }) => client.ending() === null);
    const errors = this.#gateway.logLines.filter(({ level }) => level === 'error');
    if (this.#troubles === 0) for (const line of errors) this.outcome.faults.push(`logged ${JSON.stringify(line)}`);
    await waitUntil(
      async () => (await this.#astray(open)).length === 0,
      'each connection to be open in one worker and in no other process',
      ARRIVAL_LIMIT_MS,
    ).catch(async () => this.outcome.faults.push(`astray: ${(await this.#astray(open)).join('; ')}`));
  }

  /** Connections that are open in no worker, in two, or in the primary: that would hold them open for ever. */
  async #astray(open: readonly Ally[]): Promise<string[]> {
    const { primaryPid, publicPort } = this.#gateway;
    const workers = await this.#gateway.workers();
    const inPrimary = clientPorts(primaryPid, publicPort);
    const inWorkers = workers.map(({ pid }) => (pid === null ? new Set<number>() : clientPorts(pid, publicPort)));
    return open.flatMap(({ client }) => {
      const [port] = client.ports();
      if (port === undefined || client.kind === 'poll anew') return [];
      const holders = workers.filter((_, i) => inWorkers[i]?.has(port));
      if (holders.length === 1 && !inPrimary.has(port)) return [];
      return `${client.kind} ${port} in ${holders.map(({ id }) => id)}${inPrimary.has(port) ? ' and the primary' : ''}`;
    });
  }
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
