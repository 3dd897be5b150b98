// The border between primary and workers: every message that crosses it, and nothing else they share.
//
// Messages are plain objects told apart by `type`, sent with node:cluster's channel and structured clone (`serialization:
// 'advanced'`), which carries Buffers. Each direction is first in, first out. Publications of the embedded broker do not come
// this way but by a link of their own (src/broker/relay-link.ts); nothing is promised of the order between the two.

import type { Config } from '../config/config.ts';
import type { BrokerState, Snapshot } from './stats.ts';

/** What TLS on the public port is served with: PEM texts, and the keys of session tickets, the same for all workers. */
export interface TlsIdentity {
  /** The certificate and its chain. */
  certificate: string;
  key: string;
  /** 48 bytes; see src/primary/tls.ts for how long they live. */
  ticketKeys: Uint8Array;
}

/** What a worker runs on; sent once, first. */
export interface Assignment {
  /** The worker's slot, 1 to N: its id in logs and metrics, kept by its replacement. */
  worker: number;
  config: Config;
  /** Most connections that this worker may hold. */
  connectionLimit: number;
  /** Null for no TLS. */
  tls: TlsIdentity | null;
}

/**
 * A connection's TCP handle, as node:child_process takes and gives it: the kernel keeps the connection open until each
 * process that was sent one has closed its own.
 */
export interface Descriptor {
  close(): void;
}

/** What goes with a descriptor from one worker to another. */
export interface Cargo {
  kind: 'request';
  /** What was read of a request that is not answered. */
  bytes: Uint8Array;
  /** The address that the giver knows its client by; '' where it keeps none. The descriptor may have come from a proxy. */
  client: string;
}

/**
 * What became of a descriptor. `taken`: it is the other's. `returned`: the other never had it or refused it, so it is the
 * giver's as before. `lost`: it was sent and not answered; the other may have served it, so the giver must not.
 */
export type HandOverOutcome = 'taken' | 'returned' | 'lost';

export type ToWorker =
  | { type: 'assign'; assignment: Assignment }
  /** Serve new connections with this from now on; those that are held stay as they are. Sent only where TLS is on. */
  | { type: 'tls'; identity: TlsIdentity }
  /** Give up all connections, spread over this many seconds, then exit. */
  | { type: 'drain'; seconds: number }
  /**
   * The only worker left with room is told so (`last: true`): at its cap it must go on listening and answer 503, so that
   * clients hear why; the others stop listening at theirs.
   */
  | { type: 'last'; last: boolean }
  /** Take this connection in; the message has its descriptor. Answered by `taken` with the same `number`. */
  | { type: 'take'; number: number; cargo: Cargo }
  /** What became of the worker's own hand-over `number`. */
  | { type: 'handed-over'; number: number; outcome: HandOverOutcome };

export type ToPrimary =
  /** Loaded and able to read messages: asks for its assignment. */
  | { type: 'hello' }
  /** Accepting. */
  | { type: 'ready'; address: string; port: number; wire: string; wireWhy: string }
  /** Cannot start and will exit: the reason is for the operator. `code` is the errno name where there is one. */
  | { type: 'failed'; code: string | null; text: string }
  | { type: 'stats'; snapshot: Snapshot }
  /** Whether this worker has room for more connections; sent on changes. */
  | { type: 'room'; room: boolean }
  | { type: 'broker'; state: BrokerState }
  /** Give this connection to the worker in slot `to`; the message has its descriptor. Answered by `handed-over`. */
  | { type: 'hand-over'; to: number; number: number; cargo: Cargo }
  /** Whether the connection of `take` was taken in: then it is being served already. */
  | { type: 'taken'; number: number; taken: boolean };
