// Bodies, by length and in chunks, rule by rule; each fed whole, byte by byte and cut at random. The cases of faults are
// keyed by fault, so that one without cases does not compile.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BodyReader } from '../../../workers/http/body-reader.ts';
import { BODY_FAULTS } from '../../../workers/http/faults.ts';
import { FAULT } from '../../../workers/http/head-parser.ts';
import { Random } from './random.ts';
import { BYTE_BY_BYTE, type Cuts, randomCuts, WHOLE } from './readings.ts';

const LIMIT_BYTES = 1000;
const RANDOM_CUTS = 8;
const CHUNKED = { bodyKind: 'chunked', contentLength: 0 } as const;
const FULL = `3e8\r\n${'x'.repeat(LIMIT_BYTES)}\r\n`;

const FAULT_CASES: { readonly [Name in keyof typeof BODY_FAULTS]: Readonly<Record<string, string>> } = {
  lineEnd: {
    'a bare CR behind a size': '3\rabc',
    'a bare CR behind an extension': '3;a=b\rabc',
    'a bare CR behind a chunk': '3\r\nabc\r0',
    'a bare CR behind a trailer': '0\r\na: b\rc',
    'a bare CR at the end': '0\r\n\rG',
  },
  bodyLimit: {
    'a chunk over the limit': '3e9',
    'a chunk far over the limit': 'ffffffffffffffff',
    'chunks that add up to more': `${FULL}1`,
  },
  chunkSize: {
    empty: '\r\n',
    'a bare LF': '3\n',
    'a space before': ' 3',
    'a space behind': '3 ',
    'a tab behind': '3\t',
    'a plus': '+3',
    'a minus': '-3',
    '0x': '0x3',
    'a letter that is no digit': '3g',
    'an underscore': '1_0',
    'a fraction': '1.0',
    'a NUL': '\0',
    'a byte beyond ASCII': '\u00b3',
    'only an extension': ';a',
    'more zeros than anyone needs': '00000000000000001',
    'a quote': '"3"',
  },
  chunkEnd: {
    'one byte more than its size': '3\r\nabcd',
    'a bare LF behind it': '3\r\nabc\n',
    'the next size at once': '3\r\nabc0',
  },
  extension: {
    'no name': '3;\r\n',
    'no name between two': '3;;',
    'a space before the name': '3; ',
    'a space behind the name': '3;a ',
    'no value': '3;a=\r',
    'two equals signs': '3;a=b=',
    'a quote in a token': '3;a=b"',
    'more behind the quotes': '3;a="b"c',
    'a CR in quotes': '3;a="\r',
    'a LF in quotes': '3;a="\n',
    'a control character behind a backslash': '3;a="\\\u0001',
    'a bare LF': '3;a\n',
  },
  extensionLimit: {
    'one too long': `3;${'a'.repeat(5000)}`,
    'one too long in quotes': `3;a="${'\\"'.repeat(5000)}`,
    'many that add up to too much': `1;${'a'.repeat(100)}\r\nx\r\n`.repeat(50),
  },
  trailer: {
    'no colon': '0\r\nabc\r',
    'no name': '0\r\n:',
    'a space before the colon': '0\r\na :',
    folded: '0\r\na: b\r\n c',
    'white space at the beginning': '0\r\n ',
    'a NUL in a value': '0\r\na: \0',
    'a bare LF behind a value': '0\r\na: b\n',
    'a bare LF at the end': '0\r\n\n',
    'a byte beyond ASCII in a name': '0\r\né',
  },
  trailerForbidden: {
    'Content-Length': '0\r\nContent-Length:',
    'Transfer-Encoding': '0\r\na: b\r\ntransfer-encoding:',
    Host: '0\r\nHOST:',
    Trailer: '0\r\nTrailer:',
  },
  trailerLimit: {
    'one too long': `0\r\na: ${'b'.repeat(5000)}`,
    'a name too long': `0\r\n${'b'.repeat(5000)}`,
    'many that add up to too much': `0\r\n${'a: b\r\n'.repeat(1000)}`,
  },
};

describe('a chunked body at fault', () => {
  for (const [name, cases] of Object.entries(FAULT_CASES)) {
    const { status, text } = BODY_FAULTS[name as keyof typeof BODY_FAULTS];
    for (const [what, bytes] of Object.entries(cases)) {
      it(`${status} ${text}: ${what}`, () => {
        const outcome = readEveryWay(CHUNKED, bytes);
        assert.deepEqual(outcome, { fault: `${status} ${text}`, body: null, taken: FAULT });
      });
    }
  }
});

