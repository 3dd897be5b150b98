// The transports as the shared suite sees them: how each is asked for, what a client has read, what a payload looks like to
// that client, and how the stream ended. Each is read by code that is not the gateway's: `eventsource-parser`, a reader of
// chunks and lines, a reader of frames, a client that polls.

import { isUtf8 } from 'node:buffer';
import { createParser } from 'eventsource-parser';
import { PollClient } from './poll-client.ts';
import { RawClient } from './raw-client.ts';
import { waitUntil } from './wait.ts';
import { handshake, WebSocketClient } from './websocket-client.ts';

export type FormatName = 'raw' | 'json';

/** A held connection's client. */
export interface Held {
  readonly connection: RawClient;
  /** The answer's head with the empty line. */
  readonly head: string;
  readonly heartbeats: number;
  /** Resolves once `count` publications have come in all, with those: the bytes that the reader made of each. */
  received(count: number): Promise<Buffer[]>;
  /** What the reader makes of a publication; nothing or several where the format cannot tell its bounds. */
  expected(format: FormatName, channel: string, payload: Buffer): Buffer[];
  /** Resolves once the stream is over, with what stood at its end: what the transport says goodbye with. */
  goodbye(): Promise<string>;
  close(): void;
  /** Goes with an RST. */
  vanish(): void;
}

export interface TransportUnderTest {
  readonly name: 'sse' | 'stream' | 'poll' | 'websocket';
  /** '/sse/alice' begins with '/sse'. */
  readonly path: string;
  /** Whether it answers HEAD and OPTIONS, has CORS and serves HTTP/1.0. */
  readonly streams: boolean;
  /** Whether a client asks again and again: whoever does not is not slow, and what it has is a session's. */
  readonly polls: boolean;
  /** What the gateway says when a drain ends it, as `goodbye` tells it. */
  readonly goodbye: string;
  /** The whole request for `target`: a channel, a query, or both. */
  request(target: string, fields?: string, version?: '1.0' | '1.1'): string;
  /** Resolves once the connection is held. */
  open(port: number, target: string, fields?: string, version?: '1.0' | '1.1'): Promise<Held>;
}

export const TRANSPORTS: readonly TransportUnderTest[] = [
  {
    name: 'sse',
    path: 'sse',
    streams: true,
    polls: false,
    goodbye: 'the end',
    request: (target, fields, version) => get('sse', target, fields, version),
    open: (port, target, fields, version) =>
      new StreamReader(port, get('sse', target, fields, version), new EventReader()).opened(),
  },
  {
    name: 'stream',
    path: 'stream',
    streams: true,
    polls: false,
    goodbye: 'the last chunk',
    request: (target, fields, version) => get('stream', target, fields, version),
    open: (port, target, fields, version) =>
      new StreamReader(port, get('stream', target, fields, version), new LineReader()).opened(),
  },
  {
    name: 'poll',
    path: 'poll',
    streams: true,
    polls: true,
    goodbye: '204, and the end',
    request: (target, fields, version) => get('poll', target, fields, version),
    open: (port, target, fields, version) => new Polling(port, target, fields, version).opened(),
  },
  {
    name: 'websocket',
    path: 'ws',
    streams: false,
    polls: false,
    goodbye: '1012 come back',
    request: (target, fields) => handshake(pathOf('ws', target), fields),
    open: (port, target, fields) => new WebSocketReader(port, pathOf('ws', target), fields).opened(),
  },
];

function pathOf(path: string, target: string): string {
  return `/${path}/${target}`;
}

function get(path: string, target: string, fields = '', version = '1.1'): string {
  return `GET ${pathOf(path, target)} HTTP/${version}\r\nHost: gateway\r\n${fields}\r\n`;
}

function jsonLine(channel: string, payload: Buffer): Buffer {
  const text = isUtf8(payload);
  const data = payload.toString(text ? 'utf8' : 'base64');
  return Buffer.from(JSON.stringify({ channel, data, ...(text ? {} : { encoding: 'base64' }) }));
}

/** Takes a stream's body apart. */
interface BodyReader {
  readonly publications: Buffer[];
  readonly heartbeats: number;
  /** Whether the stream's first bytes have come. */
  readonly open: boolean;
  read(bytes: Buffer): void;
  expected(payload: Buffer): Buffer[];
}

