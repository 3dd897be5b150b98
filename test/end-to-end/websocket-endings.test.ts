// How WebSockets end over real sockets: close frames and their echo, breaches of RFC 6455 and their codes, clients that
// vanish, that do not read, or that answer no ping; each counted under its reason, and nothing left of any of them.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type GatewayProcess, startGateway } from '../harness/gateway.ts';
import { waitUntil } from '../harness/wait.ts';
import { MESSAGE_LIMIT_BYTES, WebSocketClient, type WebSocketOptions } from '../harness/websocket-client.ts';
import {
  BINARY,
  CLOSE,
  CONTINUE,
  clientFrame,
  closePayload,
  fragments,
  fragmentsOf,
  PING,
  TEXT,
} from '../workers/websocket/client-frames.ts';
import { WIRES } from './setups.ts';

/** Far more than the kernel's buffers of both sides and the outbox hold. */
const ENOUGH_BYTES = 256 * 1024 * 1024;

for (const wire of WIRES) {
  describe(`the end of WebSockets, ${wire} wire`, () => {
    let gateway: GatewayProcess;

    before(async () => {
      gateway = await startGateway({ env: { LONGWIRE_WIRE: wire } });
    });

    after(() => gateway.kill());

    function open(target: string): Promise<WebSocketClient> {
      return new WebSocketClient(gateway.publicPort, target).opened();
    }

    const codes = [null, 1000, 1001, 1003, 1007, 1011, 1012, 1014, 3000, 4999];

    it('a close frame is echoed with its code, then FIN; what follows it is not read', async () => {
      for (const code of codes) {
        const client = await open('/ws/alice');
        const payload = code === null ? '' : closePayload(code, 'bye 🦊');
        client.write(clientFrame(CLOSE, payload), clientFrame(TEXT, '{"ping":1}'), Buffer.of(0xff, 0xff));
        assert.deepEqual(await client.end(), { code, reason: '' });
        assert.equal(client.connection.ending, 'fin');
        assert.deepEqual(client.messages, []);
      }
      await gateway.metricReaches('longwire_closed_total', { reason: 'client-left' }, codes.length);
    });

    it('breaches of the protocol are closed with their code and a reason, and counted', async () => {
      const [cut = Buffer.alloc(0)] = fragments(TEXT, '{"ping":', '1}');
      const breaches: [name: string, frames: Buffer[], code: number][] = [
        ['no mask', [clientFrame(TEXT, '{}', { mask: null })], 1002],
        ['a reserved bit', [clientFrame(TEXT, '{}', { reserved: 4 })], 1002],
        ['an unknown opcode', [clientFrame(3, '')], 1002],
        ['an unknown control opcode', [clientFrame(11, '')], 1002],
        ['a fragmented ping', [clientFrame(PING, '', { fin: false })], 1002],
        ['a long ping', [clientFrame(PING, Buffer.alloc(126))], 1002],
        ['nothing to continue', [clientFrame(CONTINUE, 'x')], 1002],
        ['a message within a message', [cut, clientFrame(TEXT, '{}')], 1002],
        ['half a close code', [clientFrame(CLOSE, Buffer.of(3))], 1002],
        ['close code 1005', [clientFrame(CLOSE, closePayload(1005))], 1002],
        ['close code 999', [clientFrame(CLOSE, closePayload(999))], 1002],
        ['close code 5000', [clientFrame(CLOSE, closePayload(5000))], 1002],
        ['a close reason that is not UTF-8', [clientFrame(CLOSE, closePayload(1000, Buffer.of(0xff)))], 1007],
        ['a length beyond 2^63', [clientFrame(TEXT, '', { lengthBytes: 8, length: 1n << 63n })], 1002],
        ['text that is not UTF-8', [clientFrame(TEXT, Buffer.of(0xc3, 0x28))], 1007],
        ['text cut inside a character', [clientFrame(TEXT, Buffer.from('🦊').subarray(0, 3))], 1007],
        ['not UTF-8 in a later fragment', fragments(TEXT, 'ok', Buffer.of(0xed, 0xa0, 0x80)), 1007],
        ['a frame over the limit', [clientFrame(TEXT, Buffer.alloc(MESSAGE_LIMIT_BYTES + 1, ' '))], 1009],
        ['a frame that says it is', [clientFrame(BINARY, '', { length: 1n << 40n })], 1009],
        ['a message over the limit', fragmentsOf(TEXT, Buffer.alloc(MESSAGE_LIMIT_BYTES + 1, ' '), 5_000), 1009],
      ];
      for (const [name, frames, code] of breaches) {
        const client = await open('/ws/alice');
        client.write(...frames);
        const closed = await client.end();
        assert.equal(closed?.code, code, name);
        assert.notEqual(closed?.reason, '', name);
        assert.equal(client.connection.ending, 'fin', name);
      }
      await gateway.metricReaches('longwire_closed_total', { reason: 'malformed' }, breaches.length);
    });

    it('a client that vanishes, at a frame boundary or within a message, is forgotten', async () => {
      const [cut = Buffer.alloc(0)] = fragments(TEXT, '{"ping":', '1}');
      for (const rest of [Buffer.alloc(0), cut, cut.subarray(0, 3)]) {
        for (const leave of ['fin', 'reset'] as const) {
          const client = await open('/ws/alice');
          client.write(clientFrame(PING, ''), rest);
          if (leave === 'reset') client.connection.socket.resetAndDestroy();
          else client.connection.socket.end();
        }
      }
      await gateway.metricReaches('longwire_closed_total', { reason: 'client-left' }, codes.length + 6);
    });

    it('a client that asks and does not read the answers is closed as a slow consumer', async () => {
      const client = await open('/ws/alice');
      const { socket } = client.connection;
      socket.pause();
      const wish = clientFrame(TEXT, JSON.stringify({ ping: 'x'.repeat(16_000) }));
      let asked = 0;
      // What is written to a connection that the gateway has closed is answered with an RST.
      while (client.connection.ending === 'none') {
        await new Promise<unknown>((resolve) => socket.write(wish, resolve));
        asked += wish.length;
        assert.ok(asked < ENOUGH_BYTES, `${asked} bytes and still there`);
      }
      await gateway.metricReaches('longwire_closed_total', { reason: 'slow-consumer' }, 1);
      client.close();
    });

    it('nothing is left of any of them', async () => {
      for (const name of ['connections', 'channels', 'subscriptions']) {
        await gateway.metricReaches(`longwire_${name}`, {}, 0);
      }
      assert.deepEqual(gateway.logged('failed'), []);
    });
  });

  describe(`a WebSocket’s heartbeat, ${wire} wire`, () => {
    it('holds clients that answer, in any way, and closes those that do not', async (t) => {
      const gateway = await startGateway({ env: { LONGWIRE_WIRE: wire, LONGWIRE_HEARTBEAT_SECONDS: '0.2' } });
      t.after(() => gateway.kill());
      const open = (options: WebSocketOptions) => new WebSocketClient(gateway.publicPort, '/ws/a', options).opened();
      const answering = await open({});
      const talking = await open({ answerPings: false });
      const talk = setInterval(() => talking.say({ ping: 1 }), 20);
      t.after(() => clearInterval(talk));
      const silent = await open({ answerPings: false });
      await silent.end();
      assert.ok(silent.pings >= 1, 'it was asked');
      await gateway.metricReaches('longwire_closed_total', { reason: 'unanswered' }, 1);
      await waitUntil(() => answering.pings >= 5 && talking.pings >= 5, 'five heartbeats');
      await gateway.publish('a', 'here');
      assert.deepEqual((await answering.json(1))[0], { channel: 'a', data: 'here' });
      clearInterval(talk);
      await talking.end();
      answering.close();
      await gateway.metricReaches('longwire_closed_total', { reason: 'unanswered' }, 2);
      await gateway.metricReaches('longwire_connections', {}, 0);
    });
  });
}
