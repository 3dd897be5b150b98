// Whom a list of hops names: each form of a node, where the walk ends, and lists that cannot be read.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { addressText, contains, parseAddress, parseNetwork } from '../../config/address.ts';
import { type ForwardedHeader, forwardedClient } from '../../workers/forwarded.ts';
import { HeadParser } from '../../workers/http/head-parser.ts';

const LIMITS = { targetLimitBytes: 1_000, headLimitBytes: 20_000, headerLimit: 100 };
const TRUSTED = parseNetwork('10.0.0.0/8') ?? assert.fail();

/** The client; 'none' without a list, 'fault' for one that cannot be read. */
function read(header: ForwardedHeader, ...fields: string[]): string {
  const parser = new HeadParser(LIMITS);
  const head = Buffer.from(
    `GET / HTTP/1.1\r\nHost: a\r\n${fields.map((field) => `${field}\r\n`).join('')}\r\n`,
    'latin1',
  );
  assert.equal(parser.parse(head, 0, head.length), head.length);
  const client = forwardedClient(parser.head, header, (address) => contains(TRUSTED, address));
  if (client === null) return 'none';
  return typeof client === 'string' ? 'fault' : addressText(client);
}

function xff(...values: string[]): string {
  return read('x-forwarded-for', ...values.map((value) => `X-Forwarded-For: ${value}`));
}

function forwarded(...values: string[]): string {
  return read('forwarded', ...values.map((value) => `Forwarded: ${value}`));
}

describe('X-Forwarded-For', () => {
  const cases: [values: string[], client: string][] = [
    [[], 'none'],
    [[''], 'none'],
    [[' , ,'], 'none'],
    [['203.0.113.9'], '203.0.113.9'],
    [['203.0.113.9, 10.0.0.1,10.0.0.2'], '203.0.113.9'],
    [['198.51.100.1, 203.0.113.9, 10.0.0.1'], '203.0.113.9'],
    [['203.0.113.9', '10.0.0.1', '10.0.0.2'], '203.0.113.9'],
    [['198.51.100.1', '203.0.113.9'], '203.0.113.9'],
    [['10.0.0.3, 10.0.0.2, 10.0.0.1'], '10.0.0.3'],
    [['203.0.113.9,\t10.0.0.1 ,'], '203.0.113.9'],
    [['2001:DB8::9'], '2001:db8::9'],
    [['[2001:db8::9]'], '2001:db8::9'],
    [['[2001:db8::9]:4711'], '2001:db8::9'],
    [['203.0.113.9:4711'], '203.0.113.9'],
    [['::ffff:203.0.113.9'], '203.0.113.9'],
    [['::ffff:10.0.0.1'], '10.0.0.1'],
    // The word of a stranger, however it is written, is not looked at.
    [['<script>, "\\, 203.0.113.9, 10.0.0.1'], '203.0.113.9'],
    [['203.0.113.9, unknown, 10.0.0.1'], '10.0.0.1'],
    [['203.0.113.9, unknown'], 'none'],
    [['203.0.113.9, localhost'], 'fault'],
    [['203.0.113.9, 10.0.0.1:port'], 'fault'],
    [['203.0.113.9, 10.0.0.256'], 'fault'],
    [['203.0.113.9, [10.0.0.1]'], 'fault'],
    [['203.0.113.9 10.0.0.1'], 'fault'],
    [['fe80::1%eth0'], 'fault'],
  ];
  for (const [values, client] of cases) {
    it(`${JSON.stringify(values)}: ${client}`, () => assert.equal(xff(...values), client));
  }

  it('is read where it is what the proxies write, and Forwarded is not', () => {
    const both = ['X-Forwarded-For: 203.0.113.9', 'Forwarded: for=198.51.100.1'];
    assert.equal(read('x-forwarded-for', ...both), '203.0.113.9');
    assert.equal(read('forwarded', ...both), '198.51.100.1');
  });
});

