// A peer of one connection over a `MemoryWire`: sends requests, reads answers, and asks how the connection ended.

import { CLOSE_REASONS, type CloseReason, REJECTIONS } from '../../src/close-reason.ts';
import { transportIndex } from '../../src/stats.ts';
import { Connection } from '../../workers/connection.ts';
import type { Gateway } from '../../workers/gateway.ts';
import { type Answer, parseAnswers } from '../harness/raw-client.ts';
import { API_KEY } from './gateways.ts';
import { MemoryWire } from './memory-wire.ts';

export class Peer {
  readonly wire: MemoryWire;
  readonly connection: Connection;

  /**
   * Connects, as Admission does it.
   *
   * @param address What the kernel says of it; '' where it has gone already.
   * @param known Whom another worker, which gives it, knows it for.
   */
  constructor(gateway: Gateway, address = '192.0.2.1', known: string | null = null) {
    this.wire = new MemoryWire();
    this.wire.peer = address;
    gateway.countTransport(transportIndex.http, 1);
    this.connection = new Connection(gateway, this.wire);
    if (known === null) this.connection.start();
    else this.connection.startKnown(known);
  }

  get state(): string {
    return this.connection.state;
  }

  get text(): string {
    return this.wire.received.toString();
  }

  get answers(): Answer[] {
    return parseAnswers(this.wire.received);
  }

  get statuses(): number[] {
    return this.answers.map(({ status }) => status);
  }

  send(...arrivals: (Buffer | string)[]): void {
    this.wire.send(...arrivals);
  }

  /** Lets calls to the broker come back, and what was sent meanwhile be read. */
  async settle(): Promise<void> {
    do await new Promise((resolve) => setImmediate(resolve));
    while (this.wire.pump() || this.state === 'busy');
  }
}

/** A publish call with its key. */
export function publishRequest(channel: string, data: string, ...headers: string[]): string {
  return apiRequest('publish', JSON.stringify({ channel, data }), ...headers);
}

export function apiRequest(method: string, body: string, ...headers: string[]): string {
  const lines = [`POST /api/${method} HTTP/1.1`, 'Host: a', `X-API-Key: ${API_KEY}`, ...headers];
  return `${lines.join('\r\n')}\r\nContent-Length: ${Buffer.byteLength(body, 'latin1')}\r\n\r\n${body}`;
}

export function get(target: string, ...headers: string[]): string {
  return `${[`GET ${target} HTTP/1.1`, 'Host: a', ...headers].join('\r\n')}\r\n\r\n`;
}

/** Why connections have ended so far, each reason as often as it was counted. */
export function closedOf(gateway: Gateway): CloseReason[] {
  return CLOSE_REASONS.flatMap((reason, i) => Array<CloseReason>(gateway.counters.closed[i] ?? 0).fill(reason));
}

export function rejectedOf(gateway: Gateway): string[] {
  return REJECTIONS.flatMap((rejection, i) => Array<string>(gateway.counters.rejected[i] ?? 0).fill(rejection));
}
