// Operations: one after the other, bounded, remembered, and what is done when one is over.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { LongwireError } from '../../src/errors.ts';
import { createLog } from '../../src/log.ts';
import { collectGarbage } from '../../src/primary/garbage.ts';
import { Operations } from '../../src/primary/operations.ts';
import { waitUntil } from '../harness/wait.ts';

const log = createLog('error', 'primary', () => {});

describe('operations', () => {
  it('run one after the other, also after one that fails, and each is over once', async () => {
    const said: string[] = [];
    const operations = new Operations(log, () => said.push('over'));
    operations.begin('replace', async () => {
      await nextTurn();
      said.push('first');
      throw new LongwireError('unavailable', 'no room');
    });
    operations.begin('scale', async () => void said.push('second'));
    await waitUntil(() => operations.idle, 'both to end');
    assert.deepEqual(said, ['first', 'over', 'second', 'over']);
    assert.deepEqual(
      operations.all.map(({ state, reason }) => [state, reason]),
      [
        ['failed', 'no room'],
        ['done', null],
      ],
    );
  });

  it('are refused when eight wait already', async () => {
    const operations = new Operations(log);
    let end = (): void => {};
    const blocked = new Promise<void>((resolve) => {
      end = resolve;
    });
    operations.begin('replace', () => blocked);
    await nextTurn();
    for (let i = 0; i < 8; i++) operations.begin('rebalance', async () => {});
    assert.throws(() => operations.begin('rebalance', async () => {}), /8 operations are waiting already/);
    end();
    await waitUntil(() => operations.idle, 'all to end');
  });
});

describe('the primary’s garbage', () => {
  it('is collected when it says so, in a process that was not started for it', async () => {
    let garbage: object[] | null = Array.from({ length: 10_000 }, (_, i) => ({ i }));
    const watched = new WeakRef(garbage);
    garbage = null;
    // A WeakRef keeps what it was made of to the end of the turn.
    await nextTurn();
    assert.equal('gc' in globalThis, false);
    collectGarbage();
    assert.equal(watched.deref(), undefined);
    assert.equal('gc' in globalThis, false);
  });
});
