// Answers byte by byte, and read by Node's own client; what is cached, and for how long.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { answer, CONTINUE, dateHeader, faultAnswer, field } from '../../../workers/http/answers.ts';
import { BODY_FAULTS, HEAD_FAULTS } from '../../../workers/http/faults.ts';

/** The moment of RFC 9110's example of a date. */
const MOMENT = Date.UTC(1994, 10, 6, 8, 49, 37);
const DATE = 'Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n';

describe('a fault', () => {
  it('is told in full and ends the connection', (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: MOMENT });
    assert.equal(
      faultAnswer(400, 'no Host').toString('latin1'),
      `HTTP/1.1 400 Bad Request\r\n${DATE}Content-Type: text/plain; charset=utf-8\r\nContent-Length: 8\r\nConnection: close\r\n\r\nno Host\n`,
    );
  });

  it('has a reason phrase whatever its status', () => {
    const statuses = [...Object.values(HEAD_FAULTS), ...Object.values(BODY_FAULTS)].map((fault) => fault.status);
    for (const status of new Set([...statuses, 401, 403, 404, 405, 408, 411, 429, 500, 503])) {
      assert.match(
        faultAnswer(status, 'why').toString('latin1'),
        new RegExp(`^HTTP/1\\.1 ${status} (?!Unknown)[A-Z][A-Za-z -]+\r\n`),
      );
    }
  });

  it('carries the fields that it is given', () => {
    assert.match(faultAnswer(405, 'why', field('Allow', 'GET, HEAD')).toString('latin1'), /\r\nAllow: GET, HEAD\r\n/);
  });

  it('says on a 503 when to come back, unless told otherwise', () => {
    assert.match(faultAnswer(503, 'full').toString('latin1'), /\r\nRetry-After: [1-9]\d*\r\n/);
    const own = faultAnswer(503, 'full', field('Retry-After', '60')).toString('latin1');
    assert.deepEqual(own.match(/Retry-After: \d+/g), ['Retry-After: 60']);
    const both = faultAnswer(503, 'full', field('Vary', 'Origin')).toString('latin1');
    assert.match(both, /\r\nVary: Origin\r\nRetry-After: \d+\r\n/);
  });

  it('leaves out the body for a HEAD, not its length', () => {
    const whole = faultAnswer(404, 'why').toString('latin1');
    assert.equal(faultAnswer(404, 'why', '', true).toString('latin1'), whole.slice(0, whole.indexOf('\r\n\r\n') + 4));
  });

  it('is built once a second, and not changed once it was handed out', (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: MOMENT });
    const first = faultAnswer(400, 'cached');
    const bytes = Buffer.from(first);
    t.mock.timers.setTime(MOMENT + 999);
    assert.equal(faultAnswer(400, 'cached'), first);
    assert.notEqual(faultAnswer(400, 'cached too'), first);
    assert.notEqual(faultAnswer(400, 'cached', field('A', 'b')), first);
    assert.notEqual(faultAnswer(400, 'cached', '', true), first);
    t.mock.timers.setTime(MOMENT + 1000);
    const second = faultAnswer(400, 'cached');
    assert.notEqual(second, first);
    assert.match(second.toString('latin1'), /08:49:38 GMT/);
    assert.deepEqual(first, bytes);
  });

  it('is still told when there are more than are cached', (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: MOMENT });
    for (let i = 0; i < 1000; i++)
      assert.match(faultAnswer(400, `fault ${i}`).toString('latin1'), new RegExp(`\nfault ${i}\n$`));
  });
});

describe('an answer', () => {
  it('has a body of text, counted in bytes', (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: MOMENT });
    const bytes = answer({ status: 200, body: '{"é":"😀"}', contentType: 'application/json', keepAlive: true });
    assert.equal(
      bytes.toString('utf8'),
      `HTTP/1.1 200 OK\r\n${DATE}Content-Type: application/json\r\nContent-Length: 13\r\nConnection: keep-alive\r\n\r\n{"é":"😀"}`,
    );
  });

  it('has a body of bytes', () => {
    const body = Buffer.of(0, 13, 10, 255);
    const bytes = answer({ status: 200, body, keepAlive: false });
    assert.deepEqual(bytes.subarray(bytes.indexOf('\r\n\r\n') + 4), body);
    assert.match(bytes.toString('latin1'), /\r\nContent-Length: 4\r\nConnection: close\r\n/);
  });

  it('says that it is empty, and nothing of a type', () => {
    const text = answer({ status: 200, keepAlive: true }).toString('latin1');
    assert.match(text, /\r\nContent-Length: 0\r\n/);
    assert.doesNotMatch(text, /Content-Type/);
  });

  it('has neither body nor length with 204 and 304', () => {
    for (const status of [204, 304]) {
      const text = answer({ status, body: 'no', keepAlive: true, fields: field('Vary', 'Origin') }).toString('latin1');
      assert.doesNotMatch(text, /Content-|no$/);
      assert.match(text, /\r\nVary: Origin\r\nConnection: keep-alive\r\n\r\n$/);
    }
  });

  it('keeps a field in latin1 as it is', () => {
    const bytes = answer({ status: 200, body: 'é', keepAlive: true, fields: field('A', 'é') });
    assert.ok(bytes.includes(Buffer.from('A: é\r\n', 'latin1')));
    assert.ok(bytes.toString('utf8').endsWith('é'));
  });
});

describe('a field', () => {
  it('cannot end its line', () => {
    for (const value of ['a\r\nSet-Cookie: b', 'a\n', 'a\r', '\0', '\u007f', '\u0100']) {
      assert.throws(() => field('A', value), TypeError);
    }
    assert.equal(field('A', 'b\t é'), 'A: b\t é\r\n');
  });
});

it('the date is an IMF-fixdate of the whole second', () => {
  assert.equal(dateHeader(MOMENT), 'Sun, 06 Nov 1994 08:49:37 GMT');
  assert.equal(dateHeader(MOMENT + 999), 'Sun, 06 Nov 1994 08:49:37 GMT');
  assert.equal(dateHeader(MOMENT + 1000), 'Sun, 06 Nov 1994 08:49:38 GMT');
  assert.equal(dateHeader(0), 'Thu, 01 Jan 1970 00:00:00 GMT');
});

it('100 Continue is a head and nothing else', () => {
  assert.equal(CONTINUE.toString('latin1'), 'HTTP/1.1 100 Continue\r\n\r\n');
});
