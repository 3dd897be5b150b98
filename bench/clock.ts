// One clock for all processes of a benchmark: milliseconds on Linux's CLOCK_MONOTONIC, as a plain number.
//
// `process.hrtime` reads CLOCK_MONOTONIC, which is the same for every process of a machine, so that a moment taken where a
// publication was made can be compared with one taken where it arrived. `hrtime.bigint()` allocates; `performance.now()`
// does not, but counts from the start of its own process. So the distance between the two is taken once, as the smallest
// of a hundred tries, which is good to about a microsecond, and added to `performance.now()`.

const OFFSET_TRIES = 100;

function offsetMs(): number {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < OFFSET_TRIES; i++) {
    const before = performance.now();
    least = Math.min(least, Number(process.hrtime.bigint()) / 1e6 - before);
  }
  return least;
}

const offset = offsetMs();

/** Now, in milliseconds, comparable between processes of one machine. */
export function nowMs(): number {
  return performance.now() + offset;
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