class EventReader implements BodyReader {
  readonly publications: Buffer[] = [];
  heartbeats = 0;
  open = false;
  readonly #decoder = new TextDecoder();
  readonly #parser = createParser({
    onEvent: ({ data }) => this.publications.push(Buffer.from(data)),
    onComment: () => {
      this.heartbeats++;
    },
    onRetry: () => {
      this.open = true;
    },
  });

  read(bytes: Buffer): void {
    this.#parser.feed(this.#decoder.decode(bytes, { stream: true }));
  }

  /** Text, with LF for every line break (WHATWG HTML §9.2.6). */
  expected(payload: Buffer): Buffer[] {
    return [Buffer.from(payload.toString().replace(/\r\n|\r|\n/g, '\n'))];
  }
}

/** Lines by LF; empty ones are heartbeats, but for the first, which opens the stream. */
class LineReader implements BodyReader {
  readonly publications: Buffer[] = [];
  heartbeats = 0;
  open = false;
  #rest: Buffer = Buffer.alloc(0);

  read(bytes: Buffer): void {
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    let start = 0;
    for (let end = all.indexOf(0x0a); end >= 0; end = all.indexOf(0x0a, start)) {
      if (end > start) this.publications.push(all.subarray(start, end));
      else if (this.open) this.heartbeats++;
      this.open = true;
      start = end + 1;
    }
    this.#rest = all.subarray(start);
  }

  /** The raw format does not tell an LF within a payload from the one behind it. */
  expected(payload: Buffer): Buffer[] {
    const lines: Buffer[] = [];
    let start = 0;
    for (let end = payload.indexOf(0x0a); ; end = payload.indexOf(0x0a, start)) {
      const line = payload.subarray(start, end < 0 ? payload.length : end);
      if (line.length > 0) lines.push(line);
      if (end < 0) return lines;
      start = end + 1;
    }
  }
}

/** An HTTP answer whose body goes on: with or without chunks. */
class StreamReader implements Held {
  readonly connection: RawClient;
  head = '';
  readonly #body: BodyReader;
  #rest: Buffer = Buffer.alloc(0);
  #chunked = false;
  /** Bytes of the chunk still to come, with its CRLF; 0 where a chunk begins. */
  #left = 0;
  #ended = false;

