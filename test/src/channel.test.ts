// Channel names: the rule, at its edges.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CHANNEL_LIMIT_BYTES, channelFault, RESERVED_PREFIX } from '../../src/channel.ts';

describe('a channel name', () => {
  for (const name of [
    'a',
    'alice',
    'news/europe',
    'a:b',
    ' ',
    ' a ',
    'push:alice',
    '*',
    '$',
    '?#&=%',
    '"\\',
    'Grüße',
    '😀',
    '\u2028',
    '\u00a0',
    '\ufeff',
    '__proto__',
    'x'.repeat(CHANNEL_LIMIT_BYTES),
    'é'.repeat(127),
    '😀'.repeat(63),
  ]) {
    it(`may be ${JSON.stringify(name.slice(0, 20))}, ${Buffer.byteLength(name)} bytes`, () => {
      assert.equal(channelFault(name), null);
    });
  }

  for (const [name, fault] of [
    ['', /empty/],
    ['x'.repeat(CHANNEL_LIMIT_BYTES + 1), /longer than 255 bytes/],
    ['é'.repeat(128), /longer than 255 bytes/],
    ['x'.repeat(1_000_000), /longer than 255 bytes/],
    [RESERVED_PREFIX, /own/],
    [':publication', /own/],
    ['::', /own/],
  ] as const) {
    it(`may not be ${JSON.stringify(name.slice(0, 20))}, ${Buffer.byteLength(name)} bytes`, () => {
      assert.match(channelFault(name) ?? '', fault);
    });
  }

  it('holds no control character, wherever it stands, and every other character is fine', () => {
    for (let code = 0; code < 0x10000; code++) {
      if (code >= 0xd800 && code < 0xe000) continue;
      const control = code < 0x20 || (code >= 0x7f && code < 0xa0);
      const fault = channelFault(`a${String.fromCharCode(code)}`);
      assert.equal(fault, control ? 'a channel name must not hold control characters' : null, `U+${code.toString(16)}`);
    }
    for (const name of ['\n', '\na', 'a\0b', 'a\r\n']) assert.match(channelFault(name) ?? '', /control/);
  });

  it('is told the rule, never the name: it may be logged and sent back', () => {
    for (const name of ['x'.repeat(300), ':secret', 'secret\n']) {
      assert.doesNotMatch(channelFault(name) ?? '', /secret|xxx|\n/);
    }
  });
});
