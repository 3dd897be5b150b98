// Both wires through one suite, over real TCP: whatever a peer does, the owner hears of it in the same way.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { Listener } from '../../../workers/wire/listener.ts';
import { chooseWire, type WireKind } from '../../../workers/wire/probe.ts';
import { DRAIN_MARK_BYTES, type Wire, type WireOwner } from '../../../workers/wire/wire.ts';
import { waitUntil } from '../../harness/wait.ts';

const MEBIBYTE = 1024 * 1024;

/** An owner that writes down what it hears, and finds out if it is called from inside its own calls. */
class Recorder implements WireOwner {
  readonly wire: Wire;
  read = Buffer.alloc(0);
  ended = 0;
  drained = 0;
  closed: string[] = [];
  calling = false;
  reentered = false;

  constructor(wire: Wire) {
    this.wire = wire;
  }

  call(action: (wire: Wire) => void): void {
    this.calling = true;
    action(this.wire);
    this.calling = false;
  }

  onWireRead(buffer: Buffer, length: number): void {
    this.reentered ||= this.calling;
    this.read = Buffer.concat([this.read, buffer.subarray(0, length)]);
  }

  onWireEnd(): void {
    this.reentered ||= this.calling;
    this.ended++;
  }

  onWireDrained(): void {
    this.reentered ||= this.calling;
    this.drained++;
  }

  onWireClosed(error: string): void {
    this.reentered ||= this.calling;
    this.closed.push(error);
  }
}

