// A worker process, from fork to exit: says hello, is told what to run on, opens its port, serves, drains, leaves.
//
// Signals are the primary's to answer: Ctrl-C, a service manager's SIGTERM and a terminal's SIGHUP reach the whole process
// group, and SIGUSR2 where somebody sends it to all, so a worker ignores them and waits for word. When the primary is gone node:cluster ends the worker (no orphans).

import cluster from 'node:cluster';
import type { Socket } from 'node:net';
import type { Config } from '../config/config.ts';
import type { Broker, BrokerReceiver } from '../src/broker/broker.ts';
import { MemoryBroker } from '../src/broker/memory.ts';
import { RelayLink, workerEnd } from '../src/broker/relay-link.ts';
import { DescriptorLink, openWorkerEnd, packCargo, unpackCargo } from '../src/descriptor-link.ts';
import { errorText } from '../src/errors.ts';
import type { Assignment, Cargo, Descriptor, TlsIdentity, ToPrimary, ToWorker } from '../src/ipc.ts';
import { createLog, type Log } from '../src/log.ts';
import { portToPrimary } from '../src/primary-port.ts';
import { readVersion } from '../src/version.ts';
import { Admission } from './admission.ts';
import { drain } from './drain.ts';
import { Gateway } from './gateway.ts';
import { Moves } from './moving/moves.ts';
import { Reporter } from './reporter.ts';
import { SharedSocket } from './shared-socket.ts';
import { StickyIntake } from './sticky-intake.ts';
import type { Tokens } from './token/tokens.ts';
import { adopt, chooseWire, type WireChoice } from './wire/probe.ts';
import { Tls } from './wire/tls.ts';
import type { Wire } from './wire/wire.ts';

const ORPHAN_LOOK_MS = 1_000;

process.on('SIGINT', () => {});
process.on('SIGTERM', () => {});
process.on('SIGHUP', () => {});
process.on('SIGUSR2', () => {});

const primary = portToPrimary(process);
const send = (message: ToPrimary): void => {
  primary.send(message);
};

const shared = new SharedSocket(send);
let admission: Admission | null = null;
let gateway: Gateway | null = null;
let moves: Moves | null = null;
let intake: StickyIntake | null = null;
let reporter: Reporter | null = null;
let tls: Tls | null = null;
let leave: ((seconds: number) => void) | null = null;
/** What came before there was somebody to hear it. */
let isLast = false;
let newestTls: TlsIdentity | null = null;

process.on('message', (message: ToWorker, descriptor: unknown) => {
  switch (message.type) {
    case 'assign':
      run(message.assignment).catch((thrown: unknown) => fail(thrown));
      return;
    case 'tls':
      newestTls = message.identity;
      tls?.renew(newestTls);
      return;
    case 'drain':
      if (leave === null) process.exit(0);
      leave(message.seconds);
      return;
    case 'socket':
      shared.receive((descriptor ?? null) as Descriptor | null);
      return;
    case 'last':
      isLast = message.last;
      admission?.setLast(message.last);
      return;
    case 'limit':
      admission?.setLimit(message.connectionLimit);
      return;
    case 'sticky:connection':
    case 'sticky:http-chunk-start':
    case 'sticky:http-chunk':
    case 'sticky:abort':
      intake?.receive(message, descriptor as Socket | undefined);
      return;
    case 'take':
    case 'handed-over':
    case 'batch':
      moves?.onMessage(message, (descriptor ?? null) as Descriptor | null);
      return;
    case 'predecessor':
      if (gateway !== null) gateway.sharesSlot = message.present;
      return;
    case 'report':
      reporter?.report();
      return;
    case 'give':
      void give(message);
      return;
  }
});
// Node does not say 'disconnect' where the primary dies while a descriptor that it was sent is not acknowledged; then node:cluster
// would let this worker live on, with connections that nobody publishes to.
setInterval(() => {
  if (!process.connected) process.exit(0);
}, ORPHAN_LOOK_MS).unref();
send({ type: 'hello' });

async function run(assignment: Assignment): Promise<void> {
  const { worker, config, connectionLimit } = assignment;
  const log = createLog(config.logLevel, `worker ${worker}`);
  process.on('uncaughtException', (error) => {
    log.error('uncaught exception: this worker ends', { error: errorText(error), stack: error.stack });
    process.exit(70);
  });

  newestTls ??= assignment.tls;
  const wire = await wireFor(config, newestTls !== null);
  const makeBroker = await brokerMaker(assignment, log);
  const here = new Gateway(config, log, worker, makeBroker, await tokensFor(config));
  here.sharesSlot = assignment.sharesSlot;
  gateway = here;
  const { broker } = here;
  here.onBrokerState = (state) => send({ type: 'broker', state });
  tls = newestTls === null ? null : new Tls(newestTls);
  admission = new Admission(
    here,
    connectionLimit,
    config.accept === 'sticky'
      ? null
      : {
          ask: config.accept === 'shared' ? () => shared.ask() : null,
          host: config.host,
          port: config.port,
          reusePort: config.accept === 'reuseport',
          kind: wire.kind,
          tls,
          secureLater: config.proxyProtocol === 'on',
        },
    (room) => send({ type: 'room', room }),
  );
  const adoptHere = (descriptor: Descriptor): Wire => adopt(descriptor, wire.kind);
  const link = assignment.descriptorLink ? linkToPrimary(log) : null;
  const sendHeld = (slot: number, number: number, cargo: Cargo, descriptor: Descriptor): boolean =>
    link?.send(slot, number, packCargo(cargo), descriptor) === true;
  moves = new Moves(here, admission, { send: primary.send, sendHeld, adopt: adoptHere });
  reporter = new Reporter(here, admission, (snapshot) => send({ type: 'stats', snapshot }));
  admission.setLast(isLast);
  if (config.accept === 'sticky') intake = new StickyIntake(here, admission, send);

  await broker.start();
  here.start();
  here.nodes.start(readVersion());
  if (config.redisUrl !== '') collectLeftovers();
  const address = await admission.start();
  intake?.start();
  reporter.start();
  reporter.report();
  leave = (seconds) => {
    leave = () => {};
    void stop(here, seconds);
  };
  send({ type: 'ready', ...address, wire: wire.kind, wireWhy: wire.why });
  send({ type: 'broker', state: broker.state });
}

