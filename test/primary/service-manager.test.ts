// What systemd hears: through the real program where there is one, over a socket of the test's own.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import { waitUntil } from '../harness/wait.ts';
import { projectFile } from '../project.ts';

/** A manager's end of NOTIFY_SOCKET, which Node cannot be: prints each datagram, and closes the barrier's descriptors. */
const MANAGER = `
import socket, sys, os, array
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind(sys.argv[1]); print('bound', flush=True)
while True:
    data, ancillary, _, _ = s.recvmsg(4096, 1024)
    for level, kind, bytes in ancillary:
        fds = array.array('i'); fds.frombytes(bytes[:len(bytes) - len(bytes) % 4])
        for fd in fds: os.close(fd)
    print(data.decode().replace('\\n', ' '), flush=True)
`;

function missing(): string | false {
  for (const [program, argument] of [
    ['systemd-notify', '--version'],
    ['python3', '--version'],
  ] as const) {
    try {
      execFileSync(program, [argument], { stdio: 'ignore' });
    } catch {
      return `${program} is not on the PATH`;
    }
  }
  return false;
}

describe('under systemd', () => {
  const folder = mkdtempSync(join(tmpdir(), 'longwire-notify-'));
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('it says that it is ready, that it lives, which process is the main one, and that it is stopping', {
    skip: missing(),
  }, async () => {
    const path = join(folder, 'notify');
    const manager = spawn('python3', ['-c', MANAGER, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    let heard = '';
    manager.stdout.setEncoding('utf8').on('data', (text: string) => {
      heard += text;
    });
    await waitUntil(() => heard.includes('bound'), 'the socket');
    const gateway = await startGateway({
      env: { NOTIFY_SOCKET: path, WATCHDOG_USEC: '300000', LONGWIRE_DRAIN_SECONDS: '0' },
    });
    try {
      await waitUntil(
        () => heard.includes('READY=1') && heard.includes('STATUS='),
        () => `ready: ${heard}`,
      );
      await waitUntil(
        () => heard.split('WATCHDOG=1').length > 3,
        () => `signs of life: ${heard}`,
      );
      const former = gateway.primaryPid;
      gateway.signal('SIGUSR2');
      await waitUntil(
        () => gateway.primaryPid !== former,
        () => gateway.log,
      );
      const said = `MAINPID=${gateway.primaryPid}`;
      await waitUntil(
        () => heard.lastIndexOf('READY=1') > heard.indexOf(said) && heard.includes(said),
        () => `another main process, and that it is ready: ${heard}`,
      );
      await gateway.stop();
      await waitUntil(
        () => heard.includes('STOPPING=1'),
        () => `stopping: ${heard}`,
      );
    } finally {
      await gateway.kill();
      manager.kill();
      await once(manager, 'exit');
    }
  });

  it('without the program the log says so once, and the gateway serves', async () => {
    const gateway = await startGateway({
      env: { NOTIFY_SOCKET: join(folder, 'nobody'), WATCHDOG_USEC: '60000', PATH: folder },
    });
    try {
      await waitUntil(() => gateway.logged('service manager cannot be told').length > 0, 'the log');
      assert.equal(await gateway.readiness(), 200);
      assert.equal(gateway.logged('service manager cannot be told').length, 1);
    } finally {
      await gateway.kill();
    }
  });

  it('the unit leaves more time to stop than a drain takes, and is told by children of the primary', () => {
    const unit = projectFile('deploy/longwire.service');
    assert.match(unit, /^Type=notify$/m);
    assert.match(unit, /^NotifyAccess=all$/m);
    assert.match(unit, /^ExecReload=\/bin\/kill -HUP \$MAINPID$/m);
    assert.match(unit, /^LimitNOFILE=\d+$/m);
    assert.ok(Number(/^TimeoutStopSec=(\d+)$/m.exec(unit)?.[1]) > 15);
  });
});
