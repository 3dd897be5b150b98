// The link on a socket pair that fork made: bytes that others overwrite, an end that does not read, ends that are gone.

import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { FrameWriter, GATHER_BYTES } from '../../src/broker/relay-frames.ts';
import { RELAY_LINK_FD, type RelayLink, STDIO_WITH_LINK } from '../../src/broker/relay-link.ts';
import { linkToWorker } from '../../src/primary/worker-link.ts';
import { waitUntil } from '../harness/wait.ts';

const ECHO = fileURLToPath(new URL('../fixtures/echo-link.js', import.meta.url));

interface Pair {
  child: ChildProcess;
  /** Resolves when the child has exited. */
  exit: Promise<unknown>;
  link: RelayLink;
  /** What came back, each with its body's length and first byte; a body of unlike bytes fails the test. */
  back: [call: number, bytes: number, filler: number][];
  closed: (string | null)[];
}

const pairs: Pair[] = [];

function open(change: (child: ChildProcess) => void = () => {}): Pair {
  const child = fork(ECHO, { stdio: [...STDIO_WITH_LINK] });
  const exit = once(child, 'exit');
  change(child);
  const back: Pair['back'] = [];
  const closed: Pair['closed'] = [];
  const link = linkToWorker(
    child,
    (_kind, call, body) => {
      const filler = body[0] ?? 0;
      assert.ok(
        body.every((byte) => byte === filler),
        `frame ${call} is mixed up`,
      );
      back.push([call, body.length, filler]);
    },
    (fault) => closed.push(fault),
  );
  assert.ok(link !== null);
  const pair = { child, exit, link, back, closed };
  pairs.push(pair);
  return pair;
}

/** Sends frames of `bytes`, each filled with its number, through one writer as the relay does. */
function sendMany({ link }: Pair, count: number, bytes: (i: number) => number): Pair['back'] {
  const writer = new FrameWriter();
  return Array.from({ length: count }, (_, i): Pair['back'][number] => {
    writer.add('publish', i, bytes(i)).fill(i);
    if (!link.send(writer.take())) writer.leave();
    return [i, bytes(i), bytes(i) === 0 ? 0 : i % 256];
  });
}

afterEach(async () => {
  for (const { child, exit, link } of pairs.splice(0)) {
    link.destroy();
    child.kill('SIGKILL');
    await exit;
  }
});

describe('a link', () => {
  it('carries frames both ways, in order and whole, while their buffer is overwritten at once', async () => {
    const pair = open();
    const sent = sendMany(pair, 2_000, (i) => (i % 100 === 0 ? 300_000 : i % 7));
    await waitUntil(() => pair.back.length === sent.length, 'all frames to come back', 30_000);
    assert.deepEqual(pair.back, sent);
    assert.equal(pair.link.backlogBytes, 0);
  });

  it('counts what an end that does not read has not taken, and loses nothing of it', async () => {
    const pair = open();
    sendMany(pair, 1, () => 1);
    await waitUntil(() => pair.back.length === 1, 'the other end to be there');
    pair.back.length = 0;
    pair.child.kill('SIGSTOP');
    const sent = sendMany(pair, 400, (i) => (i % 3) * 5_000);
    const backlogBytes = pair.link.backlogBytes;
    assert.ok(backlogBytes > 1_000_000 && backlogBytes < 2_100_000, `${backlogBytes} bytes`);
    pair.child.kill('SIGCONT');
    await waitUntil(() => pair.back.length === sent.length, 'all frames to come back', 30_000);
    assert.deepEqual(pair.back, sent);
    assert.equal(pair.link.backlogBytes, 0);
  });

  it('keeps small frames for an end that does not read in small memory', async () => {
    const pair = open();
    pair.child.kill('SIGSTOP');
    const before = process.memoryUsage().arrayBuffers;
    sendMany(pair, 2_000, () => 1_000);
    assert.ok(pair.link.backlogBytes > 1_000_000);
    const grown = process.memoryUsage().arrayBuffers - before;
    assert.ok(grown < 2 * pair.link.backlogBytes + 2 * GATHER_BYTES, `${grown} bytes for ${pair.link.backlogBytes}`);
  });

  it('says once that the other end is gone, and takes what is sent to it for read', async () => {
    const pair = open();
    pair.child.kill('SIGSTOP');
    sendMany(pair, 500, () => 1_000);
    pair.child.kill('SIGKILL');
    await waitUntil(() => pair.closed.length > 0, 'the link to be closed');
    sendMany(pair, 500, () => 1_000);
    assert.equal(pair.link.backlogBytes, 0);
    assert.deepEqual(pair.closed, [null]);
  });

  it('says nothing once it was destroyed', async () => {
    const pair = open();
    pair.link.destroy();
    await pair.exit;
    assert.deepEqual(pair.closed, []);
  });

  it('is closed, with the reason, by what is no frame', async () => {
    const pair = open();
    // The other end does as it is told: this frame makes it send zeros.
    const writer = new FrameWriter();
    writer.add('published', 0, 0);
    pair.link.send(writer.take());
    await waitUntil(() => pair.closed.length > 0, 'the link to be closed');
    assert.deepEqual(pair.closed, ['a frame of 4 bytes']);
    await pair.exit;
  });

  it('works as well where Node does not show the handle of a socket', async () => {
    const pair = open((child) => {
      const socket = child.stdio[RELAY_LINK_FD] as unknown as Socket & { _handle: unknown };
      const handle = socket._handle;
      let reads = 0;
      Object.defineProperty(socket, '_handle', { configurable: true, get: () => (reads++ === 0 ? undefined : handle) });
    });
    const sent = sendMany(pair, 500, (i) => i * 10);
    await waitUntil(() => pair.back.length === sent.length, 'all frames to come back', 30_000);
    assert.deepEqual(pair.back, sent);
  });

  it('is none where fork made no socket for it', () => {
    assert.equal(
      linkToWorker({ stdio: [null, null, null, null, null] }, assert.fail, () => assert.fail()),
      null,
    );
  });
});
