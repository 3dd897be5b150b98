// The table of those who are known: found by holder, by client id and by user, and counted as a plain list of them would be.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { type Holder, Identities } from '../../../workers/presence/identities.ts';

const SEED = 2026;

function makeHolder(): Holder {
  return { onItsWay: false, deliver: () => {}, warm: () => 0 };
}

describe('identities', () => {
  it('are what a list of them says, whoever comes and goes', () => {
    const step = fc.record({ place: fc.nat(9), user: fc.constantFrom('', 'u', 'v', 'w'), come: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const identities = new Identities();
        const holders = Array.from({ length: 10 }, makeHolder);
        const users = new Map<Holder, string>();
        for (const { place, user, come } of steps) {
          const holder = holders[place] as Holder;
          if (!come) {
            identities.remove(holder);
            users.delete(holder);
          } else if (!users.has(holder)) {
            const { client } = identities.make(holder, { user, info: '' });
            users.set(holder, user);
            assert.equal(identities.holderOf(client), holder);
          } else {
            assert.equal(identities.make(holder, { user: 'other', info: '' }).user, users.get(holder));
          }
          assert.equal(identities.size, users.size);
          assert.equal(identities.userCount, new Set(users.values()).size);
          for (const each of ['u', 'v', 'w']) {
            const expected = [...users].filter(([, name]) => name === each).map(([of]) => of);
            assert.deepEqual(new Set(identities.holdersOf(each)), new Set(expected));
          }
        }
        for (const holder of holders) identities.remove(holder);
        assert.deepEqual([identities.size, identities.userCount], [0, 0]);
      }),
      { seed: SEED, numRuns: 500 },
    );
  });

  it('have ids that are all different, of characters that need no escaping anywhere', () => {
    const identities = new Identities();
    const ids = Array.from({ length: 1_000 }, () => identities.make(makeHolder(), null).client);
    assert.equal(new Set(ids).size, ids.length);
    for (const id of ids) assert.match(id, /^[\w-]{16}$/);
  });
});
