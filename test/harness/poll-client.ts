// A client that polls as docs/protocol.md says it: one poll after the other on one connection, each with the sid and the
// position of the last answer. It keeps every publication that it was told, and everything else that happened to it.

import { type Answer, parseAnswers, RawClient, type RawOptions } from './raw-client.ts';
import { waitUntil } from './wait.ts';

export interface PollOptions extends RawOptions {
  fields?: string;
  version?: '1.0' | '1.1';
  /** Whether each poll comes on a connection of its own; false. */
  anew?: boolean;
}

export class PollClient {
  /** The connection of the poll that is under way. */
  connection: RawClient;
  /** Answers that are no 204 and no 200 with content. */
  readonly others: Answer[] = [];
  readonly publications: { channel: string; data: string; encoding?: 'base64' }[] = [];
  /** Bodies in the raw format; an object's text in the json format. */
  readonly bodies: Buffer[] = [];
  answerCount = 0;
  lost = 0;
  sid = '';
  since = '';
  readonly #port: number;
  readonly #target: string;
  readonly #options: PollOptions;
  #answered = 0;

  /** Sends its first poll at once. `target` is what stands behind '/poll/'. */
  constructor(port: number, target: string, options: PollOptions = {}) {
    this.#port = port;
    this.#target = target;
    this.#options = options;
    this.connection = new RawClient(port, options);
    this.send();
  }

  /** Sends the next poll, without waiting for its answer. */
  send(): void {
    if (this.answerCount > 0 && (this.#options.anew === true || this.connection.ending !== 'none')) {
      this.connection.close();
      this.connection = new RawClient(this.#port, this.#options);
      this.#answered = 0;
    }
    const { fields = '', version = '1.1' } = this.#options;
    const cursor = this.sid === '' ? '' : `sid=${this.sid}&since=${this.since}`;
    const joint = cursor === '' ? '' : this.#target.includes('?') ? '&' : '?';
    this.connection.write(
      `GET /poll/${this.#target}${joint}${cursor} HTTP/${version}\r\nHost: gateway\r\n${fields}\r\n`,
    );
  }

  /** Resolves with the answer of the poll that is under way. */
  async answer(timeoutMs = 60_000): Promise<Answer> {
    const { connection } = this;
    let answer: Answer | undefined;
    await waitUntil(
      () => {
        answer = parseAnswers(connection.bytes)[this.#answered];
        return answer !== undefined || connection.ending !== 'none';
      },
      () => `the answer to a poll of ${this.#target}; there came: ${connection.text.slice(-200)}`,
      timeoutMs,
    );
    if (answer === undefined) throw new Error(`a poll of ${this.#target} was not answered: ${connection.ending}`);
    this.#answered++;
    this.answerCount++;
    this.#take(answer);
    return answer;
  }

  /** Polls until it was told `count` publications in all. */
  async poll(count: number): Promise<void> {
    while (this.publications.length < count) {
      await this.answer();
      if (this.others.length > 0) throw new Error(`a poll was answered ${this.others[0]?.head}`);
      if (this.publications.length < count) this.send();
    }
  }

  close(): void {
    this.connection.close();
  }

  #take(answer: Answer): void {
    const { status, headers } = answer;
    this.sid = headers['longwire-sid'] ?? this.sid;
    this.since = headers['longwire-since'] ?? this.since;
    this.lost += Number(headers['longwire-lost'] ?? 0);
    if (status === 204) return;
    if (status !== 200) {
      this.others.push(answer);
      return;
    }
    // A copy: the connection's bytes are one buffer, and are joined anew as more come.
    this.bodies.push(Buffer.from(answer.body));
    if (headers['content-type'] === 'application/json') {
      this.publications.push(...JSON.parse(answer.text).publications);
    } else {
      this.publications.push({ channel: '', data: answer.text });
    }
  }
}
