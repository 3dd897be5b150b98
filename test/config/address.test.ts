// Addresses and networks against what Node makes of them: net.isIP, net.BlockList, and URL's canonical form.

import assert from 'node:assert/strict';
import { BlockList, isIPv4 } from 'node:net';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { addressText, contains, networkOf, parseAddress, parseNetwork } from '../../config/address.ts';

const ipv4 = fc.ipV4();
const ipv6 = fc.oneof(
  fc.ipV6(),
  fc
    .array(fc.oneof(fc.constant(0), fc.nat(0xffff)), { minLength: 8, maxLength: 8 })
    .map((groups) => groups.map((group) => group.toString(16)).join(':')),
);
const anyAddress = fc.oneof(ipv4, ipv6);

/** As WHATWG URL writes it (§3.5), which is RFC 5952 but for IPv4-mapped addresses. */
function canonical(text: string): string {
  return isIPv4(text) ? text : new URL(`http://[${text}]/`).hostname.slice(1, -1);
}

function parsed(text: string): Uint8Array {
  return parseAddress(text) ?? assert.fail(text);
}

describe('an address', () => {
  it('becomes bytes and canonical text again', () => {
    fc.assert(
      fc.property(anyAddress, (text) => {
        const bytes = parsed(text);
        const again = addressText(bytes);
        const mapped = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(canonical(text));
        if (mapped === null) assert.equal(again, canonical(text));
        else assert.equal(bytes.length, 4);
        assert.deepEqual(parseAddress(again), bytes);
      }),
    );
  });

  it('that is IPv4 in IPv6 is IPv4', () => {
    for (const text of ['::ffff:192.0.2.1', '::FFFF:c000:201', '0:0:0:0:0:ffff:192.0.2.1']) {
      assert.equal(addressText(parsed(text)), '192.0.2.1');
    }
    assert.equal(addressText(parsed('::192.0.2.1')), '::c000:201');
  });

  it('has nothing around it', () => {
    for (const text of [
      ...[
        '',
        ' ',
        '1',
        '1.2.3',
        '1.2.3.4.5',
        '01.2.3.4',
        '1.2.3.256',
        '0x1.2.3.4',
        ' 1.2.3.4',
        '1.2.3.4 ',
        '1.2.3.4:80',
      ],
      ...[':', ':::', '1::2::3', '[::1]', 'fe80::1%eth0', '12345::', '::ffff:1.2.3', 'localhost', '1.2.3.4/8'],
    ]) {
      assert.equal(parseAddress(text), null, text);
    }
  });
});

describe('a network', () => {
  it('holds what net.BlockList says it holds', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.record({ a: ipv4, b: ipv4, bits: fc.nat(32) }), fc.record({ a: ipv6, b: ipv6, bits: fc.nat(128) })),
        ({ a, b, bits }) => {
          const family = isIPv4(a) ? 'ipv4' : 'ipv6';
          fc.pre(parsed(a).length === parsed(b).length && (parsed(a).length === 4) === isIPv4(a));
          const masked = addressText(networkOf(parsed(a), bits));
          const network = parseNetwork(`${masked}/${bits}`) ?? assert.fail(masked);
          const list = new BlockList();
          list.addSubnet(masked, bits, family);
          for (const text of [a, b, masked]) {
            assert.equal(contains(network, parsed(text)), list.check(text, family), `${text} in ${masked}/${bits}`);
          }
        },
      ),
    );
  });

  it('is one address without a length', () => {
    const network = parseNetwork('192.0.2.7') ?? assert.fail();
    assert.equal(contains(network, parsed('192.0.2.7')), true);
    assert.equal(contains(network, parsed('::ffff:192.0.2.7')), true);
    assert.equal(contains(network, parsed('192.0.2.6')), false);
  });

  it('does not reach into the other family', () => {
    assert.equal(contains(parseNetwork('::/0') ?? assert.fail(), parsed('192.0.2.7')), false);
    assert.equal(contains(parseNetwork('0.0.0.0/0') ?? assert.fail(), parsed('2001:db8::1')), false);
  });

  it('has no bits set beyond its length, and a length that fits', () => {
    for (const text of [
      ...['10.1.2.3/8', '10.0.0.0/33', '10.0.0.0/08', '10.0.0.0/', '10.0.0.0/-1', '10.0.0.0/8/8', '/8', '10/8'],
      ...['2001:db8::1/32', '::/129', '::ffff:10.0.0.0/104', '::/1e1'],
    ]) {
      assert.equal(parseNetwork(text), null, text);
    }
  });
});
