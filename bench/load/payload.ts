// What the benchmark publishes: `{sequence} {published at, microseconds}`, padded with spaces to a fixed size.
//
// The sequence tells a lost, doubled or overtaken publication; the moment, on the clock that all processes share, tells its
// latency. Decimal digits are read straight from the bytes: no string is made for a delivery.

const SPACE = 0x20;
const ZERO = 0x30;

/** The least size that holds every sequence and moment; smaller sizes asked for are raised to it. */
const PAYLOAD_LEAST_BYTES = 32;

export function makePayload(sequence: number, publishedAtMs: number, bytes: number): string {
  return `${sequence} ${Math.round(publishedAtMs * 1000)}`.padEnd(Math.max(bytes, PAYLOAD_LEAST_BYTES), ' ');
}

/**
 * Reads the decimal number that begins at `start` and ends at a space or at `end`.
 *
 * @returns -1 where there are no digits or something else is among them.
 */
export function readNumber(bytes: Uint8Array, start: number, end: number): number {
  let value = 0;
  let at = start;
  for (; at < end; at++) {
    const byte = bytes[at] as number;
    if (byte === SPACE) break;
    if (byte < ZERO || byte > ZERO + 9) return -1;
    value = value * 10 + (byte - ZERO);
  }
  return at === start ? -1 : value;
}

/** Where the number after the one at `start` begins; `end` when there is none. */
export function nextNumber(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end && bytes[at] !== SPACE) at++;
  return Math.min(at + 1, end);
}
