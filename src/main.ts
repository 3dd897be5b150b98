#!/usr/bin/env node
// The `longwire` command: reads the configuration, starts the primary's parts in order, and ends them on a signal.
//
// stdout has the start-up text and nothing else; logs go to stderr. Exit codes: 0 after SIGTERM or SIGINT, 1 when the
// gateway cannot start (port taken, workers that fail), 70 for a fault of our own, 78 for a fault in the configuration
// (EX_SOFTWARE and EX_CONFIG of sysexits.h), 128 + n when a second signal n cut the drain short.

import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import type { Config } from '../config/config.ts';
import { RelayLink, workerEnd } from './broker/relay-link.ts';
import { errorText } from './errors.ts';
import type { TlsIdentity } from './ipc.ts';
import { createLog, type Log } from './log.ts';
import { AdminServer } from './primary/admin.ts';
import { banner } from './primary/banner.ts';
import { Commands } from './primary/commands.ts';
import { type Configuration, inherit, readConfiguration, takeOver as takeOverConfig } from './primary/configuration.ts';
import { Fleet } from './primary/fleet.ts';
import { FormerPrimary } from './primary/former-primary.ts';
import { readDescriptorLimit, shareConnections } from './primary/limits.ts';
import { LinkPairs } from './primary/link-pairs.ts';
import { Metrics } from './primary/metrics.ts';
import { TAKE_OVER_FLAG } from './primary/next-primary.ts';
import { checkReadiness } from './primary/readiness.ts';
import { Relay } from './primary/relay.ts';
import { Following } from './primary/relay-following.ts';
import { Replacement } from './primary/replacement.ts';
import { ServiceManager } from './primary/service-manager.ts';
import type { StickyFront } from './primary/sticky-front.ts';
import { Stopping } from './primary/stopping.ts';
import { Supervisor } from './primary/supervisor.ts';
import { takeOver } from './primary/take-over.ts';
import { logCertificate, tlsReloader } from './primary/tls.ts';
import { LOOK_MS, Watch } from './primary/watch.ts';
import { type WorkerRow, WorkerTable } from './primary/worker-table.ts';
import { readVersion } from './version.ts';

/** Most connections that one worker gives away by itself at a time: half a second's worth of moving. */
const REBALANCE_STEP = 1_024;

const EXIT_CANNOT_START = 1;
const EXIT_INTERNAL = 70;
const EXIT_CONFIG = 78;

/** Node flags of the workers: docs/adr/0004-how-workers-collect-garbage.md. */
const WORKER_FLAGS = ['--max-semi-space-size=1', '--single-threaded-gc', '--expose-gc'];

// What passes through here lives for milliseconds: a young generation that grows to 32 MiB holds nothing but garbage
// (docs/adr/0004). Workers have theirs by their flags.
setFlagsFromString('--semi-space-growth-factor=1');

// Whoever read our words may leave (`longwire | head -1`): the gateway goes on.
process.stdout.on('error', () => {});
process.stderr.on('error', () => {});

const former = process.argv.includes(TAKE_OVER_FLAG) ? await meetFormer() : null;
const { config, tls } = await configure(former);
const log = createLog(config.logLevel, 'primary');
await run(config, tls, former, log);

async function meetFormer(): Promise<FormerPrimary> {
  try {
    return await FormerPrimary.meet();
  } catch (thrown) {
    process.stderr.write(`${TAKE_OVER_FLAG}: ${errorText(thrown)}\n`);
    process.exit(EXIT_CANNOT_START);
  }
}

/** The configuration and what its files hold, or the end: all its faults at once, and exit code 78. */
async function configure(former: FormerPrimary | null): Promise<Configuration> {
  const read = await readConfiguration(former?.inheritance.tls ?? null);
  const found = former === null || 'fault' in read ? read : inherit(former.inheritance, read);
  if (!('fault' in found)) return found;
  // Where there is a former primary, that one tells the operator.
  if (former === null) process.stderr.write(`${found.fault.trimEnd()}\n`);
  else await former.failed(found.fault.trimEnd());
  process.exit(EXIT_CONFIG);
}

