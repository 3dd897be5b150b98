// Clients of moving scenarios: each follows its channels by one transport, tells what has come, and how it ended, if it did.
//
// What some do besides is what makes a move difficult: polls that are away for a while, wishes on a WebSocket in two halves,
// requests on a connection that is kept between them.

import { clientFrame, TEXT } from '../workers/websocket/client-frames.ts';
import { PollClient } from './poll-client.ts';
import { RawClient } from './raw-client.ts';
import { TRANSPORTS } from './transports.ts';
import { waitUntil } from './wait.ts';
import { WebSocketClient } from './websocket-client.ts';

export const MOVING_KINDS = ['sse', 'stream', 'websocket', 'talker', 'poll', 'poll anew', 'asker'] as const;
export type MovingKind = (typeof MOVING_KINDS)[number];

/** For the reply to a wish, or the answer to a request: beyond every limit of a move's steps. */
const ANSWER_LIMIT_MS = 20_000;
/** A channel that talkers take up and give up again, and nobody publishes to. */
const OTHER_CHANNEL = 'quiet';

export interface MovingClient {
  readonly kind: MovingKind;
  /** None where nothing is followed. */
  readonly channels: readonly string[];
  /** Local ports of what it has open. */
  ports(): number[];
  /** How it ended, though nobody has closed it; null while it goes on. */
  ending(): string | null;
  /** All that has come, in order. */
  texts(): string[];
  close(): void;
}

/** Resolves once it is held. @param random Numbers below the given one, to choose pauses with. */
export function openMovingClient(
  kind: MovingKind,
  port: number,
  channels: readonly string[],
  random: (below: number) => number,
): Promise<MovingClient> {
  const [first = '', ...others] = channels;
  const target = [first, ...others.map((name) => `channel=${name}`)].join('&').replace('&', '?');
  if (kind === 'sse' || kind === 'stream') return openStream(kind, port, channels, target);
  if (kind === 'websocket' || kind === 'talker') return openWebSocket(kind, port, channels, target, random);
  if (kind === 'asker') return openAsker(port, random);
  return openPolls(kind, port, channels, target, random);
}

async function openStream(
  kind: 'sse' | 'stream',
  port: number,
  channels: readonly string[],
  target: string,
): Promise<MovingClient> {
  const transport = TRANSPORTS.find(({ name }) => name === kind);
  if (transport === undefined) throw new Error(`there is no ${kind}`);
  const held = await transport.open(port, target);
  const publications = await held.received(0);
  return {
    kind,
    channels,
    ports: () => portsOf(held.connection),
    ending: () => endingOf(held.connection),
    texts: () => publications.map(String),
    close: () => held.close(),
  };
}

/** A talker says wishes all the while, each in two halves. */
async function openWebSocket(
  kind: 'websocket' | 'talker',
  port: number,
  channels: readonly string[],
  target: string,
  random: (below: number) => number,
): Promise<MovingClient> {
  // A pong in the middle of its wish would be a part of that.
  const client = new WebSocketClient(port, `/ws/${target}`, { answerPings: kind === 'websocket' });
  await client.opened();
  let state: 'open' | 'closed' = 'open';
  let fault: string | null = null;
  let seen = 0;
  let replied = 0;
  const replies = (): number => {
    for (; seen < client.messages.length; seen++) if (isReply(String(client.messages[seen]?.payload))) replied++;
    return replied;
  };
  const talk = async (): Promise<void> => {
    for (let said = 0; state === 'open' && client.connection.ending === 'none'; said++) {
      const frame = clientFrame(
        TEXT,
        JSON.stringify({ [said % 2 === 0 ? 'subscribe' : 'unsubscribe']: OTHER_CHANNEL }),
      );
      const cut = 1 + random(frame.length - 1);
      client.write(frame.subarray(0, cut));
      await pause(random(30));
      client.write(frame.subarray(cut));
      await waitUntil(
        () => replies() > said || state === 'closed' || client.connection.ending !== 'none',
        `the reply to wish ${said}`,
        ANSWER_LIMIT_MS,
      );
      await pause(random(30));
    }
  };
  if (kind === 'talker') {
    talk().catch((thrown: unknown) => {
      fault = String(thrown);
    });
  }
  return {
    kind,
    channels,
    ports: () => portsOf(client.connection),
    ending: () =>
      fault ?? client.fault ?? (client.closed === null ? null : `${client.closed.code}`) ?? endingOf(client.connection),
    texts: () => client.messages.map(({ payload }) => String(payload)).filter((text) => !isReply(text)),
    close() {
      state = 'closed';
      client.close();
    },
  };
}

/** Poll after poll, some with a pause between. A poll that is told to come again does so; whatever else it is told is the end. */
async function openPolls(
  kind: 'poll' | 'poll anew',
  port: number,
  channels: readonly string[],
  target: string,
  random: (below: number) => number,
): Promise<MovingClient> {
  const client = new PollClient(port, target, { anew: kind === 'poll anew' });
  const first = await client.poll('timeout=0');
  if (first.status !== 204) throw new Error(`no session was begun: ${first.head} ${first.text}`);
  let state: 'open' | 'closed' = 'open';
  let ending: string | null = null;
  const poll = async (): Promise<void> => {
    while (state === 'open') {
      const { status, text } = await client.poll(`timeout=${random(3)}`);
      if (status !== 200 && status !== 204) throw new Error(`${status} ${text}`);
      if (random(4) === 0) await pause(random(200));
    }
  };
  poll().catch((thrown: unknown) => {
    if (state === 'open') ending = String(thrown);
  });
  return {
    kind,
    channels,
    ports: () => portsOf(client.connection),
    ending: () => ending ?? (client.lost > 0 ? `${client.lost} lost` : null),
    texts: () => client.publications.map(String),
    close() {
      state = 'closed';
      client.close();
    },
  };
}

/** Follows nothing: asks on one connection, again and again. */
async function openAsker(port: number, random: (below: number) => number): Promise<MovingClient> {
  const client = new RawClient(port, { keep: false });
  let state: 'open' | 'closed' = 'open';
  let ending: string | null = null;
  let rest = '';
  client.socket.on('data', (bytes: Buffer) => {
    rest += bytes.toString('latin1');
  });
  const ask = async (): Promise<void> => {
    while (state === 'open') {
      rest = '';
      client.write('GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n');
      const answered = (): boolean => rest.endsWith('\r\n\r\nok\n');
      await waitUntil(() => answered() || client.ending !== 'none', 'an answer', ANSWER_LIMIT_MS);
      if (!answered() || rest.includes('Connection: close')) throw new Error(`after ${rest}`);
      await pause(random(100));
    }
  };
  ask().catch((thrown: unknown) => {
    if (state === 'open') ending = String(thrown);
  });
  return {
    kind: 'asker',
    channels: [],
    ports: () => portsOf(client),
    ending: () => ending ?? endingOf(client),
    texts: () => [],
    close() {
      state = 'closed';
      client.close();
    },
  };
}

function isReply(text: string): boolean {
  return text.includes('"subscribed"') || text.includes('"unsubscribed"');
}

function portsOf({ socket }: RawClient): number[] {
  return socket.localPort === undefined ? [] : [socket.localPort];
}

function endingOf({ ending }: RawClient): string | null {
  return ending === 'none' ? null : ending;
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
