// Character classes of HTTP/1.1 as tables of 256 bytes: one load a byte on the parsers' hot paths.
//
// The classes are those of RFC 9110 §5.6 and RFC 3986; each table holds 1 for what is in its class and 0 for all else,
// so a scanning loop runs on while the table says 1 and looks closer only where it stops.
//
// Cost: 1.5 KB a worker; nothing a connection.

export const HTAB = 0x09;
export const LF = 0x0a;
export const CR = 0x0d;
export const SP = 0x20;
export const DOUBLE_QUOTE = 0x22;
export const PERCENT = 0x25;
export const ASTERISK = 0x2a;
export const COMMA = 0x2c;
export const SLASH = 0x2f;
export const ZERO = 0x30;
export const NINE = 0x39;
export const COLON = 0x3a;
export const SEMICOLON = 0x3b;
export const EQUALS = 0x3d;
export const QUESTION_MARK = 0x3f;
export const OPENING_BRACKET = 0x5b;
export const BACKSLASH = 0x5c;
export const CLOSING_BRACKET = 0x5d;

const ALPHA_DIGIT = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789';

/** tchar, RFC 9110 §5.6.2: methods, field names, chunk extension names. */
export const TOKEN = classOf((byte) => `!#$%&'*+-.^_\`|~${ALPHA_DIGIT}`.includes(String.fromCharCode(byte)));

/** field-vchar, SP and HTAB, RFC 9110 §5.5: visible ASCII and obs-text; no other control character, so no CR, LF or NUL. */
export const VALUE = classOf((byte) => byte === HTAB || (byte >= SP && byte !== 0x7f));

/** What a target may hold besides its first '?': visible ASCII without '#' (RFC 9112 §3.2: a target has no fragment). */
export const TARGET = classOf((byte) => byte > SP && byte < 0x7f && byte !== 0x23 && byte !== QUESTION_MARK);

/** reg-name and IPv4address without pct-encoded, RFC 3986 §3.2.2: unreserved and sub-delims. */
export const REG_NAME = classOf((byte) => `-._~!$&'()*+,;=${ALPHA_DIGIT}`.includes(String.fromCharCode(byte)));

/** What qdtext allows, RFC 9110 §5.6.4: VALUE without '"' and '\'. */
export const QUOTED = classOf((byte) => VALUE[byte] === 1 && byte !== DOUBLE_QUOTE && byte !== BACKSLASH);

/** The value of a hexadecimal digit, 255 for any other byte. */
export const HEX_VALUE = Uint8Array.from({ length: 256 }, (_, byte) => {
  const value = '0123456789abcdef'.indexOf(String.fromCharCode(byte).toLowerCase());
  return value < 0 || byte > 0x7f ? 255 : value;
});

/** ASCII lower case; all else as it is. `byte | 0x20` would make '_' and DEL, CR and '-' the same. */
const LOWER = Uint8Array.from({ length: 256 }, (_, byte) => (byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte));

/** Whether the bytes from `at` on are `lowerCaseText` in any case. The caller has compared the lengths. */
export function equalsIgnoringCase(buffer: Buffer, at: number, lowerCaseText: string): boolean {
  for (let i = 0; i < lowerCaseText.length; i++) {
    if (LOWER[buffer[at + i] as number] !== lowerCaseText.charCodeAt(i)) return false;
  }
  return true;
}

/** Whether the bytes from `at` on are `text`, ASCII. The caller has compared the lengths. */
export function equalsExactly(buffer: Buffer, at: number, text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    if (buffer[at + i] !== text.charCodeAt(i)) return false;
  }
  return true;
}

function classOf(holds: (byte: number) => boolean): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, byte) => (holds(byte) ? 1 : 0));
}
