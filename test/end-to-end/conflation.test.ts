// `latest_only` channels: a client that does not read is not closed, and goes on with the newest publication when it reads again.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import { HISTORY_STREAMS, HistoryClient } from '../harness/history-client.ts';
import { waitUntil } from '../harness/wait.ts';

describe('a slow subscriber of a latest_only channel', () => {
  it('skips to the newest publication instead of being closed, and stays in order', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'longwire-conflation-'));
    const file = join(folder, 'namespaces.json');
    writeFileSync(file, '{"namespaces":{"price":{"latest_only":true}}}');
    const gateway = await startGateway({ env: { LONGWIRE_NAMESPACES: file, LONGWIRE_OUTBOX_LIMIT_BYTES: '1048576' } });
    try {
      const channels = ['price:a', 'price:b'];
      const slow = HISTORY_STREAMS.map((transport) => new HistoryClient(transport, gateway.publicPort, channels));
      await gateway.metricReaches('longwire_subscriptions', {}, 6);
      for (const client of slow) client.pause();
      const payload = '.'.repeat(50_000);
      // Several times what the kernel and an outbox hold.
      const last = 800;
      for (let i = 0; i <= last; i++) await gateway.publish(channels[i % 2] ?? '', `${i} ${payload}`);
      await gateway.metricReaches('longwire_conflated_total', {}, (count) => count > 100);
      for (const client of slow) client.resume();
      for (const client of slow) {
        await waitUntil(
          () =>
            ['price:a', 'price:b'].every((channel, i) =>
              client.publications.some((each) => each.channel === channel && each.data.startsWith(`${last - i} `)),
            ),
          'the newest of both',
          30_000,
        );
        assert.ok(!client.ended);
        for (const channel of channels) {
          const numbers = client.publications
            .filter((each) => each.channel === channel)
            .map(({ data }) => Number.parseInt(data, 10));
          assert.deepEqual(
            numbers,
            [...numbers].sort((a, b) => a - b),
          );
          assert.equal(new Set(numbers).size, numbers.length);
          assert.ok(numbers.length < last / 2, 'nothing was skipped');
        }
        client.close();
      }
    } finally {
      await gateway.kill();
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
