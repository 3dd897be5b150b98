// After something was killed in the middle of a move: who is left is served rightly, and nobody else is held.

import assert from 'node:assert/strict';
import { isAlive } from './alive.ts';
import { clientSockets } from './client-sockets.ts';
import type { GatewayProcess } from './gateway.ts';
import type { SseClient } from './sse-client.ts';
import { waitUntil } from './wait.ts';

/** Resolves when no worker is left but those that the gateway knows of; their clients hear of it in the next turn. */
async function othersGone(gateway: GatewayProcess): Promise<void> {
  const started = gateway.logged('worker is ready').map(({ pid }) => Number(pid));
  await waitUntil(async () => {
    const known = await gateway.workerPids();
    return started.every((pid) => known.includes(pid) || !isAlive(pid));
  }, 'workers of others to be gone');
  await new Promise((resolve) => setImmediate(resolve));
}

/** Those that are still open get everything from now on, once and in order; and the gateway holds them and nothing else. */
export async function checkSurvivors(gateway: GatewayProcess, clients: readonly SseClient[]): Promise<number> {
  await othersGone(gateway);
  const before = clients.map(({ events }) => events.length);
  for (let i = 0; i < 5; i++) await gateway.publish('all', `after ${i}`);
  const survivors = clients.filter(({ connection }) => connection.ending === 'none');
  for (const client of survivors) {
    const seen = before[clients.indexOf(client)] as number;
    assert.deepEqual(
      (await client.data(seen + 5)).slice(seen),
      [0, 1, 2, 3, 4].map((i) => `after ${i}`),
    );
  }
  await gateway.metricReaches('longwire_connections', { transport: 'sse' }, survivors.length);
  await gateway.metricReaches('longwire_subscriptions', {}, survivors.length);
  await checkDescriptors(gateway, survivors);
  return survivors.length;
}

/** Each connection is open in one worker and in no other process: a copy that is left anywhere would hold it open for ever. */
async function checkDescriptors(gateway: GatewayProcess, clients: readonly SseClient[]): Promise<void> {
  const ports = portsOf(clients);
  let counts: number[] = [];
  await waitUntil(
    async () => {
      const pids = [gateway.primaryPid, ...(await gateway.workerPids())];
      counts = pids.map((pid) => clientSockets(pid, gateway.publicPort, ports));
      const [primary, ...workers] = counts;
      return primary === 0 && workers.reduce((sum, count) => sum + count, 0) === clients.length;
    },
    () => `${clients.length} descriptors in workers and none in the primary; primary and workers have ${counts}`,
  );
}

export function portsOf(clients: readonly SseClient[]): Set<number> {
  return new Set(clients.flatMap(({ connection }) => connection.socket.localPort ?? []));
}

/** Resolves when the operation is over, whatever came of it. */
export async function settled(gateway: GatewayProcess): Promise<void> {
  await waitUntil(
    () => gateway.logged('operation is done').length + gateway.logged('operation has failed').length > 0,
    () => `the operation to end: ${gateway.log.slice(-2_000)}`,
    30_000,
  );
}
