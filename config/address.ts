// IP addresses and networks as bytes: what LONGWIRE_TRUSTED_PROXIES lists, and what sockets, PROXY headers and Forwarded
// fields name.
//
// An address is 4 bytes or 16. IPv4 in IPv6's clothes (`::ffff:192.0.2.1`, RFC 4291 §2.5.5.2), which is what a socket for
// both families calls its IPv4 peers, is the 4 bytes: one client has one address, however it came. Zones (`fe80::1%eth0`)
// are no part of an address and are not taken.

import { isIPv4, isIPv6 } from 'node:net';

export interface Network {
  readonly address: Uint8Array;
  /** How many of its leading bits belong to the network. */
  readonly bits: number;
}

const IPV6_BYTES = 16;
const IPV4_OFFSET = 12;

/** The bytes of an address as text, or null when it is none. */
export function parseAddress(text: string): Uint8Array | null {
  if (isIPv4(text)) return Uint8Array.from(text.split('.'), Number);
  return isIPv6(text) && !text.includes('%') ? withoutMapping(ipv6Bytes(text)) : null;
}

/** 4 bytes for an IPv4 address in 16, all else as it is. */
export function withoutMapping(address: Uint8Array): Uint8Array {
  if (address.length !== IPV6_BYTES || address[10] !== 0xff || address[11] !== 0xff) return address;
  for (let i = 0; i < 10; i++) if (address[i] !== 0) return address;
  return address.subarray(IPV4_OFFSET);
}

/** An address as text: dotted, or as RFC 5952 §4 has it. */
export function addressText(address: Uint8Array): string {
  if (address.length !== IPV6_BYTES) return address.join('.');
  const groups = Array.from({ length: 8 }, (_, i) =>
    (((address[2 * i] as number) << 8) | (address[2 * i + 1] as number)).toString(16),
  );
  const { start, length } = longestRunOfZeros(groups);
  if (length < 2) return groups.join(':');
  return `${groups.slice(0, start).join(':')}::${groups.slice(start + length).join(':')}`;
}

/** `192.0.2.0/24`, `2001:db8::/32` or a single address; null for anything else, host bits that are set included. */
export function parseNetwork(text: string): Network | null {
  const [, named = '', length] = /^([^/]*)(?:\/(0|[1-9]\d{0,2}))?$/.exec(text) ?? [];
  const address = parseAddress(named);
  if (address === null) return null;
  const all = address.length * 8;
  const bits = length === undefined ? all : Number(length);
  // A length counts the bits of what is written, and what is written as IPv6 has not the bits of IPv4.
  if (length !== undefined && address.length !== IPV6_BYTES && isIPv6(named)) return null;
  if (bits > all) return null;
  const network = { address, bits };
  return networkOf(address, bits).every((byte, i) => byte === address[i]) ? network : null;
}

export function contains({ address: network, bits }: Network, address: Uint8Array): boolean {
  if (network.length !== address.length) return false;
  const whole = bits >> 3;
  for (let i = 0; i < whole; i++) if (network[i] !== address[i]) return false;
  const rest = bits & 7;
  return rest === 0 || ((network[whole] as number) ^ (address[whole] as number)) >> (8 - rest) === 0;
}

/** The address with all but its first bits at 0. */
export function networkOf(address: Uint8Array, bits: number): Uint8Array {
  return address.map((byte, i) => byte & (0xff00 >> Math.min(8, Math.max(0, bits - 8 * i))));
}

/** Of text that `isIPv6` takes. */
function ipv6Bytes(text: string): Uint8Array {
  const [front = '', back] = text.split('::');
  const head = groupBytes(front);
  const tail = groupBytes(back ?? '');
  const bytes = new Uint8Array(IPV6_BYTES);
  bytes.set(head, 0);
  bytes.set(tail, IPV6_BYTES - tail.length);
  return bytes;
}

function groupBytes(text: string): number[] {
  if (text === '') return [];
  return text.split(':').flatMap((group) => {
    if (group.includes('.')) return group.split('.').map(Number);
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 0xff];
  });
}

/** The first of the longest, RFC 5952 §4.2.3. */
function longestRunOfZeros(groups: readonly string[]): { start: number; length: number } {
  let longest = { start: 0, length: 0 };
  for (let start = 0; start < groups.length; start++) {
    let length = 0;
    while (groups[start + length] === '0') length++;
    if (length > longest.length) longest = { start, length };
    start += length;
  }
  return longest;
}
