// The automaton against two checks of Node's own, and against what "can still become UTF-8" means: some sequel exists.

import assert from 'node:assert/strict';
import { isUtf8 } from 'node:buffer';
import { describe, it } from 'node:test';
import { ACCEPT, advanceUtf8, REJECT, stepUtf8 } from '../../../workers/websocket/utf8.ts';
import { Random } from '../http/random.ts';
import { NASTY_PAYLOADS } from '../payloads.ts';

/** Every beginning of a character can be ended by one of these. */
const SEQUELS = ['', '80', '8080', '808080', 'bf', 'bf80', 'bf8080'].map((hex) => Buffer.from(hex, 'hex'));
const DECODER = new TextDecoder('utf-8', { ignoreBOM: true });
const MUTATED = 20_000;

describe('UTF-8', () => {
  it('takes every code point, and wants more inside each', () => {
    for (let point = 0; point <= 0x10ffff; point++) {
      if (point === 0xd800) point = 0xe000;
      const bytes = Buffer.from(String.fromCodePoint(point));
      let state = ACCEPT;
      for (let i = 0; i < bytes.length; i++) {
        assert.ok(i === 0 || (state !== ACCEPT && state !== REJECT), `${i} bytes of ${point.toString(16)}`);
        state = stepUtf8(state, bytes, i, i + 1);
      }
      assert.equal(state, ACCEPT, point.toString(16));
    }
  });

  it('takes no surrogate', () => {
    for (let point = 0xd800; point < 0xe000; point++) {
      const bytes = Buffer.of(0xed, 0x80 | ((point >> 6) & 0x3f), 0x80 | (point & 0x3f));
      assert.equal(stepUtf8(ACCEPT, bytes, 0, 2), REJECT);
    }
  });

  it('rejects at the first byte that no sequel can save: all beginnings of two bytes, with what may follow', () => {
    for (let pair = 0; pair < 0x1_0000; pair++) {
      // What does not begin a character of several bytes needs no more than one sequel.
      const thirds = pair < 0xc000 ? [0x80] : [0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff];
      for (const third of thirds) {
        check(Buffer.of(pair >> 8, pair & 0xff, third));
      }
    }
  });

  it('agrees on all of four bytes from the edges', () => {
    const edges = [
      0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef,
    ];
    edges.push(0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff);
    const trail = edges.slice(0, 8);
    for (const a of edges)
      for (const b of edges) for (const c of trail) for (const d of trail) check(Buffer.of(a, b, c, d));
  });

  it('agrees on nasty payloads, whole', () => {
    for (const [what, bytes] of Object.entries(NASTY_PAYLOADS)) {
      assert.equal(stepUtf8(ACCEPT, bytes, 0, bytes.length) === ACCEPT, isUtf8(bytes), what);
      assert.equal(advanceUtf8(ACCEPT, bytes, 0, bytes.length) === ACCEPT, isUtf8(bytes), what);
    }
  });

  it('agrees on mutated and random bytes, at every byte', () => {
    const random = new Random(1);
    const sound = Buffer.from('aé日😀\u07ff\u0800\uffff\u{10000}\u{10ffff}');
    for (let i = 0; i < MUTATED; i++) {
      const mutated = random.once(2);
      const bytes = mutated ? Buffer.from(sound) : Buffer.alloc(1 + random.below(12));
      for (let count = 1 + random.below(mutated ? 2 : 12); count > 0; count--) {
        bytes[random.below(bytes.length)] = random.once(2) ? 0x80 | random.below(0x80) : random.below(0x100);
      }
      check(bytes);
    }
  });

  it('stays rejected', () => {
    const text = Buffer.alloc(1000, 'a');
    assert.equal(stepUtf8(REJECT, text, 0, 1), REJECT);
    assert.equal(advanceUtf8(REJECT, text, 0, text.length), REJECT);
  });

  it('says of nothing what it was', () => {
    for (let state = ACCEPT; state <= REJECT; state++) {
      assert.equal(stepUtf8(state, Buffer.alloc(3), 2, 2), state);
      assert.equal(advanceUtf8(state, Buffer.alloc(3), 2, 2), state);
    }
  });

  it('comes to the same for long stretches, cut anywhere, sound or not', () => {
    const random = new Random(2);
    const text = Buffer.from('aé日😀'.repeat(200));
    for (let i = 0; i < 2_000; i++) {
      const bytes = Buffer.from(text);
      if (random.once(2)) bytes[random.below(bytes.length)] = random.below(256);
      const start = random.below(12);
      const end = random.below(bytes.length) + 1;
      const middle = Math.min(end, start + random.below(end));
      const whole = stepUtf8(ACCEPT, bytes, start, Math.max(start, end));
      assert.equal(advanceUtf8(ACCEPT, bytes, start, Math.max(start, end)), whole);
      if (start <= middle) {
        assert.equal(
          advanceUtf8(advanceUtf8(ACCEPT, bytes, start, middle), bytes, middle, Math.max(middle, end)),
          whole,
        );
      }
    }
  });
});

/** Whole and byte by byte; accepted where it is UTF-8, rejected as soon as no sequel would make it so. */
function check(bytes: Buffer): void {
  const hex = bytes.toString('hex');
  let state = ACCEPT;
  for (let end = 1; end <= bytes.length; end++) {
    state = stepUtf8(state, bytes, end - 1, end);
    const beginning = bytes.subarray(0, end);
    assert.equal(state === ACCEPT, isUtf8(beginning), `${end} bytes of ${hex}`);
    if (state === ACCEPT) continue;
    const lost = !SEQUELS.some((sequel) => isUtf8(Buffer.concat([beginning, sequel])));
    assert.equal(state === REJECT, lost, `${end} bytes of ${hex}`);
    if (lost) break;
  }
  assert.equal(stepUtf8(ACCEPT, bytes, 0, bytes.length), state, hex);
  // A decoder that replaces what is not UTF-8 gives other bytes back.
  assert.equal(Buffer.from(DECODER.decode(bytes)).equals(bytes), state === ACCEPT, hex);
}
