// Headers of the PROXY protocol as proxies write them, and a second reader of them that knows nothing of the first: it
// takes whole headers only, with a regular expression and slices where the other looks at bytes.

import { isIPv4, isIPv6 } from 'node:net';
import { addressText, parseAddress } from '../../config/address.ts';

export const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');

export type Tlv = readonly [type: number, value: Buffer];

/** A v2 header: version and command, family, what is between, and TLVs. */
export function v2(command: number, family: number, addresses: Buffer, tlvs: readonly Tlv[] = []): Buffer {
  const parts = tlvs.map(([type, value]) => {
    const fixed = Buffer.from([type, 0, 0]);
    fixed.writeUInt16BE(value.length, 1);
    return Buffer.concat([fixed, value]);
  });
  const rest = Buffer.concat([addresses, ...parts]);
  const fixed = Buffer.from([command, family, 0, 0]);
  fixed.writeUInt16BE(rest.length, 2);
  return Buffer.concat([SIGNATURE, fixed, rest]);
}

/** Both addresses, then ports 1024 and 443. */
export function addresses(source: string, destination: string): Buffer {
  return Buffer.concat([bytesOf(source), bytesOf(destination), Buffer.from([4, 0, 1, 187])]);
}

export function tcp4(source: string, tlvs: readonly Tlv[] = []): Buffer {
  return v2(0x21, 0x11, addresses(source, '192.0.2.1'), tlvs);
}

export function tcp6(source: string, tlvs: readonly Tlv[] = []): Buffer {
  return v2(0x21, 0x21, addresses(source, '2001:db8::1'), tlvs);
}

/** The same header with the checksum TLV behind it, or a wrong one. */
export function checksummed(header: Buffer, off = 0): Buffer {
  const whole = Buffer.concat([header, Buffer.from([3, 0, 4, 0, 0, 0, 0])]);
  whole.writeUInt16BE(whole.length - 16, 14);
  whole.writeUInt32BE((crc32c(whole) + off) >>> 0, whole.length - 4);
  return whole;
}

export interface Reading {
  consumed: number;
  client: string | null;
}

/** What a header at the beginning of `bytes` says; null where there is no whole one, or a wrong one. */
export function readByReference(bytes: Buffer): Reading | null {
  const text = bytes.toString('latin1');
  const end = text.slice(0, 107).indexOf('\r\n');
  if (text.startsWith('PROXY ') && end >= 0) {
    const line = text.slice(6, end);
    if (/[\r\n]/.test(line)) return null;
    if (/^UNKNOWN( .*)?$/s.test(line)) return { consumed: end + 2, client: null };
    const [, family, source = '', destination = '', ...ports] =
      /^TCP([46]) ([0-9a-fA-F.:]+) ([0-9a-fA-F.:]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})$/.exec(line) ?? [];
    const is = family === '4' ? isIPv4 : isIPv6;
    if (!is(source) || !is(destination) || ports.some((port) => Number(port) > 65_535)) return null;
    return { consumed: end + 2, client: addressText(parseAddress(source) as Uint8Array) };
  }
  if (bytes.length < 16 || !bytes.subarray(0, 12).equals(SIGNATURE)) return null;
  const length = bytes.readUInt16BE(14);
  const [command = 0, family = 0] = bytes.subarray(12, 14);
  const rest = bytes.subarray(16, 16 + length);
  const families = [0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32];
  const known = command === 0x20 || (command === 0x21 && families.includes(family));
  if (!known || length > 4_080 || rest.length < length) return null;
  const consumed = 16 + length;
  if (command === 0x20 || family === 0) return { consumed, client: null };
  const [size = 0, width = 0] = [[], [12, 4], [36, 16], [216, 0]][family >> 4] as number[];
  if (length < size) return null;
  let tlvs = rest.subarray(size);
  while (tlvs.length > 0) {
    if (tlvs.length < 3 || tlvs.length < 3 + tlvs.readUInt16BE(1)) return null;
    const value = tlvs.subarray(3, 3 + tlvs.readUInt16BE(1));
    if (tlvs[0] === 3) {
      const header = Buffer.from(bytes.subarray(0, consumed));
      const at = consumed - tlvs.length + 3;
      header.fill(0, at, at + value.length);
      if (value.length !== 4 || value.readUInt32BE() !== crc32c(header)) return null;
    }
    tlvs = tlvs.subarray(3 + value.length);
  }
  if (width === 0) return { consumed, client: null };
  const source =
    width === 4 ? rest.subarray(0, 4).join('.') : rest.toString('hex', 0, 16).replace(/(.{4})(?=.)/g, '$1:');
  return { consumed, client: addressText(parseAddress(source) as Uint8Array) };
}

/** Bit by bit. */
export function crc32c(bytes: Buffer): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

function bytesOf(text: string): Buffer {
  return Buffer.from(parseAddress(text) as Uint8Array);
}
