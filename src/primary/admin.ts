// The admin port: /metrics, /live, /ready, /workers, /operations and the commands (commands.ts), on node:http, in the primary.
//
// It serves a scraper and a handful of people, so it is built for safety and not for speed: bodies for commands only, every
// time and size limited, nothing cached. Pages come from the worker table alone and wait for nobody.
//
// Bound on loopback, it answers only requests that name a loopback host. A page in the operator's browser may otherwise
// have its own name resolve to 127.0.0.1 (DNS rebinding) and then read this port as if it were its own origin. Bound on
// another address it is meant to be reached by other names (`longwire:3001` in a compose network), and any is allowed.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { BlockList, isIP, Server as NetServer } from 'node:net';
import { errorText, LongwireError } from '../errors.ts';
import { TRANSPORTS } from '../stats.ts';
import { BoundSocket } from './bound-socket.ts';
import { COMMAND_PATHS, type CommandPath, type Commands } from './commands.ts';
import type { Metrics } from './metrics.ts';
import type { ReadinessReport } from './readiness.ts';
import type { WorkerRow, WorkerTable } from './worker-table.ts';

export interface AdminOptions {
  host: string;
  /** 0 takes a free one. */
  port: number;
  table: WorkerTable;
  metrics: Pick<Metrics, 'contentType' | 'render'>;
  readiness: () => ReadinessReport;
  commands: Pick<Commands, 'refusal' | 'run' | 'show'>;
}

/** A scraper, its spare, some dashboards and people. */
const CONNECTION_LIMIT = 64;
const HEAD_DEADLINE_MS = 5_000;
const REQUEST_DEADLINE_MS = 10_000;
/** Longer than Prometheus' usual scrape interval of 15 s, so that it keeps its connection. */
const KEEP_ALIVE_MS = 20_000;
/** For a client that does not read its answer. */
const SILENCE_LIMIT_MS = 30_000;
const HEAD_LIMIT_BYTES = 8_192;
/** Answers under way get this long when the port closes. */
const CLOSE_GRACE_MS = 500;
/** And whoever has come to a primary that leaves, to ask. Nobody waits for that one. */
const LEAVE_GRACE_MS = 2_000;

interface Answer {
  status: number;
  /** Of a 405; GET and HEAD where it is not given. */
  allow?: string;
  type: string;
  body: string;
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');

export class AdminServer {
  readonly #options: AdminOptions;
  readonly #server: Server;
  #boundToLoopback = true;
  #socket: BoundSocket | null = null;

  constructor(options: AdminOptions) {
    this.#options = options;
    const limits = {
      headersTimeout: HEAD_DEADLINE_MS,
      requestTimeout: REQUEST_DEADLINE_MS,
      keepAliveTimeout: KEEP_ALIVE_MS,
      maxHeaderSize: HEAD_LIMIT_BYTES,
      connectionsCheckingInterval: 1_000,
    };
    const onRequest = (request: IncomingMessage, response: ServerResponse) => void this.#serve(request, response);
    this.#server = createServer(limits, onRequest);
    this.#server.maxConnections = CONNECTION_LIMIT;
    this.#server.timeout = SILENCE_LIMIT_MS;
    // Without this Node would say `100 Continue` to a body that is about to be refused.
    this.#server.on('checkContinue', onRequest);
  }

  /**
   * Takes the address, without answering yet.
   *
   * @param inherited What another primary has answered on until now.
   * @throws LongwireError `unavailable` when the address cannot be had; the text is for the operator.
   */
  async bind(inherited: BoundSocket | null = null): Promise<void> {
    const { host, port } = this.#options;
    try {
      this.#socket = inherited ?? (await BoundSocket.open(host, port));
    } catch (thrown) {
      throw this.#fault(thrown);
    }
  }

  #fault(thrown: unknown): LongwireError {
    const { host, port } = this.#options;
    const text = `the admin port ${host}:${port} cannot be had (${errorText(thrown)}); LONGWIRE_ADMIN_PORT moves it`;
    return new LongwireError('unavailable', text, { cause: thrown });
  }

  /**
   * Begins to answer.
   *
   * @throws as `bind`.
   */
  async listen(): Promise<{ address: string; port: number }> {
    if (this.#socket === null) await this.bind();
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (error) => reject(this.#fault(error)));
      this.#server.listen(this.#socket?.descriptor, resolve);
    });
    // From now on an error is one of accepting, ENFILE for example: it costs that connection, and must not cost the primary.
    this.#server.on('error', () => {});
    const bound = this.#server.address();
    if (bound === null || typeof bound === 'string')
      throw new LongwireError('internal', 'the admin port has no address');
    this.#boundToLoopback = isLoopback(bound.address);
    return { address: bound.address, port: bound.port };
  }

  /** To be given to another primary; null before `bind`. */
  get socket(): BoundSocket | null {
    return this.#socket;
  }

