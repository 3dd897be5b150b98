// Publishes as a backend does: over the HTTP API of the subject, or with PUBLISH to Redis where Longwire runs on it.
//
// A round is one publication to every channel. Over HTTP it goes out in calls of `/api/broadcast` with `BATCH_CHANNELS` channels
// each, `CALLS_IN_FLIGHT` at a time over kept-alive connections; over Redis as pipelined PUBLISH commands, that many at a
// time. The moment in the payload is taken when the call that carries it is made, so that a latency holds the call, the
// broker, the delivery and the client's reading; the order of channels is that of their connections.

import { Agent, request } from 'node:http';
import { Agent as SecureAgent, request as secureRequest } from 'node:https';
import { Redis } from 'ioredis';
import { nowMs } from './clock.ts';
import { BenchError } from './crowd.ts';
import { channelName } from './load/orders.ts';
import { makePayload } from './load/payload.ts';
import type { SubjectPlan } from './subjects/subject.ts';

const BATCH_CHANNELS = 500;
const CALLS_IN_FLIGHT = 2;
const CALL_LIMIT_MS = 30_000;

export interface Publisher {
  /** What the results say about how it was published. */
  readonly how: string;
  /** One publication to one channel; resolves with the moment it was made. */
  one(channel: string, sequence: number): Promise<number>;
  /** One publication to each of `count` channels with this prefix; resolves with the moment the first was made. */
  each(prefix: string, count: number, sequence: number): Promise<number>;
  close(): void;
}

export function httpPublisher(plan: SubjectPlan, payloadBytes: number): Publisher {
  const kept = { keepAlive: true, maxSockets: CALLS_IN_FLIGHT };
  // The certificate is the benchmark's own.
  const agent = plan.secure ? new SecureAgent({ ...kept, rejectUnauthorized: false }) : new Agent(kept);
  return {
    how: `POST /api/broadcast, ${BATCH_CHANNELS} channels a call, ${CALLS_IN_FLIGHT} calls at a time`,
    one: async (channel, sequence) => {
      const at = nowMs();
      await post(agent, plan, '/api/publish', { channel, data: makePayload(sequence, at, payloadBytes) });
      return at;
    },
    each: (prefix, count, sequence) =>
      inBatches(prefix, count, CALLS_IN_FLIGHT, (channels) =>
        post(agent, plan, '/api/broadcast', { channels, data: makePayload(sequence, nowMs(), payloadBytes) }),
      ),
    close: () => agent.destroy(),
  };
}

export function redisPublisher(url: string, payloadBytes: number): Publisher {
  const redis = new Redis(url);
  const publish = async (channels: string[], sequence: number) => {
    const payload = makePayload(sequence, nowMs(), payloadBytes);
    const pipeline = redis.pipeline();
    for (const channel of channels) pipeline.publish(`push:${channel}`, payload);
    const failed = (await pipeline.exec())?.find(([error]) => error !== null);
    if (failed !== undefined) throw new BenchError(`PUBLISH failed: ${failed[0]?.message}`);
  };
  return {
    how: `PUBLISH to Redis, ${BATCH_CHANNELS} commands a pipeline, ${CALLS_IN_FLIGHT} pipelines at a time`,
    one: async (channel, sequence) => {
      const at = nowMs();
      await publish([channel], sequence);
      return at;
    },
    each: (prefix, count, sequence) =>
      inBatches(prefix, count, CALLS_IN_FLIGHT, (channels) => publish(channels, sequence)),
    close: () => redis.disconnect(),
  };
}

async function inBatches(
  prefix: string,
  count: number,
  inFlight: number,
  publish: (channels: string[]) => Promise<void>,
): Promise<number> {
  const at = nowMs();
  let next = 0;
  const lane = async () => {
    while (next < count) {
      const channels: string[] = [];
      while (channels.length < BATCH_CHANNELS && next < count) channels.push(channelName(prefix, next++));
      await publish(channels);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  return at;
}

/** One call; rejects unless it is answered with 200 and without `error`. */
function post(agent: Agent, plan: SubjectPlan, path: string, body: object): Promise<void> {
  const text = JSON.stringify(body);
  const headers = {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(text),
    ...(plan.apiKey === '' ? {} : { 'X-API-Key': plan.apiKey }),
  };
  return new Promise((resolve, reject) => {
    const options = {
      host: '127.0.0.1',
      port: plan.port,
      path,
      method: 'POST',
      agent,
      headers,
      timeout: CALL_LIMIT_MS,
    };
    const call = (plan.secure ? secureRequest : request)(options, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('end', () => {
        const answer = Buffer.concat(parts).toString();
        if (response.statusCode === 200 && !answer.startsWith('{"error"')) resolve();
        else reject(new BenchError(`${plan.name}: ${path} answered ${response.statusCode} ${answer.slice(0, 200)}`));
      });
    });
    call.on('timeout', () => call.destroy(new BenchError(`${plan.name}: ${path} was not answered`)));
    call.on('error', reject);
    call.end(text);
  });
}
