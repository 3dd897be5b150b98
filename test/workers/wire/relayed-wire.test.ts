// The wire that is messages: what it sends for each call, and that it keeps the promises of every wire towards its owner.
// test/end-to-end/sticky.test.ts has it with the process in between.

import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import type { StickyToPrimary } from '../../../src/ipc.ts';
import { RelayedWire } from '../../../workers/wire/relayed-wire.ts';
import type { WireOwner } from '../../../workers/wire/wire.ts';

let sent: StickyToPrimary[] = [];
let heard: string[] = [];
let wire: RelayedWire;

const owner: WireOwner = {
  onWireRead: (buffer, length) => heard.push(buffer.toString('latin1', 0, length)),
  onWireEnd: () => heard.push('end'),
  onWireDrained: () => heard.push('drained'),
  onWireClosed: (error) => heard.push(`closed: ${error}`),
};

beforeEach(() => {
  sent = [];
  heard = [];
  wire = new RelayedWire('id', '192.0.2.7', (message) => sent.push(message));
  wire.attach(owner);
});

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

describe('a relayed wire', () => {
  it('passes chunks on, and keeps them back while it is paused, in order', async () => {
    wire.arrived(Buffer.from('a'));
    wire.pause();
    wire.arrived(Buffer.from('b'));
    wire.arrived(Buffer.from('c'));
    assert.deepEqual(heard, ['a']);
    wire.resume();
    assert.deepEqual(heard, ['a'], 'never from inside its own call');
    await turn();
    wire.arrived(Buffer.from('d'));
    assert.deepEqual(heard, ['a', 'bc', 'd']);
  });

  it('stays paused when it is paused anew before what it kept was told', async () => {
    wire.pause();
    wire.arrived(Buffer.from('a'));
    wire.resume();
    wire.pause();
    await turn();
    assert.deepEqual(heard, []);
    wire.resume();
    await turn();
    assert.deepEqual(heard, ['a']);
  });

  it('sends what is written, then the end, of which the rest is the other process’ business', async () => {
    wire.write(Buffer.from('x'));
    wire.end();
    wire.write(Buffer.from('too late'));
    wire.end();
    assert.deepEqual(heard, []);
    await turn();
    wire.destroy();
    assert.deepEqual(heard, ['closed: ECONNRESET']);
    assert.deepEqual(
      sent.map(({ type }) => type),
      ['sticky:http-response', 'sticky:http-response-end'],
    );
    assert.equal(wire.peerAddress(), '');
  });

  it('destroyed, it says so once and nothing reaches the owner', async () => {
    wire.pause();
    wire.arrived(Buffer.from('a'));
    wire.resume();
    wire.destroy();
    wire.destroy();
    wire.arrived(Buffer.from('b'));
    wire.aborted();
    await turn();
    assert.deepEqual(heard, []);
    assert.deepEqual(
      sent.map(({ type }) => type),
      ['sticky:http-response-destroy'],
    );
  });

  it('whose client has gone is closed, and answers nobody', () => {
    wire.aborted();
    wire.aborted();
    wire.write(Buffer.from('x'));
    wire.end();
    wire.destroy();
    assert.deepEqual([heard, sent], [['closed: ECONNRESET'], []]);
  });

  it('can neither be given away nor speak TLS, and says whom it speaks to', () => {
    assert.deepEqual(
      [wire.share(), wire.shareable, wire.relayed, wire.secure(Buffer.alloc(0))],
      [null, false, true, false],
    );
    assert.deepEqual([wire.outboxBytes, wire.outboxEntries, wire.peerAddress()], [0, 0, '192.0.2.7']);
  });
});