describe('Forwarded', () => {
  const cases: [values: string[], client: string][] = [
    [[], 'none'],
    [[''], 'none'],
    [['for=203.0.113.9'], '203.0.113.9'],
    [['For="203.0.113.9:47011"'], '203.0.113.9'],
    [['for="[2001:db8:cafe::17]:4711"'], '2001:db8:cafe::17'],
    [['for="[2001:db8:cafe::17]"'], '2001:db8:cafe::17'],
    [['for=192.0.2.60;proto=http;by=203.0.113.43'], '192.0.2.60'],
    [['proto=https ; for=192.0.2.60; by="_a;b,c"'], '192.0.2.60'],
    [['for=192.0.2.43, for=198.51.100.17'], '198.51.100.17'],
    [['for=192.0.2.43,for=10.0.0.1', 'for=10.0.0.2;host="a, b"'], '192.0.2.43'],
    [['for=192.0.2.43,,for=10.0.0.1,;;, ;for=10.0.0.2;'], '192.0.2.43'],
    [['for=10.0.0.3,for=10.0.0.1'], '10.0.0.3'],
    [['for="\\2\\03.0.113.9"'], '203.0.113.9'],
    [['for=203.0.113.9, for=unknown, for=10.0.0.1'], '10.0.0.1'],
    [['for=203.0.113.9, for=_hidden, for=10.0.0.1'], '10.0.0.1'],
    [['for=203.0.113.9, for="_SEVKISEK:_p0rt"'], 'none'],
    [['for=203.0.113.9, proto=http, for=10.0.0.1'], '10.0.0.1'],
    [['for=203.0.113.9;for=10.0.0.1'], 'fault'],
    [['for'], 'fault'],
    [['for='], 'fault'],
    [['for =203.0.113.9'], 'fault'],
    [['for="203.0.113.9'], 'fault'],
    [['for=2001:db8::1'], 'fault'],
    [['for=[2001:db8::1]'], 'fault'],
    [['for=203.0.113.9 for=10.0.0.1'], 'fault'],
    [['203.0.113.9'], 'fault'],
    [['for=example.org'], 'fault'],
    [['for="", for=10.0.0.1'], 'fault'],
    // A quote that a stranger has left open swallows what proxies append: a list that cannot be read, and not another one.
    [['for="x', 'for=203.0.113.9'], 'fault'],
  ];
  for (const [values, client] of cases) {
    it(`${JSON.stringify(values)}: ${client}`, () => assert.equal(forwarded(...values), client));
  }
});

describe('both', () => {
  const address = fc.oneof(fc.ipV4(), fc.ipV6()).map((text) => addressText(parseAddress(text) ?? assert.fail()));
  const hop = fc.oneof(
    address,
    fc.ipV4().map((text) => text.replace(/^\d+/, '10')),
  );

  it('name the last that no trusted proxy has, whatever stands before it', () => {
    fc.assert(
      fc.property(fc.array(hop, { minLength: 1, maxLength: 20 }), (hops) => {
        const strangers = hops.filter((text) => !contains(TRUSTED, parseAddress(text) ?? assert.fail()));
        const expected = strangers.at(-1) ?? hops[0];
        assert.equal(xff(hops.join(', ')), expected);
        assert.equal(xff(...hops), expected);
        const nodes = hops.map((text) => `for="${text.includes(':') ? `[${text}]` : text}"`);
        assert.equal(forwarded(nodes.join(',')), expected);
        assert.equal(forwarded(...nodes), expected);
      }),
    );
  });

  it('are read, or are a fault, whatever they hold, in time that grows with their length', () => {
    const piece = fc.constantFrom(
      'for=',
      '"',
      '\\',
      ',',
      ';',
      ' ',
      '10.0.0.1',
      '203.0.113.9',
      '[',
      ']',
      ':',
      '::',
      'unknown',
      '_a',
      '=',
      'é',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
        for (const answer of [xff(pieces.join('')), forwarded(pieces.join(''))]) {
          assert.ok(answer === 'none' || answer === 'fault' || parseAddress(answer) !== null, answer);
        }
      }),
      { numRuns: 2_000 },
    );
    for (const text of ['10.0.0.1,', 'for=10.0.0.1,', 'for=a;', '"\\', ';', ' ', 'for="']) {
      const long = text.repeat(19_000 / text.length);
      const startedAt = performance.now();
      xff(long);
      forwarded(long);
      assert.ok(performance.now() - startedAt < 500, text);
    }
  });
});
