// The four ways to run a gateway that every delivery test goes through: both wires, both brokers.

import { type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { type RedisServer, startRedis } from '../harness/redis.ts';

export const WIRES = ['handle', 'socket'] as const;
export const BROKERS = ['memory', 'redis'] as const;

export type BrokerName = (typeof BROKERS)[number];

export interface Setup {
  gateway: GatewayProcess;
  /** Null with the embedded broker. */
  redis: RedisServer | null;
  stop(): Promise<void>;
}

export async function setUp(wire: string, broker: BrokerName, env: Record<string, string> = {}): Promise<Setup> {
  const redis = broker === 'redis' ? await startRedis() : null;
  const gateway = await startGateway({
    env: { LONGWIRE_WIRE: wire, ...(redis === null ? {} : { REDIS_URL: redis.url }), ...env },
  });
  return {
    gateway,
    redis,
    async stop() {
      await gateway.kill();
      await redis?.stop();
    },
  };
}
