// Nothing is left behind: ten rounds of ten thousand connections that open, subscribe, are published to and go, and clients
// that vanish at every stage of a connection's life. Objects, descriptors and memory of the data plane are counted.
//
// Bounds. Objects and descriptors are exact: as many as after the first round, which is none. Memory is compared with what
// it was after the first round, when code is compiled and tables have grown: ±5 %, of the smallest of several samples, for a
// sample can only be too large (something not yet collected, or pages not yet given back).

import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Counted, FromMeasured, Measured, ToMeasured } from '../fixtures/measured-gateway.ts';
import { API_KEY } from '../harness/gateway.ts';
import { waitUntil } from '../harness/wait.ts';
import { WIRES } from './setups.ts';

const PROGRAM = fileURLToPath(new URL('../fixtures/measured-gateway.js', import.meta.url));
const MEBIBYTE = 1024 * 1024;

const ROUNDS = 10;
const A_ROUND = 10_000;
/** At a time: both sides stay far below the 20,000 descriptors that a process may have. */
const A_WAVE = 5_000;
const SAMPLES = 5;
const TOLERANCE = 0.05;
/** Each wave comes from an address of its own, which has its own ephemeral ports: those of the last one are in TIME_WAIT. */
let waves = 0;

class MeasuredGateway {
  port = 0;
  heldCalls = 0;
  readonly #process: ChildProcess;
  #counted: ((counted: Counted) => void) | null = null;
  #measured: ((measured: Measured) => void) | null = null;

  constructor(wire: string) {
    this.#process = fork(PROGRAM, [wire], { execArgv: ['--expose-gc', '--disable-warning=ExperimentalWarning'] });
    this.#process.on('message', (message: FromMeasured) => {
      if (message.type === 'listening') this.port = message.port;
      else if (message.type === 'held') this.heldCalls = message.calls;
      else if (message.type === 'counted') this.#counted?.(message.counted);
      else this.#measured?.(message.measured);
    });
  }

  async started(): Promise<void> {
    await waitUntil(() => this.port !== 0, 'the gateway to listen');
  }

  send(message: ToMeasured): void {
    this.#process.send(message);
  }

  measure(): Promise<Measured> {
    return new Promise((resolve) => {
      this.#measured = resolve;
      this.send({ type: 'measure' });
    });
  }

  /** Resolves once what it believes to hold is as expected. */
  async until(what: string, expected: (counted: Counted) => boolean): Promise<void> {
    let counted: Counted | null = null;
    await waitUntil(
      async () => {
        counted = await new Promise<Counted>((resolve) => {
          this.#counted = resolve;
          this.send({ type: 'count' });
        });
        return expected(counted);
      },
      () => `${what}: ${JSON.stringify(counted)}`,
      60_000,
    );
  }

  /** Resolves once it holds no connection and no session any more, with what it then has. */
  async empty(): Promise<Measured> {
    await this.until('all connections and sessions to be gone', ({ held, timers }) => held === 0 && timers === 0);
    return this.measure();
  }

  async stop(): Promise<void> {
    const exit = once(this.#process, 'exit');
    this.#process.disconnect();
    await exit;
  }
}

/** What must be exactly as it was. */
function countable({ heapUsedBytes, rssBytes, accepted, closed, ...rest }: Measured) {
  return { ...rest, open: accepted - closed };
}

function assertNothingLeft(measured: Measured, descriptors: number): void {
  const nothing = { connections: 0, wires: 0, pendingRequests: 0, held: 0, transports: 0, channels: 0 };
  const polls = { pollSessions: 0, keptFrames: 0 };
  const none = { ...nothing, ...polls, subscriptions: 0, timers: 0, stalls: 0, open: 0 };
  assert.deepEqual(countable(measured), { descriptors, ...none });
}

