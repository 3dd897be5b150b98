// The PROXY protocol's header: every form, each limit, every cut, and a hundred thousand mutated ones against a second
// reader.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { addressText } from '../../config/address.ts';
import { HEADER_LIMIT_BYTES, readProxyHeader } from '../../workers/proxy-protocol.ts';
import { Random } from './http/random.ts';
import {
  addresses,
  checksummed,
  crc32c,
  type Reading,
  readByReference,
  SIGNATURE,
  type Tlv,
  tcp4,
  tcp6,
  v2,
} from './proxy-headers.ts';

const MUTATIONS = 100_000;

/** Where a read begins in its buffer is not where the buffer begins. */
const BEFORE = Buffer.from('PROXY TCP4 ');

type Outcome = Reading | 'incomplete' | 'fault';

function read(bytes: Buffer): Outcome {
  const buffer = Buffer.concat([BEFORE, bytes]);
  const outcome = readProxyHeader(buffer, BEFORE.length, buffer.length);
  if (outcome === null) return 'incomplete';
  if (typeof outcome === 'string') return 'fault';
  const client = outcome.client === null ? null : addressText(outcome.client);
  buffer.fill(0xff);
  assert.equal(outcome.client === null ? null : addressText(outcome.client), client, 'the address is a copy');
  return { consumed: outcome.past - BEFORE.length, client };
}

/** Byte by byte up to its verdict, which no byte behind it changes. */
function readBytewise(bytes: Buffer): Outcome {
  let outcome: Outcome = 'incomplete';
  for (let end = 0; end <= bytes.length && outcome === 'incomplete'; end++) outcome = read(bytes.subarray(0, end));
  assert.deepEqual(read(bytes), outcome, bytes.toString('latin1'));
  return outcome;
}

function line(text: string): Buffer {
  return Buffer.from(`PROXY ${text}\r\n`, 'latin1');
}

const NOOP: Tlv = [4, Buffer.alloc(5)];
const AUTHORITY: Tlv = [2, Buffer.from('push.example')];
const UNIX = Buffer.alloc(216, '/run/x\0');

const GOOD: readonly [what: string, header: Buffer, client: string | null][] = [
  ['v1, IPv4', line('TCP4 203.0.113.9 192.0.2.1 56324 443'), '203.0.113.9'],
  ['v1, lowest', line('TCP4 0.0.0.0 0.0.0.0 0 0'), '0.0.0.0'],
  ['v1, highest', line('TCP4 255.255.255.255 255.255.255.255 65535 65535'), '255.255.255.255'],
  ['v1, IPv6', line('TCP6 2001:DB8::9 2001:db8::1 56324 443'), '2001:db8::9'],
  [
    'v1, the longest IPv6',
    line(`TCP6 ${'ffff:'.repeat(7)}ffff ${'ffff:'.repeat(7)}ffff 65535 65535`),
    'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
  ],
  ['v1, IPv4 in IPv6', line('TCP6 ::ffff:203.0.113.9 ::ffff:192.0.2.1 1 2'), '203.0.113.9'],
  ['v1, unknown', line('UNKNOWN'), null],
  ['v1, unknown, with something behind it', line('UNKNOWN whatever this is \xff\0'), null],
  ['v1, unknown, of the greatest length', line(`UNKNOWN ${'x'.repeat(91)}`), null],
  ['v2, IPv4', tcp4('203.0.113.9'), '203.0.113.9'],
  ['v2, IPv6', tcp6('2001:db8::9'), '2001:db8::9'],
  ['v2, IPv4 in IPv6', v2(0x21, 0x21, Buffer.concat([mapped(9), mapped(1), Buffer.alloc(4)])), '203.0.113.9'],
  ['v2, QUIC over IPv4', v2(0x21, 0x12, addresses('203.0.113.9', '192.0.2.1')), '203.0.113.9'],
  ['v2, QUIC over IPv6', v2(0x21, 0x22, addresses('2001:db8::9', '2001:db8::1')), '2001:db8::9'],
  ['v2, UNIX stream', v2(0x21, 0x31, UNIX), null],
  ['v2, UNIX datagram', v2(0x21, 0x32, UNIX), null],
  ['v2, unspecified', v2(0x21, 0x00, Buffer.alloc(0)), null],
  ['v2, unspecified, with something behind it', v2(0x21, 0x00, Buffer.from('whatever')), null],
  ['v2, local', v2(0x20, 0x00, Buffer.alloc(0)), null],
  ['v2, local, with addresses', v2(0x20, 0x11, addresses('203.0.113.9', '192.0.2.1')), null],
  ['v2, local, of a family that there is not', v2(0x20, 0xff, Buffer.alloc(5)), null],
  ['v2, local, too short for its addresses', v2(0x20, 0x21, Buffer.alloc(3)), null],
  ['v2 with TLVs', tcp4('203.0.113.9', [NOOP, AUTHORITY, [0x20, Buffer.alloc(0)]]), '203.0.113.9'],
  ['v2 with TLVs nobody knows', tcp6('2001:db8::9', [[0xff, Buffer.alloc(300)]]), '2001:db8::9'],
  ['v2 with a checksum', checksummed(tcp4('203.0.113.9', [AUTHORITY])), '203.0.113.9'],
  ['v2, UNIX with a checksum', checksummed(v2(0x21, 0x31, UNIX)), null],
  [
    'v2 of the greatest length',
    tcp4('203.0.113.9', [[4, Buffer.alloc(HEADER_LIMIT_BYTES - 16 - 12 - 3)]]),
    '203.0.113.9',
  ],
];

