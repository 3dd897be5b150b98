// Polls and their sessions over a wire that the test holds: when a poll is answered and with what, what is kept for the next
// one, and what a session is refused. The clock is the test's.

import assert from 'node:assert/strict';
import { beforeEach, describe, it, mock } from 'node:test';
import { Publication } from '../../src/publication.ts';
import { transportIndex } from '../../src/stats.ts';
import type { Movable } from '../../workers/moving/movable.ts';
import { makeSid } from '../../workers/poll/sid.ts';
import { TICK_MS } from '../../workers/timing-wheel.ts';
import type { Answer } from '../harness/raw-client.ts';
import { makeGateway, type TestGateway } from './gateways.ts';
import { closedOf, get, Peer, publishRequest, rejectedOf } from './peers.ts';

const WAIT_MS = 25_000;
const EXPIRY_MS = 60_000;

let nowMs = 0;
mock.method(performance, 'now', () => nowMs);

let test: TestGateway;

beforeEach(() => {
  test = makeGateway({ pollSessionLimit: 3, keepAliveSeconds: 600, workers: 2 });
});

function pass(ms: number): void {
  for (const end = nowMs + ms; nowMs < end; ) {
    nowMs = Math.min(end, nowMs + TICK_MS);
    test.gateway.wheel.advance();
  }
}

/** The end of a turn: polls that have become due are answered. */
async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

function publish(channel: string, ...texts: string[]): void {
  for (const text of texts) test.gateway.onPublication(new Publication(channel, Buffer.from(text)));
}

interface PollBody {
  sid: string;
  since: string;
  gap?: boolean;
  lost?: number;
  publications: { channel: string; data: string }[];
}

/** A client that polls on one connection and remembers its cursor. */
class Poller {
  readonly peer = new Peer(test.gateway);
  sid = '';
  since = '';
  #seen = 0;

  poll(target: string, ...headers: string[]): void {
    const cursor = this.sid === '' ? '' : `${target.includes('?') ? '&' : '?'}sid=${this.sid}&since=${this.since}`;
    this.peer.send(get(`/poll/${target}${cursor}`, ...headers));
  }

  get waits(): boolean {
    return this.peer.state === 'waiting';
  }

