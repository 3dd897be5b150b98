// The border between primary and workers: every message that crosses it, and nothing else they share.
//
// Messages are plain objects told apart by `type`, sent with node:cluster's channel and structured clone (`serialization:
// 'advanced'`), which carries Buffers. Each direction is first in, first out. Publications of the embedded broker do not come
// this way but by a link of their own (src/broker/relay-link.ts); nothing is promised of the order between the two.

import type { Config } from '../config/config.ts';
import type { Identity } from './presence.ts';
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
  /** Most connections that this worker may hold, until it is told another limit. */
  connectionLimit: number;
  /** Null for no TLS. */
  tls: TlsIdentity | null;
  /** Whether it was forked with an end of a descriptor link. */
  descriptorLink: boolean;
  /** Whether another worker of this slot may have poll sessions that this one has not; see `predecessor`. */
  sharesSlot: boolean;
}

/**
 * A TCP handle, of a connection or of the listening socket, as node:child_process takes and gives it: the kernel keeps it open
 * until each process that was sent one has closed its own.
 */
export interface Descriptor {
  close(): void;
}

/** What goes with a descriptor from one worker to another, by the channel or, of held connections, by src/descriptor-link.ts. */
export type Cargo = CargoOfKind & {
  /** The address that the giver knows its client by; '' where it keeps none. The descriptor may have come from a proxy. */
  client: string;
};

export type CargoOfKind =
  /** It waits for the answer to a request of which these bytes were read, and which came from so many workers. */
  | { kind: 'request'; bytes: Uint8Array; hops: number }
  /** It is between two requests, and may be for so long. */
  | { kind: 'idle'; remainingMs: number }
  /** It is a poll that waits, for so long still, of a session that was given before. */
  | { kind: 'poll'; sid: string; keepAlive: boolean; fields: string; waitMs: number; unread: Uint8Array }
  /** It is held: number `index` of a batch that was offered before. `unread` is what came after the fence, `forwarded` whom a proxy asked for. */
  | {
      kind: 'held';
      batch: string;
      index: number;
      unread: Uint8Array;
      heartbeatMs: number;
      heard: boolean;
      forwarded: string;
    };

/** A held connection without its descriptor. What workers of two versions say to each other: append, never change. */
export interface HeldState {
  /** `Encoding.index`. */
  encoding: number;
  channels: string | readonly string[];
  /** Of a poll session, which has no descriptor: what it holds comes in a step of its own. */
  poll?: { sid: string; keepAlive: boolean; fields: string };
  /** By what its client is known; not there where it is not. */
  identity?: Identity;
}

/**
 * The steps of a batch, between giver and taker; the primary passes them on (src/primary/batches.ts).
 *
 *   giver: offer ─▶ taker: accepted or refused · fence published by the giver ─▶ taker: fenced · descriptors ─▶ giver: over
 */
export type BatchStep =
  | { kind: 'offer'; states: readonly HeldState[] }
  | { kind: 'accepted' }
  /** Also said by the primary, when the taker is gone. `away`: its broker is, so that it is to be asked again until that is back. */
  | { kind: 'refused'; why: string; away?: boolean }
  /** The taker has seen the fence: it keeps what comes from there on. */
  | { kind: 'fenced' }
  /**
   * What the poll session `index` of the batch holds: it is the taker's from now on. `places` are those in the history: the one
   * behind which it is, then each frame's.
   */
  | {
      kind: 'session';
      index: number;
      position: number;
      acknowledged: number;
      frames: readonly (string | Uint8Array)[];
      places?: readonly (string | null)[];
    }
  /** No more descriptors come. Also said by the primary, when the giver is gone. */
  | { kind: 'over' };

/** Beyond it slots are those of another primary, which takes over or has been taken over from; above every slot that a sid may name. */
export const OTHER_SLOTS = 8_192;

/** What a worker is told to give away, and what it says when that is over. */
export interface Share {
  /** The worker's slot. */
  to: number;
  /** Most held connections to give it; null for no such bound. */
  count: number | null;
}

/**
 * What became of a descriptor. `taken`: it is the other's. `returned`: the other never had it or refused it, so it is the
 * giver's as before. `nobody`: so it is too, and there is no worker in that slot. `lost`: it was sent and not answered; the other may have served it, so the giver must not.
 */
export type HandOverOutcome = 'taken' | 'returned' | 'nobody' | 'lost';

