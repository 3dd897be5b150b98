// When to replace a worker that has died: at once, unless workers keep dying in its slot.
//
// Each death within `STEADY_MS` of becoming ready counts against the slot. The first is replaced at once; from the second
// on the wait doubles from 100 ms to 10 s, so that a worker that cannot live costs one fork each ten seconds. Half of each
// wait is random: slots that died together (a poisoned publication reaches every worker) do not come back together.

/** A worker that served this long has shown that it can: its death is a first one again. */
export const STEADY_MS = 60_000;
const FIRST_MS = 100;
const LONGEST_MS = 10_000;

export class Backoff {
  #deaths = 0;
  readonly #random: () => number;

  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** Deaths in a row. */
  get deaths(): number {
    return this.#deaths;
  }

  /**
   * Counts a death and says how long to wait before the replacement, in milliseconds.
   *
   * @param servedMs How long the worker had been ready; 0 when it never was.
   */
  died(servedMs: number): number {
    this.#deaths = servedMs >= STEADY_MS ? 1 : this.#deaths + 1;
    if (this.#deaths === 1) return 0;
    const wait = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(this.#deaths - 2, 16));
    return Math.round(wait / 2 + (wait / 2) * this.#random());
  }
}
