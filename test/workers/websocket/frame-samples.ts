// Bytes of WebSocket clients to feed parsers with: frames that are sound, odd or wrong, and then changed byte by byte.
//
// Half of the samples are not changed, and most frames are sound, so that what is read goes deep before it is a fault.
// Text is cut into frames without regard for characters. The same random numbers make the same samples.

import type { Random } from '../http/random.ts';
import { changeOnce } from '../http/samples.ts';
import { BINARY, CLOSE, CONTINUE, clientFrame, closePayload, PING, PONG, randomBytes, TEXT } from './client-frames.ts';

// biome-ignore format: a list, read across
const TEXTS = [
  '', 'a', 'Hello', '{"subscribe":"a"}', 'κόσμε', '日本語', '😀😀', '\u0000', '\ufeff', '\u07ff\u0800\uffff\u{10000}\u{10ffff}',
  'x'.repeat(125), 'x'.repeat(126), 'é'.repeat(64), `${'x'.repeat(254)}é`, '😀'.repeat(70), 'x'.repeat(300),
].map((text) => Buffer.from(text));
/** Not UTF-8: overlong, surrogates, beyond the end, cut, stray. */
// biome-ignore format: a list, read across
const NO_TEXTS = [
  'c080', 'e08080', 'f0808080', 'eda080', 'edbfbf', 'f4908080', 'f5808080', 'ff', 'fe', '80', 'bf', 'c3', 'e282', 'f09f98',
  'c3c3', 'e228a1', 'f0288cbc', '61c380c3', 'cebae1bdb9cf83cebcceb5eda080656469746564',
].map((hex) => Buffer.from(hex, 'hex'));

// biome-ignore format: a list, read across
const CODES = [
  1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999,
];
// biome-ignore format: a list, read across
const ODD_CODES = [
  0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535,
];

/** Bytes that parsers stumble over, for changes. */
// biome-ignore format: a list, read across
export const BYTES = [
  0x00, 0x01, 0x02, 0x7e, 0x7f, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8a, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xe0, 0xed, 0xf0, 0xf4,
  0xfd, 0xfe, 0xff,
];

/** One to five messages and control frames, each more or less sound. */
export function makeFrameSample(random: Random): Buffer {
  const odd = random.once(2);
  const frames: Buffer[] = [];
  for (let count = 1 + random.below(5); count > 0; count--) addMessage(frames, random, odd);
  if (random.once(4)) frames.push(makeClose(random, odd));
  if (random.once(16)) frames.push(makeControl(random, odd));
  let bytes = Buffer.concat(frames);
  if (odd && random.once(2)) {
    for (let count = 1 + random.below(3); count > 0; count--) {
      const kind = random.below(7);
      bytes = Buffer.from(
        changeOnce(bytes, kind, random.below(bytes.length + 1), random.pick(BYTES), 1 + random.below(12)),
      );
    }
  }
  return bytes;
}

function addMessage(frames: Buffer[], random: Random, odd: boolean): void {
  if (random.once(3)) {
    frames.push(makeControl(random, odd));
    return;
  }
  const text = random.once(2);
  const payload = text ? makeText(random, odd) : randomBytes(random, random.below(random.once(4) ? 200 : 8));
  const cuts = random.once(2) ? [] : Array.from({ length: random.below(4) }, () => random.below(payload.length + 1));
  const bounds = [0, ...cuts.sort((a, b) => a - b), payload.length];
  for (let i = 1; i < bounds.length; i++) {
    const opcode = i > 1 ? CONTINUE : text ? TEXT : BINARY;
    frames.push(makeFrame(random, odd, opcode, payload.subarray(bounds[i - 1], bounds[i]), i === bounds.length - 1));
    if (random.once(6)) frames.push(makeControl(random, odd));
  }
}

function makeText(random: Random, odd: boolean): Buffer {
  const pieces = [random.pick(TEXTS), odd && random.once(6) ? random.pick(NO_TEXTS) : random.pick(TEXTS)];
  return Buffer.concat(random.once(3) ? pieces : pieces.reverse().slice(1));
}

function makeControl(random: Random, odd: boolean): Buffer {
  const length = odd && random.once(40) ? 126 : random.pick([0, 0, 4, 9, 124, 125]);
  return makeFrame(random, odd, random.once(2) ? PING : PONG, randomBytes(random, length), true);
}

function makeClose(random: Random, odd: boolean): Buffer {
  if (random.once(4)) return makeFrame(random, odd, CLOSE, randomBytes(random, odd ? random.below(3) : 0), true);
  const code = odd && random.once(3) ? random.pick(ODD_CODES) : random.pick(CODES);
  return makeFrame(random, odd, CLOSE, closePayload(code, makeText(random, odd).subarray(0, 124)), true);
}

function makeFrame(random: Random, odd: boolean, opcode: number, payload: Buffer, fin: boolean): Buffer {
  const oddly = () => odd && random.once(40);
  return clientFrame(oddly() ? random.below(16) : opcode, payload, {
    fin: oddly() ? !fin : fin,
    reserved: oddly() ? random.below(8) : 0,
    mask: oddly() ? null : random.once(8) ? Buffer.alloc(4) : randomBytes(random, 4),
    ...(oddly() ? { lengthBytes: random.once(2) ? 2 : 8 } : {}),
    ...(oddly() ? { length: random.pick([401n, 65_536n, 0xffff_ffffn, 1n << 53n, (1n << 63n) - 1n, 1n << 63n]) } : {}),
  });
}