/** What comes by it goes the way of messages. Null where this Node does not offer it. */
function linkToPrimary(log: Log): DescriptorLink | null {
  const pipe = openWorkerEnd();
  if (pipe === null) return null;
  return new DescriptorLink(
    pipe,
    (_slot, number, body, descriptor) =>
      moves?.onMessage({ type: 'take', number, cargo: unpackCargo(body) }, descriptor),
    (fault) => {
      if (fault !== null) log.error('what came with a descriptor is no frame', { fault });
    },
  );
}

async function wireFor(config: Config, tls: boolean): Promise<WireChoice> {
  if (tls) return { kind: 'socket', why: 'TLS' };
  return config.accept === 'sticky' ? { kind: 'socket', why: 'LONGWIRE_ACCEPT=sticky' } : chooseWire(config.wire);
}

/** Gives connections to other workers; one that is to leave accepts no more, and drains what could not go. */
async function give({ operation, shares, leave: leaving }: Extract<ToWorker, { type: 'give' }>): Promise<void> {
  if (leaving !== null) {
    admission?.stop();
    if (gateway !== null) gateway.sharesSlot = true;
  }
  const outcome = (await moves?.give(shares, leaving !== null)) ?? { moved: 0, stayed: 0 };
  send({ type: 'gave', operation, ...outcome });
  if (leaving !== null) leave?.(leaving.seconds);
}

async function stop(gateway: Gateway, seconds: number): Promise<void> {
  admission?.stop();
  await drain(gateway, seconds, () => admission?.heldCount ?? 0);
  await Promise.all([gateway.presence.stop(), gateway.nodes.stop()]);
  await gateway.broker.stop();
  reporter?.report();
  // Not `exit`: the last report must be out first; `disconnect` waits for it, and then nothing keeps the process.
  cluster.worker?.disconnect();
  process.once('disconnect', () => process.exit(0));
}

async function brokerMaker({ worker, config }: Assignment, log: Log): Promise<(receiver: BrokerReceiver) => Broker> {
  if (config.redisUrl === '') {
    return (receiver) => {
      const link: RelayLink = new RelayLink(
        workerEnd,
        (kind, call, body) => broker.receive(kind, call, body),
        (fault) => {
          if (fault !== null) log.error('what came from the relay is no frame: this worker ends', { fault });
          process.exit(70);
        },
      );
      const broker = new MemoryBroker(link, receiver, config.channelOptions);
      return broker;
    };
  }
  // Loaded only where it is used: ioredis costs a worker several megabytes.
  const { RedisBroker } = await import('../src/broker/redis.ts');
  const options = {
    url: config.redisUrl,
    prefix: config.redisPrefix,
    connectionName: `longwire-worker-${worker}`,
    namespaces: config.channelOptions,
    payloadLimitBytes: config.payloadLimitBytes,
    presenceSeconds: config.presenceSeconds,
    historyPositionSeconds: config.historyPositionSeconds,
  };
  return (receiver) => new RedisBroker(options, receiver, log);
}

/** Null where tokens have no key. Loaded only where they have: the library that verifies them takes 1.6 MB. */
async function tokensFor(config: Config): Promise<Tokens | null> {
  if (config.tokenKey === null) return null;
  const [{ Tokens }, { verifierFor }] = await Promise.all([import('./token/tokens.ts'), import('./token/verifier.ts')]);
  return new Tokens(config, verifierFor(config.tokenKey));
}

/**
 * ioredis leaves megabytes behind when it is loaded. Collected now, nobody's connection waits for it. Twice: the first finds
 * what is garbage, the second gives back the pages that are empty (8 ms together; docs/adr/0004).
 */
function collectLeftovers(): void {
  globalThis.gc?.();
  globalThis.gc?.();
}

function fail(thrown: unknown): void {
  const code = (thrown as NodeJS.ErrnoException | null)?.code ?? null;
  // The primary tells the operator; this process has nothing left to do once the message is out.
  process.send?.({ type: 'failed', code, text: errorText(thrown) } satisfies ToPrimary, undefined, undefined, () =>
    process.exit(1),
  );
}
