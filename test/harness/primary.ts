// Has the primary of a gateway replaced, from outside.

import assert from 'node:assert/strict';
import type { GatewayProcess } from './gateway.ts';
import { waitUntil } from './wait.ts';

/** Asks for another primary, and resolves when that answers on the admin port that the operation is done. */
export async function replacePrimary(gateway: GatewayProcess): Promise<Record<string, unknown>> {
  const answer = await gateway.command('/primary/replace');
  assert.equal(answer.status, 202, answer.text);
  const { operation } = JSON.parse(answer.text);
  let now: Record<string, unknown> = {};
  await waitUntil(
    async () => {
      now = JSON.parse((await gateway.admin(`/operations/${operation}`)).text);
      return now.state === 'done' || now.state === 'failed';
    },
    () => `the operation to end: ${JSON.stringify(now)} ${gateway.log.slice(-3_000)}`,
    60_000,
  );
  assert.equal(now.state, 'done', `${JSON.stringify(now)} ${gateway.log.slice(-3_000)}`);
  return now;
}
