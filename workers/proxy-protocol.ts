// Reads the PROXY protocol's header, versions 1 and 2: who the client is, as the proxy in front says it before the
// connection's own first byte (haproxy's doc/proxy-protocol.txt, §2.1 and §2.2).
//
// Pure, and strict: the header is whole and right, or it is a fault. A beginning is judged as far as it goes, so that what is
// no header is told from the first wrong byte on, and the verdict never depends on how the bytes were cut. TLVs are walked
// within their bounds and passed over, but for a checksum, which must be right where there is one (§2.2.3).
//
// LOCAL, UNKNOWN, UNSPEC and UNIX sockets name no address: the connection is the proxy's own. A datagram family is taken
// like a stream: so a proxy says that its client came by QUIC.
//
// Cost: nothing is kept between calls. A v1 line, 107 bytes at most, is looked at anew with each byte that comes alone.

import { parseAddress, withoutMapping } from '../config/address.ts';

export interface ProxyHeader {
  /** Just past the header, where the connection's own bytes begin. */
  past: number;
  /** The client's address, 4 or 16 bytes of its own; null for a connection that the proxy makes for itself. */
  client: Uint8Array | null;
}

/** §2.1: the longest line that a v1 header can be, with its CRLF. */
const LINE_LIMIT_BYTES = 107;
/** Addresses take 216 at most; the rest is for TLVs. haproxy sends some hundreds with all its options on. */
export const HEADER_LIMIT_BYTES = 4_096;

const V1_BEGINNING = Buffer.from('PROXY ', 'latin1');
const V2_SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
/** Signature, version and command, family, length. */
const V2_FIXED_BYTES = 16;

const LOCAL = 0x20;
const PROXY = 0x21;
const UNSPEC = 0x00;
const STREAM = 1;
const DATAGRAM = 2;

/** Bytes of both addresses and ports, by family (the upper half of byte 14), and those of the first address. */
const FAMILIES: Readonly<Record<number, { bytes: number; addressBytes: number }>> = {
  1: { bytes: 12, addressBytes: 4 },
  2: { bytes: 36, addressBytes: 16 },
  3: { bytes: 216, addressBytes: 0 },
};

const TLV_FIXED_BYTES = 3;
const TLV_CRC32C = 0x03;

const CR = 0x0d;
const LF = 0x0a;

/**
 * Reads a header out of `buffer[start, end)`, which holds all that has come so far.
 *
 * @returns the header; null while it is not whole; or, as a string, why this is none.
 */
export function readProxyHeader(buffer: Buffer, start: number, end: number): ProxyHeader | string | null {
  if (start === end) return null;
  if (buffer[start] === V2_SIGNATURE[0]) {
    return beginsLike(buffer, start, end, V2_SIGNATURE) ? readV2(buffer, start, end) : NO_HEADER;
  }
  return beginsLike(buffer, start, end, V1_BEGINNING) ? readV1(buffer, start, end) : NO_HEADER;
}

const NO_HEADER = 'no header of the PROXY protocol';
const MALFORMED = 'malformed header of the PROXY protocol';

/** As far as there are bytes. */
function beginsLike(buffer: Buffer, start: number, end: number, beginning: Buffer): boolean {
  const length = Math.min(end - start, beginning.length);
  return buffer.compare(beginning, 0, length, start, start + length) === 0;
}

function readV1(buffer: Buffer, start: number, end: number): ProxyHeader | string | null {
  const bound = Math.min(end, start + LINE_LIMIT_BYTES);
  for (let at = start + V1_BEGINNING.length; at < bound; at++) {
    if (buffer[at] === LF) return MALFORMED;
    if (buffer[at] !== CR) continue;
    if (at + 1 === bound) break;
    if (buffer[at + 1] !== LF) return MALFORMED;
    return readLine(buffer.toString('latin1', start + V1_BEGINNING.length, at), at + 2);
  }
  return bound - start === LINE_LIMIT_BYTES ? MALFORMED : null;
}

/** Exactly one space between; ports as numbers are written (§2.1). What follows UNKNOWN means nothing. */
function readLine(line: string, past: number): ProxyHeader | string {
  if (line === 'UNKNOWN' || line.startsWith('UNKNOWN ')) return { past, client: null };
  const [family, source = '', destination = '', ...ports] = line.split(' ');
  const inFamily = family === 'TCP4' ? isDotted : family === 'TCP6' ? isColoned : null;
  const client = parseAddress(source);
  if (inFamily === null || client === null || parseAddress(destination) === null) return MALFORMED;
  if (!inFamily(source) || !inFamily(destination) || ports.length !== 2 || !ports.every(isPort)) return MALFORMED;
  return { past, client };
}

function isDotted(address: string): boolean {
  return !address.includes(':');
}

function isColoned(address: string): boolean {
  return address.includes(':');
}

function isPort(text: string): boolean {
  return /^(0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535;
}

function readV2(buffer: Buffer, start: number, end: number): ProxyHeader | string | null {
  const available = end - start;
  const command = available > 12 ? (buffer[start + 12] as number) : PROXY;
  const family = available > 13 ? (buffer[start + 13] as number) : UNSPEC;
  // Of LOCAL the family means nothing, whatever it is (§2.2).
  if (command !== LOCAL && (command !== PROXY || !isFamily(family))) return MALFORMED;
  if (available < V2_FIXED_BYTES) return null;
  const past = start + V2_FIXED_BYTES + buffer.readUInt16BE(start + 14);
  const shape = command === LOCAL ? undefined : FAMILIES[family >> 4];
  const tlvs = start + V2_FIXED_BYTES + (shape?.bytes ?? 0);
  if (past - start > HEADER_LIMIT_BYTES) return 'header of the PROXY protocol too long';
  if (tlvs > past) return MALFORMED;
  if (past > end) return null;
  // Of LOCAL and UNSPEC the rest has no known shape (§2.2: it is skipped).
  if (shape === undefined) return { past, client: null };
  if (!tlvsAreRight(buffer, start, tlvs, past)) return MALFORMED;
  const address = start + V2_FIXED_BYTES;
  const bytes = Uint8Array.from(buffer.subarray(address, address + shape.addressBytes));
  return { past, client: bytes.length === 0 ? null : withoutMapping(bytes) };
}

function isFamily(byte: number): boolean {
  const transport = byte & 0x0f;
  return byte === UNSPEC || (FAMILIES[byte >> 4] !== undefined && (transport === STREAM || transport === DATAGRAM));
}

/** Each within the header, the last up to its end; the checksum of the whole header is what it says. */
function tlvsAreRight(buffer: Buffer, start: number, first: number, past: number): boolean {
  for (let at = first; at < past; ) {
    const value = at + TLV_FIXED_BYTES;
    if (value > past) return false;
    const next = value + buffer.readUInt16BE(at + 1);
    if (next > past) return false;
    if (buffer[at] === TLV_CRC32C) {
      if (next - value !== 4 || buffer.readUInt32BE(value) !== checksum(buffer, start, value, past)) return false;
    }
    at = next;
  }
  return true;
}

/** CRC32c (RFC 4960, appendix B) of the header with 0 in place of the checksum itself. */
function checksum(buffer: Buffer, start: number, field: number, past: number): number {
  let crc = 0xffffffff;
  for (let at = start; at < past; at++) {
    const byte = at >= field && at < field + 4 ? 0 : (buffer[at] as number);
    crc = (crc >>> 8) ^ (CRC32C[(crc ^ byte) & 0xff] as number);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

/** Castagnoli's polynomial, reflected. */
const CRC32C = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ ((crc & 1) === 1 ? 0x82f63b78 : 0);
  return crc;
});
