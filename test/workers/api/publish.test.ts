// `/api/publish` and `/api/broadcast`: what reaches the broker, byte for byte, and what is refused with which error.

import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import * as fc from 'fast-check';
import { type ErrorName, LongwireError } from '../../../src/errors.ts';
import { broadcast, publish } from '../../../workers/api/publish.ts';
import { makeGateway, type TestGateway } from '../gateways.ts';
import { NASTY_PAYLOADS } from '../payloads.ts';

const PAYLOAD_LIMIT_BYTES = 1024 * 1024;

let test: TestGateway;

beforeEach(() => {
  test = makeGateway({ payloadLimitBytes: PAYLOAD_LIMIT_BYTES });
});

/** Publishes and gives back the payload that reached the broker. */
async function payloadOf(params: Record<string, unknown>): Promise<Buffer> {
  assert.deepEqual(await publish(test.gateway, { channel: 'alice', ...params }), {});
  const publication = test.broker.published.pop();
  assert.ok(publication !== undefined);
  assert.deepEqual(test.broker.published, []);
  return publication.payload;
}

async function refused(kind: ErrorName, pattern: RegExp, call: () => Promise<object>): Promise<void> {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof LongwireError, String(error));
    assert.equal(error.kind, kind);
    assert.match(error.message, pattern);
    return true;
  });
  assert.deepEqual(test.broker.published, []);
}

function canWrite(json: string): boolean {
  try {
    return JSON.stringify(JSON.parse(json)) === json;
  } catch {
    return false;
  }
}

describe('publish: data', () => {
  it('a string is delivered as it is', async () => {
    for (const text of [
      'hello',
      '',
      ' ',
      '{"a":1}',
      'a\r\nb\0c',
      'Grüße 😀',
      '\u2028',
      '\ufeff',
      'x'.repeat(PAYLOAD_LIMIT_BYTES),
    ]) {
      assert.ok((await payloadOf({ data: text })).equals(Buffer.from(text)));
    }
  });

  it('any other value as its JSON', async () => {
    for (const value of [null, true, false, 0, -1.5, 1e21, [], [1, 'a', null], {}, { a: { b: ['é', '\n'] } }]) {
      assert.equal((await payloadOf({ data: value })).toString(), JSON.stringify(value));
    }
  });

  it('a name that JavaScript has other uses for is a name like any other', async () => {
    const value: unknown = JSON.parse('{"__proto__":{"a":1},"constructor":2,"toJSON":"x"}');
    assert.equal((await payloadOf({ data: value })).toString(), '{"__proto__":{"a":1},"constructor":2,"toJSON":"x"}');
  });

  it('must be there', async () => {
    await refused('bad-request', /data is missing/, () => publish(test.gateway, { channel: 'alice' }));
  });

  it('must be well-formed: a lone surrogate has no UTF-8', async () => {
    for (const data of ['\ud800', 'a\udc00b', '😀'.slice(0, 1)]) {
      await refused('bad-request', /well-formed/, () => publish(test.gateway, { channel: 'alice', data }));
    }
    // Within JSON it has an escape of its own.
    assert.equal((await payloadOf({ data: ['\ud800'] })).toString(), '["\\ud800"]');
  });

  it('is refused when it is nested deeper than this Node can write down', async () => {
    for (const depth of [1_000, 200_000]) {
      const json = `${'['.repeat(depth)}${']'.repeat(depth)}`;
      const call = () => payloadOf({ data: JSON.parse(json) as unknown });
      if (depth === 1_000 || canWrite(json)) assert.equal((await call()).toString(), json);
      else await refused('bad-request', /nested/, call);
    }
  });

  it('is bounded in bytes, not in characters', async () => {
    const fits = 'é'.repeat(PAYLOAD_LIMIT_BYTES / 2);
    assert.equal((await payloadOf({ data: fits })).length, PAYLOAD_LIMIT_BYTES);
    await refused('limit-exceeded', /1048577 bytes; 1048576/, () =>
      publish(test.gateway, { channel: 'alice', data: `${fits}x` }),
    );
  });
});

describe('publish: b64data', () => {
  it('gives bytes, padded or not', async () => {
    for (const payload of Object.values(NASTY_PAYLOADS)) {
      const padded = payload.toString('base64');
      assert.ok((await payloadOf({ b64data: padded })).equals(payload));
      assert.ok((await payloadOf({ b64data: padded.replace(/=+$/, '') })).equals(payload));
    }
  });

  it('must be base64 and nothing else', async () => {
    for (const b64data of [
      'a',
      'aaaaa',
      'a===',
      'aa=',
      'aaa==',
      '=',
      '====',
      'aa==aa==',
      'a-_a',
      'aa aa',
      'aaaa\n',
      'é',
      1,
      null,
      {},
    ]) {
      await refused('bad-request', /base64/, () => publish(test.gateway, { channel: 'alice', b64data }));
    }
  });

  it('excludes data', async () => {
    await refused('bad-request', /not both/, () => publish(test.gateway, { channel: 'alice', data: '', b64data: '' }));
  });

  it('is bounded as what it stands for, and takes as much as a body can hold', async () => {
    const most = Buffer.alloc(PAYLOAD_LIMIT_BYTES, 0xff);
    assert.ok((await payloadOf({ b64data: most.toString('base64') })).equals(most));
    const more = Buffer.alloc(PAYLOAD_LIMIT_BYTES + 1).toString('base64');
    await refused('limit-exceeded', /1048577/, () => publish(test.gateway, { channel: 'alice', b64data: more }));
    const bodyful = 'A'.repeat(128 * PAYLOAD_LIMIT_BYTES);
    await refused('limit-exceeded', /are allowed/, () => publish(test.gateway, { channel: 'alice', b64data: bodyful }));
  });
});