describe('a chunked body', () => {
  for (const [what, bytes, body] of [
    ['of nothing', '0\r\n\r\n', ''],
    ['of nothing, said with zeros', '0000\r\n\r\n', ''],
    ['of one chunk', '3\r\nabc\r\n0\r\n\r\n', 'abc'],
    ['of some chunks', '3\r\nabc\r\n1\r\nd\r\n0a\r\n0123456789\r\n0\r\n\r\n', 'abcd0123456789'],
    [
      'with digits in both cases',
      `a\r\n${'x'.repeat(10)}\r\nA\r\n${'y'.repeat(10)}\r\n0\r\n\r\n`,
      `${'x'.repeat(10)}${'y'.repeat(10)}`,
    ],
    ['of chunks that look like framing', '7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n', '\r\n0\r\n\r\n'],
    ['of all kinds of bytes', '4\r\n\0\r\n\u00ff\r\n0\r\n\r\n', '\0\r\n\u00ff'],
    ['of the most bytes', `${FULL}0\r\n\r\n`, 'x'.repeat(LIMIT_BYTES)],
    ['with extensions', '3;a;b=c;d="e;\\"f"\r\nabc\r\n0;a=""\r\n\r\n', 'abc'],
    ['with trailers', '3\r\nabc\r\n0\r\nA: b\r\nx:\r\ny:\t \u00e9\r\n\r\n', 'abc'],
  ] as const) {
    it(what, () => {
      assert.deepEqual(readEveryWay(CHUNKED, `${bytes}GET`), { fault: null, body, taken: bytes.length });
    });
  }

  it('is not done before its last byte', () => {
    const text = '3;a\r\nabc\r\n0\r\nb: c\r\n\r\n';
    const reader = new BodyReader(CHUNKED, LIMIT_BYTES);
    for (let i = 0; i < text.length; i++) {
      assert.equal(reader.done, false);
      assert.equal(reader.push(Buffer.from(text), i, i + 1), i + 1);
    }
    assert.equal(reader.done, true);
  });

  it('gives nothing once it is at fault', () => {
    const reader = new BodyReader(CHUNKED, LIMIT_BYTES);
    const bytes = Buffer.from('3\r\nabcX');
    assert.equal(reader.push(bytes, 0, bytes.length), FAULT);
    assert.equal(reader.push(Buffer.from('\r\n0\r\n\r\n'), 0, 7), FAULT);
    assert.equal(reader.push(bytes, 0, 0), FAULT);
    assert.equal(reader.done, false);
    assert.equal(reader.body().length, 0);
  });
});

describe('a body of a length', () => {
  for (const [what, length] of [
    ['of one byte', 1],
    ['of some', 100],
    ['of the most', LIMIT_BYTES],
  ] as const) {
    it(what, () => {
      const body = 'y\r\n0'.repeat(LIMIT_BYTES).slice(0, length);
      const outcome = readEveryWay({ bodyKind: 'length', contentLength: length }, `${body}GET`);
      assert.deepEqual(outcome, { fault: null, body, taken: length });
    });
  }

  it('of nothing is done at once', () => {
    for (const bodyKind of ['length', 'none'] as const) {
      const reader = new BodyReader({ bodyKind, contentLength: 0 }, 0);
      assert.equal(reader.done, true);
      assert.equal(reader.push(Buffer.from('GET'), 1, 3), 1);
      assert.equal(reader.body().length, 0);
    }
  });

  it('over the limit is a fault before any of it has come', () => {
    for (const contentLength of [LIMIT_BYTES + 1, Number.MAX_SAFE_INTEGER]) {
      const reader = new BodyReader({ bodyKind: 'length', contentLength }, LIMIT_BYTES);
      assert.equal(reader.faultStatus, 413);
      assert.equal(reader.faultText, BODY_FAULTS.bodyLimit.text);
      assert.equal(reader.done, false);
      assert.equal(reader.push(Buffer.from('x'), 0, 1), FAULT);
    }
  });
});

describe('memory', () => {
  it('is taken for what has come, not for what was announced', () => {
    const announced = 1 << 30;
    const bytes = Buffer.from('40000000\r\nx');
    const before = process.memoryUsage().arrayBuffers;
    const readers = [
      new BodyReader({ bodyKind: 'length', contentLength: announced }, announced),
      new BodyReader(CHUNKED, announced),
    ];
    readers[0]?.push(bytes, bytes.length - 1, bytes.length);
    readers[1]?.push(bytes, 0, bytes.length);
    assert.ok(process.memoryUsage().arrayBuffers - before < 1 << 20);
  });

  it('is not the memory that the bytes came in', () => {
    const bytes = Buffer.from('abc');
    const reader = new BodyReader({ bodyKind: 'length', contentLength: 3 }, LIMIT_BYTES);
    reader.push(bytes, 0, 3);
    bytes.fill(0);
    assert.equal(reader.body().toString(), 'abc');
  });
});

interface Outcome {
  fault: string | null;
  /** null until it is whole. */
  body: string | null;
  taken: number;
}

function readEveryWay(head: ConstructorParameters<typeof BodyReader>[0], text: string): Outcome {
  const bytes = Buffer.from(text, 'latin1');
  const whole = read(head, bytes, WHOLE);
  assert.deepEqual(read(head, bytes, BYTE_BY_BYTE), whole, 'byte by byte');
  for (let seed = 0; seed < RANDOM_CUTS; seed++) {
    assert.deepEqual(read(head, bytes, randomCuts(new Random(seed))), whole, `cut at random, seed ${seed}`);
  }
  return whole;
}

function read(head: ConstructorParameters<typeof BodyReader>[0], bytes: Buffer, cuts: Cuts): Outcome {
  const reader = new BodyReader(head, LIMIT_BYTES);
  let at = 0;
  for (let end = 0; end < bytes.length && !reader.done; ) {
    end = Math.min(bytes.length, cuts(end));
    // A buffer of this cut alone, as when the connection's shared one has been overwritten since.
    const piece = Buffer.from(bytes.subarray(at, end));
    const past = reader.push(piece, 0, piece.length);
    if (past === FAULT) return { fault: `${reader.faultStatus} ${reader.faultText}`, body: null, taken: FAULT };
    at += past;
    assert.ok(reader.done || at === end);
  }
  return { fault: null, body: reader.done ? reader.body().toString('latin1') : null, taken: at };
}
