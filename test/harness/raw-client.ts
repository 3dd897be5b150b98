// An HTTP client for exact bytes: writes what it is given, keeps what comes, and tells how the other side ended.
//
// `net` with `allowHalfOpen`, so that nothing is sent or closed that the test did not ask for; only a FIN is answered with
// ours, as any client does, unless the test holds it back. An RST is told from a FIN: `ending`.

import { connect, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import { waitUntil } from './wait.ts';

export interface Answer {
  status: number;
  reason: string;
  /** Names in lower case; those that come twice are joined with a comma. */
  headers: Record<string, string>;
  /** The header section as it came, status line included, without the empty line. */
  head: string;
  body: Buffer;
  text: string;
}

export interface RawOptions {
  /** 127.0.0.1 unless given: another address has ephemeral ports of its own. */
  localAddress?: string;
  /** Whether a FIN is answered with ours; true. */
  answerEnd?: boolean;
  /** Whether what comes is kept; true. */
  keep?: boolean;
  /** Speaks TLS, with these options: `{ ca }`. A close_notify and a FIN are then the same, and so are a fault and an RST. */
  tls?: ConnectionOptions;
}

export class RawClient {
  readonly socket: Socket;
  /** How the other side ended: 'reset' also for a connection that was refused. */
  ending: 'none' | 'fin' | 'reset' = 'none';
  /** `performance.now()` when it did. */
  endedAt = 0;
  receivedBytes = 0;
  readonly #chunks: Buffer[] = [];

  constructor(port: number, options: RawOptions = {}) {
    const { localAddress, answerEnd = true, keep = true, tls } = options;
    const to = {
      host: '127.0.0.1',
      port,
      allowHalfOpen: true,
      ...(localAddress === undefined ? {} : { localAddress }),
    };
    this.socket = tls === undefined ? connect(to) : connectTls({ ...to, ...tls });
    this.socket.setNoDelay(true);
    this.socket.on('data', (chunk: Buffer) => {
      this.receivedBytes += chunk.length;
      if (keep) this.#chunks.push(chunk);
    });
    this.socket.on('end', () => {
      this.#end('fin');
      if (answerEnd) this.socket.end();
    });
    // What we write into a connection that the other side has closed fails with EPIPE; the FIN came first then.
    this.socket.on('error', () => this.#end('reset'));
    this.socket.on('close', () => this.#end('reset'));
  }

  /** Everything that has come. */
  get bytes(): Buffer {
    if (this.#chunks.length > 1) this.#chunks.splice(0, this.#chunks.length, Buffer.concat(this.#chunks));
    return this.#chunks[0] ?? Buffer.alloc(0);
  }

  get text(): string {
    return this.bytes.toString();
  }

  write(bytes: string | Uint8Array): void {
    this.socket.write(bytes);
  }

  /** Resolves once `text` has come. */
  async sees(text: string): Promise<void> {
    await waitUntil(
      () => this.bytes.includes(text) || this.ending !== 'none',
      () => `${JSON.stringify(text)}; there came: ${this.text.slice(-500)}`,
    );
    if (!this.bytes.includes(text)) throw new Error(`ended before ${JSON.stringify(text)} came: ${this.text}`);
  }

  /** Resolves once `count` whole answers have come, and with all of them. */
  async answers(count: number): Promise<Answer[]> {
    let answers: Answer[] = [];
    await waitUntil(
      () => {
        answers = parseAnswers(this.bytes);
        return answers.length >= count || this.ending !== 'none';
      },
      () => `${count} answers; there came: ${this.text.slice(-500)}`,
    );
    answers = parseAnswers(this.bytes);
    if (answers.length < count) throw new Error(`ended after ${answers.length} of ${count} answers: ${this.text}`);
    return answers;
  }

  /** Resolves with how the other side ended, once it has. */
  async end(timeoutMs = 10_000): Promise<'fin' | 'reset'> {
    await waitUntil(
      () => this.ending !== 'none',
      () => `the other side to end the connection; there came: ${this.text.slice(-500)}`,
      timeoutMs,
    );
    return this.ending as 'fin' | 'reset';
  }

  close(): void {
    this.socket.destroy();
  }

  #end(ending: 'fin' | 'reset'): void {
    if (this.ending !== 'none') return;
    this.ending = ending;
    this.endedAt = performance.now();
  }
}

/** Writes `request` on a new connection and reads to the end: the last answer. */
export async function ask(port: number, request: string | Uint8Array, options: RawOptions = {}): Promise<Answer> {
  const client = new RawClient(port, options);
  client.write(request);
  const ending = await client.end();
  client.close();
  const answer = parseAnswers(client.bytes).at(-1);
  if (answer === undefined) throw new Error(`no answer (${ending}) but: ${client.text}`);
  return answer;
}

/** The whole answers that `bytes` begin with. A body without a length is what has come of it. */
export function parseAnswers(bytes: Buffer): Answer[] {
  const answers: Answer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf('\r\n\r\n', at);
    if (end < 0) break;
    const head = bytes.toString('latin1', at, end);
    const [statusLine = '', ...lines] = head.split('\r\n');
    const [, status, reason = ''] = /^HTTP\/1\.1 (\d{3}) (.*)$/.exec(statusLine) ?? [];
    if (status === undefined) throw new Error(`no status line: ${JSON.stringify(statusLine)}`);
    const headers: Record<string, string> = {};
    for (const line of lines) {
      const colon = line.indexOf(': ');
      const name = line.slice(0, colon).toLowerCase();
      const value = line.slice(colon + 2);
      headers[name] = headers[name] === undefined ? value : `${headers[name]}, ${value}`;
    }
    const start = end + 4;
    const bodiless = status.startsWith('1') || status === '204';
    const length = headers['content-length'];
    const bodyEnd = bodiless ? start : length === undefined ? bytes.length : start + Number(length);
    if (bodyEnd > bytes.length) break;
    const body = bytes.subarray(start, bodyEnd);
    answers.push({ status: Number(status), reason, headers, head, body, text: body.toString() });
    at = bodyEnd;
  }
  return answers;
}
