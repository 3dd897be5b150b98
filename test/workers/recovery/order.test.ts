// Who holds several channels, or is just taking one up, gets each publication once and in one order, although crowds are served
// in slices: whatever waits where, and when an epoch ends. The clock is the test's, so that it says where a fan-out is cut.

import assert from 'node:assert/strict';
import { beforeEach, describe, it, mock } from 'node:test';
import { DEFAULT_OPTIONS } from '../../../config/namespaces.ts';
import type { HistoryStore } from '../../../src/broker/broker.ts';
import { FENCE_CHANNEL } from '../../../src/channel.ts';
import type { ChannelHistory } from '../../../src/history.ts';
import { Publication } from '../../../src/publication.ts';
import { STREAM_JSON } from '../../../workers/transports/stream-encoder.ts';
import { WEBSOCKET_JSON } from '../../../workers/transports/websocket-encoder.ts';
import { WebSocketSession } from '../../../workers/websocket/session.ts';
import { makeGateway, type TestGateway } from '../gateways.ts';
import { get, Peer } from '../peers.ts';

const OUTBOX_LIMIT_BYTES = 10_000;

let nowMs = 0;
mock.method(performance, 'now', () => nowMs);

let test: TestGateway;
/** What each channel's history holds, as the broker would tell it. */
let stored: Publication[];
let epoch: string;
let top: number;

beforeEach(() => {
  const history = { ...DEFAULT_OPTIONS, historySize: 100, historyTtlSeconds: 60 };
  test = makeGateway({ channelOptions: { default: history, named: {} }, outboxLimitBytes: OUTBOX_LIMIT_BYTES });
  stored = [];
  epoch = 'e';
  top = 0;
  test.broker.history = {
    read: async (channel): Promise<ChannelHistory> => {
      const publications = stored.filter((each) => each.channel === channel);
      const last = publications.at(-1)?.offset ?? 0;
      return { state: { epoch, offset: top, past: new Map() }, top: last, floor: 0, publications };
    },
    missed: async () => ({ state: { epoch, offset: top, past: new Map() }, channels: [] }),
    mark: async () => {},
    remove: async () => {},
  } satisfies HistoryStore;
  test.gateway.onHistory({ epoch, offset: 0, past: new Map() });
});

function publish(channel: string, text: string): void {
  const publication = new Publication(channel, Buffer.from(text)).place(epoch, ++top, 0);
  stored.push(new Publication(channel, Buffer.from(text)).place(epoch, top, 0));
  test.gateway.onPublication(publication);
}

/** Makes the channel's fan-outs take many turns. */
function crowd(channel: string, before: () => void = () => {}): void {
  const slow = () => ({
    warm: () => 0,
    deliver() {
      nowMs += 1;
    },
  });
  before();
  for (let i = 0; i < 40; i++) test.gateway.hub.subscribe(channel, slow());
}

function open(channels: string | readonly string[], since: string | null = null): Peer {
  const peer = new Peer(test.gateway);
  peer.connection.open(STREAM_JSON, channels, Buffer.alloc(0), { session: null, since, who: null });
  return peer;
}

/** The loop's turn takes so long: timers come first in the next one. */
function busyFor(ms: number): void {
  for (const end = process.hrtime.bigint() + BigInt(ms) * 1_000_000n; process.hrtime.bigint() < end; );
}

async function settled(): Promise<void> {
  for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Payloads and notices, in the order in which the peer read them. */
function told(peer: Peer): string[] {
  return [...peer.text.matchAll(/"data":"([^"]*)"|"(gap|recovered)":\["([^\]]*)"\]/g)].map(
    ([, data, notice, channels]) => data ?? `${notice} ${channels}`,
  );
}

