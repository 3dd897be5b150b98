// Histories read for many: asked for once, kept up to date, and never handed out when something may be missing in them.

import assert from 'node:assert/strict';
import { describe, it, mock } from 'node:test';
import type { HistoryStore } from '../../../src/broker/broker.ts';
import type { ChannelHistory } from '../../../src/history.ts';
import { Publication } from '../../../src/publication.ts';
import {
  type CachedHistory,
  ChannelCache,
  READS_AT_ONCE,
  type Reader,
} from '../../../workers/recovery/channel-cache.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const at = (offset: number): Publication => new Publication('a', Buffer.from(String(offset))).place('e', offset, 0);

function setup() {
  const asked: { resolve: (history: ChannelHistory) => void; reject: (error: Error) => void }[] = [];
  const store = {
    read: () => new Promise<ChannelHistory>((resolve, reject) => asked.push({ resolve, reject })),
  } as unknown as HistoryStore;
  const cache = new ChannelCache(
    () => store,
    () => 3,
  );
  const told: string[] = [];
  const reader: Reader = {
    onRead: () => told.push('read'),
    onReadFailed: () => told.push('failed'),
    onReadRefused: () => told.push('refused'),
  };
  const answer = async (...offsets: number[]): Promise<void> => {
    const top = offsets.at(-1) ?? 0;
    const state = { epoch: 'e', offset: top, past: new Map<string, number>() };
    asked.shift()?.resolve({ state, top, floor: 0, publications: offsets.map(at) });
    await turn();
  };
  return {
    cache,
    reader,
    asked,
    told,
    answer,
    offsets: () => cache.find('a')?.publications.map(({ offset }) => offset),
  };
}

describe('the histories that were read lately', () => {
  it('are asked for once, however many wait', async () => {
    const { cache, reader, asked, told, answer, offsets } = setup();
    for (let i = 0; i < 3; i++) cache.read('a', reader);
    assert.equal(asked.length, 1);
    await answer(1, 2);
    assert.deepEqual(
      [told, offsets()],
      [
        ['read', 'read', 'read'],
        [1, 2],
      ],
    );
  });

  it('take in what comes live, while they are asked for too, each once, and forget what the history forgets', async () => {
    const { cache, reader, answer, offsets } = setup();
    cache.read('a', reader);
    for (const offset of [2, 3]) cache.onPublication(at(offset));
    await answer(1, 2);
    assert.deepEqual(offsets(), [1, 2, 3]);
    cache.onPublication(at(4));
    assert.deepEqual([offsets(), cache.find('a')?.floor, cache.find('a')?.top], [[2, 3, 4], 1, 4]);
  });

  it('are read again where publications did not come by meanwhile: they may lack them', async () => {
    const { cache, reader, asked, told, answer, offsets } = setup();
    cache.read('a', reader);
    await answer(1);
    cache.invalidate();
    assert.equal(offsets(), undefined);
    cache.read('a', reader);
    cache.invalidate();
    await answer(1);
    assert.deepEqual([told, asked.length], [['read'], 1]);
    await answer(1, 2);
    assert.deepEqual(
      [told, offsets()],
      [
        ['read', 'read'],
        [1, 2],
      ],
    );
  });

  it('tell of a read that failed, and may be asked for again', async () => {
    const { cache, reader, asked, told, answer } = setup();
    cache.read('a', reader);
    asked.shift()?.reject(new Error('away'));
    await turn();
    cache.read('a', reader);
    await answer(1);
    assert.deepEqual(told, ['failed', 'read']);
  });

  it('are asked for a few at a time, however many channels somebody comes back to', async () => {
    const { cache, reader, asked, told, answer } = setup();
    for (let i = 0; i < 3 * READS_AT_ONCE; i++) cache.read(`channel ${i}`, reader);
    let answered = 0;
    for (; asked.length > 0; answered++) {
      assert.ok(asked.length <= READS_AT_ONCE);
      await answer(1);
    }
    assert.equal(answered, 3 * READS_AT_ONCE);
    assert.equal(told.length, 3 * READS_AT_ONCE);
  });

  it('stay with who recovers when they are forgotten, and are asked for no more while there is no room', async () => {
    const held: CachedHistory[] = [];
    const told: string[] = [];
    const payload = Buffer.alloc(1_000);
    const store = {
      read: async (channel: string): Promise<ChannelHistory> => ({
        state: { epoch: 'e', offset: 1, past: new Map() },
        top: 1,
        floor: 0,
        publications: [new Publication(channel, payload).place('e', 1, 0)],
      }),
    } as unknown as HistoryStore;
    const cache = new ChannelCache(
      () => store,
      () => 3,
      2_000,
    );
    const reader: Reader = {
      onRead(channel, history) {
        cache.hold(history);
        held.push(history);
        told.push(`read ${channel}`);
      },
      onReadFailed: () => told.push('failed'),
      onReadRefused: (channel) => told.push(`refused ${channel}`),
    };
    for (const channel of ['a', 'b', 'c']) {
      cache.read(channel, reader);
      await turn();
    }
    cache.invalidate();
    assert.deepEqual([told, cache.find('a')], [['read a', 'read b'], null]);
    assert.ok(cache.bytes > 2_000, 'what is held counts although it is forgotten');
    // Room again.
    cache.letGo(held[0] as CachedHistory);
    await turn();
    assert.deepEqual(told, ['read a', 'read b', 'read c']);
    // And none for too long.
    cache.read('d', reader);
    cache.sweep();
    assert.equal(told.length, 3);
    const later = performance.now() + 11_000;
    const clock = mock.method(performance, 'now', () => later);
    cache.sweep();
    clock.mock.restore();
    assert.deepEqual(told.slice(3), ['refused d']);
    for (const history of held.slice(1)) cache.letGo(history);
    cache.invalidate();
    assert.equal(cache.bytes, 0);
  });
});
