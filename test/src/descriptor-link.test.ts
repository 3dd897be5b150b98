// The descriptor link: real descriptors through another process and back, and what must end it.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { createServer, type Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { BODY_LIMIT_BYTES, closeSent, DescriptorLink } from '../../src/descriptor-link.ts';
import type { Descriptor } from '../../src/ipc.ts';
import { createLog } from '../../src/log.ts';
import { type LinkPair, LinkPairs } from '../../src/primary/link-pairs.ts';
import { bindHandleWire, HandleWire } from '../../workers/wire/handle-wire.ts';
import type { TcpHandle } from '../../workers/wire/node-internals.ts';
import { SocketWire } from '../../workers/wire/socket-wire.ts';
import type { Wire } from '../../workers/wire/wire.ts';
import { RawClient } from '../harness/raw-client.ts';
import { waitUntil } from '../harness/wait.ts';

const ECHO = fileURLToPath(new URL('../fixtures/echo-descriptors.js', import.meta.url));

type WithHandle = Socket & { _handle: Descriptor };
type FromHandle = ConstructorParameters<typeof Socket>[0] & { handle: Descriptor };

const pairs = new LinkPairs(createLog('error', 'test', () => {}));

async function pair(): Promise<LinkPair> {
  await pairs.keep(1);
  const made = pairs.take();
  assert.ok(made !== null);
  return made;
}

after(() => pairs.close());

