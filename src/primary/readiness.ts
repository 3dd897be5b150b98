// Ready is not live: whether the gateway should be sent new clients, as three checks that a person can read.
//
// Ready when no shutdown is going on, some ready worker has room, and the broker is up at every ready worker. It reads
// what workers push on changes, not the snapshots of each second, so a lost broker shows as soon as the workers know.

import type { WorkerTable } from './worker-table.ts';

export interface ReadinessCheck {
  name: 'running' | 'accepting' | 'broker';
  ok: boolean;
  text: string;
}

export interface ReadinessReport {
  ready: boolean;
  checks: ReadinessCheck[];
}

/** @param nextServes Whether the workers of another primary, which takes over, accept already. */
export function checkReadiness(table: WorkerTable, stopping: boolean, nextServes = false): ReadinessReport {
  const ready = table.inState('ready');
  const accepting = ready.filter((row) => row.room);
  const away = ready.filter((row) => row.brokerState !== 'up').map((row) => row.id);
  const checks: ReadinessCheck[] = [
    { name: 'running', ok: !stopping, text: stopping ? 'the gateway is shutting down' : 'no shutdown is going on' },
    {
      name: 'accepting',
      ok: accepting.length > 0 || nextServes,
      text: nextServes
        ? 'the workers of the next primary accept connections'
        : ready.length > 0 && accepting.length === 0
          ? 'every ready worker is at its connection limit'
          : `${accepting.length} of ${table.rows.length} workers are ready and accept connections`,
    },
    {
      name: 'broker',
      ok: (ready.length > 0 || nextServes) && away.length === 0,
      text:
        away.length > 0
          ? `the broker is not up at worker ${away.join(', ')}`
          : ready.length > 0 || nextServes
            ? 'the broker is up at every ready worker'
            : 'no worker is ready to say',
    },
  ];
  return { ready: checks.every((check) => check.ok), checks };
}
