// A worker's end of presence, beside a store that keeps what it is told: what is said when, what is said again, and what is not.

import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { NamespaceTable } from '../../../config/namespaces.ts';
import { parseNamespaces } from '../../../config/parse-namespaces.ts';
import type { PresenceStore } from '../../../src/broker/broker.ts';
import { CHANGES_A_CALL, type PresenceChange } from '../../../src/presence.ts';
import { emptyCounters } from '../../../src/stats.ts';
import type { Holder } from '../../../workers/presence/identities.ts';
import { Presence, RENEWAL_TICK_MS } from '../../../workers/presence/presence.ts';
import { waitUntil } from '../../harness/wait.ts';

class TestHolder implements Holder {
  onItsWay = false;
  deliver(): void {}
  warm(): number {
    return 0;
  }
}

class TestStore implements PresenceStore {
  readonly calls: PresenceChange[][] = [];
  answer: (changes: readonly PresenceChange[]) => Promise<readonly number[]> = () => Promise.resolve([]);

  change(changes: readonly PresenceChange[]): Promise<readonly number[]> {
    this.calls.push([...changes]);
    return this.answer(changes);
  }
  read(): Promise<readonly string[]> {
    return Promise.resolve([]);
  }
  count(): Promise<{ clients: number; users: number }> {
    return Promise.resolve({ clients: 0, users: 0 });
  }

  get said(): string[] {
    return this.calls.flat().map(({ kind, channel, told }) => `${kind} ${channel}${told ? ' told' : ''}`);
  }
}

const LIFE_SECONDS = 3;
const TICKS_A_RENEWAL = (LIFE_SECONDS * 1_000) / 3 / RENEWAL_TICK_MS;

let store: TestStore;
let presence: Presence;
let counters: ReturnType<typeof emptyCounters>;

beforeEach(() => {
  const parsed = parseNamespaces(
    '{"namespaces":{"room":{"presence":true,"join_leave":true},"quiet":{"presence":true}}}',
    1_000,
  );
  assert.ok('namespaces' in parsed);
  store = new TestStore();
  counters = emptyCounters();
  const namespaces = new NamespaceTable(parsed.namespaces);
  presence = new Presence({ namespaces, counters, lifeSeconds: LIFE_SECONDS, store: () => store });
});

function come(channels: string | readonly string[], user = ''): TestHolder {
  const holder = new TestHolder();
  presence.meet(holder, channels, user === '' ? null : { user, info: '' });
  presence.enter(holder, channels);
  return holder;
}

async function untilSaid(...said: string[]): Promise<void> {
  await waitUntil(
    () => store.said.length >= said.length,
    () => `${said} to be said; it was ${store.said}`,
  );
  assert.deepEqual(store.said, said);
}

