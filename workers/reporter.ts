// The reporter: once a second, this worker's numbers as one snapshot for the primary. A scrape never waits for a worker.
//
// Cost: some tens of microseconds a second, of which reading the memory figures is most.

import { type EventLoopUtilization, monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { errorText } from '../src/errors.ts';
import { emptyGauges, type Snapshot } from '../src/stats.ts';
import type { Admission } from './admission.ts';
import type { Gateway } from './gateway.ts';

const REPORT_MS = 1_000;
/** The event-loop delay is sampled this often; a sample is a timer that fires. */
const DELAY_RESOLUTION_MS = 20;

export class Reporter {
  private readonly gateway: Gateway;
  private readonly admission: Admission;
  private readonly push: (snapshot: Snapshot) => void;
  private readonly loopDelay = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS });
  private loopUtilization: EventLoopUtilization = performance.eventLoopUtilization();
  private memory: NodeJS.MemoryUsage = { rss: 0, heapTotal: 0, heapUsed: 0, external: 0, arrayBuffers: 0 };

  constructor(gateway: Gateway, admission: Admission, push: (snapshot: Snapshot) => void) {
    this.gateway = gateway;
    this.admission = admission;
    this.push = push;
  }

  start(): void {
    this.loopDelay.enable();
    setInterval(() => this.report(), REPORT_MS).unref();
  }

  /** Pushes how things stand now. Also the last word of a worker that leaves. */
  report(): void {
    const { gateway, admission, loopDelay } = this;
    const utilization = performance.eventLoopUtilization();
    const memory = this.readMemory();
    const gauges = emptyGauges();
    gauges.connections = gateway.connections;
    gauges.channels = gateway.hub.channelCount;
    gauges.subscriptions = gateway.hub.subscriptionCount;
    gauges.pollSessions = gateway.polls.sessionCount;
    gauges.knownClients = gateway.presence.identities.size;
    gauges.mailboxBytes = gateway.polls.store.bytes;
    gauges.connectionLimit = admission.connectionLimit;
    gauges.acceptState = admission.state;
    gauges.brokerState = gateway.broker.state;
    gauges.brokerRoundTripSeconds = gateway.broker.roundTripSeconds;
    gauges.loopDelayP50Seconds = delaySeconds(loopDelay.percentile(50));
    gauges.loopDelayP99Seconds = delaySeconds(loopDelay.percentile(99));
    gauges.loopDelayMaxSeconds = delaySeconds(loopDelay.max);
    gauges.loopUtilization = performance.eventLoopUtilization(utilization, this.loopUtilization).utilization;
    gauges.rssBytes = memory.rss;
    gauges.heapTotalBytes = memory.heapTotal;
    gauges.heapUsedBytes = memory.heapUsed;
    gauges.externalBytes = memory.external;
    gauges.arrayBuffersBytes = memory.arrayBuffers;
    this.loopUtilization = utilization;
    loopDelay.reset();
    this.push({ counters: gateway.counters, gauges });
  }

  /** The last figures where there are no new ones: reading them takes a descriptor, which a full machine may not have. */
  private readMemory(): NodeJS.MemoryUsage {
    try {
      this.memory = process.memoryUsage();
    } catch (thrown) {
      this.gateway.log.debug('cannot read the memory figures', { error: errorText(thrown) });
    }
    return this.memory;
  }
}

/** The histogram measures the whole interval between two samples, in nanoseconds; what is beyond its resolution is delay. */
function delaySeconds(nanoseconds: number): number {
  return Math.max(0, nanoseconds / 1e9 - DELAY_RESOLUTION_MS / 1_000);
}
