// Seeded scenarios of the history's promise against a model, with workers killed and connections to Redis cut meanwhile.
//
//   npm run scenarios                     10,000 of them from seed 1
//   npm run scenarios -- 500 77           500 from seed 77
//
// Each scenario has two or three clients on transports and channels that its seed chooses, which come and go while it
// publishes; test/harness/history-scenario.ts says what is checked. Prints a line a minute and the outcome as JSON; exits 1 when
// any client saw what it was not promised.

import { runScenarios } from '../test/harness/history-scenarios.ts';

const [scenarios = 10_000, firstSeed = 1] = process.argv.slice(2).map(Number);
const startedAt = performance.now();
let shownAt = startedAt;

const outcome = await runScenarios({
  scenarios,
  firstSeed,
  atOnce: 25,
  broker: 'redis',
  troubleMs: 200,
  onProgress(done) {
    if (performance.now() - shownAt < 60_000) return;
    shownAt = performance.now();
    console.error(`${done} of ${scenarios}`);
  },
});
console.log(JSON.stringify({ ...outcome, seconds: Math.round((performance.now() - startedAt) / 1_000) }, null, 2));
process.exitCode = outcome.faults.length === 0 ? 0 : 1;
