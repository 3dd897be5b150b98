// What two primaries say to each other while one takes over from the other (docs/adr/0025), over the channel that
// node:child_process makes for the next one. Publications of the embedded broker do not come this way but by a link of their own, and
// held connections by a descriptor link where there is one (docs/adr/0028).
//
//   next: hello ─▶ former: begin, admin ─▶ next: listening, ready ─▶ workers' words, both ways ─▶ former: over ─▶ next: done
//
// What primaries of two versions say to each other: append, never change.

import type { Config } from '../../config/config.ts';
import type { DescriptorLink } from '../descriptor-link.ts';
import type { Cargo, Descriptor, TlsIdentity, ToWorker } from '../ipc.ts';
import type { Counters } from '../stats.ts';
import type { Operation } from './operations.ts';

/** What must be the same for both, because connections and their publications would otherwise have nothing in common. */
export const SHARED_FIELDS = ['host', 'port', 'accept', 'redisUrl', 'redisPrefix'] as const;

/** What the next primary goes on with. */
export interface Inheritance {
  config: Pick<Config, (typeof SHARED_FIELDS)[number] | 'apiKey' | 'apiKeyMade' | 'adminHost' | 'adminPort'>;
  /** What TLS is served with; the keys of its session tickets live on. */
  tls: TlsIdentity | null;
  /** The public port: of PORT=0 the one that was found. */
  port: number;
  /** How many slots the former primary has: a poll session names one. */
  slots: number;
  /** Which of them have the poll sessions of others. */
  heirs: Heirs;
  /** The newest is the replacement itself. */
  operations: readonly Operation[];
  /** Whether the next primary was started with an end of a descriptor link. */
  descriptorLink?: boolean;
}

/** Slots whose poll sessions another one has, each with that one. */
export type Heirs = readonly (readonly [slot: number, heir: number])[];

/** What workers of two primaries say to each other, as the primaries of both say it to workers. */
export type BetweenWorkers =
  | Extract<ToWorker, { type: 'handed-over' | 'batch' }>
  /** The cargo is packed where it came so (src/descriptor-link.ts). */
  | { type: 'take'; number: number; cargo: Cargo | Buffer };

export type ToNext =
  /** The public socket comes along, where the primary has one. */
  | { type: 'begin'; inheritance: Inheritance }
  /** The admin port's socket comes along. */
  | { type: 'admin' }
  /** For, or from, the next primary's worker in that slot. */
  | { type: 'worker'; slot: number; message: BetweenWorkers }
  /** Everything is given, and all workers of the former primary are gone; what they counted. */
  | { type: 'over'; totals: Counters; moved: number; stayed: number }
  /** This one was told to end: so is the next one. */
  | { type: 'stop' };

export type ToFormer =
  /** Able to read messages. */
  | { type: 'hello' }
  /** Takes what workers say to its own from now on. One of an earlier version does not say so, and does not before it is ready. */
  | { type: 'listening' }
  /** So many workers accept and can take connections; whether it reads its end of the descriptor link. */
  | { type: 'ready'; slots: number; descriptorLink?: boolean }
  /** Cannot start, and will exit: the text is for the operator. */
  | { type: 'failed'; text: string }
  | { type: 'worker'; slot: number; message: BetweenWorkers }
  /** Each second: its loop turns. */
  | { type: 'alive' }
  /** It goes on alone: the former one may leave. */
  | { type: 'done' }
  /** This one was told to end: so is the former one. */
  | { type: 'stop' };

/** The way to the other primary. */
export interface PrimaryChannel {
  /** Whether it takes what our workers say to its own: a process that is only starting would keep them waiting. */
  readonly listening: boolean;
  /** Null where the other one does not read such a link: then descriptors go by the channel. */
  readonly descriptors: Pick<DescriptorLink, 'send'> | null;
  /** Sends, with a descriptor or without; false when the channel is gone and nothing was sent. */
  send(message: { type: 'worker'; slot: number; message: BetweenWorkers }, descriptor?: Descriptor): boolean;
}
