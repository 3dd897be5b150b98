// The client's side of each transport that benchmarks measure: what it sends, and what it must be answered.
//
// All ask for the raw format, so that every transport carries the same payload. An `Opening` is made before the connecting
// begins and shared by all connections that use it: one for SSE, for streams and for polls, one for each WebSocket key.
//
// A poll that waits is not answered, so nothing would tell when the server has it. Before the first poll, in the same write,
// stands `OPTIONS *`: its 204 says that the bytes behind it have been read as well.

import { type BodyReader, readEvents, readFrames, readLines } from './bodies.ts';
import { KEYS, type Key, randomKey } from './frames.ts';

export const TRANSPORTS = ['sse', 'stream', 'poll', 'websocket'] as const;
export type Transport = (typeof TRANSPORTS)[number];

/** The answer that a transport begins with. */
export interface Expectation {
  readonly status: number;
  /** Whether an answer's head, from the status line to the empty line, has the fields it must have. */
  readonly fits: (head: string) => boolean;
  /** What is said of one that does not. */
  readonly otherwise: string;
  readonly read: BodyReader;
}

export interface Opening {
  /** The request is `before`, the channel, `after`. */
  readonly before: string;
  readonly after: string;
  readonly expected: Expectation;
  /** What a poll that is not the first begins and ends with, around the channel and the ETag; null for all but polls. */
  readonly again: { readonly before: string; readonly between: string; readonly after: string } | null;
}

export const SSE_ANSWER: Expectation = {
  status: 200,
  fits: (head) => /\r\ncontent-type:[ \t]*text\/event-stream/i.test(head),
  otherwise: 'the answer is not text/event-stream',
  read: readEvents,
};

export const STREAM_ANSWER: Expectation = {
  status: 200,
  fits: (head) => /\r\ncontent-type:[ \t]*application\/x-ndjson/i.test(head),
  otherwise: 'the answer is not application/x-ndjson',
  read: readLines,
};

/** To what stands before the first poll; the rest is PollScanner's. */
export const POLL_ANSWER: Expectation = {
  status: 204,
  fits: () => true,
  otherwise: '',
  read: (_bytes, _start, end) => end,
};

export function webSocketAnswer({ accept }: Key): Expectation {
  return {
    status: 101,
    fits: (head) =>
      /\r\nupgrade:[ \t]*websocket[ \t]*\r\n/i.test(head) &&
      /\r\nconnection:[ \t]*upgrade[ \t]*\r\n/i.test(head) &&
      /\r\nsec-websocket-accept:[ \t]*(\S+)[ \t]*\r\n/i.exec(head)?.[1] === accept &&
      !/\r\nsec-websocket-(extensions|protocol):/i.test(head),
    otherwise: 'the answer accepts no WebSocket, or not the one that was asked for',
    read: readFrames,
  };
}

/** What connections to this port may open with: connection i takes `[i % length]`. */
export function openingsOf(transport: Transport, port: number): Opening[] {
  const opening = (path: string, query: string, fields: string, expected: Expectation): Opening => {
    const after = `${query} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n${fields}\r\n`;
    return { before: `GET /${path}/`, after, expected, again: null };
  };
  switch (transport) {
    case 'sse':
      return [opening('sse', '', 'Accept: text/event-stream\r\n', SSE_ANSWER)];
    case 'stream':
      return [opening('stream', '?format=raw', 'Accept: application/x-ndjson\r\n', STREAM_ANSWER)];
    case 'poll': {
      const host = `Host: 127.0.0.1:${port}\r\n`;
      const first = opening('poll', '?format=raw', '', POLL_ANSWER);
      return [
        {
          ...first,
          before: `OPTIONS * HTTP/1.1\r\n${host}\r\n${first.before}`,
          again: {
            before: first.before,
            between: `?format=raw HTTP/1.1\r\n${host}If-None-Match: `,
            after: '\r\n\r\n',
          },
        },
      ];
    }
    case 'websocket':
      return Array.from({ length: KEYS }, () => {
        const key = randomKey();
        const fields =
          'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n' +
          `Sec-WebSocket-Key: ${key.key}\r\n`;
        return opening('ws', '?format=raw', fields, webSocketAnswer(key));
      });
  }
}
