// Many scenarios at once on one gateway, on Redis or on the embedded broker, with trouble made all the while: a worker killed, the connections of a
// worker's subscription or publisher cut, all workers replaced with their connections moved.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { startGateway } from './gateway.ts';
import { randomFrom, runScenario, SCENARIO_NAMESPACES } from './history-scenario.ts';
import { freePort, startRedis } from './redis.ts';

export interface ScenariosOptions {
  scenarios: number;
  firstSeed: number;
  atOnce: number;
  broker: 'redis' | 'embedded';
  /** Trouble is made this often. */
  troubleMs: number;
  /** Told how far it is. */
  onProgress?: (done: number) => void;
}

export interface ScenariosOutcome {
  scenarios: number;
  faults: string[];
  publications: number;
  connections: number;
  gaps: number;
  kills: number;
  cuts: number;
  /** Orders to replace all workers, their connections moved alive. */
  replacements: number;
}

export async function runScenarios(options: ScenariosOptions): Promise<ScenariosOutcome> {
  const { scenarios, firstSeed, atOnce, troubleMs, onProgress = () => {} } = options;
  const folder = mkdtempSync(join(tmpdir(), 'longwire-scenarios-'));
  const file = join(folder, 'namespaces.json');
  writeFileSync(file, JSON.stringify(SCENARIO_NAMESPACES));
  const redis = options.broker === 'redis' ? await startRedis() : null;
  const gateway = await startGateway({
    // A port of its own: should all workers be gone at once, one that is free would be another one.
    env: {
      PORT: String(await freePort()),
      REDIS_URL: redis?.url ?? '',
      LONGWIRE_NAMESPACES: file,
      LONGWIRE_LOG_LEVEL: 'error',
    },
  });
  const client = redis === null ? null : new Redis(redis.url);
  const random = randomFrom(firstSeed);
  const outcome: ScenariosOutcome = {
    scenarios: 0,
    faults: [],
    publications: 0,
    connections: 0,
    gaps: 0,
    kills: 0,
    cuts: 0,
    replacements: 0,
  };

  const trouble = async (): Promise<void> => {
    const kind = random(8);
    if (kind === 0) {
      outcome.replacements++;
      gateway.signal('SIGHUP');
    } else if (kind < 4) {
      const ready = (await gateway.workers()).filter(({ state }) => state === 'ready');
      const { pid = null } = ready[random(Math.max(1, ready.length))] ?? {};
      // One at a time: with both gone there is nobody to ask.
      if (pid === null || ready.length < 2) return;
      outcome.kills++;
      process.kill(pid, 'SIGKILL');
    } else if (client !== null) {
      const clients = String(await client.client('LIST'))
        .split('\n')
        .filter((line) => line.includes('name=longwire-worker'));
      const id = /id=(\d+)/.exec(clients[random(Math.max(1, clients.length))] ?? '')?.[1];
      if (id === undefined) return;
      outcome.cuts++;
      await client.client('KILL', 'ID', Number(id));
    }
  };
  let making = false;
  const timer = setInterval(() => {
    if (making) return;
    making = true;
    trouble()
      .catch(() => {})
      .finally(() => {
        making = false;
      });
  }, troubleMs);
  try {
    let next = 0;
    const run = async (): Promise<void> => {
      while (next < scenarios) {
        const { faults, publications, gaps, connections } = await runScenario(gateway, firstSeed + next++);
        outcome.scenarios++;
        outcome.faults.push(...faults);
        outcome.publications += publications;
        outcome.gaps += gaps;
        outcome.connections += connections;
        onProgress(outcome.scenarios);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, run));
  } finally {
    clearInterval(timer);
    client?.disconnect();
    await gateway.kill();
    await redis?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  return outcome;
}
