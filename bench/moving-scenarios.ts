// Seeded scenarios of what moves promise, each on a gateway of its own: test/harness/moving-scenario.ts says what is done and what is checked.
//
//   npm run scenarios:moving              100 of them from seed 1
//   npm run scenarios:moving -- 20 77     20 from seed 77
//   npm run scenarios:moving -- 1 77      one, and all that its steps were
//
// What a seed chooses is the same each time; how far a move has come when a worker is killed is the machine's to say. Prints a line
// for each and the outcome as JSON; exits 1 when any client was brought or told what it was not promised.

import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runMovingScenario } from '../test/harness/moving-scenario.ts';

const AT_ONCE = 2;
const [scenarios = 100, firstSeed = 1] = process.argv.slice(2).map(Number);
const startedAt = performance.now();
const sum = { scenarios: 0, steps: 0, published: 0, moved: 0, closed: 0 };
const faulty: number[] = [];

let next = 0;
async function run(): Promise<void> {
  while (next < scenarios) {
    const { seed, setup, steps, faults, published, moved, closed, log } = await runMovingScenario(firstSeed + next++, {
      clients: 10,
      steps: 8,
    });
    sum.scenarios++;
    sum.steps += steps.length;
    sum.published += published;
    sum.moved += moved;
    sum.closed += closed;
    console.error(
      `${seed} (${setup}): ${published} published, ${moved} moved, ${closed} closed, ${faults.length} faults`,
    );
    if (faults.length === 0 && scenarios > 1) continue;
    console.error(`  ${steps.join('; ')}`);
    for (const fault of faults) console.error(`  ${fault}`);
    if (faults.length === 0) continue;
    faulty.push(seed);
    const file = join(tmpdir(), `longwire-moving-${seed}.log`);
    writeFileSync(file, log);
    console.error(`  the gateway's log: ${file}`);
  }
}
await Promise.all(Array.from({ length: AT_ONCE }, run));
console.log(JSON.stringify({ ...sum, faulty, seconds: Math.round((performance.now() - startedAt) / 1_000) }, null, 2));
process.exitCode = faulty.length === 0 ? 0 : 1;