describe('presence in a worker', () => {
  it('says who comes and goes where that is asked for, in one call a turn', async () => {
    const one = come(['plain', 'room:a', 'quiet:b']);
    come('plain');
    come('plain', 'known');
    assert.equal(presence.identities.size, 2);
    presence.exit(one, ['room:a', 'plain', 'room:never']);
    presence.leave(one);
    presence.leave(one);
    await untilSaid('join room:a told', 'join quiet:b', 'leave room:a told', 'leave quiet:b');
    assert.equal(store.calls.length, 1);
  });

  it('says nothing of who is given to another worker, and of who is to come before it does', async () => {
    const gone = come('room:a');
    presence.giveUp(gone);
    presence.leave(gone);
    const place = new TestHolder();
    presence.introduce(place, { client: 'c', user: 'u', info: '' });
    presence.introduce(new TestHolder(), undefined);
    assert.equal(presence.identities.holderOf('c'), place);
    presence.enter(place, 'room:b');
    await untilSaid('join room:a told', 'join room:b told');
    assert.equal(presence.identities.size, 1);
  });

  it('renews each once in a third of its life, and not who is on its way', async () => {
    const holders = Array.from({ length: 10 }, (_, i) => come(`quiet:${i}`));
    await untilSaid(...holders.map((_, i) => `join quiet:${i}`));
    store.calls.length = 0;
    for (const holder of holders.slice(8)) holder.onItsWay = true;
    for (let tick = 0; tick < TICKS_A_RENEWAL; tick++) presence.renew();
    await waitUntil(() => store.said.length >= 8, 'renewals');
    assert.deepEqual(new Set(store.said), new Set(holders.slice(0, 8).map((_, i) => `renew quiet:${i}`)));
  });

  it('says again who has come when there is nothing to renew, but for who has left since', async () => {
    const stays = come('quiet:a');
    const leaves = come('quiet:b');
    await untilSaid('join quiet:a', 'join quiet:b');
    let answered = (_: readonly number[]): void => {};
    store.answer = () => new Promise((resolve) => (answered = resolve));
    for (let tick = 0; tick < TICKS_A_RENEWAL; tick++) presence.renew();
    await waitUntil(() => store.calls.length === 2, 'the renewals');
    presence.exit(leaves, ['quiet:b']);
    store.answer = () => Promise.resolve([]);
    answered([0, 1]);
    await waitUntil(
      () => store.said.length === 6,
      () => `${store.said}`,
    );
    assert.deepEqual(store.said.slice(4).sort(), ['join quiet:a', 'leave quiet:b']);
    assert.equal(presence.clientOf(stays), store.calls.at(-1)?.find(({ kind }) => kind === 'join')?.client);
  });

  it('leaves to the next renewal what the broker did not take, and counts it', async () => {
    store.answer = () => Promise.reject(new TypeError('away'));
    come('room:a');
    await waitUntil(() => counters.presenceFailed === 1, 'the failure');
    store.answer = (changes) => Promise.resolve(changes.flatMap(({ kind }, i) => (kind === 'join' ? [i] : [])));
    come('room:b');
    await waitUntil(() => counters.presenceFailed === 2, 'the refusal');
    assert.deepEqual(store.said, ['join room:a told', 'join room:b told']);
  });

  it('calls with a bounded number of changes, one call behind the other, and with all of them in the end', async () => {
    let under = 0;
    store.answer = async (changes) => {
      assert.equal(under++, 0);
      assert.ok(changes.length <= CHANGES_A_CALL);
      await new Promise((resolve) => setImmediate(resolve));
      under--;
      return [];
    };
    const count = 10 * CHANGES_A_CALL;
    for (let i = 0; i < count; i++) come(`quiet:${i}`);
    await waitUntil(() => store.calls.length > 0, 'the first call');
    await presence.stop();
    assert.equal(store.said.length, 2 * count);
    assert.equal(presence.identities.size, 0);
  });

  it('has room for all who leave, however many changes wait: nothing else would take them out', async () => {
    const channels = Array.from({ length: 1_000 }, (_, i) => `quiet:${i}`);
    const holders = Array.from({ length: 110 }, () => come(channels));
    assert.equal(counters.presenceFailed, 10_000);
    for (const holder of holders) presence.leave(holder);
    assert.equal(counters.presenceFailed, 10_000);
    await presence.stop();
    assert.equal(store.said.filter((text) => text.startsWith('leave')).length, 110_000);
  });

  it('knows of whom the broker has not yet answered something', async () => {
    let answered = (): void => {};
    store.answer = () => new Promise((resolve) => (answered = () => resolve([])));
    const stranger = new TestHolder();
    const first = come('room:a');
    assert.deepEqual([presence.isSettled(first), presence.isSettled(stranger)], [false, true]);
    await waitUntil(() => store.calls.length === 1, 'the first call');
    const second = come('room:b');
    answered();
    await waitUntil(() => store.calls.length === 2, 'the second call');
    assert.deepEqual([presence.isSettled(first), presence.isSettled(second)], [true, false]);
    store.answer = () => Promise.reject(new TypeError('away'));
    answered();
    await waitUntil(() => presence.isSettled(second), 'the answer');
    presence.exit(second, ['room:b']);
    assert.equal(presence.isSettled(second), false);
    await waitUntil(() => presence.isSettled(second), 'a failure, which is an answer too');
  });
});
