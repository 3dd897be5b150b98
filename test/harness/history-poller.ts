// A client of polls that keeps its cursor, as docs/protocol.md tells clients to: poll after poll, each with the sid and the position
// of the last answer, also when the connection or the session is lost. Each comes on a connection of its own, and so to any worker.

import { ask } from './raw-client.ts';

/** What an answer's `publications` hold: publications, and what is told of the history. */
interface Body {
  /** Whether the mailbox has lost something. */
  gap?: boolean;
  publications: object[];
}

export class HistoryPoller {
  readonly #port: number;
  readonly #target: string;
  readonly #channels: readonly string[];
  readonly #onEntry: (entry: object) => void;
  /** What it is to come back with; opaque. Null before the first answer. */
  since: string | null;
  sid: string | null = null;
  state: 'polling' | 'paused' | 'ended' = 'polling';
  /** Why it has ended by itself. */
  refusal = '';

  /** @param target What stands behind '/poll/', with a query. */
  constructor(
    port: number,
    target: string,
    channels: readonly string[],
    since: string | null,
    onEntry: (entry: object) => void,
  ) {
    this.#port = port;
    this.#target = target;
    this.#channels = channels;
    this.#onEntry = onEntry;
    this.since = since;
    void this.#run();
  }

  async #run(): Promise<void> {
    while (this.state !== 'ended') {
      if (this.state === 'paused' || !(await this.#poll())) await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** False where it is to be tried again after a while. */
  async #poll(): Promise<boolean> {
    const query = [`timeout=${this.since === null ? 0 : 2}`];
    if (this.sid !== null) query.push(`sid=${this.sid}`);
    if (this.since !== null) query.push(`since=${encodeURIComponent(this.since)}`);
    const request = `GET /poll/${this.#target}&${query.join('&')} HTTP/1.0\r\nHost: gateway\r\n\r\n`;
    const answer = await ask(this.#port, request).catch(() => null);
    // An answer that comes after its reader has gone is one that was lost.
    if (answer === null || this.state !== 'polling') return false;
    if (answer.status === 400 || answer.status === 410) {
      this.refusal = answer.text;
      this.state = 'ended';
    }
    if (answer.status !== 200 && answer.status !== 204) return false;
    this.sid = answer.headers['longwire-sid'] ?? this.sid;
    this.since = answer.headers['longwire-since'] ?? this.since;
    if (answer.status === 204) return true;
    const { gap = false, publications }: Body = JSON.parse(answer.text);
    if (gap) this.#onEntry({ gap: this.#channels });
    for (const entry of publications) this.#onEntry(entry);
    return true;
  }
}
