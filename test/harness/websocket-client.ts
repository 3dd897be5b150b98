// A WebSocket client for exact bytes: what it sends is made by the test frame by frame, sound or not; what comes is taken
// apart by a reader of its own, which fails on whatever a server must not send (RFC 6455 §5.1, §5.2, §5.5).

import { projectFile } from '../project.ts';
import { clientFrame, PONG, TEXT } from '../workers/websocket/client-frames.ts';
import { RawClient, type RawOptions } from './raw-client.ts';
import { waitUntil } from './wait.ts';

/** The key of RFC 6455 §1.3, and what proves that it was read. */
export const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
export const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=';

/** The longest message that a client may send, as docs/protocol.md has it: the document and the code are held together. */
export const MESSAGE_LIMIT_BYTES = Number(
  /message\s+has\s+at\s+most\s+([\d,]+)\s+bytes/.exec(projectFile('docs/protocol.md'))?.[1]?.replaceAll(',', ''),
);

export interface ReceivedMessage {
  binary: boolean;
  payload: Buffer;
}

export interface WebSocketOptions extends RawOptions {
  /** Further header lines of the handshake, each with its CRLF. */
  fields?: string;
  /** Written in one piece with the handshake. */
  early?: Uint8Array;
  /** Whether pings are answered; true. */
  answerPings?: boolean;
}

export function handshake(target: string, fields = ''): string {
  return (
    `GET ${target} HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
    `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n${fields}\r\n`
  );
}

export class WebSocketClient {
  readonly connection: RawClient;
  readonly messages: ReceivedMessage[] = [];
  readonly pongs: string[] = [];
  pings = 0;
  /** The close frame, once it has come: null for the code of one that has none. */
  closed: { code: number | null; reason: string } | null = null;
  /** The answer's head, once it is whole. */
  head = '';
  /** What the server must not have sent. */
  fault: string | null = null;
  readonly #answerPings: boolean;
  #rest: Buffer = Buffer.alloc(0);

  constructor(port: number, target: string, options: WebSocketOptions = {}) {
    const { fields = '', early = Buffer.alloc(0), answerPings = true, ...raw } = options;
    this.#answerPings = answerPings;
    this.connection = new RawClient(port, { keep: false, ...raw });
    this.connection.write(Buffer.concat([Buffer.from(handshake(target, fields)), early]));
    this.connection.socket.on('data', (chunk: Buffer) => this.#read(chunk));
  }

  async opened(): Promise<this> {
    await waitUntil(() => this.head !== '' || this.connection.ending !== 'none', 'the handshake to be answered');
    if (!this.head.startsWith('HTTP/1.1 101 ')) throw new Error(`no WebSocket was opened: ${this.head}`);
    return this;
  }

  write(...frames: Uint8Array[]): void {
    this.connection.write(Buffer.concat(frames));
  }

  /** Sends one text message: a string as it is, anything else as JSON. */
  say(wish: unknown): void {
    this.write(clientFrame(TEXT, typeof wish === 'string' ? wish : JSON.stringify(wish)));
  }

  /** Says something and resolves with the message that comes next. */
  async reply(wish: unknown): Promise<unknown> {
    const before = this.messages.length;
    this.say(wish);
    return (await this.json(before + 1)).at(-1);
  }

  /** Resolves once `count` messages have come in all, with all of them. */
  async received(count: number): Promise<ReceivedMessage[]> {
    await waitUntil(
      () => this.messages.length >= count || this.connection.ending !== 'none' || this.fault !== null,
      () => `${count} messages; there came ${this.messages.length}`,
      30_000,
    );
    if (this.fault !== null) throw new Error(this.fault);
    if (this.messages.length < count) {
      throw new Error(`ended after ${this.messages.length} of ${count} messages: ${JSON.stringify(this.closed)}`);
    }
    return this.messages;
  }

  async json(count: number): Promise<unknown[]> {
    return (await this.received(count)).map(({ payload }) => JSON.parse(payload.toString()));
  }

  /** Resolves once the other side has ended, with its close frame and how the connection ended. */
  async end(): Promise<{ code: number | null; reason: string } | null> {
    await this.connection.end();
    if (this.fault !== null) throw new Error(this.fault);
    return this.closed;
  }

  close(): void {
    this.connection.close();
  }

  #read(chunk: Buffer): void {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    if (this.head === '') {
      const end = this.#rest.indexOf('\r\n\r\n');
      if (end < 0) return;
      this.head = this.#rest.toString('latin1', 0, end + 4);
      this.#rest = this.#rest.subarray(end + 4);
    }
    if (!this.head.startsWith('HTTP/1.1 101 ')) return;
    while (this.fault === null && this.#readFrame());
  }

  /** Takes one frame off the rest; false when it is not whole. */
  #readFrame(): boolean {
    const rest = this.#rest;
    if (rest.length < 2) return false;
    const [first = 0, second = 0] = rest;
    const short = second & 0x7f;
    const start = short === 127 ? 10 : short === 126 ? 4 : 2;
    if (rest.length < start) return false;
    const length = short === 127 ? Number(rest.readBigUInt64BE(2)) : short === 126 ? rest.readUInt16BE(2) : short;
    if (rest.length < start + length) return false;
    const payload = rest.subarray(start, start + length);
    this.#rest = rest.subarray(start + length);
    const opcode = first & 0x0f;
    if (this.closed !== null) this.fault = 'a frame came after the close frame';
    else if ((first & 0xf0) !== 0x80) this.fault = `a frame begins with ${first.toString(16)}`;
    else if ((second & 0x80) !== 0) this.fault = 'a frame from the server is masked';
    else if (start !== (length > 65_535 ? 10 : length > 125 ? 4 : 2)) this.fault = 'a length is not the shortest';
    else if (opcode >= 8 && length > 125) this.fault = 'a control frame is too long';
    else this.#take(opcode, payload);
    return true;
  }

  #take(opcode: number, payload: Buffer): void {
    switch (opcode) {
      case 1:
      case 2:
        this.messages.push({ binary: opcode === 2, payload });
        return;
      case 8:
        this.closed = {
          code: payload.length === 0 ? null : payload.readUInt16BE(0),
          reason: payload.toString('utf8', 2),
        };
        return;
      case 9:
        this.pings++;
        if (this.#answerPings) this.write(clientFrame(PONG, payload));
        return;
      case 10:
        this.pongs.push(payload.toString());
        return;
      default:
        this.fault = `a frame of opcode ${opcode}`;
    }
  }
}
