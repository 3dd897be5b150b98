// Polls that land anywhere: several workers, each poll on a connection of its own, and the accepting worker is whichever the
// kernel chose. Numbered publications must reach every client, each once and in order.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { reusePortFault } from '../../src/primary/reuse-port.ts';
import { makeSid, slotOf } from '../../workers/poll/sid.ts';
import { makeCertificates } from '../harness/certificates.ts';
import { type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { PollClient } from '../harness/poll-client.ts';
import { ask } from '../harness/raw-client.ts';
import { waitUntil } from '../harness/wait.ts';

const CLIENTS = 12;
const PUBLICATIONS = 60;

for (const [workers, wire, accept] of [
  ['2', 'handle', 'shared'],
  ['3', 'socket', 'shared'],
  ['2', 'handle', 'reuseport'],
] as const) {
  const skip = accept === 'reuseport' && (await reusePortFault());
  describe(`polls and ${workers} workers, ${wire} wire, ${accept}`, { skip: skip || false }, () => {
    let gateway: GatewayProcess;

    before(async () => {
      gateway = await startGateway({
        env: { LONGWIRE_WORKERS: workers, LONGWIRE_WIRE: wire, LONGWIRE_ACCEPT: accept },
      });
    });
    after(() => gateway.kill());

    it('find their session in whatever worker they land: nothing is lost, nothing comes twice', async () => {
      const clients = Array.from(
        { length: CLIENTS },
        () => new PollClient(gateway.publicPort, 'numbers', { anew: true }),
      );
      // Half of the clients lose answers on the way, and ask again with the position that they have.
      const polling = clients.map(async (client, index) => {
        while (client.publications.length < PUBLICATIONS) {
          if (index % 2 === 1 && client.sid !== '') await client.abandon();
          await client.pollUntil(client.publications.length + 1);
        }
      });
      await gateway.metricReaches('longwire_connections', { transport: 'poll' }, CLIENTS);
      for (let number = 0; number < PUBLICATIONS; number++) await gateway.publish('numbers', `${number}`);
      await Promise.all(polling);
      for (const client of clients) {
        assert.deepEqual(
          client.objects.map(({ data }) => data),
          Array.from({ length: PUBLICATIONS }, (_, number) => `${number}`),
        );
        assert.equal(client.lost, 0);
        client.close();
      }
      await gateway.metricReaches('longwire_moved_total', { direction: 'in' }, (moved) => moved > 0);
    });

    it('of a session whose worker has died are told that it is gone', async () => {
      const client = new PollClient(gateway.publicPort, 'short');
      await client.poll('timeout=0');
      const killed = (await gateway.workers()).find(({ id }) => id === slotOf(client.sid));
      process.kill(killed?.pid as number, 'SIGKILL');
      await waitUntil(async () => {
        const now = (await gateway.workers()).find(({ id }) => id === killed?.id);
        return now?.state === 'ready' && now.pid !== killed?.pid;
      }, 'the worker to be replaced');
      for (let i = 0; i < 6; i++) {
        const { status, text } = await ask(
          gateway.publicPort,
          `GET /poll/short?sid=${client.sid}&since=0 HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n`,
        );
        assert.equal(status, 410, text);
        assert.equal(JSON.parse(text).error.code, 110);
      }
      client.close();
    });

    it('of a session of a worker that there is not are told the same', async () => {
      const request = `GET /poll/a?sid=${makeSid(9)}&since=0 HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n`;
      const { status, text } = await ask(gateway.publicPort, request);
      assert.deepEqual([status, JSON.parse(text).error.code], [410, 110]);
    });
  });
}

describe('polls and 2 workers, TLS', () => {
  it('that reach the other worker are told to come again on a new connection, and find their session then', async (t) => {
    const certificates = makeCertificates();
    const files = { LONGWIRE_TLS_CERT: certificates.cert, LONGWIRE_TLS_KEY: certificates.key };
    const gateway = await startGateway({ env: { ...files, LONGWIRE_WORKERS: '2' } });
    t.after(async () => {
      await gateway.kill();
      certificates.remove();
    });
    const options = { tls: { ca: readFileSync(certificates.ca) } };
    const client = new PollClient(gateway.publicPort, 'secret', options);
    await client.poll('timeout=0');
    client.close();
    await gateway.publish('secret', 'kept');
    const request = `GET /poll/secret?sid=${client.sid}&since=0 HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n`;
    const seen = new Set<number>();
    // Whose the next connection is, the kernel decides.
    for (let round = 0; round < 50 && seen.size < 2; round++) {
      const answers = await Promise.all(Array.from({ length: 10 }, () => ask(gateway.publicPort, request, options)));
      for (const { status, text, headers } of answers) {
        seen.add(status);
        assert.equal(headers.connection, 'close');
        if (status === 421) assert.equal(JSON.parse(text).error.code, 421);
        else assert.equal(JSON.parse(text).publications[0].data, 'kept');
      }
    }
    assert.deepEqual([...seen].sort(), [200, 421]);
  });
});
