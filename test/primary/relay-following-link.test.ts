// A relay that follows another one over a real link, whose end takes a moment to come to the process that reads it.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { packedBytes, packPublications, unpackPublications } from '../../src/broker/packed.ts';
import { RelayLink } from '../../src/broker/relay-link.ts';
import { createLog } from '../../src/log.ts';
import { Relay } from '../../src/primary/relay.ts';
import { Following } from '../../src/primary/relay-following.ts';
import { tellHistory } from '../../src/primary/relay-telling.ts';
import { linkToWorker } from '../../src/primary/worker-link.ts';
import { Publication } from '../../src/publication.ts';
import { waitUntil } from '../harness/wait.ts';

const MIB = 1024 * 1024;
/** Most that may wait for a member of the former relay to read it. */
const BACKLOG_BYTES = 2 * MIB;
const KEPT = { historySize: 100_000, historyTtlSeconds: 60 };
/** The next primary, and a worker of the former one, among the members of the former relay. */
const NEXT = 0;
const WORKER = 1;

function publish(relay: Relay, text: string, key: string | null = null): void {
  const publication = new Publication('news', Buffer.from(text));
  publication.idempotencyKey = key;
  const body = Buffer.alloc(packedBytes([publication], () => KEPT));
  packPublications(body, [publication], () => KEPT);
  relay.receive(WORKER, 'store', 1, body);
}

function texts({ history }: Relay): string[] {
  const found: string[] = [];
  for (const packed of history.read('news', 0, Number.POSITIVE_INFINITY, false).packed) {
    unpackPublications(packed, ({ payload }) => found.push(payload.toString()), history.epoch);
  }
  return found;
}

async function makeTwoRelays(historyBytes = MIB) {
  const folder = mkdtempSync(join(tmpdir(), 'longwire-following-'));
  const path = join(folder, 'link');
  const server = createServer({ pauseOnConnect: true }).listen(path);
  await once(server, 'listening');
  const accepted = once(server, 'connection');
  const log = createLog('error', 'test', () => {});
  const former = new Relay(log, BACKLOG_BYTES, historyBytes);
  const next = new Relay(log, undefined, historyBytes);
  const link: RelayLink = new RelayLink(
    (onread) => connect({ path, onread }),
    (kind, call, body) => following.receive(kind, call, body),
    () => following.lead(),
  );
  const following = new Following(next, link, 1_000, log);
  const [socket] = (await accepted) as [Socket];
  server.close();
  rmSync(folder, { recursive: true });
  const formerLink = linkToWorker(
    { stdio: [null, null, null, null, socket] },
    () => {
      if (formerLink !== null) void tellHistory(former.history, formerLink);
    },
    () => {},
  );
  assert.ok(formerLink !== null);
  former.join(NEXT, formerLink);
  former.join(WORKER, { backlogBytes: 0, send: () => false });
  return { former, next, following, formerLink };
}

describe('a relay that follows another one', () => {
  it('is told of many idempotency keys without standing in the way of what is published meanwhile', async () => {
    const { former, next, following, formerLink } = await makeTwoRelays();
    former.leave(NEXT);
    for (let i = 0; i < 15_000; i++) publish(former, '', String(i).padEnd(255, 'k'));
    await new Promise((resolve) => setImmediate(resolve));
    former.join(NEXT, formerLink);
    const told = following.start();
    let backlogBytes = 0;
    const look = setInterval(() => {
      backlogBytes = Math.max(backlogBytes, formerLink.backlogBytes);
    });
    await told;
    clearInterval(look);
    assert.ok(backlogBytes < BACKLOG_BYTES, `${backlogBytes} bytes waited`);
    assert.equal(next.history.keyStates.length, 15_000);
    formerLink.destroy();
  });

  it('is told of a channel of 200 MiB without standing in the way of what is published to it meanwhile', async () => {
    const { former, next, following, formerLink } = await makeTwoRelays(256 * MIB);
    former.leave(NEXT);
    const sent = Array.from({ length: 800 }, (_, i) => String(i).padEnd(MIB / 4));
    for (const text of sent) publish(former, text);
    await new Promise((resolve) => setImmediate(resolve));
    former.join(NEXT, formerLink);
    let state: 'telling' | 'told' = 'telling';
    const told = following.start().then(() => {
      state = 'told';
    });
    let backlogBytes = 0;
    for (let turns = 0; state === 'telling'; turns++) {
      backlogBytes = Math.max(backlogBytes, formerLink.backlogBytes);
      if (turns % 16 === 0) {
        sent.push(String(sent.length));
        publish(former, sent.at(-1) ?? '');
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    await told;
    await waitUntil(() => next.history.offset === sent.length, 'what was published last');
    assert.ok(sent.length > 805, `${sent.length - 800} were published meanwhile`);
    assert.ok(backlogBytes < BACKLOG_BYTES, `${backlogBytes} bytes waited`);
    assert.deepEqual(texts(next).map(Number), [...sent.keys()]);
    assert.equal(next.history.bytes, former.history.bytes);
    formerLink.destroy();
  });

  it('takes all that was sent by a primary that has died since, and only then has the order', async () => {
    const { former, next, following, formerLink } = await makeTwoRelays();
    await following.start();
    const sent = Array.from({ length: 20 }, (_, i) => String(i).padEnd(4_000));
    for (const text of sent) publish(former, text);
    await new Promise((resolve) => setImmediate(resolve));
    formerLink.destroy();
    await following.ended();
    assert.deepEqual(texts(next).map(Number), [...sent.keys()]);
  });
});