describe('publications with history', () => {
  it('come once to a WebSocket that takes up a channel while the crowd of its first one is being served', async () => {
    const peer = new Peer(test.gateway);
    crowd('a', () => {
      peer.connection.open(WEBSOCKET_JSON, 'a', Buffer.alloc(0), {
        session: new WebSocketSession(),
        since: null,
        who: null,
      });
    });
    publish('a', '1');
    assert.ok(test.gateway.hub.waitingCount > 0, 'the fan-out is cut');
    assert.deepEqual(told(peer), ['1']);
    peer.connection.subscribe(['b'], null);
    await settled();
    publish('b', '2');
    publish('a', '3');
    await settled();
    assert.deepEqual(told(peer), ['1', '2', '3']);
  });

  it('come in one order to who holds several channels, one of which has a crowd', async () => {
    crowd('a');
    const peer = open(['a', 'b']);
    publish('a', '1');
    publish('b', '2');
    publish('a', '3');
    await settled();
    assert.deepEqual(told(peer), ['1', '2', '3']);
  });

  it('come on in another epoch, whose offsets begin anew, behind the word of the gap', async () => {
    const peer = open(['a', 'b']);
    for (let i = 1; i <= 5; i++) publish(i % 2 === 0 ? 'a' : 'b', String(i));
    epoch = 'f';
    top = 0;
    stored = [];
    publish('a', '6');
    await settled();
    publish('b', '7');
    await settled();
    assert.deepEqual(told(peer), ['1', '2', '3', '4', '5', 'gap a', 'gap b', '6', '7']);
  });

  it('come once to who was fed over many turns and holds another channel, whatever waits at the end', async () => {
    crowd('a');
    const big = '.'.repeat(OUTBOX_LIMIT_BYTES / 2);
    publish('a', `1${big}`);
    publish('a', `2${big}`);
    await settled();
    const peer = new Peer(test.gateway);
    peer.wire.full = true;
    peer.connection.open(STREAM_JSON, ['a', 'b'], Buffer.alloc(0), { session: null, since: 'e.0', who: null });
    await settled();
    assert.ok(told(peer).length < 2, 'it reads slowly');
    peer.wire.drain();
    publish('b', '3');
    publish('a', '4');
    // The feed goes on in the turn in which the last of them still waits in its crowd, and then more is published.
    busyFor(15);
    setTimeout(() => {
      assert.ok(
        told(peer).some((text) => text.startsWith('recovered')),
        'it has been fed',
      );
      assert.ok(test.gateway.hub.waitingCount > 0, 'the crowd is still being served');
      publish('b', '5');
      publish('a', '6');
    }, 1);
    busyFor(5);
    await new Promise((resolve) => setTimeout(resolve, 30));
    await settled();
    assert.deepEqual(
      told(peer).map((text) => text.slice(0, 9)),
      [`1${big}`.slice(0, 9), `2${big}`.slice(0, 9), '3', '4', 'recovered', '5', '6'],
    );
  });

  it('of another epoch come to who is still being fed, behind the word of the gap', async () => {
    const big = '.'.repeat(OUTBOX_LIMIT_BYTES / 2);
    publish('a', `1${big}`);
    publish('a', `2${big}`);
    const peer = new Peer(test.gateway);
    peer.wire.full = true;
    peer.connection.open(STREAM_JSON, 'a', Buffer.alloc(0), { session: null, since: 'e.0', who: null });
    await settled();
    epoch = 'f';
    top = 0;
    stored = [];
    publish('a', '3');
    await settled();
    peer.wire.drain();
    await new Promise((resolve) => setTimeout(resolve, 30));
    assert.deepEqual(
      told(peer).map((text) => text.slice(0, 5)),
      ['1....', '2....', 'gap a', '3', 'recov'],
    );
  });
});

describe('a poll that is answered with nothing', () => {
  const sinceOf = (peer: Peer): string | undefined => peer.answers.at(-1)?.headers['longwire-since'];

  it('stands before what still waits in a crowd for it, and is given that by the next one', async () => {
    publish('a', '1');
    crowd('b');
    const peer = new Peer(test.gateway);
    peer.send(get('/poll/a?channel=b&timeout=0'));
    const poll = (): void => {
      const sid = peer.answers.at(-1)?.headers['longwire-sid'];
      peer.send(get(`/poll/a?channel=b&sid=${sid}&since=${sinceOf(peer)}`));
    };
    poll();
    publish('b', '2');
    assert.ok(test.gateway.hub.waitingCount > 0, 'the fan-out is cut');
    peer.connection.answerPoll();
    assert.equal(sinceOf(peer), 'e.1.0');
    await settled();
    poll();
    await settled();
    assert.deepEqual([told(peer), sinceOf(peer)], [['2'], 'e.2.1']);
  });

  it('and is a first one is given what waits in a crowd for it after all', async () => {
    publish('a', '1');
    crowd('b');
    const peer = new Peer(test.gateway);
    peer.send(get('/poll/a?channel=b'));
    publish('b', '2');
    publish('b', '3');
    assert.equal(test.gateway.hub.waitingCount, 2, 'the fan-out is cut');
    peer.connection.answerPoll();
    assert.deepEqual([told(peer), sinceOf(peer)], [['2', '3'], 'e.3.2']);
    await settled();
    const sid = peer.answers.at(-1)?.headers['longwire-sid'];
    peer.send(get(`/poll/a?channel=b&sid=${sid}&since=${sinceOf(peer)}&timeout=0`));
    assert.deepEqual([told(peer), sinceOf(peer)], [['2', '3'], 'e.3.2'], 'once');
  });

  it('stands where the line does while that is put right', () => {
    publish('a', '1');
    test.gateway.history?.line.onGap();
    const peer = new Peer(test.gateway);
    peer.send(get('/poll/a?timeout=0'));
    assert.equal(sinceOf(peer), 'e.1.0');
  });
});

describe('a fence', () => {
  it('has no place while publications may be missing before it, which a worker finds out as soon as its broker is up', () => {
    const fences: number[] = [];
    test.gateway.onFence = (_id, order) => fences.push(order);
    let marks = 0;
    if (test.broker.history !== null) {
      test.broker.history.mark = async () => {
        marks++;
      };
    }
    const fence = (): void => test.gateway.onPublication(new Publication(FENCE_CHANNEL, Buffer.from('batch')));
    test.gateway.onState('up');
    assert.equal(marks, 1);
    fence();
    assert.deepEqual(fences, []);
    publish('a', '1');
    fence();
    assert.deepEqual(fences, [test.gateway.order]);
  });
});
