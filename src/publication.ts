// A publication: one payload on its way from the broker to the subscribers of one channel.
//
// The payload is bytes and stays so from end to end; nothing between broker and wire interprets it. A frame (bytes ready
// to write) is made once for each encoding that a subscriber asks for and then shared: `frames` is indexed by
// `Encoding.index` and is filled on first use, so a publication for SSE clients alone is encoded once, however many they are.
//
// Cost a publication: this object, and for each encoding in use one Buffer.

/** The name of events that are the gateway's own: nobody publishes under it. */
export const NOTICE_EVENT = 'longwire';

/**
 * `published` by somebody; or what the gateway itself has to say in a channel's order: a `gap` where publications are missing,
 * a `join` or `leave` where presence is told, whose payload is the member's entry (src/presence.ts).
 */
export type PublicationKind = 'published' | 'gap' | 'join' | 'leave';

const NOTHING = Buffer.alloc(0);

export class Publication {
  readonly channel: string;
  payload: Buffer;
  /** The event's name, `event:` in SSE; null when the publisher gave none. */
  readonly event: string | null;
  /** The publisher's own id, `id:` in SSE; null when the publisher gave none. */
  readonly id: string | null;
  /** Its place in the broker's history, counted from 1; 0 where the channel has none, or while it is on its way there. */
  offset: number;
  /** Offset of the publication before it in its channel, or the highest that may have been; 0 when it is the first. */
  previous: number;
  /** What `offset` counts in; '' without one. */
  epoch: string;
  /** Published twice with the same key within some minutes, it is published once; null without one. */
  idempotencyKey: string | null;
  kind: PublicationKind;
  frames: Buffer[] | null;
  /** Its place among those that this worker was brought, counted from 1; 0 until then. What a fence is compared with. */
  order: number;
  /** Whether the payload is its own. */
  private retained: boolean;

  constructor(channel: string, payload: Buffer, event: string | null = null, id: string | null = null) {
    this.channel = channel;
    this.payload = payload;
    this.event = event;
    this.id = id;
    this.offset = 0;
    this.previous = 0;
    this.epoch = '';
    this.idempotencyKey = null;
    this.kind = 'published';
    this.frames = null;
    this.order = 0;
    this.retained = false;
  }

  /** What stands in a channel's order where publications are missing. */
  static gap(channel: string): Publication {
    const publication = new Publication(channel, NOTHING);
    publication.kind = 'gap';
    return publication;
  }

  /** What a channel's subscribers are told of a member. */
  static coming(kind: 'join' | 'leave', channel: string, entry: Buffer): Publication {
    const publication = new Publication(channel, entry);
    publication.kind = kind;
    return publication;
  }

  get isGap(): boolean {
    return this.kind === 'gap';
  }

  /** Gives it its place in the history. */
  place(epoch: string, offset: number, previous: number): this {
    this.epoch = epoch;
    this.offset = offset;
    this.previous = previous;
    return this;
  }

  /**
   * Makes the payload this publication's own.
   *
   * A broker hands over a slice of what it has just read, which the next read may overwrite: whoever keeps a publication
   * beyond the call that brought it must call this first.
   */
  retain(): void {
    if (this.retained) return;
    this.retained = true;
    this.payload = Buffer.from(this.payload);
  }
}
