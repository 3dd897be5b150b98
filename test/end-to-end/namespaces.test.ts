// The namespaces file as an operator meets it: its faults end the start, its options hold in every worker.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { runGateway, startGateway } from '../harness/gateway.ts';
import { TRANSPORTS } from '../harness/transports.ts';

const folder = mkdtempSync(join(tmpdir(), 'longwire-namespaces-'));
const file = join(folder, 'namespaces.json');
after(() => rmSync(folder, { recursive: true, force: true }));

describe('LONGWIRE_NAMESPACES', () => {
  it('ends the start with every fault of the file and exit code 78', async () => {
    writeFileSync(file, '{"namespaces":{"chat":{"payload_limit_byte":1},"news":{"payload_limit_bytes":-1}}}');
    const gateway = runGateway({ env: { LONGWIRE_NAMESPACES: file } });
    assert.equal((await gateway.ended).code, 78);
    assert.match(
      gateway.log,
      /namespaces\.chat\.payload_limit_byte is not known here; did you mean payload_limit_bytes\?/,
    );
    assert.match(gateway.log, /namespaces\.news\.payload_limit_bytes="-1" must be a whole number/);
    assert.ok(gateway.log.includes(file));
  });

  it('ends the start where there is no such file', async () => {
    const gateway = runGateway({ env: { LONGWIRE_NAMESPACES: join(folder, 'none.json') } });
    assert.equal((await gateway.ended).code, 78);
    assert.match(gateway.log, /LONGWIRE_NAMESPACES=".*none\.json" must be a file that this user can read/);
  });

  it('limits the payloads of a namespace, through the API and on delivery', async () => {
    writeFileSync(file, '{"namespaces":{"chat":{"payload_limit_bytes":5}}}');
    const gateway = await startGateway({ env: { LONGWIRE_NAMESPACES: file } });
    try {
      const sse = TRANSPORTS[0] ?? assert.fail();
      const held = await sse.open(gateway.publicPort, 'chat:a?channel=other:a');
      const refused = await gateway.api('publish', { channel: 'chat:a', data: '123456' });
      assert.equal(refused.status, 413);
      assert.match(refused.text, /the payload has 6 bytes; 5 are allowed/);
      const broadcast = await gateway.api('broadcast', { channels: ['chat:a', 'other:a'], data: '123456' });
      const { responses } = JSON.parse(broadcast.text).result;
      assert.equal(responses[0].error.code, 106);
      assert.deepEqual(responses[1], { result: {} });
      await gateway.publish('chat:a', '12345');
      assert.deepEqual((await held.received(2)).map(String), ['123456', '12345']);
      held.close();
    } finally {
      await gateway.kill();
    }
  });
});
