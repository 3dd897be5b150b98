// One process that outlives this one by a moment and ends what it has started (test/fixtures/reaper.ts).

import { spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';

const REAPER = fileURLToPath(new URL('../fixtures/reaper.js', import.meta.url));

let toReaper: Socket | null = null;

/** Whatever runs in this folder when this process ends is killed, and the folder goes. */
export function reapAtEnd(folder: string): void {
  toReaper ??= start();
  toReaper.write(`${folder}\n`);
}

function start(): Socket {
  // A group of its own: what ends this process may be for its whole group.
  const reaper = spawn(process.execPath, [REAPER], { stdio: ['pipe', 'ignore', 'inherit'], detached: true });
  reaper.unref();
  const socket = reaper.stdin as Socket;
  socket.unref();
  return socket;
}