describe('publish: channel, event and id', () => {
  it('reach the broker', async () => {
    await publish(test.gateway, { channel: 'news/é 😀', data: 'x', event: 'headline', id: '42' });
    await publish(test.gateway, { channel: 'a', data: 'x', event: null, id: '' });
    const seen = test.broker.published.map(({ channel, event, id }) => [channel, event, id]);
    assert.deepEqual(seen, [
      ['news/é 😀', 'headline', '42'],
      ['a', null, ''],
    ]);
  });

  it('a channel must be one that a client may hold', async () => {
    for (const [channel, fault] of [
      [undefined, /string/],
      [null, /string/],
      [7, /string/],
      [['a'], /string/],
      ['', /empty/],
      [':publication', /own/],
      ['a\nb', /control/],
      ['x'.repeat(256), /255/],
      ['é'.repeat(128), /255/],
      ['\ud800', /well-formed/],
    ] as const) {
      await refused('bad-request', fault, () => publish(test.gateway, { channel, data: 'x' }));
    }
  });

  it('the name of the gateway’s own events is refused', async () => {
    await refused('bad-request', /must not be longwire/, () =>
      publish(test.gateway, { channel: 'a', data: 'x', event: 'longwire' }),
    );
  });

  it('name and id must fit on a line of an event stream', async () => {
    for (const field of ['event', 'id']) {
      for (const value of ['a\nb', 'a\rb', 'a\0b', '\ud800', 7, {}, false, 'x'.repeat(256), 'é'.repeat(128)]) {
        const call = () => publish(test.gateway, { channel: 'a', data: 'x', [field]: value });
        await refused('bad-request', new RegExp(`^${field} must`), call);
      }
      await payloadOf({ data: 'x', [field]: 'x'.repeat(255) });
    }
  });

  it('what else is in the request is passed over', async () => {
    await payloadOf({ data: 'x', skip_history: true, tags: { a: 'b' }, idempotency_key: 'y' });
  });
});

describe('publish: the broker', () => {
  it('is waited for, and its refusal is the answer', async () => {
    test.broker.onPublish = () => Promise.reject(new LongwireError('unavailable', 'away'));
    await refused('unavailable', /away/, () => publish(test.gateway, { channel: 'a', data: 'x' }));
    await refused('unavailable', /away/, () => broadcast(test.gateway, { channels: ['a'], data: 'x' }));
    let taken = (): void => {};
    test.broker.onPublish = () => new Promise((resolve) => (taken = resolve));
    let answered = false;
    const answer = publish(test.gateway, { channel: 'a', data: 'x' }).then(() => {
      answered = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(answered, false);
    taken();
    await answer;
  });
});

describe('broadcast', () => {
  it('publishes one payload to each channel, in order, and says so of each', async () => {
    const result = await broadcast(test.gateway, { channels: ['a', 'b', 'a'], data: { x: 1 }, event: 'e', id: '1' });
    assert.deepEqual(result, { responses: [{ result: {} }, { result: {} }, { result: {} }] });
    assert.deepEqual(
      test.broker.published.map(({ channel, payload, event, id }) => [channel, payload.toString(), event, id]),
      ['a', 'b', 'a'].map((channel) => [channel, '{"x":1}', 'e', '1']),
    );
  });

  it('leaves out the channels whose names are wrong, and says which', async () => {
    const { responses } = (await broadcast(test.gateway, { channels: ['a', '', 7, 'b'], data: 'x' })) as {
      responses: { result?: object; error?: { code: number; message: string } }[];
    };
    assert.deepEqual(
      responses.map(({ error }) => error?.code ?? null),
      [null, 107, 107, null],
    );
    assert.deepEqual(
      test.broker.published.map(({ channel }) => channel),
      ['a', 'b'],
    );
  });

  it('of wrong names alone is answered though the broker be away', async () => {
    test.broker.onPublish = () => Promise.reject(new LongwireError('unavailable', 'away'));
    const { responses } = (await broadcast(test.gateway, { channels: ['', ':a'], data: 'x' })) as {
      responses: object[];
    };
    assert.equal(responses.length, 2);
    assert.deepEqual(test.broker.published, []);
  });

  it('needs channels and a payload', async () => {
    for (const channels of [undefined, null, [], 'a', { 0: 'a' }, 7]) {
      await refused('bad-request', /channels/, () => broadcast(test.gateway, { channels, data: 'x' }));
    }
    await refused('bad-request', /data is missing/, () => broadcast(test.gateway, { channels: ['a'] }));
    await refused('bad-request', /^event/, () => broadcast(test.gateway, { channels: ['a'], data: 'x', event: 7 }));
  });
});

describe('whatever the request', () => {
  it('is published or refused with an error of the table, never anything else', async () => {
    const params = fc.record(
      {
        channel: fc.oneof(fc.string({ unit: 'binary' }), fc.anything()),
        channels: fc.oneof(fc.array(fc.oneof(fc.string(), fc.anything())), fc.anything()),
        data: fc.jsonValue(),
        b64data: fc.oneof(fc.base64String(), fc.string(), fc.jsonValue()),
        event: fc.oneof(fc.string({ unit: 'binary' }), fc.jsonValue()),
        id: fc.oneof(fc.string({ unit: 'binary' }), fc.jsonValue()),
      },
      { requiredKeys: [] },
    );
    await fc.assert(
      fc.asyncProperty(params, fc.constantFrom(publish, broadcast), async (given, method) => {
        try {
          await method(test.gateway, given as Record<string, unknown>);
        } catch (error) {
          assert.ok(error instanceof LongwireError, String(error));
        }
      }),
      { seed: 2026, numRuns: 3_000 },
    );
  });
});
