// What the coordinator and its client processes say to each other. First in, first out; structured clone carries the arrays.

import type { Transport } from './transports.ts';

export interface ConnectOrder {
  type: 'connect';
  transport: Transport;
  /** Through TLS. */
  secure: boolean;
  port: number;
  /** A source address of this process's own: no other process of this run, nor the run before, uses it. */
  sourceAddress: string;
  connections: number;
  /** Channel of connection i: `channels.prefix` and `channels.first + i`, or `channels.prefix` alone when it is shared. */
  channels: { prefix: string; first: number; shared: boolean };
  /** Whether publications are rounds, one to each connection; else each stands for itself and only its latency is kept. */
  rounds: boolean;
  /** Most connections that have begun and have no answer head yet. */
  inFlight: number;
}

export type ToClient =
  | ConnectOrder
  /** Say how things stand. */
  | { type: 'report' }
  /** Let go of every connection at once, without a trace in the kernel (RST), and say so. */
  | { type: 'release' };

export interface Connected {
  type: 'connected';
  /** Answer heads with the status of the transport: 200, or 101. */
  open: number;
  /** First connect begun, last answer head. */
  beganAtMs: number;
  endedAtMs: number;
}

/** A round that has reached all open connections of the process, or, in a report, those that it has reached so far. */
export interface RoundReport {
  sequence: number;
  count: number;
  firstAtMs: number;
  lastAtMs: number;
  latencies: Float64Array;
}

export interface Tally {
  open: number;
  /** Could not connect, or were answered with something other than that. */
  refused: number;
  /** Were open and ended before they were released. */
  closed: number;
  /** Sent what is no answer of the transport, or payloads that the benchmark did not publish. */
  faulty: number;
  received: number;
  doubled: number;
  overtaken: number;
  /** A few of what went wrong, for people. */
  samples: string[];
}

export type FromClient =
  | { type: 'ready' }
  | Connected
  | { type: 'round'; round: RoundReport }
  /** `latencies`, milliseconds, of publications outside rounds since the last report. */
  | { type: 'report'; tally: Tally; unfinished: RoundReport[]; latencies: Float64Array }
  | { type: 'released' };

/** Name of the channel with this number: 24 characters. */
export function channelName(prefix: string, number: number): string {
  return prefix + String(number).padStart(CHANNEL_CHARACTERS - prefix.length, '0');
}

const CHANNEL_CHARACTERS = 24;
