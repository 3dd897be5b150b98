// What poll sessions have to do with: the polls that wait, their limits, what they are answered with, who their clients are.

import type { Encoding, Farewell, PollEncoding } from '../encoding.ts';
import type { Holder } from '../presence/identities.ts';
import type { Who } from '../presence/who.ts';
import type { Ordered, OrderParts } from '../recovery/in-order.ts';
import type { WorkerHistory } from '../recovery/worker-history.ts';
import type { Frame } from './mailbox.ts';

/** A poll that waits: its connection. As long as there is no session it is the hub's subscriber. */
export interface WaitingPoll extends Holder, Ordered {
  readonly encoding: Encoding | PollEncoding | null;
  /** Answers it with what its session has. */
  answerPoll(): void;
  /** Answers it without: another poll of its session has come. */
  supersede(): void;
  /** Answers it with why its client is to go, as the backend asks. */
  dismiss(farewell: Farewell): void;
  /** Answers it without: more was published than may be kept while it recovers. It comes again with the same position. */
  overrun(): void;
}

/** What a first poll brings. */
export interface FirstPoll {
  /** Who its client says that it is; null where it does not say. */
  readonly who: Who | null;
  /** Where it comes back from; null for nowhere. */
  readonly origin: PollOrigin | null;
}

export interface PollOrigin {
  /** A place in the history, as it was given. */
  readonly place: string;
  /** Whether it had a session, which is gone with what was kept in it. */
  readonly sessionLost: boolean;
}

/** What sessions need of their worker: `Gateway`. */
export interface PollWorker extends OrderParts {
  readonly history: WorkerHistory | null;
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
  /** The position that the client has with them: what it is to come back with. */
  since: string;
  /** Publications behind the client's position that are no longer here. */
  lost: number;
}

/** What is told of clients that are known; see presence/presence.ts. */
export interface PollPresence {
  meet(holder: Holder, channels: string | readonly string[], who: Who | null): string | null;
  enter(holder: Holder, channels: string | readonly string[]): void;
  leave(holder: Holder): void;
  pass(from: Holder, to: Holder): void;
  giveUp(holder: Holder): void;
  clientOf(holder: Holder): string | null;
}
