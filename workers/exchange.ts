// An exchange: one request and what a handler may say to it. Connections are this to their handlers, and nothing more, so
// that a handler cannot reach past its request into the socket, the wheel or the hub.
//
// A handler is called with a head that is valid during that call only, and says exactly one of these before it returns.

import type { Rejection } from '../src/close-reason.ts';
import type { LongwireError } from '../src/errors.ts';
import type { Encoding, PollEncoding } from './encoding.ts';
import type { Gateway } from './gateway.ts';
import type { AnswerOptions } from './http/answers.ts';
import type { RequestHead } from './http/request-head.ts';
import type { HandedOver } from './moving/movable.ts';
import type { FirstPoll } from './poll/parts.ts';
import type { PollSession } from './poll/session.ts';
import type { Who } from './presence/who.ts';
import type { WebSocketSession } from './websocket/session.ts';

/** An answer to a request whose connection decides by itself whether it is kept. */
export type ServedAnswer = Omit<AnswerOptions, 'keepAlive'>;

/** Serves a request whose body is complete. A rejection is our fault: faults of the peer are answers too. */
export type BodyHandler = (body: Buffer) => Promise<ServedAnswer>;

/** What not every connection that is opened has. */
export interface Opening {
  /** A WebSocket's. */
  session: WebSocketSession | null;
  /** The position that its client comes back with, as it was given; null for none. */
  since: string | null;
  /** Who its client is; null for nobody that is known. */
  who: Who | null;
}

export interface Exchange {
  readonly gateway: Gateway;

  /** Answers the request, and goes on to the next one if both sides want that. */
  answer(options: AnswerOptions): void;

  /** Writes an answer that is ready as it is and ends the connection after it. */
  answerLast(whole: Buffer): void;

  /** Answers with a fault and ends the connection: where the next request would begin is not known or not wanted. */
  reject(status: number, text: string, rejection: Rejection, fields?: string, headOnly?: boolean): void;

  /** The same with an error as JSON: `{"error":{"code":…,"message":"…"}}`. */
  rejectWith(error: LongwireError, rejection: Rejection, fields: string, headOnly: boolean): void;

  /** Reads the request's body, at most `limitBytes` (else 413), and gives it to `onBody`, which answers, now or later. */
  readBody(head: RequestHead, limitBytes: number, onBody: BodyHandler): void;

  /** Writes an answer that is ready as it is, in pieces, and goes on to the next request if `keepAlive` says so. */
  answerReady(pieces: readonly Buffer[], keepAlive: boolean): void;

  /**
   * Waits for a publication of the channels, or of a session that there is already, for so long at most; then answers.
   *
   * @param holder The session; or what a first poll brings.
   */
  wait(
    encoding: PollEncoding,
    channels: string | readonly string[],
    holder: PollSession | FirstPoll,
    waitMs: number,
  ): void;

  /** Gives the connection to the worker in that slot, which reads the request again. Unless it is given, it is to be answered. */
  handOver(slot: number, head: RequestHead): HandedOver;

  /** Becomes a held connection: `first` is written at once, publications of the channels follow. */
  open(encoding: Encoding, channels: string | readonly string[], first: Buffer, more: Opening): void;
}

export type Handler = (exchange: Exchange, head: RequestHead) => void;
