// How many connections a worker holds, when its share of them changes while it serves. The rest: test/end-to-end/capacity.test.ts.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Admission } from '../../workers/admission.ts';
import { makeGateway } from './gateways.ts';
import { MemoryWire } from './memory-wire.ts';

describe('a worker whose limit changes', () => {
  it('is full at a lower one, has room at a higher one, and keeps whom it holds', async () => {
    const told: boolean[] = [];
    const admission = new Admission(makeGateway().gateway, 5, null, (room) => told.push(room));
    await admission.start();
    const held = Array.from({ length: 4 }, () => admission.adopt(new MemoryWire()));
    assert.ok(held.every((connection) => connection !== null));
    for (const connection of held) connection?.start();

    admission.setLimit(2);
    assert.deepEqual([admission.state, admission.connectionLimit, admission.heldCount], ['full', 2, 4]);
    assert.equal(admission.adopt(new MemoryWire()), null);

    for (const connection of held.slice(0, 2)) connection?.close('finished');
    assert.equal(admission.state, 'full', 'at the limit still');
    held[2]?.close('finished');
    assert.equal(admission.state, 'listening');

    admission.setLimit(1);
    admission.setLimit(5);
    assert.equal(admission.state, 'listening');
    assert.deepEqual(told, [false, true, false, true]);
  });
});
