// Conflation: what is kept for a connection that has no room, and what is not.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DEFAULT_OPTIONS, NamespaceTable } from '../../config/namespaces.ts';
import { Publication } from '../../src/publication.ts';
import { emptyCounters } from '../../src/stats.ts';
import { Conflation } from '../../workers/conflation.ts';

const OUTBOX_LIMIT_BYTES = 1_000;

describe('a connection without room, of a latest_only channel', () => {
  it('has the newest publication kept for it, which no word of a gap or of who comes and goes takes the place of', async () => {
    const namespaces = new NamespaceTable({ default: { ...DEFAULT_OPTIONS, latestOnly: true }, named: {} });
    const counters = emptyCounters();
    const conflation = new Conflation(namespaces, OUTBOX_LIMIT_BYTES, counters);
    const delivered: string[] = [];
    let given: () => void = () => {};
    const room = new Promise<void>((resolve) => {
      given = resolve;
    });
    const connection = {
      wire: { outboxBytes: OUTBOX_LIMIT_BYTES },
      deliverNow(publication: Publication): void {
        delivered.push(publication.payload.toString());
        given();
      },
    };
    for (const text of ['1', '2', '3']) {
      assert.equal(conflation.keep(connection, new Publication('a', Buffer.from(text))), true);
    }
    assert.equal(conflation.keep(connection, Publication.gap('a')), false);
    assert.equal(conflation.keep(connection, Publication.coming('join', 'a', Buffer.from('{}'))), false);
    assert.equal(conflation.keep(connection, Publication.coming('leave', 'a', Buffer.from('{}'))), false);
    connection.wire.outboxBytes = 0;
    await room;
    assert.deepEqual([delivered, counters.conflated, conflation.size], [['3'], 2, 0]);
  });
});
