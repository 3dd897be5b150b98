// Operations of a gateway, from outside, and a connection that is to outlive them.

import assert from 'node:assert/strict';
import type { GatewayProcess } from './gateway.ts';
import type { RawClient } from './raw-client.ts';
import { waitUntil } from './wait.ts';

/** Posts a command to the admin port; resolves with its operation when that is done. */
export async function operate(gateway: GatewayProcess, path: string, body = ''): Promise<Record<string, unknown>> {
  const answer = await gateway.command(path, body);
  assert.equal(answer.status, 202, answer.text);
  const { operation } = JSON.parse(answer.text);
  let now: Record<string, unknown> = {};
  const told = (): string => `${JSON.stringify(now)} ${gateway.log.slice(-3_000)}`;
  await waitUntil(
    async () => {
      now = JSON.parse((await gateway.admin(`/operations/${operation}`)).text);
      return now.state === 'done' || now.state === 'failed';
    },
    () => `the operation to end: ${told()}`,
    60_000,
  );
  assert.equal(now.state, 'done', told());
  return now;
}

/** Asks for another primary, and resolves when that answers on the admin port that the operation is done. */
export function replacePrimary(gateway: GatewayProcess): Promise<Record<string, unknown>> {
  return operate(gateway, '/primary/replace');
}

/** One request on a connection that is kept between two of them. */
export async function askOnce(kept: RawClient): Promise<void> {
  const before = kept.text.length;
  kept.write('GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n');
  await waitUntil(
    () => kept.text.length > before && kept.text.endsWith('\n'),
    () => `an answer: ${kept.text}`,
  );
  assert.equal(kept.ending, 'none');
}
