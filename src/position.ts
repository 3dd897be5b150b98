// A position: how far into a broker's history somebody has come. `epoch.offset` in text, opaque to clients.
//
// Offsets come from one counter for all channels of a broker, so one position says how far in any set of channels, and
// the offsets of a single channel have holes. An epoch is one life of that counter: when it may have lost numbers that were
// already told to somebody, the epoch is another one (docs/adr/0015-one-counter-for-all-channels.md).

export interface Position {
  readonly epoch: string;
  readonly offset: number;
}

const PATTERN = /^([A-Za-z0-9_-]{1,32})\.(0|[1-9]\d{0,15})$/;

export function formatPosition(epoch: string, offset: number): string {
  return `${epoch}.${offset}`;
}

/** Null for anything that no position reads like. */
export function parsePosition(text: string): Position | null {
  const [, epoch, digits] = PATTERN.exec(text) ?? [];
  if (epoch === undefined || digits === undefined) return null;
  const offset = Number(digits);
  return Number.isSafeInteger(offset) ? { epoch, offset } : null;
}
