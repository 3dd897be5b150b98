// What a head answers when asked: headers by name, pieces of the target, wherever its bytes lie.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { HeadParser } from '../../../workers/http/head-parser.ts';
import type { RequestHead } from '../../../workers/http/request-head.ts';
import { LIMITS } from './readings.ts';

describe('headers', () => {
  const head = headOf('GET / HTTP/1.1\r\nHost: a\r\nX-Key:  one \r\nx-key: two\r\nX_Key: three\r\nEmpty:\r\n\r\n');

  it('are found by name in any case, the first of that name', () => {
    assert.equal(head.header('host'), 'a');
    assert.equal(head.header('x-key'), 'one');
    assert.equal(head.header('empty'), '');
  });

  it('are not found by a part of the name or a look-alike', () => {
    for (const name of ['x', 'x-ke', 'x-keys', 'hos', '', 'accept']) assert.equal(head.header(name), null);
    assert.equal(head.header('x_key'), 'three');
    assert.equal(head.header('x\u007fkey'), null);
  });

  it('are listed as they were sent', () => {
    const listed = Array.from({ length: head.headerCount }, (_, i) => `${head.headerName(i)}=${head.headerValue(i)}`);
    assert.deepEqual(listed, ['Host=a', 'X-Key=one', 'x-key=two', 'X_Key=three', 'Empty=']);
  });
});

describe('the path', () => {
  it('is compared without its query', () => {
    const head = headOf('GET /sse/a?b HTTP/1.1\r\nHost: a\r\n\r\n');
    assert.equal(head.pathEquals('/sse/a'), true);
    assert.equal(head.pathEquals('/sse/'), false);
    assert.equal(head.pathEquals('/sse/a?b'), false);
    assert.equal(head.pathEquals('/SSE/a'), false);
    assert.equal(head.pathStartsWith('/sse/'), true);
    assert.equal(head.pathStartsWith('/sse/a'), true);
    assert.equal(head.pathStartsWith('/sse/a?'), false);
    assert.equal(head.pathStartsWith('/ws/'), false);
    assert.equal(head.pathStartsWith(''), true);
    assert.equal(head.asteriskForm, false);
  });

  it("is '/' for an absolute-form without one", () => {
    for (const target of ['http://a', 'http://a?b']) {
      const head = headOf(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`);
      assert.equal(head.path(), '/');
      assert.equal(head.pathEquals('/'), true);
      assert.equal(head.pathEquals(''), false);
      assert.equal(head.pathStartsWith('/'), true);
      assert.equal(head.pathStartsWith(''), true);
      assert.equal(head.pathStartsWith('/a'), false);
      assert.equal(head.pathSlice(1), '');
      assert.equal(head.asteriskForm, false);
    }
  });

  it("is '*' for OPTIONS *", () => {
    const head = headOf('OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n');
    assert.equal(head.pathEquals('*'), true);
    assert.equal(head.asteriskForm, true);
  });

  it('is decoded from where it is asked for', () => {
    for (const [target, decoded] of [
      ['/sse/alice', 'alice'],
      ['/sse/', ''],
      ['/sse', ''],
      ['/sse/a%20b%2Fc+d', 'a b/c+d'],
      ['/sse/%C3%A9%F0%9F%98%80?%zz', 'é😀'],
      ['/sse/%00', '\0'],
      ['/sse/%zz', null],
      ['/sse/%C3', null],
      ['/%zz', ''],
      ['/%zz/a', 'a'],
    ] as const) {
      assert.equal(headOf(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`).pathSlice(5), decoded, target);
    }
  });
});

it('answers from where its bytes lie now', () => {
  const text = 'GET /a?b HTTP/1.1\r\nHost: c\r\nD: e\r\n\r\n';
  const parser = new HeadParser(LIMITS);
  const first = Buffer.from(text);
  parser.parse(first, 0, 30);
  first.fill(0);
  const second = Buffer.from(`before${text}behind`);
  assert.equal(parser.parse(second, 6, second.length), 6 + text.length);
  const { head } = parser;
  assert.deepEqual(
    [head.path(), head.query(), head.header('host'), head.headerName(1), head.header('d')],
    ['/a', 'b', 'c', 'D', 'e'],
  );
});

it('lets go of the bytes when it is reset', () => {
  const parser = new HeadParser(LIMITS);
  const bytes = Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  parser.parse(bytes, 0, bytes.length);
  parser.reset();
  assert.notEqual(parser.head.buffer, bytes);
  assert.equal(parser.head.header('host'), null);
});

function headOf(text: string): RequestHead {
  const parser = new HeadParser(LIMITS);
  const bytes = Buffer.from(text, 'latin1');
  assert.equal(parser.parse(bytes, 0, bytes.length), bytes.length, parser.faultText);
  return parser.head;
}