for (const wire of WIRES) {
  describe(`nothing is left behind, ${wire} wire`, () => {
    let gateway: MeasuredGateway;

    before(async () => {
      gateway = new MeasuredGateway(wire);
      await gateway.started();
    });

    after(() => gateway.stop());

    async function openSockets(count: number, request: (index: number) => string): Promise<Socket[]> {
      const localAddress = `127.1.${waves >> 8}.${(waves++ & 255) + 1}`;
      const options = { host: '127.0.0.1', port: gateway.port, localAddress, allowHalfOpen: true };
      const sockets = Array.from({ length: count }, (_, index) => {
        const socket = connect(options);
        socket.on('error', () => {});
        const text = request(index);
        if (text !== '') socket.write(text);
        return socket;
      });
      await Promise.all(sockets.map((socket) => once(socket, 'connect')));
      return sockets;
    }

    /** Streams that subscribe to a channel of their own and to one that all share. */
    async function wave(count: number): Promise<void> {
      const sockets = await openSockets(
        count,
        (index) => `GET /sse/own-${waves}-${index}?channel=all HTTP/1.1\r\nHost: g\r\n\r\n`,
      );
      let opened = 0;
      let served = 0;
      // Chunks are whole frames: nothing else is written to these connections before the heartbeat, and they are small.
      const onData = (chunk: Buffer): void => {
        if (chunk.includes('retry: ')) opened++;
        if (chunk.includes('data: xxxx\n\n')) served++;
      };
      for (const socket of sockets) socket.on('data', onData);
      await waitUntil(
        () => opened === count,
        () => `${opened} of ${count} streams to open`,
        60_000,
      );
      gateway.send({ type: 'publish', channel: 'all', bytes: 4 });
      await waitUntil(
        () => served === count,
        () => `${served} of ${count} to be published to`,
        60_000,
      );
      for (const [index, socket] of sockets.entries()) {
        if (index % 3 === 0) socket.resetAndDestroy();
        else if (index % 3 === 1) socket.destroy();
        else socket.end();
      }
      await Promise.all(sockets.map((socket) => socket.closed || once(socket.resume(), 'close')));
    }

    async function round(): Promise<Measured> {
      for (let opened = 0; opened < A_ROUND; opened += A_WAVE) await wave(A_WAVE);
      return gateway.empty();
    }

    async function smallest(): Promise<{ heap: number; rss: number }> {
      const samples: Measured[] = [];
      for (let sample = 0; sample < SAMPLES; sample++) samples.push(await gateway.measure());
      return {
        heap: Math.min(...samples.map(({ heapUsedBytes }) => heapUsedBytes)),
        rss: Math.min(...samples.map(({ rssBytes }) => rssBytes)),
      };
    }

    // The wires differ in what they leave to Node, not in how often it is done: one of them does all rounds.
    const rounds = wire === 'handle' ? ROUNDS : 2;

    it(`${rounds} rounds of ${A_ROUND} connections: objects, descriptors and memory are where they were`, async () => {
      const { descriptors } = await gateway.measure();
      assertNothingLeft(await round(), descriptors);
      const first = await smallest();
      for (let done = 1; done < rounds; done++) assertNothingLeft(await round(), descriptors);
      const last = await smallest();
      assert.ok(last.heap <= first.heap * (1 + TOLERANCE), `heap ${first.heap} → ${last.heap}`);
      assert.ok(last.rss <= first.rss * (1 + TOLERANCE), `RSS ${first.rss} → ${last.rss}`);
    });

    const body = '{"channel":"all","data":"x"}';
    const call = `POST /api/publish HTTP/1.1\r\nHost: g\r\nX-API-Key: ${API_KEY}\r\nContent-Length: ${body.length}\r\n\r\n`;
    const stages: Record<string, string> = {
      'before a byte': '',
      'in the head': 'GET /sse/alice HTTP/1.1\r\nHost:',
      'in the body': call + body.slice(0, 5),
      'while being served': call + body,
      'with calls waiting behind the one being served': (call + body).repeat(3),
      'while idle': `OPTIONS * HTTP/1.1\r\nHost: g\r\n\r\n`,
      'while open': 'GET /sse/alice?channel=all HTTP/1.1\r\nHost: g\r\n\r\n',
      'while their first poll waits': 'GET /poll/alice?channel=all HTTP/1.1\r\nHost: g\r\n\r\n',
      'between two polls': 'GET /poll/alice?timeout=0 HTTP/1.1\r\nHost: g\r\n\r\n',
      'while being told of a fault': 'NONSENSE\r\n\r\n',
      'while closing': 'GET /healthz HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n',
    };

    for (const [stage, request] of Object.entries(stages)) {
      it(`clients that vanish ${stage}`, async () => {
        const count = 200;
        const serving = stage.includes('being served');
        const { descriptors, accepted } = await gateway.measure();
        gateway.heldCalls = 0;
        gateway.send({ type: 'hold', hold: serving });
        const sockets = await openSockets(count, () => request);
        await gateway.until('all to be accepted', (counted) => counted.accepted === accepted + count);
        if (serving) await waitUntil(() => gateway.heldCalls === count, 'all calls to be under way');
        // Mail for those that poll, or have a session.
        gateway.send({ type: 'publish', channel: 'alice', bytes: 1_000 });
        for (const [index, socket] of sockets.entries()) {
          if (index % 2 === 0) socket.resetAndDestroy();
          else socket.destroy();
        }
        if (serving) gateway.send({ type: 'hold', hold: false });
        assertNothingLeft(await gateway.empty(), descriptors);
      });
    }

    it('clients that vanish with a full outbox', async () => {
      const { descriptors } = await gateway.measure();
      const sockets = await openSockets(20, () => 'GET /sse/full HTTP/1.1\r\nHost: g\r\n\r\n');
      await gateway.until('all to be subscribed', ({ subscriptions }) => subscriptions === 20);
      for (let times = 0; times < 8; times++) gateway.send({ type: 'publish', channel: 'full', bytes: MEBIBYTE });
      await gateway.until('outboxes to fill', ({ held, stalls }) => held < 20 || stalls > 0);
      for (const socket of sockets) socket.resetAndDestroy();
      assertNothingLeft(await gateway.empty(), descriptors);
    });
  });
}
