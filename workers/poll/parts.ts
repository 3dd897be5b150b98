// What poll sessions have to do with: the polls that wait, their limits, what they are answered with, who their clients are.

import type { Publication } from '../../src/publication.ts';
import type { Encoding, Farewell, PollEncoding } from '../encoding.ts';
import type { Holder } from '../presence/identities.ts';
import type { Who } from '../presence/who.ts';
import type { Frame } from './mailbox.ts';

/** A poll that waits: its connection. */
export interface WaitingPoll {
  readonly encoding: Encoding | PollEncoding | null;
  readonly channels: string | readonly string[] | null;
  /** Something was published, and there is no session yet. */
  deliverNow(publication: Publication): void;
  /** Answers it with what its session has. */
  answerPoll(): void;
  /** Answers it without: another poll of its session has come. */
  supersede(): void;
  /** Answers it with why its client is to go, as the backend asks. */
  dismiss(farewell: Farewell): void;
}

export interface PollLimits {
  sessionLimit: number;
  mailboxLimitBytes: number;
  mailboxTotalLimitBytes: number;
  answerLimitBytes: number;
  expiryMs: number;
}

/** What a poll is answered with. */
export interface PollContent {
  frames: Frame[];
  /** The position that the client has with them. */
  since: number;
  /** Publications behind the client's position that are no longer here. */
  lost: number;
}

/** What is told of clients that are known; see presence/presence.ts. */
export interface PollPresence {
  meet(holder: Holder, channels: string | readonly string[], who: Who | null): string | null;
  enter(holder: Holder, channels: string | readonly string[]): void;
  leave(holder: Holder): void;
  giveUp(holder: Holder): void;
  clientOf(holder: Holder): string | null;
}