  /** Leaves the port to another primary: who has come here is answered here. */
  async leave(): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => this.#server.closeAllConnections(), LEAVE_GRACE_MS);
      // Not that of node:http, which resets whoever has come and has not asked yet.
      NetServer.prototype.close.call(this.#server, () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  /** Stops answering; what is under way has half a second. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => this.#server.closeAllConnections(), CLOSE_GRACE_MS);
      this.#server.close(() => {
        clearTimeout(timer);
        resolve();
      });
      this.#server.closeIdleConnections();
    });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let answer: Answer;
    try {
      answer = await this.#answer(request);
    } catch (thrown) {
      answer = failure(500, errorText(thrown));
    }
    // A body that was not read to its end, so the connection is of no more use.
    const refused = hasBody(request) && !request.readableEnded;
    response.writeHead(answer.status, {
      'Content-Type': answer.type,
      'Content-Length': Buffer.byteLength(answer.body),
      'Cache-Control': 'no-store',
      'X-Content-Type-Options': 'nosniff',
      ...(answer.status === 405 ? { Allow: answer.allow ?? 'GET, HEAD' } : {}),
      ...(refused ? { Connection: 'close' } : {}),
    });
    response.end(answer.body);
  }

  async #answer(request: IncomingMessage): Promise<Answer> {
    if (this.#boundToLoopback && !namesLoopback(request.headers.host)) {
      return failure(403, 'this port is bound on loopback and answers only to localhost, 127.0.0.1 or [::1] as Host');
    }
    const path = (request.url ?? '').split('?', 1)[0] as string;
    const command = COMMAND_PATHS.find((known) => known === path);
    if (command !== undefined) return this.#command(command, request);
    if (hasBody(request)) return failure(413, 'requests to this page have no body');
    const read = request.method === 'GET' || request.method === 'HEAD';
    switch (path) {
      case '/metrics':
      case '/live':
      case '/ready':
      case '/workers':
        return read ? this.#page(path) : failure(405, `${path} is read with GET`);
    }
    if (path === '/operations' || path.startsWith('/operations/')) {
      if (!read) return failure(405, `${path} is read with GET`);
      const { status, body } = this.#options.commands.show(path);
      return json(status, body);
    }
    return failure(
      404,
      `there are /metrics, /live, /ready, /workers, /operations, and POST ${COMMAND_PATHS.join(', ')}`,
    );
  }

  async #command(command: CommandPath, request: IncomingMessage): Promise<Answer> {
    if (request.method !== 'POST') return { ...failure(405, `${command} is a command: POST it`), allow: 'POST' };
    const { commands } = this.#options;
    const { status, body } = commands.refusal(request, this.#boundToLoopback) ?? (await commands.run(command, request));
    return json(status, body);
  }

  async #page(path: '/metrics' | '/live' | '/ready' | '/workers'): Promise<Answer> {
    const { metrics, readiness, table } = this.#options;
    switch (path) {
      case '/metrics':
        return { status: 200, type: metrics.contentType, body: await metrics.render() };
      case '/live':
        return json(200, { live: true });
      case '/ready': {
        const report = readiness();
        return json(report.ready ? 200 : 503, report);
      }
      case '/workers':
        return json(200, { workers: table.lives.map((row) => describeWorker(row, table)) });
    }
  }
}

function describeWorker(row: WorkerRow, table: WorkerTable): object {
  const { gauges } = row;
  const gone = row.state === 'gone';
  const secondsSince = (ms: number) => Math.round(table.nowMs() - ms) / 1000;
  return {
    id: row.id,
    generation: row.generation,
    restarts: table.restarts(row.id),
    state: row.state,
    pid: gone ? null : row.pid,
    uptimeSeconds: gone ? null : secondsSince(row.startedAtMs),
    snapshotAgeSeconds: gone || row.snapshotAtMs === null ? null : secondsSince(row.snapshotAtMs),
    address: gone ? null : (row.address?.address ?? null),
    port: gone ? null : (row.address?.port ?? null),
    wire: gone ? null : (row.address?.wire ?? null),
    accept: gone ? null : row.acceptState,
    broker: gone ? null : row.brokerState,
    connections: Object.fromEntries(TRANSPORTS.map((transport, index) => [transport, gauges.connections[index] ?? 0])),
    connectionLimit: gauges.connectionLimit,
    channels: gauges.channels,
    subscriptions: gauges.subscriptions,
    memory: {
      rssBytes: gauges.rssBytes,
      heapTotalBytes: gauges.heapTotalBytes,
      heapUsedBytes: gauges.heapUsedBytes,
      externalBytes: gauges.externalBytes,
      arrayBuffersBytes: gauges.arrayBuffersBytes,
    },
  };
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/** No Host at all is HTTP/1.0, which no browser speaks (Node answers 400 to HTTP/1.1 without one). */
export function namesLoopback(host: string | undefined): boolean {
  if (host === undefined) return true;
  const name = /^(?:\[([^\]]*)\]|([^:]*))(?::\d*)?$/.exec(host);
  const bare = (name?.[1] ?? name?.[2] ?? '').toLowerCase();
  return bare === 'localhost' || isLoopback(bare);
}

function isLoopback(address: string): boolean {
  const family = isIP(address);
  return family !== 0 && LOOPBACK.check(address, family === 4 ? 'ipv4' : 'ipv6');
}

function json(status: number, body: object): Answer {
  return { status, type: 'application/json; charset=utf-8', body: `${JSON.stringify(body, null, 2)}\n` };
}

function failure(status: number, message: string): Answer {
  return json(status, { error: { status, message } });
}
