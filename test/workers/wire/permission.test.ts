// Where Node does not give its internals away, sockets take their place, and the reason is said: under the permission
// model `process.binding` throws. Real processes, because the flag belongs to a whole process.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const PROGRAM = fileURLToPath(new URL('../../fixtures/choose-wire.js', import.meta.url));
const FLAG = process.allowedNodeEnvironmentFlags.has('--permission') ? '--permission' : '--experimental-permission';

async function chosen(wish: string): Promise<{ kind?: string; why?: string; error?: string }> {
  // What later Nodes restrict beyond files, the network above all, is allowed where they know the flag.
  const allow = ['--allow-fs-read=*', '--allow-net'].filter((flag) => {
    const name = flag.split('=')[0] as string;
    return name === '--allow-fs-read' || process.allowedNodeEnvironmentFlags.has(name);
  });
  const { stdout } = await promisify(execFile)(process.execPath, [FLAG, ...allow, PROGRAM, wish]);
  return JSON.parse(stdout);
}

describe('under the permission model', () => {
  test('auto falls back to sockets and says why', async () => {
    const { kind, why } = await chosen('auto');
    assert.equal(kind, 'socket');
    assert.match(why ?? '', /no bare handles: .*internals/);
  });

  test('handles that were asked for are a fault', async () => {
    const { error } = await chosen('handle');
    assert.match(error ?? '', /LONGWIRE_WIRE=handle cannot be had: .*internals/);
  });
});