  /** The next answer, after the turn. */
  async answer(): Promise<Answer> {
    await turn();
    const answer = this.peer.answers[this.#seen++];
    assert.ok(answer, 'no answer has come');
    if (answer.headers['longwire-sid'] !== undefined) this.sid = answer.headers['longwire-sid'];
    if (answer.headers['longwire-since'] !== undefined) this.since = answer.headers['longwire-since'];
    return answer;
  }

  async body(): Promise<PollBody> {
    const answer = await this.answer();
    assert.equal(answer.status, 200, answer.head);
    const body: PollBody = JSON.parse(answer.text);
    assert.deepEqual([body.sid, body.since], [this.sid, this.since]);
    return body;
  }

  async texts(): Promise<string[]> {
    return (await this.body()).publications.map(({ data }) => data);
  }
}

function held(): { http: number; poll: number; subscriptions: number; sessions: number } {
  const { connections, hub, polls } = test.gateway;
  return {
    http: connections[transportIndex.http] ?? 0,
    poll: connections[transportIndex.poll] ?? 0,
    subscriptions: hub.subscriptionCount,
    sessions: polls.sessionCount,
  };
}

describe('a poll', () => {
  it('waits, and is answered at the end of the turn with all that the turn brought', async () => {
    const client = new Poller();
    client.poll('a');
    assert.deepEqual(held(), { http: 0, poll: 1, subscriptions: 1, sessions: 0 });
    publish('a', 'one', 'two');
    publish('b', 'not this');
    publish('a', 'three');
    assert.equal(client.peer.text, '', 'nothing before the turn is over');
    const body = await client.body();
    assert.deepEqual(
      body.publications,
      ['one', 'two', 'three'].map((data) => ({ channel: 'a', data })),
    );
    assert.deepEqual(Object.keys(body), ['sid', 'since', 'publications']);
    assert.deepEqual([client.peer.answers.length, client.peer.state], [1, 'idle']);
    assert.deepEqual(held(), { http: 1, poll: 0, subscriptions: 1, sessions: 1 });
  });

  it('is answered 204 when its wait is over, with its sid and position', async () => {
    const client = new Poller();
    client.poll('a');
    pass(WAIT_MS - TICK_MS);
    assert.ok(client.waits);
    pass(2 * TICK_MS);
    const { status, headers, body } = await client.answer();
    assert.deepEqual([status, body.length, headers.connection], [204, 0, 'keep-alive']);
    assert.match(client.sid, /^[\w-]{20}$/);
    assert.equal(client.since, '0');
    assert.equal(headers.etag, `"sid=${client.sid};since=0"`);
    publish('a', 'between');
    client.poll('a');
    assert.deepEqual(await client.texts(), ['between']);
  });

  it('waits for as long as it asks, at most as long as it may', async () => {
    for (const [timeout, waitMs] of [
      ['0', 0],
      ['0.5', 500],
      ['3', 3_000],
      ['3600', WAIT_MS],
    ] as const) {
      const client = new Poller();
      client.poll(`a?timeout=${timeout}`);
      if (waitMs > 0) {
        pass(waitMs - TICK_MS);
        assert.ok(client.waits, timeout);
        pass(2 * TICK_MS);
      }
      assert.equal((await client.answer()).status, 204, timeout);
      pass(EXPIRY_MS + TICK_MS);
    }
  });

  it('misses nothing that is published between two of its client', async () => {
    const client = new Poller();
    const received: string[] = [];
    const sent: string[] = [];
    for (let round = 0; round < 50; round++) {
      client.poll('a');
      for (let i = 0; i < round % 4; i++) sent.push(`${round}-${i}`);
      publish('a', ...sent.slice(sent.length - (round % 4)));
      if (client.waits && round % 4 === 0) pass(WAIT_MS + TICK_MS);
      const answer = await client.answer();
      if (answer.status === 200) {
        received.push(...(JSON.parse(answer.text) as PollBody).publications.map(({ data }) => data));
      }
      sent.push(`between ${round}`);
      publish('a', `between ${round}`);
    }
    client.poll('a?timeout=0');
    received.push(...(await client.texts()));
    assert.deepEqual(received, sent);
  });

  it('gets again what was answered and is not acknowledged: the answer may have been lost', async () => {
    const client = new Poller();
    client.poll('a');
    publish('a', 'one');
    assert.deepEqual(await client.texts(), ['one']);
    client.since = '0';
    client.poll('a');
    assert.deepEqual(await client.texts(), ['one']);
    client.since = '0';
    publish('a', 'two');
    client.poll('a');
    assert.deepEqual(await client.texts(), ['one', 'two']);
    client.poll('a');
    assert.ok(client.waits, 'all is acknowledged');
    assert.equal(test.gateway.polls.store.bytes, 0);
  });

  it('without a position gets all that is kept', async () => {
    const client = new Poller();
    client.poll('a');
    publish('a', 'one', 'two');
    await client.texts();
    const other = new Peer(test.gateway);
    other.send(get(`/poll/a?sid=${client.sid}`));
    await turn();
    assert.deepEqual(
      (JSON.parse(other.answers[0]?.text ?? '') as PollBody).publications.map(({ data }) => data),
      ['one', 'two'],
    );
  });

  it('of a client that knows If-None-Match alone goes on by its ETag', async () => {
    const peer = new Peer(test.gateway);
    let tag: string | undefined;
    for (const text of ['one', 'two', 'three']) {
      peer.send(get('/poll/a', ...(tag === undefined ? [] : [`If-None-Match: ${tag}`])));
      publish('a', text);
      await turn();
      const answer = peer.answers.at(-1);
      assert.deepEqual(
        (JSON.parse(answer?.text ?? '') as PollBody).publications.map(({ data }) => data),
        [text],
      );
      tag = answer?.headers.etag;
      publish('a');
    }
  });

  it('in the raw format is answered with one payload as published, and the next with the next', async () => {
    const client = new Poller();
    client.poll('a?format=raw');
    publish('a', 'one', '', 'three');
    for (const text of ['one', '', 'three']) {
      const { status, body } = await client.answer();
      assert.deepEqual([status, body.toString()], [200, text]);
      client.poll('a?format=raw');
    }
    assert.ok(client.waits);
  });

  it('on several channels is told of which each publication is', async () => {
    const client = new Poller();
    client.poll('a?channel=b&channel=a');
    publish('b', '1');
    publish('a', '2');
    assert.deepEqual((await client.body()).publications, [
      { channel: 'b', data: '1' },
      { channel: 'a', data: '2' },
    ]);
    client.poll('b?channel=a');
    assert.ok(client.waits, 'in whatever order they are named');
  });

  it('is not changed by what the broker reads next into the memory of its payload', async () => {
    for (const format of ['raw', 'json']) {
      const clients = [new Poller(), new Poller()];
      for (const client of clients) client.poll(`a?format=${format}`);
      const read = Buffer.from('hello and what came behind it');
      const publication = new Publication('a', read.subarray(0, 5));
      test.gateway.onPublication(publication);
      read.fill('!');
      for (const client of clients) assert.ok((await client.answer()).text.includes('hello'), format);
      for (const client of clients) client.peer.send('reset');
      pass(EXPIRY_MS + TICK_MS);
    }
  });

  it('writes large payloads as the buffers that others write too', async () => {
    const payload = Buffer.alloc(50_000, 'x');
    const clients = [new Poller(), new Poller()];
    for (const client of clients) client.poll('a?format=raw');
    test.gateway.onPublication(new Publication('a', payload));
    for (const client of clients) assert.ok((await client.answer()).body.equals(payload));
    assert.ok(test.gateway.polls.store.bytes < 51_000, 'kept once');
  });
});

describe('a mailbox that overflows', () => {
  it('tells its client how much is lost, once, and goes on', async () => {
    test = makeGateway({ mailboxLimitBytes: 4_096 });
    const client = new Poller();
    client.poll('a?timeout=0');
    await client.answer();
    publish('a', ...Array.from({ length: 100 }, (_, i) => `${i}`));
    client.poll('a');
    const body = await client.body();
    assert.equal(body.gap, true);
    assert.equal(body.lost, 100 - body.publications.length);
    assert.deepEqual(
      body.publications.map(({ data }) => data),
      Array.from({ length: body.publications.length }, (_, i) => `${(body.lost ?? 0) + i}`),
    );
    assert.equal(test.gateway.counters.mailboxLost, body.lost);
    publish('a', 'after');
    client.poll('a');
    const next = await client.body();
    assert.deepEqual([next.gap, next.lost, next.publications.length], [undefined, undefined, 1]);
  });

  it('tells it in a field too, in the raw format beside the payload', async () => {
    test = makeGateway({ mailboxLimitBytes: 1_024 });
    const client = new Poller();
    client.poll('a?format=raw&timeout=0');
    await client.answer();
    publish('a', ...Array.from({ length: 100 }, (_, i) => `${i}`));
    client.poll('a?format=raw');
    const { headers, text } = await client.answer();
    assert.equal(headers['longwire-lost'], text);
    client.poll('a?format=raw');
    assert.equal((await client.answer()).headers['longwire-lost'], undefined);
  });

  it('tells a client that goes back behind what it has acknowledged', async () => {
    const client = new Poller();
    client.poll('a');
    publish('a', 'one', 'two');
    await client.texts();
    client.poll('a?timeout=0');
    await client.answer();
    client.since = '0';
    client.poll('a');
    const body = await client.body();
    assert.deepEqual([body.gap, body.lost, body.publications, body.since], [true, 2, [], '2']);
  });
});

describe('a session', () => {
  it('expires when no poll comes, and is then gone: nothing is opened in its place', async () => {
    const client = new Poller();
    client.poll('a?timeout=0');
    await client.answer();
    publish('a', 'kept');
    pass(EXPIRY_MS - TICK_MS);
    client.poll('a?timeout=0');
    assert.deepEqual(await client.texts(), ['kept']);
    client.poll('a');
    pass(WAIT_MS + TICK_MS);
    await client.answer();
    pass(EXPIRY_MS + TICK_MS);
    assert.deepEqual(held(), { http: 1, poll: 0, subscriptions: 0, sessions: 0 });
    assert.equal(test.gateway.polls.store.bytes, 0);
    assert.equal(test.gateway.counters.pollSessionsExpired, 1);
    client.poll('a');
    const { status, text, headers } = await client.answer();
    assert.deepEqual([status, headers['content-type'], headers.connection], [410, 'application/json', 'keep-alive']);
    assert.equal(JSON.parse(text).error.code, 110);
    assert.deepEqual(held().sessions, 0);
    assert.deepEqual(rejectedOf(test.gateway), ['session-gone']);
  });

  it('does not expire while a poll of it waits', async () => {
    test = makeGateway({ pollExpirySeconds: 1 });
    const client = new Poller();
    client.poll('a?timeout=0');
    await client.answer();
    client.poll('a');
    pass(10_000);
    publish('a', 'still here');
    assert.deepEqual(await client.texts(), ['still here']);
  });

  it('does not expire while it is on its way to another worker, where no poll can come to it', async () => {
    const client = new Poller();
    client.poll('a?timeout=0');
    await client.answer();
    const session = test.gateway.polls.find(client.sid);
    session?.setOut('moving', test.gateway.order);
    pass(2 * EXPIRY_MS);
    publish('a', 'kept back');
    session?.goOn();
    client.poll('a');
    assert.deepEqual(await client.texts(), ['kept back']);
  });

  it('has one poll that waits: the newer wins, the older is told so at once', async () => {
    const client = new Poller();
    client.poll('a?timeout=0');
    await client.answer();
    client.poll('a');
    const newer = new Poller();
    newer.sid = client.sid;
    newer.since = client.since;
    newer.poll('a');
    const { status, text } = await client.answer();
    assert.deepEqual([status, JSON.parse(text).error.code, client.peer.state], [409, 409, 'idle']);
    publish('a', 'one');
    assert.deepEqual(await newer.texts(), ['one']);
    assert.deepEqual(rejectedOf(test.gateway), ['superseded']);
    assert.equal(client.peer.answers.length, 2);
  });

  it('is taken over from a connection that has more polls of it waiting', async () => {
    const client = new Poller();
    client.poll('a?timeout=0');
    await client.answer();
    // One waits, one is kept behind it.
    for (let i = 0; i < 2; i++) client.poll('a');
    const newer = new Poller();
    newer.sid = client.sid;
    newer.since = client.since;
    newer.poll('a');
    assert.deepEqual([client.peer.statuses, client.peer.state, newer.waits], [[204, 409, 409], 'idle', true]);
  });

  it('keeps its channels and its format', async () => {
    const client = new Poller();
    client.poll('a?channel=b&timeout=0');
    await client.answer();
    for (const [target, problem] of [
      ['a', /other channels/],
      ['a?channel=c', /other channels/],
      ['a?channel=b&channel=c', /other channels/],
      ['a?channel=b&format=raw', /another format/],
    ] as const) {
      const other = new Poller();
      other.sid = client.sid;
      other.since = '0';
      other.poll(target);
      const { status, text } = await other.answer();
      assert.equal(status, 400);
      assert.match(text, problem);
    }
    client.since = '1';
    client.poll('a?channel=b');
    assert.match((await client.answer()).text, /never had/);
  });

  it('is not begun beyond the limit, waiting first polls included', async () => {
    const clients = [new Poller(), new Poller(), new Poller()];
    for (const client of clients) client.poll('a');
    const fourth = new Poller();
    fourth.poll('a');
    const { status, headers } = await fourth.answer();
    assert.deepEqual([status, headers['retry-after']], [503, '5']);
    assert.deepEqual(rejectedOf(test.gateway), ['capacity']);
    clients[0]?.peer.send('end');
    publish('a', 'x');
    await turn();
    const fifth = new Poller();
    fifth.poll('a');
    assert.ok(fifth.waits, 'a first poll that has left is not counted any more');
  });

  it('of another worker is answered 421, and the connection ends', async () => {
    const client = new Poller();
    client.sid = makeSid(2);
    client.since = '0';
    client.poll('a');
    const { status, text, headers } = await client.answer();
    assert.deepEqual([status, JSON.parse(text).error.code, headers.connection], [421, 421, 'close']);
    assert.deepEqual(rejectedOf(test.gateway), ['session-elsewhere']);
  });

  it('of its own slot, in another worker’s hands and out of reach, is answered 421 too: it may live', async () => {
    test.gateway.sharesSlot = true;
    const client = new Poller();
    client.sid = makeSid(1);
    client.since = '0';
    client.poll('a');
    assert.equal((await client.answer()).status, 421);
  });

  it('that nobody had whom its poll was given to is gone, whosever slot it names', async () => {
    test.gateway.sharesSlot = true;
    test.gateway.handOver = () => 'sought';
    for (const slot of [1, 2]) {
      const client = new Poller();
      client.sid = makeSid(slot);
      client.since = '0';
      client.poll('a');
      assert.equal((await client.answer()).status, 410, `slot ${slot}`);
    }
    assert.deepEqual(rejectedOf(test.gateway), ['session-gone', 'session-gone']);
  });

  it('of another worker goes there with its connection and all that was read, however it was cut', () => {
    const given: string[] = [];
    test.gateway.handOver = (connection, slot, bytes) => {
      given.push(`${slot} ${Buffer.from(bytes)}`);
      connection.state = 'moving';
      return 'given';
    };
    const request = get(`/poll/a?sid=${makeSid(2)}&since=0`) + get('/healthz');
    for (const cut of [request.length, 1, 40, request.length - 60, request.length - 5]) {
      const peer = new Peer(test.gateway);
      peer.send(request.slice(0, cut), request.slice(cut));
      assert.deepEqual([peer.text, peer.state], ['', 'moving']);
      // What had not been read when the head was whole is the wire's to give.
      const read = cut === request.length - 5 ? request.slice(0, cut) : request;
      assert.equal(given.pop(), `2 ${read}`);
    }
  });

  it('of another worker is not read on here, though it was kept behind what came before it', async () => {
    test.gateway.handOver = (connection) => {
      connection.wire.share();
      connection.state = 'moving';
      return 'given';
    };
    const foreign = get(`/poll/a?sid=${makeSid(2)}&since=0`);
    for (const before of [publishRequest('a', 'x'), get('/poll/a')]) {
      const peer = new Peer(test.gateway);
      peer.send(before + foreign, 'end');
      publish('a', 'x');
      await peer.settle();
      assert.deepEqual([peer.statuses, peer.state, peer.wire.paused], [[200], 'moving', true]);
    }
  });

  it('of no worker that there is, is gone: the request comes back and is read again', async () => {
    for (const slot of [0, 3, 4_095]) {
      const client = new Poller();
      let given: { connection: Movable; bytes: Buffer } | null = null;
      test.gateway.handOver = (connection, to, bytes) => {
        assert.equal(to, slot);
        given = { connection, bytes: Buffer.from(bytes) };
        connection.state = 'moving';
        return 'given';
      };
      client.sid = makeSid(slot);
      client.since = '0';
      client.poll('a');
      if (given !== null) {
        const { connection, bytes } = given as { connection: Movable; bytes: Buffer };
        test.gateway.goneSlot = slot;
        connection.readAgain(bytes);
        test.gateway.goneSlot = 0;
      }
      assert.equal((await client.answer()).status, 410, `slot ${slot}`);
      assert.equal(client.peer.state, 'idle');
    }
  });

  it('of several channels gets each publication with history once, though the hub holds some up', async () => {
    const slow = () => ({
      warm: () => 0,
      deliver() {
        nowMs += 1;
      },
    });
    for (let i = 0; i < 40; i++) test.gateway.hub.subscribe('b', slow());
    const client = new Poller();
    client.poll('a?channel=b');
    test.gateway.onPublication(new Publication('b', Buffer.from('held up')).place('e', 1, 0));
    assert.ok(test.gateway.hub.waitingCount > 0, 'the fan-out is cut');
    test.gateway.onPublication(new Publication('a', Buffer.from('overtakes')).place('e', 2, 0));
    const texts = await client.texts();
    for (let round = 0; round < 10; round++) {
      client.poll('a?channel=b&timeout=0');
      const { status, text } = await client.answer();
      if (status === 200) texts.push(...(JSON.parse(text) as PollBody).publications.map(({ data }) => data));
    }
    assert.equal(test.gateway.hub.waitingCount, 0);
    assert.deepEqual(texts.sort(), ['held up', 'overtakes']);
  });

  it('tells whoever wants to know when it opens and when it has expired', async () => {
    const told: string[] = [];
    test.gateway.polls.onOpened = (sid) => told.push(`opened ${sid}`);
    test.gateway.polls.onExpired = (sid) => told.push(`expired ${sid}`);
    const client = new Poller();
    client.poll('a');
    assert.deepEqual(told, []);
    publish('a', 'x');
    await client.answer();
    pass(EXPIRY_MS + TICK_MS);
    assert.deepEqual(told, [`opened ${client.sid}`, `expired ${client.sid}`]);
  });
});

describe('a connection that polls', () => {
  it('is kept, and polls that come together are answered in their order', async () => {
    const client = new Poller();
    client.poll('a?timeout=1');
    client.peer.send(get('/healthz') + get('/poll/b'));
    assert.ok(client.peer.wire.paused, 'what comes early is kept, and no more is read');
    publish('a', 'one');
    assert.deepEqual(await client.texts(), ['one']);
    assert.equal((await client.answer()).text, 'ok\n');
    assert.deepEqual([client.waits, client.peer.wire.paused], [true, false]);
    publish('b', 'two');
    client.sid = '';
    assert.equal((await client.body()).publications[0]?.data, 'two');
    assert.deepEqual(closedOf(test.gateway), []);
  });

  it('ends after the answer when it says close, or is HTTP/1.0', async () => {
    for (const request of [
      get('/poll/a', 'Connection: close'),
      'GET /poll/a HTTP/1.0\r\n\r\n',
      'GET /poll/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n',
    ]) {
      const client = new Poller();
      client.peer.send(request);
      publish('a', 'x');
      const { headers } = await client.answer();
      const kept = request.includes('keep-alive');
      assert.deepEqual([headers.connection, client.peer.state], kept ? ['keep-alive', 'idle'] : ['close', 'closing']);
    }
  });

  it('that vanishes while its first poll waits leaves nothing behind', () => {
    for (const how of ['end', 'reset'] as const) {
      const client = new Poller();
      client.poll('a?channel=b');
      client.peer.send(how);
      assert.deepEqual(held().subscriptions, 0);
      assert.equal(test.gateway.polls.hasRoom(), true);
    }
    assert.deepEqual(closedOf(test.gateway), ['client-left', 'client-left']);
  });

  it('that vanishes later leaves its session, which waits for the next poll', async () => {
    const client = new Poller();
    client.poll('a?timeout=0');
    await client.answer();
    client.poll('a');
    client.peer.send('reset');
    publish('a', 'meanwhile');
    const again = new Poller();
    again.sid = client.sid;
    again.since = client.since;
    again.poll('a');
    assert.deepEqual(await again.texts(), ['meanwhile']);
  });

  it('that does not read its answer is not read either, and is closed as a slow consumer', async () => {
    const client = new Poller();
    client.poll('a?format=raw');
    client.peer.wire.full = true;
    test.gateway.onPublication(new Publication('a', Buffer.alloc(200_000)));
    await turn();
    assert.equal(client.peer.state, 'blocked');
    pass(31_000);
    assert.deepEqual(closedOf(test.gateway), ['slow-consumer']);
    assert.equal(held().sessions, 1);
  });

  it('is answered before a drain ends it: what has come, or where it stands', async () => {
    const [silent, told] = [new Poller(), new Poller()];
    silent.poll('a?timeout=0');
    await silent.answer();
    silent.poll('a');
    told.poll('b');
    test.gateway.draining = true;
    publish('b', 'last');
    for (const { peer } of [silent, told]) peer.connection.finish('drained');
    const { status, headers } = await silent.answer();
    assert.deepEqual([status, headers.connection, headers['longwire-since']], [204, 'close', '0']);
    assert.deepEqual(await told.texts(), ['last']);
    assert.deepEqual([silent.peer.state, told.peer.state], ['closing', 'closing']);
  });

  it('while its worker drains is answered at once, and told to come on a new connection', async () => {
    const client = new Poller();
    client.poll('a?timeout=0');
    await client.answer();
    test.gateway.draining = true;
    client.poll('a');
    const { status, headers } = await client.answer();
    assert.deepEqual([status, headers.connection], [204, 'close']);
    const first = new Poller();
    first.poll('a');
    assert.equal((await first.answer()).status, 503);
  });
});

describe('a request that is no poll', () => {
  it('is refused with what is wrong with it', async () => {
    for (const [target, problem] of [
      ['', /must not be empty/],
      ['a?timeout=soon', /number of seconds/],
      ['a?timeout=-1', /number of seconds/],
      ['a?format=xml', /format must be/],
      ['a?since=1', /sid too/],
      ['a?sid=short', /20 characters/],
    ] as const) {
      const client = new Poller();
      client.poll(target);
      const { status, text } = await client.answer();
      assert.equal(status, 400, target);
      assert.match(text, problem, target);
    }
    const client = new Poller();
    client.poll('a', 'Content-Length: 1');
    assert.match((await client.answer()).text, /no body/);
  });

  it('HEAD is answered as a poll would be, and opens nothing', async () => {
    const peer = new Peer(test.gateway);
    peer.send('HEAD /poll/a HTTP/1.1\r\nHost: a\r\n\r\n');
    assert.match(peer.text, /^HTTP\/1\.1 200 OK\r\n.*Content-Type: application\/json\r\n.*\r\n\r\n$/s);
    assert.deepEqual([peer.state, held().subscriptions], ['idle', 0]);
  });

  it('a page of an allowed origin may read the answer and its cursor', async () => {
    test = makeGateway({ corsOrigins: ['https://app.example'] });
    const client = new Poller();
    client.poll('a?timeout=0', 'Origin: https://app.example');
    const { headers } = await client.answer();
    assert.equal(headers['access-control-allow-origin'], 'https://app.example');
    assert.match(headers['access-control-expose-headers'] ?? '', /ETag, Longwire-Sid, Longwire-Since, Longwire-Lost/);
    client.poll('a?timeout=0', 'Origin: https://other.example');
    const other = await client.answer();
    assert.equal(other.headers['access-control-expose-headers'], undefined);
  });
});