for (const kind of ['handle', 'socket'] as const) {
  describe(`the ${kind} wire`, () => {
    let listener: Listener;
    let port = 0;
    const accepted: Wire[] = [];

    before(async () => {
      assert.equal((await chooseWire(kind)).kind, kind);
      listener = new Listener({ host: '127.0.0.1', port: 0, reusePort: false, kind }, (wire) => accepted.push(wire));
      ({ port } = await listener.listen());
    });

    after(() => listener.close());

    /** A connected pair: the client's socket and the owner of the wire that was accepted for it. */
    async function pair(attach = true): Promise<{ client: Socket; owner: Recorder }> {
      const client = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
      client.on('error', () => {});
      await once(client, 'connect');
      await waitUntil(() => accepted.length > 0, 'the connection to be accepted');
      const owner = new Recorder(accepted.shift() as Wire);
      if (attach) owner.call((wire) => wire.attach(owner));
      return { client, owner };
    }

    async function readToEnd(client: Socket): Promise<Buffer> {
      const chunks: Buffer[] = [];
      for await (const chunk of client) chunks.push(chunk as Buffer);
      return Buffer.concat(chunks);
    }

    function close({ client, owner }: { client: Socket; owner: Recorder }): void {
      owner.wire.destroy();
      client.destroy();
      assert.equal(owner.reentered, false, 'the owner was called from inside its own call');
    }

    test('reads what the peer wrote and writes what the peer reads', async () => {
      const both = await pair();
      both.client.write('ping');
      await waitUntil(() => both.owner.read.length === 4, 'the bytes');
      assert.equal(both.owner.read.toString(), 'ping');
      both.owner.call((wire) => wire.write(Buffer.from('pong')));
      const [answer] = (await once(both.client, 'data')) as [Buffer];
      assert.equal(answer.toString(), 'pong');
      assert.equal(both.owner.wire.outboxBytes, 0);
      close(both);
    });

    test('bytes that came before the owner was attached are read', async () => {
      const { client, owner } = await pair(false);
      await new Promise((resolve) => client.write('early', resolve));
      owner.wire.attach(owner);
      await waitUntil(() => owner.read.length === 5, 'the early bytes');
      close({ client, owner });
    });

    test('the peer has ended: told once, and can still be written to', async () => {
      const both = await pair();
      both.client.end();
      await waitUntil(() => both.owner.ended === 1, 'the end');
      both.owner.call((wire) => wire.write(Buffer.from('after your FIN')));
      both.owner.call((wire) => wire.end());
      assert.equal((await readToEnd(both.client)).toString(), 'after your FIN');
      assert.equal(both.owner.ended, 1);
      close(both);
    });

    test('the peer has reset: closed, once, with the reason', async () => {
      const both = await pair();
      both.client.resetAndDestroy();
      await waitUntil(() => both.owner.closed.length > 0, 'the reset');
      assert.deepEqual(both.owner.closed, ['ECONNRESET']);
      both.owner.call((wire) => {
        wire.write(Buffer.from('into the void'));
        wire.end();
        wire.pause();
        wire.resume();
        wire.destroy();
      });
      assert.deepEqual(both.owner.closed, ['ECONNRESET']);
      close(both);
    });

    test('writing to a peer that is gone closes the wire later, never inside the write', async () => {
      const both = await pair();
      // Paused, so that only a write can find out.
      both.owner.wire.pause();
      both.client.resetAndDestroy();
      await once(both.client, 'close');
      await waitUntil(() => {
        both.owner.call((wire) => wire.write(Buffer.from('anybody there?')));
        return both.owner.closed.length > 0;
      }, 'a write to fail');
      assert.equal(both.owner.closed.length, 1);
      assert.match(both.owner.closed[0] as string, /^(EPIPE|ECONNRESET)$/);
      close(both);
    });

    test('a peer that does not read: the outbox fills in order, is counted, and drains when it reads on', async () => {
      const both = await pair();
      const { client, owner } = both;
      client.pause();
      const frames = Array.from({ length: 24 }, (_, i) => Buffer.alloc(MEBIBYTE, i));
      owner.call((wire) => {
        for (const frame of frames) wire.write(frame);
      });
      const queued = owner.wire.outboxBytes;
      assert.ok(queued > DRAIN_MARK_BYTES && queued <= 24 * MEBIBYTE, `outbox ${queued}`);
      assert.ok(owner.wire.outboxEntries > 0 && owner.wire.outboxEntries < 24);
      assert.equal(owner.drained, 0);
      const reading = readToEnd(client);
      await waitUntil(() => owner.drained === 1, 'the outbox to drain');
      assert.equal(owner.wire.outboxBytes, 0);
      assert.equal(owner.wire.outboxEntries, 0);
      owner.call((wire) => wire.end());
      assert.ok((await reading).equals(Buffer.concat(frames)));
      close(both);
    });

    test('ending with a full outbox: all of it, then FIN', async () => {
      const both = await pair();
      const { client, owner } = both;
      client.pause();
      const frames = Array.from({ length: 16 }, (_, i) => Buffer.alloc(MEBIBYTE, 64 + i));
      owner.call((wire) => {
        for (const frame of frames) wire.write(frame);
        wire.end();
        wire.write(Buffer.from('too late'));
      });
      assert.ok((await readToEnd(client)).equals(Buffer.concat(frames)));
      close(both);
    });

    for (const first of ['we', 'the peer'] as const) {
      test(`both have ended, ${first} first, with a full outbox: all of it, then closed by itself`, async () => {
        const both = await pair();
        const { client, owner } = both;
        client.pause();
        const frames = Array.from({ length: 16 }, (_, i) => Buffer.alloc(MEBIBYTE, 64 + i));
        owner.call((wire) => {
          for (const frame of frames) wire.write(frame);
        });
        if (first === 'we') owner.call((wire) => wire.end());
        client.end();
        await waitUntil(() => owner.ended === 1, 'the end of the peer');
        owner.call((wire) => wire.end());
        assert.deepEqual(owner.closed, []);
        assert.ok((await readToEnd(client)).equals(Buffer.concat(frames)));
        await waitUntil(() => owner.closed.length > 0, 'the wire to be closed');
        assert.deepEqual([owner.closed.length, owner.ended, owner.wire.outboxBytes], [1, 1, 0]);
        close(both);
      });
    }

    test('many small writes behind a full outbox arrive whole and in order', async () => {
      const both = await pair();
      const { client, owner } = both;
      client.pause();
      owner.call((wire) => wire.write(Buffer.alloc(8 * MEBIBYTE)));
      let expected = '';
      owner.call((wire) => {
        for (let i = 0; i < 5_000; i++) {
          const text = `${i};`;
          expected += text;
          wire.write(Buffer.from(text));
        }
        wire.end();
      });
      const got = await readToEnd(client);
      assert.equal(got.subarray(8 * MEBIBYTE).toString(), expected);
      close(both);
    });

    test('destroyed with a full outbox: nothing more is heard, and nothing breaks', async () => {
      const both = await pair();
      const { client, owner } = both;
      client.pause();
      owner.call((wire) => {
        for (let i = 0; i < 16; i++) wire.write(Buffer.alloc(MEBIBYTE));
        wire.destroy();
        wire.write(Buffer.from('x'));
        wire.end();
      });
      assert.equal(owner.wire.outboxBytes, 0);
      const over = Promise.race([once(client, 'end'), once(client, 'close')]);
      client.resume();
      await over;
      assert.deepEqual([owner.ended, owner.drained, owner.closed.length], [0, 0, 0]);
      close(both);
    });

    test('a peer that resets while the outbox is full closes the wire once', async () => {
      const both = await pair();
      const { client, owner } = both;
      client.pause();
      owner.call((wire) => {
        for (let i = 0; i < 16; i++) wire.write(Buffer.alloc(MEBIBYTE));
      });
      client.resetAndDestroy();
      await waitUntil(() => owner.closed.length > 0, 'the reset');
      assert.equal(owner.closed.length, 1);
      assert.equal(owner.wire.outboxBytes, 0);
      close(both);
    });

    test('paused, it reads nothing; resumed, it reads on', async () => {
      const both = await pair();
      both.owner.call((wire) => wire.pause());
      both.client.write('held back');
      // Another connection's round trip is the proof that the loop has been round with these bytes in the kernel.
      const other = await pair();
      other.client.write('x');
      await waitUntil(() => other.owner.read.length === 1, 'the other connection');
      assert.equal(both.owner.read.length, 0);
      both.owner.call((wire) => wire.resume());
      await waitUntil(() => both.owner.read.length === 9, 'the bytes');
      close(other);
      close(both);
    });

    test('paused with nothing to read, it keeps the end of the peer back until resumed', async () => {
      const both = await pair();
      both.client.write('all of it');
      await waitUntil(() => both.owner.read.length === 9, 'the bytes');
      both.owner.call((wire) => wire.pause());
      both.client.end();
      // Another connection's end, sent later, has come: so has this one's.
      const later = await pair();
      later.client.end();
      await waitUntil(() => later.owner.ended === 1, 'the later end');
      assert.equal(both.owner.ended, 0);
      both.owner.call((wire) => wire.write(Buffer.from('answer')));
      both.owner.call((wire) => wire.resume());
      await waitUntil(() => both.owner.ended === 1, 'the end');
      both.owner.call((wire) => wire.end());
      assert.equal((await readToEnd(both.client)).toString(), 'answer');
      assert.equal(both.owner.ended, 1);
      close(both);
      close(later);
    });

    test('shared, it reads nothing and keeps what comes; resumed, it reads on from there', async () => {
      const both = await pair();
      both.client.write('one ');
      await waitUntil(() => both.owner.read.length === 4, 'the first bytes');
      both.owner.call((wire) => assert.notEqual(wire.share(), null));
      await new Promise((resolve) => both.client.write('two ', resolve));
      // Another connection's exchange: this one's bytes would have been read before it.
      const other = await pair();
      other.client.write('x');
      await waitUntil(() => other.owner.read.length === 1, 'the other’s byte');
      assert.equal(both.owner.read.toString(), 'one ');
      both.owner.call((wire) => wire.resume());
      both.client.write('three');
      await waitUntil(() => both.owner.read.length === 13, 'the rest');
      assert.equal(both.owner.read.toString(), 'one two three');
      close(both);
      close(other);
    });

    test('it cannot be shared once it has ended, or while bytes wait to be written', async () => {
      const full = await pair();
      full.client.pause();
      for (let i = 0; i < 64 && full.owner.wire.outboxBytes === 0; i++) full.owner.wire.write(Buffer.alloc(MEBIBYTE));
      assert.equal(full.owner.wire.share(), null);
      close(full);
      const ended = await pair();
      ended.owner.call((wire) => wire.end());
      assert.equal(ended.owner.wire.share(), null);
      close(ended);
    });

    test('says whom it speaks to, until that is gone', async () => {
      const both = await pair();
      assert.equal(both.owner.wire.peerAddress(), '127.0.0.1');
      both.owner.wire.destroy();
      assert.equal(both.owner.wire.peerAddress(), '');
      close(both);
    });

    test('1,000 connections that end in every way leave no descriptor behind', {
      skip: process.platform !== 'linux',
    }, async () => {
      const descriptors = () => readdirSync('/proc/self/fd').length;
      const before = descriptors();
      for (let round = 0; round < 10; round++) {
        const pairs: { client: Socket; owner: Recorder }[] = [];
        for (let i = 0; i < 100; i++) pairs.push(await pair());
        pairs.forEach(({ client, owner }, i) => {
          if (i % 4 === 0) owner.wire.destroy();
          else if (i % 4 === 1) client.resetAndDestroy();
          else if (i % 4 === 2) client.end();
          else owner.wire.end();
        });
        await waitUntil(
          () =>
            pairs.every(({ owner }, i) => (i % 4 === 1 ? owner.closed.length === 1 : i % 4 !== 2 || owner.ended === 1)),
          'the ends to be heard',
        );
        for (const both of pairs) close(both);
      }
      await waitUntil(() => descriptors() <= before, 'the descriptors to be closed');
    });

    test('stops listening and listens again at the same address', async () => {
      const again = new Listener({ host: '127.0.0.1', port: 0, reusePort: false, kind }, (wire) => wire.destroy());
      const first = await again.listen();
      again.close();
      assert.equal(again.listening, false);
      const client = connect(first.port, '127.0.0.1');
      const [error] = (await once(client, 'error')) as [NodeJS.ErrnoException];
      assert.equal(error.code, 'ECONNREFUSED');
      assert.deepEqual(await again.listen(), first, 'port 0 means a free one the first time alone');
      assert.equal(again.listening, true);
      again.close();
    });

    test('closed, it accepts nothing; what was asked for last is what it does', async () => {
      let accepted = 0;
      const held = new Listener({ host: '127.0.0.1', port, reusePort: false, kind }, (wire) => {
        accepted++;
        wire.destroy();
      });
      // The port is the suite's listener's: an attempt that fails leaves nothing behind.
      await assert.rejects(held.listen(), { code: 'EADDRINUSE' });
      assert.equal(held.listening, false);
      held.close();
      const free = new Listener({ host: '127.0.0.1', port: 0, reusePort: false, kind }, (wire) => {
        accepted++;
        wire.destroy();
      });
      const calledOff = free.listen();
      free.close();
      assert.deepEqual(await calledOff, { address: '', port: 0 });
      assert.equal(free.listening, false);
      const both = free.listen();
      free.close();
      const address = await free.listen();
      assert.deepEqual(await both, address);
      const client = connect(address.port, '127.0.0.1');
      client.on('error', () => {});
      await once(client, 'close');
      assert.equal(accepted, 1);
      free.close();
      const late = connect(address.port, '127.0.0.1');
      const [error] = (await once(late, 'error')) as [NodeJS.ErrnoException];
      assert.equal(error.code, 'ECONNREFUSED', 'nobody else keeps this socket');
    });
  });
}

describe('the choice of wire', () => {
  const expectations: [wish: 'auto' | WireKind, kind: WireKind, why: RegExp][] = [
    ['auto', 'handle', /probe passed/],
    ['handle', 'handle', /LONGWIRE_WIRE=handle/],
    ['socket', 'socket', /LONGWIRE_WIRE=socket/],
  ];
  for (const [wish, kind, why] of expectations) {
    test(`${wish} gives ${kind}`, async () => {
      const choice = await chooseWire(wish);
      assert.equal(choice.kind, kind);
      assert.match(choice.why, why);
    });
  }
});
