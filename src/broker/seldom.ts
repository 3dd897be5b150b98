// A log for what repeats: the same thing is said at once, then at most every ten seconds with the number of times it happened.
//
// A broker that is away fails several times a second, and so does every publication of a misconfigured backend; each is
// worth a line, none is worth a thousand. Bounded: one entry a key, and keys are names in the code, not data.

import type { Log, LogFields, LogLevel } from '../log.ts';

const PERIOD_MS = 10_000;

export class Seldom {
  readonly #log: Log;
  readonly #said = new Map<string, { at: number; unsaid: number }>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** Logs `text`, unless something with this key was logged in the last ten seconds: then it is counted only. */
  say(level: LogLevel, key: string, text: string, fields: LogFields = {}): void {
    const now = performance.now();
    const last = this.#said.get(key);
    if (last !== undefined && now - last.at < PERIOD_MS) {
      last.unsaid++;
      return;
    }
    const unsaid = last?.unsaid ?? 0;
    this.#said.set(key, { at: now, unsaid: 0 });
    this.#log[level](text, unsaid === 0 ? fields : { ...fields, timesSinceLastLogged: unsaid + 1 });
  }
}
