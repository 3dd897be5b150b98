// A client that polls as docs/protocol.md says it: one poll after the other, each with the sid and the position of the last
// answer, on one connection for as long as that is kept. It keeps every publication that it was told.

import { once } from 'node:events';
import { type Answer, parseAnswers, RawClient, type RawOptions } from './raw-client.ts';

export interface PollOptions extends RawOptions {
  fields?: string;
  version?: '1.0' | '1.1';
  /** Whether each poll comes on a connection of its own; false. */
  anew?: boolean;
}

/** How long an answer may take: above every wait that a test's gateway allows. */
const DEADLINE_MS = 60_000;

export class PollClient {
  /** The connection of the poll that is under way. */
  connection: RawClient;
  /** One object each as JSON; in the raw format the payload. */
  readonly publications: Buffer[] = [];
  sid = '';
  since = '';
  /** Publications that a mailbox has lost. */
  lost = 0;
  answerCount = 0;
  /** Answers without anything. */
  emptyCount = 0;
  readonly #port: number;
  readonly #target: string;
  readonly #options: PollOptions;
  #rest: Buffer = Buffer.alloc(0);
  /** Whether the next poll needs a new connection. */
  #over = false;
  #under: { resolve(answer: Answer): void; reject(error: Error): void } | null = null;

  /** `target` is what stands behind '/poll/'. */
  constructor(port: number, target: string, options: PollOptions = {}) {
    this.#port = port;
    this.#target = target;
    this.#options = options;
    this.connection = this.#connect();
  }

  /** Polls once. Rejects when the connection ends instead of an answer. */
  async poll(query = ''): Promise<Answer> {
    if (this.#over || this.connection.ending !== 'none') {
      this.connection.close();
      this.connection = this.#connect();
    }
    const answered = new Promise<Answer>((resolve, reject) => {
      this.#under = { resolve, reject };
    });
    const deadline = setTimeout(() => this.#fail('was not answered'), DEADLINE_MS);
    this.connection.write(this.#request(query));
    const answer = await answered.finally(() => clearTimeout(deadline));
    this.#take(answer);
    return answer;
  }

  /** Polls on a connection of its own and vanishes: whatever it is answered never comes. */
  async abandon(): Promise<void> {
    const { socket } = new RawClient(this.#port, this.#options);
    socket.write(this.#request(''));
    await once(socket, 'connect');
    // Written in the turn in which it is connected; reset in a later one.
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 5));
    socket.resetAndDestroy();
  }

  /** Polls until it was told `count` publications in all. */
  async pollUntil(count: number): Promise<void> {
    while (this.publications.length < count) {
      const { status, head, text } = await this.poll();
      // A poll that was abandoned may reach its worker after the next one: that is asked again.
      if (status !== 200 && status !== 204 && status !== 409) throw new Error(`a poll was answered ${head} ${text}`);
    }
  }

  /** Publications of the json format. */
  get objects(): { channel: string; data: string }[] {
    return this.publications.map((bytes) => JSON.parse(String(bytes)));
  }

  close(): void {
    this.connection.close();
    this.#fail('was given up');
  }

  #request(query: string): string {
    const { fields = '', version = '1.1' } = this.#options;
    const cursor = this.sid === '' ? '' : `sid=${this.sid}&since=${this.since}`;
    const added = [cursor, query].filter((part) => part !== '').join('&');
    const joint = added === '' ? '' : this.#target.includes('?') ? '&' : '?';
    return `GET /poll/${this.#target}${joint}${added} HTTP/${version}\r\nHost: gateway\r\n${fields}\r\n`;
  }

  #connect(): RawClient {
    const connection = new RawClient(this.#port, { ...this.#options, keep: false });
    this.#rest = Buffer.alloc(0);
    this.#over = false;
    connection.socket.on('data', (bytes: Buffer) => {
      if (connection === this.connection) this.#read(bytes);
    });
    for (const event of ['end', 'close']) {
      connection.socket.on(event, () => {
        if (connection === this.connection) this.#fail(`met the connection's end (${connection.ending})`);
      });
    }
    return connection;
  }

  /** There is one poll at a time, so one answer. */
  #read(bytes: Buffer): void {
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    const [answer] = parseAnswers(this.#rest);
    if (answer === undefined || this.#under === null) return;
    this.#rest = Buffer.alloc(0);
    const { resolve } = this.#under;
    this.#under = null;
    resolve(answer);
  }

  #fail(how: string): void {
    this.#under?.reject(new Error(`a poll of ${this.#target} ${how}`));
    this.#under = null;
  }

  #take({ status, headers, body, text }: Answer): void {
    this.answerCount++;
    this.#over = this.#options.anew === true || headers.connection === 'close';
    this.sid = headers['longwire-sid'] ?? this.sid;
    this.since = headers['longwire-since'] ?? this.since;
    this.lost += Number(headers['longwire-lost'] ?? 0);
    if (status === 204) this.emptyCount++;
    if (status !== 200) return;
    if (headers['content-type'] === 'application/json') {
      const { publications }: { publications: object[] } = JSON.parse(text);
      for (const publication of publications) this.publications.push(Buffer.from(JSON.stringify(publication)));
    } else {
      this.publications.push(body);
    }
  }
}
