// Keeps account of what arrived: for each connection which of its last 32 publications, for each round how many and when.
//
// Sequences begin at 1 and grow by one a round. A connection costs 8 bytes (highest sequence, bit mask of the 32 up to it),
// a round 8 bytes a connection for its latencies. Missing is not counted as it happens but worked out at the end:
// rounds published × connections − different publications received; so a late one is late, not lost.

export interface Round {
  sequence: number;
  /** Connections that have it. */
  count: number;
  firstAtMs: number;
  lastAtMs: number;
  /** One a connection, in order of arrival, milliseconds; `count` of them are filled. */
  latencies: Float64Array;
}

const WINDOW = 32;

export class Ledger {
  /** Different publications received, over all connections. */
  received = 0;
  /** Came again. */
  doubled = 0;
  /** Came after one with a higher sequence. */
  overtaken = 0;
  readonly rounds = new Map<number, Round>();
  private readonly highest: Int32Array;
  private readonly masks: Int32Array;

  /** @param connections Most connections that will be accounted for. */
  constructor(connections: number) {
    this.highest = new Int32Array(connections);
    this.masks = new Int32Array(connections);
  }

  /**
   * Books one arrival.
   *
   * @returns The round, or null when the publication was a double.
   */
  book(connection: number, sequence: number, publishedAtMs: number, atMs: number): Round | null {
    if (!this.isNew(connection, sequence)) {
      this.doubled++;
      return null;
    }
    this.received++;
    let round = this.rounds.get(sequence);
    if (round === undefined) {
      const latencies = new Float64Array(this.highest.length);
      round = { sequence, count: 0, firstAtMs: atMs, lastAtMs: atMs, latencies };
      this.rounds.set(sequence, round);
    }
    round.latencies[round.count++] = atMs - publishedAtMs;
    round.lastAtMs = atMs;
    return round;
  }

  /** Books one arrival outside any round. One that is overtaken by more than the window counts as a double. */
  bookAlone(connection: number, sequence: number): void {
    if (this.isNew(connection, sequence)) this.received++;
    else this.doubled++;
  }

  private isNew(connection: number, sequence: number): boolean {
    const highest = this.highest[connection] as number;
    const ahead = sequence - highest;
    const mask = this.masks[connection] as number;
    if (ahead > 0) {
      this.highest[connection] = sequence;
      this.masks[connection] = ahead >= WINDOW ? 1 : (mask << ahead) | 1;
      return true;
    }
    const bit = 1 << -ahead;
    if (-ahead >= WINDOW || (mask & bit) !== 0) return false;
    this.masks[connection] = mask | bit;
    this.overtaken++;
    return true;
  }
}
