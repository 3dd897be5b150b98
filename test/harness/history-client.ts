// A client that keeps its position, as docs/protocol.md tells clients to: for each transport in its json format, what came in
// order, and where it stands. What is read is taken apart by code that is not the gateway's.

import { HistoryPoller } from './history-poller.ts';
import { RawClient } from './raw-client.ts';
import { waitUntil } from './wait.ts';
import { WebSocketClient } from './websocket-client.ts';

export type HistoryTransport = 'sse' | 'stream' | 'websocket' | 'poll';
/** Those that hold a connection. */
export const HISTORY_STREAMS: readonly HistoryTransport[] = ['sse', 'stream', 'websocket'];
export const HISTORY_TRANSPORTS: readonly HistoryTransport[] = [...HISTORY_STREAMS, 'poll'];

export interface ReceivedPublication {
  channel: string;
  data: string;
  position?: string;
}

export interface ReceivedNotice {
  recovered?: string[];
  gap?: string[];
  position?: string;
}

export type Entry = ReceivedPublication | ReceivedNotice;

export class HistoryClient {
  readonly transport: HistoryTransport;
  readonly entries: Entry[] = [];
  /** What was said to wishes. */
  readonly replies: Record<string, unknown>[] = [];
  /** Opaque; null before the first was told. */
  position: string | null;
  /** Null where there are polls. */
  readonly #raw: RawClient | null;
  readonly webSocket: WebSocketClient | null;
  readonly poller: HistoryPoller | null;
  #read = 0;

  /**
   * @param channels The first goes into the path.
   * @param since A position to come back with: in `Last-Event-ID` for event streams, else in the query.
   */
  constructor(transport: HistoryTransport, port: number, channels: readonly string[], since: string | null = null) {
    this.transport = transport;
    this.position = since;
    const [first = '', ...others] = channels;
    const query = [...others.map((each) => `channel=${encodeURIComponent(each)}`), 'format=json'];
    if (since !== null && transport !== 'sse' && transport !== 'poll') query.push(`since=${encodeURIComponent(since)}`);
    const target = `${encodeURIComponent(first)}?${query.join('&')}`;
    this.poller = null;
    if (transport === 'poll') {
      this.webSocket = null;
      this.#raw = null;
      this.poller = new HistoryPoller(port, target, channels, since, (entry) => this.entries.push(entry as Entry));
    } else if (transport === 'websocket') {
      this.webSocket = new WebSocketClient(port, `/ws/${target}`);
      this.#raw = this.webSocket.connection;
    } else {
      this.webSocket = null;
      this.#raw = new RawClient(port);
      const field = since !== null && transport === 'sse' ? `Last-Event-ID: ${since}\r\n` : '';
      this.#raw.write(`GET /${transport}/${target} HTTP/1.0\r\nHost: gateway\r\n${field}\r\n`);
    }
  }

  get ended(): boolean {
    return this.poller === null ? this.#raw?.ending !== 'none' : this.poller.state === 'ended';
  }

  get publications(): ReceivedPublication[] {
    this.look();
    return this.entries.filter((entry): entry is ReceivedPublication => 'channel' in entry);
  }

  get notices(): ReceivedNotice[] {
    this.look();
    return this.entries.filter((entry): entry is ReceivedNotice => !('channel' in entry));
  }

  /** How the recovery went, once it has been told. */
  async outcome(): Promise<ReceivedNotice> {
    let found: ReceivedNotice | undefined;
    await waitUntil(
      () => {
        found = this.notices.find(({ recovered, gap }) => recovered !== undefined || gap !== undefined);
        return found !== undefined || this.ended;
      },
      () => `an outcome; there came ${JSON.stringify(this.entries.slice(-5))}`,
    );
    if (found === undefined) throw new Error(`ended without an outcome: ${this.#said}`);
    return found;
  }

  /** Resolves once it has been told where it stands. */
  async opened(): Promise<this> {
    await waitUntil(
      () => {
        this.look();
        const told = this.transport === 'sse' || this.transport === 'poll';
        return this.entries.length > 0 || (told && this.position !== null) || this.ended;
      },
      () => `a position; there came ${this.#said}`,
    );
    return this;
  }

  /** Resolves once so many publications have come in all, with their data. */
  async data(count: number): Promise<string[]> {
    let all: ReceivedPublication[] = [];
    await waitUntil(
      () => {
        all = this.publications;
        return all.length >= count || this.ended;
      },
      () => `${count} publications; there came ${all.length}`,
      30_000,
    );
    return all.map(({ data }) => data);
  }

  /** Says a wish on a WebSocket, and resolves with the reply to it. */
  async reply(wish: unknown): Promise<Record<string, unknown>> {
    const before = this.replies.length;
    this.webSocket?.say(wish);
    await waitUntil(
      () => {
        this.look();
        return this.replies.length > before;
      },
      () => `a reply to ${JSON.stringify(wish)}`,
    );
    return this.replies[before] as Record<string, unknown>;
  }

  /** Reads nothing any more. */
  pause(): void {
    this.#raw?.socket.pause();
    if (this.poller !== null) this.poller.state = 'paused';
  }

  resume(): void {
    this.#raw?.socket.resume();
    if (this.poller !== null) this.poller.state = 'polling';
  }

  close(): void {
    this.#raw?.close();
    if (this.poller !== null) this.poller.state = 'ended';
  }

  get #said(): string {
    return this.#raw?.text ?? this.poller?.refusal ?? '';
  }

  /** Takes apart what has come since it was last looked. */
  look(): void {
    if (this.poller !== null) {
      this.position = this.poller.since;
      return;
    }
    if (this.webSocket !== null) {
      const { messages } = this.webSocket;
      for (; this.#read < messages.length; this.#read++) {
        const said = JSON.parse((messages[this.#read] as { payload: Buffer }).payload.toString());
        if (!('subscribed' in said || 'unsubscribed' in said || 'error' in said)) {
          this.#add(said);
          continue;
        }
        this.replies.push(said);
        if (typeof said.position === 'string') this.position = said.position;
      }
      return;
    }
    const bytes = this.#raw?.bytes ?? Buffer.alloc(0);
    if (this.#read === 0) {
      const end = bytes.indexOf('\r\n\r\n');
      if (end < 0) return;
      this.#read = end + 4;
    }
    const separator = this.transport === 'sse' ? '\n\n' : '\n';
    for (;;) {
      const end = bytes.indexOf(separator, this.#read);
      if (end < 0) return;
      const block = bytes.toString('utf8', this.#read, end);
      this.#read = end + separator.length;
      if (this.transport === 'sse') this.#readEvent(block.split('\n'));
      else if (block !== '') this.#add(JSON.parse(block));
    }
  }

  /** What EventSource does with a block: an id counts whether or not there is data. */
  #readEvent(lines: string[]): void {
    const field = (name: string) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
    const id = field('id');
    const data = field('data');
    if (id !== undefined) this.position = id;
    if (data !== undefined) this.#add(JSON.parse(data));
  }

  #add(entry: Entry): void {
    this.entries.push(entry);
    if (entry.position !== undefined) this.position = entry.position;
  }
}
