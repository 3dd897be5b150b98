// The harness leaves nothing behind, also when a test is ended by force.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { processesIn } from '../harness/processes-in.ts';
import { waitUntil } from '../harness/wait.ts';

const TEST = fileURLToPath(new URL('../fixtures/abandoned-gateway.js', import.meta.url));

it('ends all gateways of a test that is killed, primaries that took over included', {
  skip: process.platform !== 'linux',
}, async () => {
  const test = spawn(process.execPath, [TEST], { stdio: ['ignore', 'pipe', 'inherit'] });
  let told = '';
  test.stdout.setEncoding('utf8').on('data', (text: string) => {
    told += text;
  });
  try {
    await waitUntil(() => told.endsWith('\n') || test.exitCode !== null, 'the gateways', 60_000);
  } finally {
    test.kill('SIGKILL');
  }
  const folders = told.trim().split(' ');
  assert.equal(folders.length, 2);
  const running = (): number => folders.reduce((sum, folder) => sum + processesIn(folder).length, 0);
  await waitUntil(
    () => running() === 0,
    () => `${running()} processes are left`,
  );
  await waitUntil(() => folders.every((folder) => !existsSync(folder)), 'the folders to be gone');
});