  constructor(port: number, request: string, body: BodyReader) {
    this.#body = body;
    this.connection = new RawClient(port, { keep: false });
    this.connection.write(request);
    this.connection.socket.on('data', (bytes: Buffer) => this.#read(bytes));
  }

  get heartbeats(): number {
    return this.#body.heartbeats;
  }

  async opened(): Promise<this> {
    await waitUntil(() => this.#body.open || this.connection.ending !== 'none', 'the stream to open');
    if (!this.#body.open) throw new Error(`no stream was opened: ${this.head}${this.#rest}`);
    return this;
  }

  async received(count: number): Promise<Buffer[]> {
    const { publications } = this.#body;
    await waitUntil(
      () => publications.length >= count || this.connection.ending !== 'none',
      () => `${count} publications; there came ${publications.length}`,
      60_000,
    );
    return publications;
  }

  expected(format: FormatName, channel: string, payload: Buffer): Buffer[] {
    return format === 'json' ? [jsonLine(channel, payload)] : this.#body.expected(payload);
  }

  async goodbye(): Promise<string> {
    // A proxy may keep the connection behind the last chunk.
    await waitUntil(() => this.#ended || this.connection.ending !== 'none', 'the stream to end', 30_000);
    if (this.#ended) return 'the last chunk';
    if (this.connection.ending === 'reset') return 'a reset';
    return this.#chunked ? 'cut off' : 'the end';
  }

  close(): void {
    this.connection.close();
  }

  vanish(): void {
    this.connection.socket.resetAndDestroy();
  }

  #read(bytes: Buffer): void {
    if (this.head !== '' && !this.#chunked) {
      this.#body.read(bytes);
      return;
    }
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    if (this.head === '') {
      const end = this.#rest.indexOf('\r\n\r\n');
      if (end < 0) return;
      this.head = this.#rest.toString('latin1', 0, end + 4);
      this.#chunked = /^transfer-encoding: chunked\r$/im.test(this.head);
      const body = this.#rest.subarray(end + 4);
      this.#rest = this.#chunked ? body : Buffer.alloc(0);
      if (!this.#chunked && this.head.startsWith('HTTP/1.1 200 ')) this.#body.read(body);
    }
    while (this.#chunked && this.#readChunk());
  }

  /** Takes one chunk off the rest; false when it is not whole. */
  #readChunk(): boolean {
    if (this.#ended) throw new Error(`there came something behind the last chunk: ${this.#rest}`);
    if (this.#left === 0) {
      const end = this.#rest.indexOf('\r\n');
      if (end < 0) return false;
      const size = this.#rest.toString('latin1', 0, end);
      if (!/^[0-9a-f]+$/i.test(size)) throw new Error(`no chunk size: ${size.slice(0, 100)}`);
      this.#rest = this.#rest.subarray(end + 2);
      this.#left = Number.parseInt(size, 16) + 2;
    }
    if (this.#rest.length < this.#left) return false;
    const chunk = this.#rest.subarray(0, this.#left);
    if (chunk.toString('latin1', chunk.length - 2) !== '\r\n') throw new Error('a chunk does not end with CRLF');
    this.#rest = this.#rest.subarray(this.#left);
    this.#ended = chunk.length === 2;
    this.#left = 0;
    if (!this.#ended) this.#body.read(chunk.subarray(0, -2));
    return this.#rest.length > 0;
  }
}

class WebSocketReader implements Held {
  readonly #client: WebSocketClient;

  constructor(port: number, target: string, fields = '') {
    this.#client = new WebSocketClient(port, target, { fields });
  }

  get connection(): RawClient {
    return this.#client.connection;
  }

  get head(): string {
    return this.#client.head;
  }

  get heartbeats(): number {
    return this.#client.pings;
  }

  async opened(): Promise<this> {
    await this.#client.opened();
    return this;
  }

  async received(count: number): Promise<Buffer[]> {
    return (await this.#client.received(count)).map(({ payload }) => payload);
  }

  expected(format: FormatName, channel: string, payload: Buffer): Buffer[] {
    return [format === 'json' ? jsonLine(channel, payload) : payload];
  }

  async goodbye(): Promise<string> {
    const closed = await this.#client.end();
    if (this.connection.ending === 'reset') return 'a reset';
    return closed === null ? 'cut off' : `${closed.code} ${closed.reason}`;
  }

  close(): void {
    this.#client.close();
  }

  vanish(): void {
    this.connection.socket.resetAndDestroy();
  }
}

/** Polls without a pause, from an answer that begins the session at once. */
class Polling implements Held {
  readonly #client: PollClient;
  /** Whether each poll asks for the connection's end itself. */
  readonly #closing: boolean;
  #head = '';
  #ended: string | null = null;
  #left = false;

  constructor(port: number, target: string, fields = '', version: '1.0' | '1.1' = '1.1') {
    this.#client = new PollClient(port, target, { fields, version });
    this.#closing = version === '1.0' || fields.includes('Connection: close');
  }

  get connection(): RawClient {
    return this.#client.connection;
  }

  get head(): string {
    return this.#head;
  }

  get heartbeats(): number {
    return this.#client.emptyCount;
  }

  async opened(): Promise<this> {
    const { status, head, text } = await this.#client.poll('timeout=0');
    if (status !== 204) throw new Error(`no session was begun: ${head} ${text}`);
    this.#head = `${head}\r\n\r\n`;
    void this.#run();
    return this;
  }

  async received(count: number): Promise<Buffer[]> {
    const { publications } = this.#client;
    await waitUntil(
      () => publications.length >= count || this.#ended !== null,
      () => `${count} publications; there came ${publications.length}`,
      60_000,
    );
    return publications;
  }

  expected(format: FormatName, channel: string, payload: Buffer): Buffer[] {
    return [format === 'json' ? jsonLine(channel, payload) : payload];
  }

  async goodbye(): Promise<string> {
    await waitUntil(() => this.#ended !== null, 'polls to end', 30_000);
    return this.#ended as string;
  }

  close(): void {
    this.#left = true;
    this.#client.close();
  }

  vanish(): void {
    this.#left = true;
    this.connection.socket.resetAndDestroy();
  }

  async #run(): Promise<void> {
    try {
      while (this.#ended === null && !this.#left) {
        const { status, headers } = await this.#client.poll();
        if (status !== 200 && status !== 204) this.#ended = `${status}`;
        else if (headers.connection === 'close' && !this.#closing) this.#ended = `${status}, and the end`;
      }
    } catch (error) {
      this.#ended = String(error);
    }
  }
}
