// Channel namespaces: options by what stands before the first ':' of a channel's name. `chat:room1` is in `chat`.
//
// Channels without a ':' and those whose prefix names no namespace take `default`. What the file says is read by
// parse-namespaces.ts, in the primary; this half is what workers need of it.
//
// Cost: a slice and a look-up a publication where there are namespaces, a comparison where there are none.

export interface NamespaceOptions {
  /** Most publications kept of a channel; 0 for no history. */
  historySize: number;
  /** How long they are kept after the channel's last publication. */
  historyTtlSeconds: number;
  /** Whether a slow subscriber skips to the newest publication instead of being closed. */
  latestOnly: boolean;
  /** Whether it is known who holds a channel. */
  presence: boolean;
  /** Whether its subscribers are told who comes and goes; only with `presence`. */
  joinLeave: boolean;
  /** Largest payload; 0 for LONGWIRE_PAYLOAD_LIMIT_BYTES. */
  payloadLimitBytes: number;
}

export interface Namespaces {
  default: NamespaceOptions;
  named: Record<string, NamespaceOptions>;
}

export const DEFAULT_OPTIONS: NamespaceOptions = {
  historySize: 0,
  historyTtlSeconds: 0,
  latestOnly: false,
  presence: false,
  joinLeave: false,
  payloadLimitBytes: 0,
};

/** What holds without a file. */
export const NO_NAMESPACES: Namespaces = { default: DEFAULT_OPTIONS, named: {} };

const COLON = 0x3a;

/** Finds the options of a channel. */
export class NamespaceTable {
  private readonly fallback: NamespaceOptions;
  private readonly named: Map<string, NamespaceOptions>;

  /** Whether any channel has it. */
  readonly hasHistory: boolean;
  readonly hasLatestOnly: boolean;
  readonly hasPresence: boolean;

  constructor(namespaces: Namespaces) {
    this.fallback = namespaces.default;
    this.named = new Map(Object.entries(namespaces.named));
    const all = [this.fallback, ...this.named.values()];
    this.hasHistory = all.some(({ historySize }) => historySize > 0);
    this.hasLatestOnly = all.some(({ latestOnly }) => latestOnly);
    this.hasPresence = all.some(({ presence }) => presence);
  }

  of(channel: string): NamespaceOptions {
    // Reserved ones are the gateways' own: in a history they would take offsets that no line of publications has.
    if (channel.charCodeAt(0) === COLON) return DEFAULT_OPTIONS;
    if (this.named.size === 0) return this.fallback;
    const colon = channel.indexOf(':');
    return colon < 0 ? this.fallback : (this.named.get(channel.slice(0, colon)) ?? this.fallback);
  }
}