/** What @socket.io/sticky sends to the worker that it has chosen; a socket comes with `sticky:connection`. */
export type StickyToWorker =
  | { type: 'sticky:connection'; data: Uint8Array }
  /** A request with a body, whose further chunks follow under the same id. */
  | {
      type: 'sticky:http-chunk-start';
      data: Uint8Array;
      connectionId: string;
      socketInfo: { remoteAddress?: string };
    }
  | { type: 'sticky:http-chunk'; data: Uint8Array; connectionId: string }
  /** Its client has gone. */
  | { type: 'sticky:abort'; connectionId: string };

/** What it wants to hear from workers. */
export type StickyToPrimary =
  | { type: 'sticky:http-response'; data: Uint8Array; connectionId: string }
  | { type: 'sticky:http-response-end'; connectionId: string }
  | { type: 'sticky:http-response-destroy'; connectionId: string }
  /** A poll session has opened or expired: polls with this sid are ours, or are not any more. */
  | { type: 'sticky:connection'; data: string }
  | { type: 'sticky:disconnection'; data: string };

/** What a worker holds, for the sticky primary, which gives the next connection to whoever holds the least. */
export interface WorkerLoad {
  connections: number;
  /** Poll sessions. */
  sessions: number;
  /** Sockets that have come to it so far. */
  taken: number;
}

export type ToWorker =
  | { type: 'assign'; assignment: Assignment }
  /** Serve new connections with this from now on; those that are held stay as they are. Sent only where TLS is on. */
  | { type: 'tls'; identity: TlsIdentity }
  /** There are more workers or fewer, and so another share of the connections for each: those that are held stay. */
  | { type: 'limit'; connectionLimit: number }
  /** Give up all connections, spread over this many seconds, then exit. */
  | { type: 'drain'; seconds: number }
  /** A copy of the listening socket comes along: the answer to `listen`. */
  | { type: 'socket' }
  /**
   * The only worker left with room is told so (`last: true`): at its cap it must go on listening and answer 503, so that
   * clients hear why; the others stop listening at theirs.
   */
  | { type: 'last'; last: boolean }
  /** Take this connection in; the message has its descriptor. Answered by `taken` with the same `number`. */
  | { type: 'take'; number: number; cargo: Cargo }
  /** A step of a batch from the worker that gives or takes it. */
  | { type: 'batch'; batch: string; step: BatchStep }
  /** Give these shares of the connections away, then say `gave`; with `leave`, everything, then drain what is left and exit. */
  | { type: 'give'; operation: number; shares: Share[]; leave: { seconds: number } | null }
  /** Whether another worker of this slot, the one before or the one to come, has poll sessions that this one has not. */
  | { type: 'predecessor'; present: boolean }
  /** Push a snapshot now, and not at the end of the second. */
  | { type: 'report' }
  /** What became of the worker's own hand-overs of these numbers. */
  | { type: 'handed-over'; numbers: readonly number[]; outcome: HandOverOutcome }
  | StickyToWorker;

export type ToPrimary =
  /** Loaded and able to read messages: asks for its assignment. */
  | { type: 'hello' }
  /** Wants a copy of the primary's listening socket, to listen or to listen again. */
  | { type: 'listen' }
  /** Accepting. */
  | { type: 'ready'; address: string; port: number; wire: string; wireWhy: string }
  /** Cannot start and will exit: the reason is for the operator. `code` is the errno name where there is one. */
  | { type: 'failed'; code: string | null; text: string }
  | { type: 'stats'; snapshot: Snapshot }
  /** Whether this worker has room for more connections; sent on changes. */
  | { type: 'room'; room: boolean }
  /** With LONGWIRE_ACCEPT=sticky, where it has changed. */
  | { type: 'load'; load: WorkerLoad }
  | StickyToPrimary
  | { type: 'broker'; state: BrokerState }
  /** Give this connection to the worker in slot `to`; the message has its descriptor. Answered by `handed-over`. */
  | { type: 'hand-over'; to: number; number: number; cargo: Cargo }
  /** A step of a batch; `to` names the taker of an offer and is not looked at in others. */
  | { type: 'batch'; batch: string; to: number; step: BatchStep }
  /** What `give` came to: connections that moved, and those that had to stay. */
  | { type: 'gave'; operation: number; moved: number; stayed: number }
  /** The numbers of `take` whose connections were taken in, which are being served already, and of those that were not. */
  | { type: 'taken'; taken: readonly number[]; refused: readonly number[] };
