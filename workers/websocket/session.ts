// A WebSocket session: what an open WebSocket has beyond what every held connection has. It reads the client's frames,
// answers pings and closes, lets the client change its channels, and notices a client that no longer answers.
//
// The client says JSON objects in text frames, one wish each: {"subscribe": "bob"}, {"unsubscribe": ["bob", "eve"]},
// {"refresh": "token"}, {"ping": 1}; the reply says what was done: {"subscribed": […]}, {"unsubscribed": […]}, {"refreshed": {…}},
// {"pong": 1}.
// Anything else is answered {"error": {"code", "message"}} and changes nothing. Breaches of RFC 6455 end the connection
// with the code that the RFC gives them.
//
// Cost: this object (2 fields, 40 bytes) a WebSocket; the frame parser is shared by all of the worker.

import { CHANNEL_LIMIT_BYTES, channelFault } from '../../src/channel.ts';
import type { CloseReason } from '../../src/close-reason.ts';
import { LongwireError } from '../../src/errors.ts';
import type { Grant } from '../../src/presence.ts';
import { FAULT, INCOMPLETE } from '../http/head-parser.ts';
import type { Notice } from '../recovery/notice.ts';
import { CLOSE_CODES } from './close-codes.ts';
import { BINARY, CLOSE, encodeClose, encodeFrame, encodeText, PING, PONG, TEXT } from './frame.ts';
import { FrameParser } from './frame-parser.ts';
import type { PendingMessage } from './pending-message.ts';

/** What a client may say at once: a wish that names 64 channels of the longest kind. */
const MESSAGE_LIMIT_BYTES = 16_384;

/** The held connection, as its session sees it. */
export interface SessionHost {
  /** Gives a frame to the wire; false when that closed the connection as a slow consumer. */
  send(frame: Buffer): boolean;
  /** Ends the connection in an orderly way, with `last` as its last frame. */
  finish(reason: CloseReason, last: Buffer): void;
  /**
   * Takes up channels, each once, from a position on or from now on.
   *
   * @returns why not, and then none was taken up; or what the reply says beside it.
   */
  subscribe(channels: readonly string[], since: string | null): LongwireError | Notice;
  unsubscribe(channels: readonly string[]): void;
  /** Goes on with another token of its client's; returns why not, and then nothing has changed, or what it allows. */
  refresh(token: string): LongwireError | Grant;
  /** Counts bytes of a message that is not over, or, negative, gives them back; false when its worker holds too many. */
  countPending(bytes: number): boolean;
}

const parser = new FrameParser({ frameLimitBytes: MESSAGE_LIMIT_BYTES, messageLimitBytes: MESSAGE_LIMIT_BYTES });

const TOO_MANY_PENDING = encodeClose(CLOSE_CODES.tryAgainLater, 'too many unfinished messages at this worker');

export class WebSocketSession {
  /** Counted by the host; null while `read` is at work. */
  private pending: PendingMessage | null;
  /** Whether the client was heard since the last ping. */
  heard: boolean;

  constructor() {
    this.pending = null;
    this.heard = true;
  }

  /** Whether it is between two messages: then it can move, and `heard` is all there is of it. */
  get blank(): boolean {
    return this.pending === null;
  }

  /** Whether the client has said anything, a pong at least, since it was last asked here. */
  takeHeard(): boolean {
    const { heard } = this;
    this.heard = false;
    return heard;
  }

  /** Memory of a message that is not over, as the host has counted it. */
  get pendingBytes(): number {
    return this.pending === null ? 0 : this.pending.heldBytes;
  }

  /** Reads what the client sent and acts on it. */
  read(host: SessionHost, buffer: Buffer, start: number, end: number): void {
    this.heard = true;
    let { pending } = this;
    if (pending !== null) {
      host.countPending(-pending.heldBytes);
      this.pending = null;
    }
    let ping: Buffer | null = null;
    for (let at = start; ; at = parser.position) {
      const event = parser.read(pending, buffer, at, end);
      pending = parser.pending;
      switch (event) {
        case INCOMPLETE:
          // One pong for all pings of a read, the latest's, as §5.5.3 allows: ten thousand of them fit in one.
          if (ping !== null && !host.send(encodeFrame(PONG, ping))) return;
          this.pending = pending;
          if (pending !== null && !host.countPending(pending.heldBytes)) host.finish('finished', TOO_MANY_PENDING);
          return;
        case FAULT:
          host.finish('malformed', encodeClose(parser.code, parser.reason));
          return;
        case CLOSE:
          host.finish('client-left', encodeClose(parser.code));
          return;
        case PING:
          ping = parser.payload;
          break;
        case TEXT:
          if (!host.send(encodeText(JSON.stringify(replyTo(host, parser.payload))))) return;
          break;
        case BINARY:
          if (!host.send(encodeText(JSON.stringify(faultReply('binary messages mean nothing here'))))) return;
          break;
      }
    }
  }
}

const WISHES =
  'a message is one of {"subscribe": …}, {"subscribe": …, "since": "…"}, {"unsubscribe": …}, {"refresh": "…"}, {"ping": …}';

function replyTo(host: SessionHost, payload: Buffer): object {
  let wish: unknown;
  try {
    wish = JSON.parse(payload.toString());
  } catch {
    return faultReply('a message is JSON');
  }
  if (typeof wish !== 'object' || wish === null || Array.isArray(wish)) return faultReply(WISHES);
  const { since = null, ...rest } = wish as Record<string, unknown>;
  const [name, ...others] = Object.keys(rest);
  if (name === undefined || others.length > 0) return faultReply(WISHES);
  if (since !== null && (name !== 'subscribe' || typeof since !== 'string')) return faultReply(WISHES);
  const value = rest[name];
  if (name === 'ping') {
    // Anything deeper could be nested so deeply that it was read and cannot be written again.
    return typeof value === 'object' && value !== null
      ? faultReply('a ping is no object and no list')
      : { pong: value };
  }
  if (name === 'refresh') return typeof value === 'string' ? refresh(host, value) : faultReply('a token is a string');
  if (name !== 'subscribe' && name !== 'unsubscribe') return faultReply(WISHES);

  const channels = channelsOf(value);
  if (typeof channels === 'string') return faultReply(channels);
  if (name === 'unsubscribe') {
    host.unsubscribe(channels);
    return { unsubscribed: channels };
  }
  const outcome = host.subscribe(channels, since);
  if (outcome instanceof LongwireError) return outcome.toBody();
  const { position, client } = outcome;
  return {
    subscribed: channels,
    ...(position === null ? {} : { position }),
    ...(client === undefined ? {} : { client }),
  };
}

function refresh(host: SessionHost, token: string): object {
  const outcome = host.refresh(token);
  if (outcome instanceof LongwireError) return outcome.toBody();
  return { refreshed: outcome.expiresAtMs === 0 ? {} : { expires: outcome.expiresAtMs / 1_000 } };
}

function channelsOf(value: unknown): readonly string[] | string {
  const given: unknown[] = Array.isArray(value) ? value : [value];
  if (given.length === 0) return 'name at least one channel';
  for (const channel of given) {
    if (typeof channel !== 'string' || !channel.isWellFormed())
      return `a channel is a string of at most ${CHANNEL_LIMIT_BYTES} bytes`;
    const fault = channelFault(channel);
    if (fault !== null) return fault;
  }
  return [...new Set(given as string[])];
}

function faultReply(message: string): object {
  return new LongwireError('bad-request', message).toBody();
}