async function run(config: Config, tls: TlsIdentity | null, former: FormerPrimary | null, log: Log): Promise<void> {
  const version = readVersion();
  const descriptorLimit = readDescriptorLimit();
  const share = (workers: number) => shareConnections(config.maxConnections, workers, descriptorLimit);
  const limits = share(config.workers);
  if (limits.warning !== null) log.warn(limits.warning);

  if (tls !== null) logCertificate(log, 'TLS is on', tls);

  const table = new WorkerTable(config.workers);
  const relay = new Relay(log, undefined, config.historyLimitBytes);
  const front = await stickyFront(config, () => share(table.rows.length).perWorker, table, log);
  const pairs = new LinkPairs(log);
  await pairs.keep(config.workers);
  const supervisor = new Supervisor({
    exec: fileURLToPath(new URL('../workers/main.js', import.meta.url)),
    execArgv: [...WORKER_FLAGS, ...process.execArgv],
    config,
    connectionLimit: (workers) => share(workers).perWorker,
    tls,
    table,
    relay,
    front,
    pairs,
    inherited: former?.inherited ?? null,
    log,
  });
  const manager = new ServiceManager(log);
  const fleet: Fleet = new Fleet(
    supervisor,
    table,
    () => reread(config, log),
    log,
    (operation) => replacement.run(operation, fleet.operations),
  );
  const admin = new AdminServer({
    host: config.adminHost,
    port: config.adminPort,
    table,
    metrics: new Metrics(
      table,
      { version, accept: config.accept, broker: config.redisUrl === '' ? 'memory' : 'redis' },
      (kind, outcome) => fleet.operations.endedCount(kind, outcome),
    ),
    readiness: () => checkReadiness(table, supervisor.stopping, replacement.nextServes),
    commands: new Commands(fleet, config.adminToken),
  });
  const leave = (): void => {
    log.info('another primary has taken over: this one leaves');
    void admin.leave().then(() => process.exit(0));
  };
  const replacement = new Replacement({
    supervisor,
    table,
    relay,
    pairs,
    admin,
    manager,
    log,
    leave,
    onStop: () => stopping.byNext(),
  });
  const stopping = new Stopping({ supervisor, admin, front, manager, replacement, former, log });

  const reloadTls = tlsReloader(config, tls, log, (identity) => supervisor.slots.renewTls(identity));
  // Connections through TLS cannot move: a new certificate must not cost anybody his (docs/adr/0021).
  process.on('SIGHUP', () => {
    if (tls !== null) reloadTls();
    else begin(log, 'SIGHUP', () => fleet.replace(false));
  });
  process.on('SIGTTIN', () => begin(log, 'SIGTTIN', () => fleet.scale((present) => present + 1)));
  process.on('SIGTTOU', () => begin(log, 'SIGTTOU', () => fleet.scale((present) => Math.max(1, present - 1))));
  process.on('SIGUSR2', () => begin(log, 'SIGUSR2', () => fleet.replacePrimary()));
  startWatch(log, supervisor, fleet, table);
  stopping.listen();
  try {
    if (former !== null) {
      const following = config.redisUrl === '' ? follow(relay, config, log) : null;
      former.onStop = () => stopping.byFormer();
      former.onLinkFault = (fault) =>
        log.error('the former primary sent a descriptor with what is no frame', { fault });
      supervisor.passing.other.connect(former);
      former.listen(({ slot, message }, descriptor) => supervisor.passing.other.receive(slot, message, descriptor));
      await admin.bind(former.adminSocketFor(config));
      await following?.start();
      await supervisor.start();
      takeOver({ former, following, supervisor, table, admin, manager, operations: fleet.operations, log });
      return;
    }
    const adminPort = await admin.listen();
    const workers = await supervisor.start();
    const found = front === null ? workers : { ...workers, ...(await front.listen()) };
    process.stdout.write(
      banner({
        version,
        config,
        ...found,
        adminAddress: adminPort.address,
        adminPort: adminPort.port,
        workers: config.workers,
        connectionLimit: limits.total,
        connectionLimitPerWorker: limits.perWorker,
      }),
    );
    manager.ready(`${config.workers} workers on port ${found.port}`);
  } catch (error) {
    if (supervisor.stopping) return; // a signal came first, and ends the process
    log.error('cannot start', { reason: errorText(error) });
    await former?.failed(errorText(error));
    process.exit(EXIT_CANNOT_START);
  }
}

/** The embedded broker's link to the former primary. */
function follow(relay: Relay, config: Config, log: Log): Following {
  const link: RelayLink = new RelayLink(
    workerEnd,
    (kind, call, body) => following.receive(kind, call, body),
    (fault) => {
      if (fault === null) {
        following.lead();
        return;
      }
      log.error('what came from the former primary is no frame: this one ends', { fault });
      process.exit(EXIT_INTERNAL);
    },
  );
  const following = new Following(relay, link, 1_000 * config.presenceSeconds, log);
  return following;
}

/** Begins an operation that nobody waits for; too many of them are refused. */
function begin(log: Log, cause: string, operation: () => void): void {
  try {
    operation();
  } catch (thrown) {
    log.error('an operation was refused', { cause, reason: errorText(thrown) });
  }
}

function startWatch(log: Log, supervisor: Supervisor, fleet: Fleet, table: WorkerTable): void {
  const actions = {
    kill: ({ id }: WorkerRow) => supervisor.slots.kill(id),
    replace: (id: number) => begin(log, 'memory', () => fleet.replaceOne(id)),
    rebalance: () => {
      if (fleet.operations.idle) begin(log, 'LONGWIRE_REBALANCE_PERCENT', () => fleet.rebalance(REBALANCE_STEP));
    },
  };
  const watch = new Watch(() => supervisor.slots.config, actions, log);
  setInterval(() => watch.look(table.rows, table.nowMs()), LOOK_MS).unref();
}

/** What workers are to run on from now on, of what is on disk. */
async function reread(running: Config, log: Log): Promise<{ config: Config } | { fault: string }> {
  const read = await readConfiguration(null);
  if ('fault' in read) return { fault: read.fault.trimEnd() };
  const { config, waiting } = takeOverConfig(running, read.config);
  if (waiting.length > 0)
    log.warn('some of the new configuration waits for a new primary', { names: waiting.join(' ') });
  return { config };
}

/** Loaded only where it is used, with the library. Null where workers accept. */
async function stickyFront(
  config: Config,
  connectionLimit: () => number,
  table: WorkerTable,
  log: Log,
): Promise<StickyFront | null> {
  if (config.accept !== 'sticky') return null;
  const { StickyFront } = await import('./primary/sticky-front.ts');
  return new StickyFront({ config, connectionLimit, descriptorLimit: readDescriptorLimit(), table, log });
}
