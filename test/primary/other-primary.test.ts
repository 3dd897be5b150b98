// What goes to another primary's worker, and by which way: packed connections by the link, all else by the channel.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Descriptor } from '../../src/ipc.ts';
import { Batches } from '../../src/primary/batches.ts';
import { HandOvers } from '../../src/primary/hand-overs.ts';
import { OtherPrimary } from '../../src/primary/other-primary.ts';
import type { BetweenWorkers, PrimaryChannel } from '../../src/primary/primaries.ts';

const descriptor: Descriptor = { close: () => {} };

function setup(link: 'open' | 'closed' | 'none') {
  const byLink: { slot: number; number: number; cargo: string }[] = [];
  const byChannel: { slot: number; message: BetweenWorkers; descriptor: Descriptor | undefined }[] = [];
  const send = (slot: number, number: number, cargo: Buffer): boolean => {
    if (link === 'open') byLink.push({ slot, number, cargo: cargo.toString() });
    return link === 'open';
  };
  const channel: PrimaryChannel = {
    listening: true,
    descriptors: link === 'none' ? null : { send },
    send: ({ slot, message }, along) => byChannel.push({ slot, message, descriptor: along }) > 0,
  };
  const other = new OtherPrimary(new HandOvers(), new Batches(), () => null);
  other.connect(channel);
  const party = other.party(3);
  assert.ok(party !== null);
  return { other, party, byLink, byChannel };
}

describe('a worker of another primary', () => {
  it('is given a held connection by the link', () => {
    const { party, byLink, byChannel } = setup('open');
    assert.ok(party.give(7, Buffer.from('packed'), descriptor));
    assert.deepEqual(byLink, [{ slot: 3, number: 7, cargo: 'packed' }]);
    assert.deepEqual(byChannel, []);
  });

  it('is given a request by the channel, in order with what is said', () => {
    const { party, byLink, byChannel } = setup('open');
    const cargo = { kind: 'idle', remainingMs: 1, client: '' } as const;
    assert.ok(party.give(7, cargo, descriptor));
    assert.deepEqual(byLink, []);
    assert.deepEqual(byChannel, [{ slot: 3, message: { type: 'take', number: 7, cargo }, descriptor }]);
  });

  for (const link of ['closed', 'none'] as const) {
    it(`is given everything by the channel where the link is ${link}, a copy of what is read over`, () => {
      const { party, byChannel } = setup(link);
      const cargo = Buffer.from('packed');
      assert.ok(party.give(7, cargo, descriptor));
      cargo.fill('!');
      const [given] = byChannel;
      assert.ok(given?.message.type === 'take' && Buffer.isBuffer(given.message.cargo));
      assert.deepEqual([given.slot, given.message.number, given.message.cargo.toString()], [3, 7, 'packed']);
      assert.equal(given.descriptor, descriptor);
    });
  }

  it('is not there any more when its primary is gone, and what comes from there is closed', () => {
    const { other } = setup('open');
    other.disconnect();
    assert.equal(other.party(3), null);
    let closed = 0;
    const own = { close: () => void closed++ };
    other.receive(3, { type: 'take', number: 1, cargo: Buffer.from('packed') }, own);
    assert.equal(closed, 1);
  });
});