const BAD: readonly [what: string, header: Buffer][] = [
  ['a request', Buffer.from('GET / HTTP/1.1\r\n')],
  ['a request that begins alike', Buffer.from('PUT / HTTP/1.1\r\n')],
  ['a TLS handshake', Buffer.from('1603010200', 'hex')],
  ['an empty line', Buffer.from('\r\n\r\nGET')],
  ['v1 in lower case', Buffer.from('proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n')],
  ['v1 without its space', Buffer.from('PROXY\r\n')],
  ...[
    ...[
      '',
      'TCP4',
      'TCP5 1.2.3.4 1.2.3.4 1 1',
      'tcp4 1.2.3.4 1.2.3.4 1 1',
      'UNKNOWNS',
      'unknown',
      'UDP4 1.2.3.4 1.2.3.4 1 1',
    ],
    ...[
      'TCP4 1.2.3.4 1.2.3.4 1',
      'TCP4 1.2.3.4 1.2.3.4 1 1 ',
      'TCP4 1.2.3.4 1.2.3.4 1 1 1',
      'TCP4  1.2.3.4 1.2.3.4 1 1',
    ],
    ...[
      'TCP4 1.2.3.4 1.2.3.4 01 1',
      'TCP4 1.2.3.4 1.2.3.4 65536 1',
      'TCP4 1.2.3.4 1.2.3.4 -1 1',
      'TCP4 1.2.3.4 1.2.3.4 1 1e1',
    ],
    ...[
      'TCP4 1.2.3.04 1.2.3.4 1 1',
      'TCP4 1.2.3.256 1.2.3.4 1 1',
      'TCP4 1.2.3 1.2.3.4 1 1',
      'TCP4 1.2.3.4 localhost 1 1',
    ],
    ...[
      'TCP4 ::1 ::1 1 1',
      'TCP6 1.2.3.4 1.2.3.4 1 1',
      'TCP6 ::1 1.2.3.4 1 1',
      'TCP6 fe80::1%eth0 ::1 1 1',
      'TCP6 [::1] ::1 1 1',
    ],
    ...[
      'TCP4 1.2.3.4 1.2.3.4 1\t1',
      'TCP4 1.2.3.4\0 1.2.3.4 1 1',
      'UNKNOWN\n',
      'UNKNOWN a\rb',
      `UNKNOWN ${'x'.repeat(92)}`,
    ],
  ].map((text): [string, Buffer] => [`v1: ${JSON.stringify(text)}`, line(text)]),
  ['v1 with LF alone', Buffer.from('PROXY UNKNOWN\n')],
  ['v1 without an end', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(200)}`)],
  ['v2 of another version', v2(0x11, 0x11, addresses('203.0.113.9', '192.0.2.1'))],
  ['v2 with another command', v2(0x22, 0x11, addresses('203.0.113.9', '192.0.2.1'))],
  ['v2 of an unknown family', v2(0x21, 0x41, Buffer.alloc(216))],
  ['v2 of an unknown transport', v2(0x21, 0x13, addresses('203.0.113.9', '192.0.2.1'))],
  ['v2 of a transport without a family', v2(0x21, 0x01, Buffer.alloc(0))],
  ['v2 of a family without a transport', v2(0x21, 0x10, addresses('203.0.113.9', '192.0.2.1'))],
  ['v2 too short for IPv4', v2(0x21, 0x11, Buffer.alloc(11))],
  ['v2 too short for IPv6', v2(0x21, 0x21, Buffer.alloc(35))],
  ['v2 too short for UNIX', v2(0x21, 0x31, Buffer.alloc(215))],
  ['v2 that is too long', tcp4('203.0.113.9', [[4, Buffer.alloc(HEADER_LIMIT_BYTES - 16 - 12 - 2)]])],
  ['v2 with half a TLV head', Buffer.concat([withLength(tcp4('203.0.113.9'), 14), Buffer.alloc(2)])],
  ['v2 with a TLV over its end', Buffer.concat([withLength(tcp4('203.0.113.9'), 15), Buffer.from([4, 0, 1])])],
  ['v2 with a wrong checksum', checksummed(tcp4('203.0.113.9'), 1)],
  ['v2 with a checksum of three bytes', tcp4('203.0.113.9', [[3, Buffer.alloc(3)]])],
];

function mapped(last: number): Buffer {
  return Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 203, 0, 113, last]);
}

function withLength(header: Buffer, length: number): Buffer {
  const copy = Buffer.from(header);
  copy.writeUInt16BE(length, 14);
  return copy;
}

describe('a PROXY header', () => {
  for (const [what, header, client] of GOOD) {
    it(`${what}: is read, whole and cut anywhere, up to its end`, () => {
      const expected = { consumed: header.length, client };
      assert.deepEqual(readBytewise(header), expected);
      assert.deepEqual(readBytewise(Buffer.concat([header, Buffer.from('GET / HTTP/1.1\r\n')])), expected);
      assert.deepEqual(readByReference(header), expected);
      for (let end = 0; end < header.length; end++) assert.equal(read(header.subarray(0, end)), 'incomplete', `${end}`);
    });
  }

  for (const [what, header] of BAD) {
    it(`${what}: is a fault, whole and cut anywhere`, () => {
      assert.equal(readBytewise(header), 'fault');
      assert.equal(readByReference(header), null);
    });
  }

  it('is told from anything else by its first wrong byte', () => {
    for (const beginning of [Buffer.from('PROXY '), SIGNATURE]) {
      for (let length = 1; length < beginning.length; length++) {
        const wrong = Buffer.concat([beginning.subarray(0, length), Buffer.from('?')]);
        assert.equal(read(wrong), 'fault', wrong.toString('latin1'));
      }
    }
  });

  it('has a checksum as RFC 3720 has it', () => {
    // Appendix B.4 there: 32 bytes of zeros, and of ones.
    assert.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa);
    assert.equal(crc32c(Buffer.alloc(32, 0xff)), 0x62a8ab43);
  });

  it(`${MUTATIONS} mutated ones come to what a second reader makes of them, however they are cut`, () => {
    const random = new Random(20);
    const headers = [...GOOD.map(([, header]) => header), ...BAD.map(([, header]) => header)].filter(
      ({ length }) => length < 400,
    );
    let good = 0;
    for (let i = 0; i < MUTATIONS; i++) {
      const bytes = mutate(headers[random.below(headers.length)] as Buffer, random);
      const whole = read(bytes);
      const expected = readByReference(bytes);
      if (typeof whole === 'object') {
        good++;
        assert.deepEqual(whole, expected, bytes.toString('hex'));
      } else {
        assert.equal(expected, null, bytes.toString('hex'));
      }
      // A beginning has not come to another verdict: it is open, or it is the same.
      const beginning = read(bytes.subarray(0, random.below(bytes.length + 1)));
      if (beginning !== 'incomplete') assert.deepEqual(beginning, whole, bytes.toString('hex'));
    }
    assert.ok(good > MUTATIONS / 20, `${good} were still right`);
  });
});

function mutate(header: Buffer, random: Random): Buffer {
  let bytes = Buffer.concat([header, Buffer.from('GET /')]);
  for (let changes = random.below(3); changes > 0; changes--) {
    const at = random.below(bytes.length);
    const kind = random.below(4);
    const piece = Buffer.from([kind === 0 ? random.below(256) : (' 0159.:\r\nTC\0'.charCodeAt(random.below(12)) ?? 0)]);
    if (kind === 3) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1)]);
    else bytes = Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(kind === 2 ? at : at + 1)]);
  }
  return bytes;
}
