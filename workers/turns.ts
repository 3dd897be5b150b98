// Turns: how long this turn of the loop has served connections, and who waits for a later one.
//
// A crowd that comes back sends its requests at once, and one that goes ends at once; the loop takes all of that, thousands, before it
// looks at a timer or accepts anybody: 60 to 100 µs each request with what it opens, 20 µs each end. So beyond BUDGET_MS what has
// come is only put away, which takes some 4 µs, and the next turns see to it in the order in which it came.
//
// Bound: QUEUE_LIMIT_BYTES of bytes put away, beyond which requests are served at once, and it is the turn that gets longer; one
// request or end a connection. Cost: a look at the clock a request or end, an immediate a turn that has any.

/** As long as a fan-out, a recovery and a slice of polls take together. */
const BUDGET_MS = 5;
/** Heads of a few hundred bytes from as many connections as a worker holds. */
const QUEUE_LIMIT_BYTES = 32 * 1024 * 1024;

/** A connection for which something was put away. */
export interface Postponed {
  /** The turn of its request has come; the bytes are its own. */
  onRequestTurn(bytes: Buffer): void;
  /** The turn of its end has come: why its wire has died, or null where it is the peer alone that has ended. */
  onEndTurn(error: string | null): void;
}

interface Waiting {
  readonly connection: Postponed;
  /** Of a request; of an end why. */
  readonly what: Buffer | string | null;
}

export class Turns {
  readonly #budgetMs: number;
  /** When this turn began to serve; null while it has not. */
  #startedAt: number | null = null;
  #queue: Waiting[] = [];
  #queuedBytes = 0;

  constructor(budgetMs: number = BUDGET_MS) {
    this.#budgetMs = budgetMs;
  }

  /** Puts a request's first bytes away for a later turn, or says false: this one has time for it. */
  postponeRequest(connection: Postponed, bytes: Buffer, length: number): boolean {
    if (this.#hasTime() || this.#queuedBytes >= QUEUE_LIMIT_BYTES) return false;
    this.#queue.push({ connection, what: Buffer.from(bytes.subarray(0, length)) });
    this.#queuedBytes += length;
    return true;
  }

  /** Puts a connection's end away for a later turn, or says false. */
  postponeEnd(connection: Postponed, error: string | null): boolean {
    if (this.#hasTime()) return false;
    this.#queue.push({ connection, what: error });
    return true;
  }

  #hasTime(): boolean {
    const now = performance.now();
    if (this.#startedAt === null) {
      this.#startedAt = now;
      setImmediate(this.#endTurn);
      return true;
    }
    return this.#queue.length === 0 && now - this.#startedAt < this.#budgetMs;
  }

  readonly #endTurn = (): void => {
    this.#startedAt = null;
    if (this.#queue.length === 0) return;
    const startedAt = performance.now();
    // What is served here counts for the turn that follows.
    this.#startedAt = startedAt;
    setImmediate(this.#endTurn);
    const queue = this.#queue;
    let served = 0;
    do {
      const { connection, what } = queue[served++] as Waiting;
      if (Buffer.isBuffer(what)) {
        this.#queuedBytes -= what.length;
        connection.onRequestTurn(what);
      } else {
        connection.onEndTurn(what);
      }
    } while (served < queue.length && performance.now() - startedAt < this.#budgetMs);
    this.#queue = queue.slice(served);
  };
}
