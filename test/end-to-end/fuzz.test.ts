// A short, seeded run of the fuzz (bench/fuzz.ts): no request of any kind brings a worker down or is answered wrongly, on
// either wire. Then the oracle itself: it must see what a bad gateway does.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { describe, it } from 'node:test';
import { DOCUMENTED, readAnswers } from '../../bench/fuzz/answers.ts';
import { type Outcome, runConnection } from '../../bench/fuzz/connection.ts';
import { makePlan, type Plan } from '../../bench/fuzz/plan.ts';
import { fuzz } from '../../bench/fuzz/run.ts';
import { BODY_FAULTS, HEAD_FAULTS } from '../../workers/http/faults.ts';

const SEED = 2026;
const REQUESTS = { handle: 12_000, socket: 8_000 } as const;

describe('any requests at all', () => {
  for (const wire of ['handle', 'socket'] as const) {
    it(`do no harm to a gateway on the ${wire} wire`, async () => {
      const report = await fuzz({ requests: REQUESTS[wire], seed: SEED, env: { LONGWIRE_WIRE: wire } });
      assert.deepEqual(report.wrong, []);
      assert.ok(report.requests >= REQUESTS[wire]);
      assert.ok(report.canary.sent > 10, `${report.canary.sent} publications of the canary`);
      for (const status of [200, 204, 400, 401, 404, 405, 411, 413, 414, 431, 501, 505]) {
        assert.ok(report.statuses.has(status), `${status} was met`);
      }
      for (const ending of ['ended', 'reset by us', 'closed by us'] as const)
        assert.ok(report.endings.has(ending), ending);
    });
  }
});

describe('the plan of a connection', () => {
  it('is the same for the same seed and number', () => {
    for (let number = 0; number < 200; number++) assert.deepEqual(makePlan(7, number, 'k'), makePlan(7, number, 'k'));
    assert.notDeepEqual(makePlan(7, 1, 'k'), makePlan(8, 1, 'k'));
  });
});

describe('the oracle', () => {
  it('knows every status that a fault is answered with', () => {
    for (const { status } of [...Object.values(HEAD_FAULTS), ...Object.values(BODY_FAULTS)]) {
      assert.ok(DOCUMENTED.has(status), `${status}`);
    }
  });

  it('reads answers with bodies, without, and to HEAD', () => {
    const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n';
    const last = 'HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\nConnection: close\r\n\r\nx\n';
    const text = `${ok}ok\nHTTP/1.1 100 Continue\r\n\r\n${ok}${ok}ok\nHTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n${last}`;
    assert.deepEqual(readAnswers(Buffer.from(text), true), {
      statuses: [200, 200, 200, 204, 400],
      stream: false,
      wrong: null,
    });
  });

  for (const [what, bytes, pattern] of [
    ['a status that is not documented', 'HTTP/1.1 418 Teapot\r\nContent-Length: 0\r\n\r\n', /no answer of ours/],
    ['no status', 'hello\r\n\r\n', /no answer of ours/],
    ['a head that is cut', 'HTTP/1.1 200 OK\r\nContent-Le', /head that is cut/],
    ['a body that is cut', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc', /body that is cut/],
    [
      'bytes behind the end',
      'HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nHTTP/1.1 200 OK\r\n\r\n',
      /behind the last/,
    ],
  ] as const) {
    it(`sees ${what}`, () => assert.match(readAnswers(Buffer.from(bytes), true).wrong ?? '', pattern));
  }

  for (const [what, serve, pattern] of [
    ['a connection that is not answered', (socket) => socket.end(), /missing/],
    [
      'the wrong answer',
      (socket) => socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n'),
      /answered 404 instead of 200 200/,
    ],
    [
      'an answer too many',
      (socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'.repeat(3)),
      /too many answers/,
    ],
  ] as [string, (socket: Socket) => void, RegExp][]) {
    it(`sees ${what}`, async () => {
      const { wrong } = await against(
        createServer({ allowHalfOpen: true }, (socket) => socket.once('data', () => serve(socket))),
      );
      assert.match(wrong ?? '', pattern);
    });
  }

  it('sees a gateway that refuses', async () => {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const port = portOf(server);
    server.close();
    await once(server, 'close');
    assert.match((await runConnection(PLAN, port, undefined)).wrong ?? '', /refused/);
  });
});

/** Two sound requests. */
const PLAN: Plan = {
  number: 0,
  pieces: [Buffer.from('GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(2))],
  turns: [false],
  requests: 2,
  statuses: [200, 200],
  sound: true,
  leaving: 'end',
};

async function against(server: Server): Promise<Outcome> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const outcome = await runConnection(PLAN, portOf(server), undefined);
  server.close();
  return outcome;
}

function portOf(server: Server): number {
  const address = server.address();
  assert.ok(address !== null && typeof address !== 'string');
  return address.port;
}
