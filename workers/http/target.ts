// What request targets are made of: percent-encoding (RFC 3986 §2.1), queries, and authorities (RFC 3986 §3.2).
//
// Decoding is strict: a '%' without two hexadecimal digits, and bytes that are not UTF-8 (overlong forms and surrogates
// included), are faults of the peer and never replaced by U+FFFD: a channel name that was silently changed would be
// somebody else's channel.
//
// Cost: runs once a request, on texts that `targetLimitBytes` bounds.

import { CLOSING_BRACKET, COLON, HEX_VALUE, NINE, OPENING_BRACKET, PERCENT, REG_NAME, ZERO } from './characters.ts';

export interface QueryValue {
  name: string;
  value: string;
}

/** Decodes a piece of a path or query; null for a malformed escape or bytes that are not UTF-8. '+' stays '+'. */
export function percentDecode(text: string): string | null {
  if (!text.includes('%')) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

/**
 * The pairs of a query in their order, decoded as application/x-www-form-urlencoded: '+' is a space, a name without '='
 * has the value '', empty pairs (`a=1&&b=2`) are passed over. Null when any escape is malformed or not UTF-8.
 *
 * @param query Raw, without '?'. Takes memory in proportion to it.
 */
export function queryValues(query: string): QueryValue[] | null {
  const values: QueryValue[] = [];
  for (let begin = 0; begin < query.length; ) {
    let end = query.indexOf('&', begin);
    if (end < 0) end = query.length;
    if (end > begin) {
      const equals = query.indexOf('=', begin);
      const nameEnd = equals < 0 || equals > end ? end : equals;
      const name = formDecode(query.slice(begin, nameEnd));
      const value = formDecode(query.slice(Math.min(nameEnd + 1, end), end));
      if (name === null || value === null) return null;
      values.push({ name, value });
    }
    begin = end + 1;
  }
  return values;
}

/**
 * Whether the bytes are `uri-host [ ":" port ]`, what Host and the authority of an absolute-form target may hold
 * (RFC 9110 §7.2). The host may be empty, as the grammar has it; userinfo is not allowed (RFC 9110 §4.2.4).
 */
export function isAuthority(buffer: Buffer, start: number, end: number): boolean {
  let pos = start;
  if (pos < end && buffer[pos] === OPENING_BRACKET) {
    pos++;
    // IPv6address or IPvFuture. That the groups add up is not looked at: nothing here connects to it.
    const literal = pos;
    while (pos < end && isLiteralByte(buffer[pos] as number)) pos++;
    if (pos === literal || pos === end || buffer[pos] !== CLOSING_BRACKET) return false;
    pos++;
  } else {
    while (pos < end) {
      const byte = buffer[pos] as number;
      if (REG_NAME[byte] === 1) pos++;
      else if (byte === PERCENT && end - pos > 2 && isHex(buffer[pos + 1]) && isHex(buffer[pos + 2])) pos += 3;
      else break;
    }
  }
  if (pos === end) return true;
  if (buffer[pos] !== COLON) return false;
  for (pos++; pos < end; pos++) {
    const byte = buffer[pos] as number;
    if (byte < ZERO || byte > NINE) return false;
  }
  return true;
}

function formDecode(text: string): string | null {
  return percentDecode(text.includes('+') ? text.replaceAll('+', ' ') : text);
}

function isLiteralByte(byte: number): boolean {
  return REG_NAME[byte] === 1 || byte === COLON;
}

function isHex(byte: number | undefined): boolean {
  return HEX_VALUE[byte as number] !== 255;
}
