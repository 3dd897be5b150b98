// Drain: a worker gives up all its connections, each at its own moment in the window, so that whoever takes them next is
// not met by all of them at once.
//
// Held streams, and polls that wait, end in equal steps over the window, in the order of the wheel (which is near enough to
// random); requests that are being served are finished; kept-alive connections with nothing to say go at once. What is left
// at the end of the window and a short grace for the last answers is closed. Resolves when nothing is held any more.

import { Connection } from './connection.ts';
import type { ConnectionState } from './connection-life.ts';
import type { Gateway } from './gateway.ts';

/** Where a connection waits for us. */
const HELD: readonly ConnectionState[] = ['open', 'waiting'];
/** Where a connection has asked nothing, unless it has begun to: then it has a request. */
const SILENT: readonly ConnectionState[] = ['preface', 'head', 'idle'];
const STEP_MS = 50;
/** Beyond the window, for answers and FINs that are under way. */
const GRACE_MS = 2_500;

export async function drain(gateway: Gateway, windowSeconds: number, heldCount: () => number): Promise<void> {
  gateway.draining = true;
  const open: Connection[] = [];
  const idle: Connection[] = [];
  gateway.wheel.forEach((timed) => {
    if (!(timed instanceof Connection)) return;
    if (HELD.includes(timed.state)) open.push(timed);
    else if (SILENT.includes(timed.state) && timed.request === null) idle.push(timed);
  });
  for (const connection of idle) connection.finish('drained');

  const windowMs = windowSeconds * 1_000;
  const startedAt = performance.now();
  let next = 0;
  await new Promise<void>((resolve) => {
    const step = (): void => {
      const elapsed = performance.now() - startedAt;
      // The first goes at once and the last a step before the end.
      const due =
        windowMs === 0 ? open.length : Math.min(open.length, Math.floor((elapsed / windowMs) * open.length) + 1);
      for (; next < due; next++) {
        const connection = open[next];
        if (connection !== undefined && HELD.includes(connection.state)) connection.finish('drained');
      }
      if (elapsed > windowMs + GRACE_MS) closeAll(gateway);
      if (heldCount() > 0) return;
      clearInterval(timer);
      resolve();
    };
    const timer = setInterval(step, STEP_MS);
    step();
  });
}

function closeAll(gateway: Gateway): void {
  const left: Connection[] = [];
  gateway.wheel.forEach((timed) => {
    if (timed instanceof Connection) left.push(timed);
  });
  for (const connection of left) connection.close('drained');
}
