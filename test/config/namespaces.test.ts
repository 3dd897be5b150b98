// The namespaces file: what it may say, every fault with its place, and which channel is in which namespace.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { NamespaceTable, NO_NAMESPACES } from '../../config/namespaces.ts';
import { parseNamespaces } from '../../config/parse-namespaces.ts';
import { projectFile } from '../project.ts';

const LIMIT = 1_048_576;

function namespaces(text: string) {
  const parsed = parseNamespaces(text, LIMIT);
  assert.ok('namespaces' in parsed, JSON.stringify(parsed));
  return parsed.namespaces;
}

function faults(text: string): string[] {
  const parsed = parseNamespaces(text, LIMIT);
  assert.ok('faults' in parsed, 'it was taken');
  return parsed.faults.map(({ path, value, problem }) => `${path}${value === null ? '' : `=${value}`} ${problem}`);
}

describe('the namespaces file', () => {
  it('may be empty: every option at its default', () => {
    assert.deepEqual(namespaces('{}'), NO_NAMESPACES);
    assert.deepEqual(namespaces('{"default":{},"namespaces":{}}'), NO_NAMESPACES);
  });

  it('gives options to the default and to each namespace, and a namespace inherits nothing', () => {
    const read = namespaces(
      '{"default":{"payload_limit_bytes":10},"namespaces":{"a":{"payload_limit_bytes":20},"b":{}}}',
    );
    assert.equal(read.default.payloadLimitBytes, 10);
    assert.equal(read.named.a?.payloadLimitBytes, 20);
    assert.equal(read.named.b?.payloadLimitBytes, 0);
  });

  it('is told all its faults at once, each with its place', () => {
    const text = JSON.stringify({
      default: { payload_limit_bytes: 0 },
      namespaces: { chat: { payload_limit_bytes: '1' }, 'a:b': {}, '': {}, news: { payload_limit: 1 }, x: null },
      namespace: {},
    });
    assert.match(
      faults('{"default":{"history_size":1}}')[0] ?? '',
      /must give both history_size and history_ttl_seconds/,
    );
    assert.match(
      faults('{"default":{"history_size":1,"history_ttl_seconds":1,"latest_only":true}}')[0] ?? '',
      /must not give both history_size and latest_only/,
    );
    assert.match(faults('{"default":{"join_leave":true}}')[0] ?? '', /must give presence together with join_leave/);
    assert.match(
      faults('{"default":{"presence":true,"join_leave":true,"latest_only":true}}')[0] ?? '',
      /must not give both join_leave and latest_only/,
    );
    assert.deepEqual(faults('{"default":{"presence":1}}'), ['default.presence=1 must be true or false']);
    assert.deepEqual(faults(text).sort(), [
      'default.payload_limit_bytes=0 must be a whole number from 1 to 67108864',
      'namespace is not known here; did you mean namespaces?',
      'namespaces.="" must not be empty and hold no colon and no control characters',
      'namespaces.a:b="a:b" must not be empty and hold no colon and no control characters',
      'namespaces.chat.payload_limit_bytes="1" must be a whole number from 1 to 67108864',
      'namespaces.news.payload_limit is not known here; did you mean payload_limit_bytes?',
      'namespaces.x=null must be an object',
    ]);
  });

  it('must be a JSON object, and is told where it is none', () => {
    assert.match(faults('{"default":}')[0] ?? '', /^ must be JSON: .*position 11|Unexpected token/);
    assert.deepEqual(faults('[]'), ['=[] must be an object']);
    assert.deepEqual(faults('null'), ['=null must be an object']);
    assert.deepEqual(faults('{"namespaces":[]}'), ['namespaces=[] must be an object']);
  });

  it('cannot raise a limit above the gateway’s own', () => {
    assert.deepEqual(faults(`{"namespaces":{"big":{"payload_limit_bytes":${LIMIT + 1}}}}`), [
      `namespaces.big.payload_limit_bytes=${LIMIT + 1} must not be above LONGWIRE_PAYLOAD_LIMIT_BYTES, which is ${LIMIT}`,
    ]);
  });

  it('names no more than a thousand', () => {
    const many = Object.fromEntries(Array.from({ length: 1_001 }, (_, i) => [`n${i}`, {}]));
    assert.match(faults(JSON.stringify({ namespaces: many }))[0] ?? '', /must not name more than 1000/);
  });

  it('has an example that is taken', () => {
    namespaces(projectFile('config/namespaces.example.json'));
  });
});

describe('the namespace of a channel', () => {
  const table = new NamespaceTable(
    namespaces('{"default":{"payload_limit_bytes":1},"namespaces":{"chat":{"payload_limit_bytes":2},"__proto__x":{}}}'),
  );

  it('is what stands before the first colon, else the default', () => {
    assert.equal(table.of('chat:room1').payloadLimitBytes, 2);
    assert.equal(table.of('chat:room1:more').payloadLimitBytes, 2);
    assert.equal(table.of('chat:').payloadLimitBytes, 2);
    for (const channel of ['chat', 'chats:room1', 'other:x', 'Chat:x', 'constructor:x', '__proto__:x', 'alice']) {
      assert.equal(table.of(channel).payloadLimitBytes, 1, channel);
    }
  });

  it('is looked for in no time where there are none', () => {
    assert.equal(new NamespaceTable(NO_NAMESPACES).of('chat:room1'), NO_NAMESPACES.default);
  });
});
