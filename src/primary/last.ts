// Who goes on listening when all are full: exactly one worker is told that it is the last, with room or without.
//
// While some ready worker has room nobody is refused, and when none has, the last one says so to those who come. While a
// replacement starts, clients wait for its room in the kernel's queue instead, unless there already is a last one.

import type { WorkerProcess } from './worker-process.ts';

/** @param starting Whether some worker is about to become ready. */
export function appointLast(ready: readonly WorkerProcess[], starting: boolean): void {
  const open = ready.filter(({ row }) => row.room);
  // A replacement that starts is better worth waiting for than hearing 503.
  const none = ready.find(({ row }) => row.last) ?? (starting ? undefined : ready[0]);
  const last = open.length > 1 ? undefined : (open[0] ?? none);
  // The new one hears it before the old one is let off, so that there is no moment with nobody.
  if (last !== undefined) tell(last, true);
  for (const worker of ready) if (worker !== last) tell(worker, false);
}

function tell(worker: WorkerProcess, last: boolean): void {
  if (worker.row.last === last) return;
  worker.row.last = last;
  worker.send({ type: 'last', last });
}