describe('a descriptor link', () => {
  let server: Server;
  const accepted: WithHandle[] = [];
  before(async () => {
    server = createServer({ pauseOnConnect: true }, (socket) => accepted.push(socket as WithHandle)).listen(
      0,
      '127.0.0.1',
    );
    await once(server, 'listening');
  });
  after(() => server.close());

  it('carries many at once, each with its own frame, whatever their sizes', async () => {
    const { ours, theirs } = await pair();
    const echo = spawn(process.execPath, [ECHO], {
      stdio: ['ignore', 'inherit', 'inherit', 'ignore', 'ignore', theirs],
    });
    theirs.destroy();
    const ended = once(echo, 'exit');
    const back: { slot: number; number: number; length: number; descriptor: Descriptor | null }[] = [];
    const link = new DescriptorLink(
      ours,
      (slot, number, { length }, descriptor) => back.push({ slot, number, length, descriptor }),
      (fault) => assert.fail(fault ?? 'the other end is gone'),
    );
    const address = server.address();
    assert.ok(address !== null && typeof address !== 'string');
    const clients = Array.from({ length: 60 }, () => new RawClient(address.port));
    const connected = () => accepted.length === clients.length && clients.every(({ socket }) => !socket.connecting);
    await waitUntil(connected, 'all to be accepted');
    // Noted now: whoever has ended knows neither port any more.
    const byPort = new Map(clients.map((client) => [client.socket.localPort, client]));
    const ports = accepted.map(({ remotePort }) => remotePort);
    // More than a socket's buffer takes, so that some are cut in two.
    const length = (number: number): number => (number % 3 === 0 ? BODY_LIMIT_BYTES : number);
    for (const [number, socket] of accepted.entries()) {
      assert.ok(link.send(4, number, Buffer.alloc(length(number), number), socket._handle));
    }
    await waitUntil(
      () => back.length === accepted.length,
      () => `all to come back; ${back.length} have`,
    );
    for (const { slot, number, length: came, descriptor } of back) {
      assert.deepEqual([slot, came], [5, length(number)]);
      assert.ok(descriptor !== null);
      const options: FromHandle = { handle: descriptor, readable: true, writable: true };
      new Socket(options).end(`number ${number}`);
    }
    for (const [number, socket] of accepted.entries()) {
      const client = byPort.get(ports[number]);
      await waitUntil(
        () => client?.text === `number ${number}`,
        () => `number ${number}: ${client?.text}`,
      );
      socket.destroy();
    }
    link.close();
    assert.deepEqual(await ended, [0, null]);
    assert.equal(link.send(1, 1, Buffer.from('x'), accepted[0]?._handle as Descriptor), false);
  });

  it('keeps a descriptor whose frame waits for a process that does not read, though it is to be closed', async () => {
    const { ours, theirs } = await pair();
    const link = new DescriptorLink(
      ours,
      () => {},
      () => {},
    );
    const address = server.address();
    assert.ok(address !== null && typeof address !== 'string');
    const clients = Array.from({ length: 20 }, () => new RawClient(address.port));
    const before = accepted.length;
    await waitUntil(() => accepted.length === before + clients.length, 'the connections');
    // More than a Unix socket holds.
    const handles = accepted.splice(before).map(({ _handle }) => _handle as Descriptor & { fd: number });
    for (const [i, handle] of handles.entries()) assert.ok(link.send(1, i, Buffer.alloc(BODY_LIMIT_BYTES), handle));
    for (const handle of handles) closeSent(handle);
    await waitUntil(() => (handles[0]?.fd ?? 0) < 0, 'the first to be out, and closed');
    assert.ok((handles.at(-1)?.fd ?? -1) >= 0);
    link.close();
    await waitUntil(() => handles.every(({ fd }) => fd < 0), 'all of them to be closed');
    theirs.destroy();
    for (const client of clients) client.close();
  });

  const wires: Record<string, (socket: WithHandle) => Wire> = {
    handle: ({ _handle }) => new HandleWire(_handle as unknown as TcpHandle),
    socket: (socket) => new SocketWire(socket),
  };
  for (const [kind, wireOf] of Object.entries(wires)) {
    it(`keeps that of a ${kind} wire which its worker has given up waiting for`, async () => {
      assert.equal(bindHandleWire(), null);
      const { ours, theirs } = await pair();
      const link = new DescriptorLink(
        ours,
        () => {},
        () => {},
      );
      const address = server.address();
      assert.ok(address !== null && typeof address !== 'string');
      const clients = Array.from({ length: 20 }, () => new RawClient(address.port));
      const before = accepted.length;
      await waitUntil(() => accepted.length === before + clients.length, 'the connections');
      const given = accepted.splice(before).map(wireOf);
      const handles = given.map((wire, i) => {
        const { descriptor } = wire.share() ?? assert.fail('it cannot be given');
        assert.ok(link.send(1, i, Buffer.alloc(BODY_LIMIT_BYTES), descriptor));
        return descriptor as Descriptor & { fd: number };
      });
      for (const wire of given) wire.destroy();
      await waitUntil(() => (handles[0]?.fd ?? 0) < 0, 'the first to be out, and closed');
      assert.ok((handles.at(-1)?.fd ?? -1) >= 0, 'libuv would send whatever has its number by then');
      link.close();
      await waitUntil(() => handles.every(({ fd }) => fd < 0), 'all of them to be closed');
      theirs.destroy();
      for (const client of clients) client.close();
    });
  }

  it('takes nothing over its limit', async () => {
    const { ours, theirs } = await pair();
    const link = new DescriptorLink(
      ours,
      () => {},
      () => {},
    );
    assert.equal(link.send(1, 1, Buffer.alloc(BODY_LIMIT_BYTES + 1), accepted[0]?._handle as Descriptor), false);
    link.close();
    theirs.destroy();
  });

  const frame = (number: number, body: string): Buffer => {
    const head = Buffer.alloc(10);
    head.writeUInt32BE(6 + body.length, 0);
    head.writeUInt16BE(3, 4);
    head.writeUInt32BE(number, 6);
    return Buffer.concat([head, Buffer.from(body)]);
  };

  /** What a link reads of these writes, and how it ended. */
  async function read(...writes: Buffer[]): Promise<{ frames: [number, string, boolean][]; fault: string | null }> {
    const { ours, theirs } = await pair();
    const frames: [number, string, boolean][] = [];
    const fault = new Promise<string | null>((resolve) => {
      new DescriptorLink(
        ours,
        (_slot, number, body, descriptor) => frames.push([number, body.toString(), descriptor !== null]),
        resolve,
      );
    });
    for (const bytes of writes) {
      await new Promise((resolve) => theirs.write(bytes, resolve));
      // Each write is read by itself.
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    theirs.end();
    const outcome = { frames, fault: await fault };
    theirs.destroy();
    return outcome;
  }

  it('says so when a descriptor did not come, for want of room in this process', async () => {
    assert.deepEqual(await read(frame(1, 'one'), frame(2, 'two')), {
      frames: [
        [1, 'one', false],
        [2, 'two', false],
      ],
      fault: null,
    });
  });

  it('puts together what comes byte by byte', async () => {
    const bytes = frame(7, 'seven');
    const pieces = Array.from(bytes, (_, i) => bytes.subarray(i, i + 1));
    assert.deepEqual(await read(...pieces), { frames: [[7, 'seven', false]], fault: null });
  });

  it('ends when two frames come in one read: whose descriptor it is could not be told', async () => {
    const { fault } = await read(Buffer.concat([frame(1, 'one'), frame(2, 'two')]));
    assert.equal(fault, 'frames and descriptors do not match');
  });

  it('ends at a frame of an impossible length', async () => {
    assert.match((await read(Buffer.from([0, 0, 0, 1, 0, 0]))).fault ?? '', /a frame of 5 bytes/);
    assert.match((await read(Buffer.alloc(16, 0xff))).fault ?? '', /a frame of \d+ bytes/);
  });
});

describe('pairs for links', () => {
  it('are made ahead, and leave no folder behind', async () => {
    await pairs.keep(3);
    const taken = [pairs.take(), pairs.take(), pairs.take()];
    assert.ok(taken.every((made) => made !== null));
    // Nobody was waited for: what is taken before more are made is nothing.
    assert.equal(pairs.take(), null);
    await pairs.keep(1);
    assert.ok(pairs.take() !== null);
    await pairs.keep(0);
    assert.deepEqual(
      readdirSync(tmpdir()).filter((name) => name.startsWith(`longwire-link-${process.pid}-`)),
      [],
    );
    for (const made of taken) {
      made?.ours.close();
      made?.theirs.destroy();
    }
  });

  it('are none where the folder cannot be made', async () => {
    const former = process.env.TMPDIR;
    process.env.TMPDIR = '/nowhere/at/all';
    try {
      const none = new LinkPairs(createLog('error', 'test', () => {}));
      await none.keep(1);
      assert.equal(none.take(), null);
      await none.keep(0);
    } finally {
      if (former === undefined) delete process.env.TMPDIR;
      else process.env.TMPDIR = former;
    }
  });
});
