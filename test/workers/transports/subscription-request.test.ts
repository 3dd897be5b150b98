// What a stream's target asks for: channels from path and query, each once and within bounds, and the format.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { channelFault } from '../../../src/channel.ts';
import { readSubscriptionRequest, type SubscriptionRequest } from '../../../workers/transports/subscription-request.ts';
import { headOf } from '../heads.ts';

const SEED = 2026;
const CHANNEL_LIMIT = 4;

function read(target: string): SubscriptionRequest | string {
  return readSubscriptionRequest(headOf('GET', target), '/sse/'.length, 'raw', CHANNEL_LIMIT);
}

describe('channels', () => {
  for (const [target, channels] of [
    ['/sse/alice', 'alice'],
    ['/sse/al%20ice', 'al ice'],
    ['/sse/a+b', 'a+b'],
    ['/sse/news/europe', 'news/europe'],
    ['/sse/news%2Feurope', 'news/europe'],
    ['/sse/%F0%9F%98%80', '😀'],
    ['/sse/a%3Fb%3Dc', 'a?b=c'],
    ['/sse/alice?', 'alice'],
    ['/sse/alice?t=1712&_=x', 'alice'],
    ['/sse/alice?Channel=b', 'alice'],
    ['/sse?channel=alice', 'alice'],
    ['/sse/?channel=alice', 'alice'],
    ['/sse/?channel=a+b', 'a b'],
    ['/sse/?ch%61nnel=alice', 'alice'],
    ['/sse/alice?channel=alice', 'alice'],
    ['/sse/alice?channel=bob', ['alice', 'bob']],
    ['/sse?channel=bob&channel=alice&channel=bob', ['bob', 'alice']],
    ['/sse/a?channel=b&channel=c&channel=d&channel=a', ['a', 'b', 'c', 'd']],
    ['http://gateway/sse/alice?channel=bob', ['alice', 'bob']],
    [`/sse/${'x'.repeat(255)}`, 'x'.repeat(255)],
  ] as const) {
    it(`of ${target.slice(0, 60)}`, () =>
      assert.deepEqual(read(target), { channels, format: 'raw', since: null, who: null }));
  }

  for (const [what, target, fault] of [
    ['none', '/sse', /empty/],
    ['none in the path', '/sse/', /empty/],
    ['none in the query', '/sse?format=raw', /empty/],
    ['an empty one', '/sse?channel=', /empty/],
    ['an empty one beside another', '/sse/alice?channel=', /empty/],
    ['one too many', '/sse/a?channel=b&channel=c&channel=d&channel=e', /at most 4/],
    ['a malformed escape in the path', '/sse/%zz', /path.*percent/],
    ['a cut escape in the path', '/sse/a%2', /path.*percent/],
    ['bytes that are not UTF-8 in the path', '/sse/%FF', /path.*percent/],
    ['an overlong form', '/sse/%C0%AF', /path.*percent/],
    ['a surrogate', '/sse/%ED%A0%80', /path.*percent/],
    ['a malformed escape in the query', '/sse/a?channel=%', /query.*percent/],
    ['a malformed escape in a name that means nothing', '/sse/a?%=1', /query.*percent/],
    ['a control character', '/sse/a%0Ab', /control/],
    ['a NUL', '/sse/a%00', /control/],
    ['a control character beyond ASCII', '/sse/%C2%85', /control/],
    ['a control character in the query', '/sse/a?channel=b%7F', /control/],
    ['a reserved name', '/sse/:publication', /own/],
    ['a reserved name, escaped', '/sse/%3Apublication', /own/],
    ['a reserved name in the query', '/sse/a?channel=:b', /own/],
    ['one that is too long', `/sse/${'x'.repeat(256)}`, /255 bytes/],
    ['one that is too long in bytes', `/sse/${'%C3%A9'.repeat(128)}`, /255 bytes/],
  ] as const) {
    it(`are refused: ${what}`, () => {
      const fault_ = read(target);
      assert.ok(typeof fault_ === 'string', JSON.stringify(fault_));
      assert.match(fault_, fault);
    });
  }

  it('any names arrive as they were meant, by path and by query', () => {
    const name = fc.string({ unit: 'binary', minLength: 1, maxLength: 60 }).filter((text) => text.isWellFormed());
    fc.assert(
      fc.property(name, name, (first, second) => {
        const asked = read(`/sse/${encodeURIComponent(first)}?channel=${encodeURIComponent(second)}`);
        const fault = channelFault(first) ?? channelFault(second);
        if (fault !== null) assert.equal(asked, fault);
        else
          assert.deepEqual(asked, {
            channels: first === second ? first : [first, second],
            format: 'raw',
            since: null,
            who: null,
          });
      }),
      { seed: SEED, numRuns: 2_000 },
    );
  });
});

describe('the format', () => {
  it('is what is asked for, else the default of the transport', () => {
    const head = () => headOf('GET', '/sse/alice?x=1');
    assert.deepEqual(readSubscriptionRequest(head(), 5, 'json', 1), {
      channels: 'alice',
      format: 'json',
      since: null,
      who: null,
    });
    assert.deepEqual(read('/sse/alice?format=json'), { channels: 'alice', format: 'json', since: null, who: null });
    assert.deepEqual(read('/sse/alice?format=json&format=raw'), {
      channels: 'alice',
      format: 'raw',
      since: null,
      who: null,
    });
  });

  it('must be one that there is', () => {
    for (const format of ['', 'JSON', 'xml', 'toString', '__proto__']) {
      assert.equal(read(`/sse/alice?format=${format}`), 'format must be one of: raw, json');
    }
  });
});

describe('who the client is', () => {
  const who = (query: string) => {
    const asked = read(`/sse/alice?${query}`);
    return typeof asked === 'string' ? asked : asked.who;
  };

  it('is what it says, user and info each alone or together', () => {
    assert.equal(who('x=1'), null);
    assert.deepEqual(who('user=bob'), { user: 'bob', info: '' });
    assert.deepEqual(who('user='), { user: '', info: '' });
    assert.deepEqual(who('info=%7B%22a%22:%20[1]%7D'), { user: '', info: '{"a": [1]}' });
    assert.deepEqual(who(`user=${'%C3%A9'.repeat(127)}&info=%22${'x'.repeat(1_022)}%22`), {
      user: 'é'.repeat(127),
      info: `"${'x'.repeat(1_022)}"`,
    });
  });

  for (const [what, query, fault] of [
    ['a user that is too long', `user=${'%C3%A9'.repeat(128)}`, /255 bytes/],
    ['a user with a line break', 'user=a%0Ab', /control/],
    ['info that is too long', `info=%22${'x'.repeat(1_023)}%22`, /1024 bytes/],
    ['info that is no JSON', 'info=%7Ba', /JSON/],
    ['info on two lines', 'info=%5B%0A1%5D', /one line/],
  ] as const) {
    it(`is refused: ${what}`, () => assert.match(String(who(query)), fault));
  }
});
