// The promise of docs/guarantees.md against a model: some hundred seeded scenarios at once, while workers are killed and their
// connections to Redis are cut. `npm run scenarios` runs as many as one likes.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runScenarios } from '../harness/history-scenarios.ts';

describe('nothing missing without a gap, nothing twice, nothing out of order', () => {
  it('in 150 scenarios with worker kills and cuts of the connections to Redis', async () => {
    const outcome = await runScenarios({ scenarios: 150, firstSeed: 1, atOnce: 25, broker: 'redis', troubleMs: 200 });
    assert.deepEqual(outcome.faults, []);
    assert.ok(outcome.kills > 2 && outcome.cuts > 2, JSON.stringify(outcome));
    assert.ok(outcome.gaps > 0 && outcome.publications > 1_500);
  });

  it('in 60 scenarios on the embedded broker with worker kills and moves', async () => {
    const outcome = await runScenarios({
      scenarios: 60,
      firstSeed: 501,
      atOnce: 25,
      broker: 'embedded',
      troubleMs: 150,
    });
    assert.deepEqual(outcome.faults, []);
    assert.ok(outcome.kills > 0 && outcome.gaps > 0, JSON.stringify(outcome));
  });
});
