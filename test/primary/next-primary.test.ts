// What is waited for of a next primary, and for how long; that one is a stand-in (test/fixtures/stand-in-primary.ts).

import assert from 'node:assert/strict';
import { after, afterEach, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { LongwireError } from '../../src/errors.ts';
import { NextPrimary, type NextPrimaryOptions } from '../../src/primary/next-primary.ts';
import type { ToNext } from '../../src/primary/primaries.ts';
import { emptyCounters } from '../../src/stats.ts';
import { isAlive } from '../harness/alive.ts';
import { waitUntil } from '../harness/wait.ts';

const STAND_IN = fileURLToPath(new URL('../fixtures/stand-in-primary.js', import.meta.url));
const OVER: Extract<ToNext, { type: 'over' }> = { type: 'over', totals: emptyCounters(), moved: 0, stayed: 0 };
/** What these tests do not look at. */
const INHERITANCE = {} as NextPrimaryOptions['inheritance'];

// A next primary is started as this process was.
const program = process.argv[1] as string;
process.argv[1] = STAND_IN;
after(() => {
  process.argv[1] = program;
});

const started: NextPrimary[] = [];
afterEach(() => {
  for (const next of started.splice(0)) next.kill();
});

function start(until: 'hello' | 'ready' | 'done' | 'silent', limits: Partial<NextPrimaryOptions> = {}): NextPrimary {
  process.env.STAND_IN_PRIMARY = until;
  const next = new NextPrimary({
    inheritance: INHERITANCE,
    publicSocket: null,
    adminSocket: null,
    linked: false,
    pair: null,
    onFrame: () => {},
    onWorker: () => {},
    onStop: () => {},
    ...limits,
  });
  started.push(next);
  return next;
}

function isGone(why: RegExp): (error: unknown) => boolean {
  return (error) => error instanceof LongwireError && error.kind === 'unavailable' && why.test(error.message);
}

describe('a next primary', () => {
  it('is ready, and goes on alone, in its time', async () => {
    const next = start('done', { readyDeadlineMs: 10_000, doneDeadlineMs: 10_000 });
    assert.equal(await next.ready, 3);
    await next.over(OVER);
  });

  it('that lives and does not become ready in time is ended', async () => {
    const next = start('hello', { readyDeadlineMs: 300 });
    await assert.rejects(next.ready, isGone(/it was not ready in time/));
    await waitUntil(() => !isAlive(next.pid), 'its end');
  });

  it('has the time again for as long as it reads the history', async () => {
    const next = start('hello', { readyDeadlineMs: 400 });
    let outcome = 'waits';
    const ready = next.ready.catch(() => {
      outcome = 'ended';
    });
    const begunAt = performance.now();
    while (performance.now() - begunAt < 1_000) {
      next.catchesUp();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.equal(outcome, 'waits');
    await ready;
    assert.equal(outcome, 'ended');
  });

  it('that lives and does not go on alone in time is ended', async () => {
    const next = start('ready', { doneDeadlineMs: 200 });
    await next.ready;
    await assert.rejects(next.over(OVER), isGone(/it has not gone on alone in time/));
    await waitUntil(() => !isAlive(next.pid), 'its end');
  });

  it('that is not heard of hangs, and is ended', async () => {
    const next = start('silent', { secondMs: 50 });
    await assert.rejects(next.ready, isGone(/it hangs: nothing was heard of it/));
  });

  it('that is told to stop has no deadline any more but that of whoever stops', async () => {
    const next = start('ready', { doneDeadlineMs: 200 });
    await next.ready;
    let outcome = 'waits';
    const over = next.over(OVER).catch(() => {
      outcome = 'ended';
    });
    const gone = next.stop();
    await new Promise((resolve) => setTimeout(resolve, 600));
    assert.equal(outcome, 'waits');
    assert.ok(isAlive(next.pid));
    next.kill();
    await gone;
    await over;
  });

  it('that is told to stop before it is ready is ended: it holds nobody', async () => {
    const next = start('hello');
    const ready = assert.rejects(next.ready, isGone(/signal SIGKILL/));
    await next.stop();
    await ready;
  });
});
