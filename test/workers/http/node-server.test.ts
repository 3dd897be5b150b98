// What Node's http server answers 400 beyond what its parser rejects, above all about Host: ours must not take it either.
// The server is asked over a connection, since these rules live above the parser that differential.test.ts compares with.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { readByLongwire, WHOLE } from './readings.ts';

describe("beside Node's http server", () => {
  let server: Server;

  before(async () => {
    server = createServer((_request, response) => {
      response.setHeader('Connection', 'close');
      response.end();
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  after(() => server.close());

  for (const [what, head, node, ours] of [
    ['no Host on 1.1', 'GET / HTTP/1.1\r\n\r\n', 400, '400 no Host'],
    ['no Host on 1.0', 'GET / HTTP/1.0\r\n\r\n', 200, null],
    ['no Host beside an absolute target', 'GET http://a/ HTTP/1.1\r\n\r\n', 400, '400 no Host'],
    ['an empty Host', 'GET / HTTP/1.1\r\nHost:\r\n\r\n', 200, null],
    ['another Host than the target', 'GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n', 200, null],
    // Node keeps the first of two and takes any value: RFC 9112 §3.2 asks for 400, and ours gives it.
    ['two Hosts', 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', 200, '400 more than one Host'],
    ['a malformed Host', 'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n', 200, '400 malformed Host'],
    ['an unknown expectation', 'GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n', 417, '417 unknown expectation'],
    ['an unknown expectation on 1.0', 'GET / HTTP/1.0\r\nExpect: x\r\n\r\n', 200, null],
    ['a folded header', 'GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n', 400, '400 folded header line'],
    ['an empty line before the request', '\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n', 200, null],
  ] as const) {
    it(what, async () => {
      assert.equal(await statusOf(head), node, 'by Node');
      assert.equal(readByLongwire(Buffer.from(head, 'latin1'), WHOLE).fault, ours, 'by ours');
    });
  }

  async function statusOf(head: string): Promise<number> {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    socket.write(head, 'latin1');
    // The status line comes in one piece with its head.
    const [text] = (await once(socket.setEncoding('latin1'), 'data')) as [string];
    socket.destroy();
    return Number(text.split(' ', 2)[1]);
  }
});
