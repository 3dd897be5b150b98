// The taker's side of a move: holds the places of connections that another worker offers, from the fence on, until their
// descriptors come or the batch is over.
//
// A place is a Connection without a wire, in the state 'moving', subscribed at the very moment at which the fence comes by:
// what is published from there on is kept for it, what came before the other worker delivers. When the descriptor is here
// it gets a wire and goes on as any other, what was kept first.
//
// Bounds: one batch a giver at a time (they say so), `BATCH_LIMIT` connections each; `BATCH_DEADLINE_MS` from offer to over.

import { randomUUID } from 'node:crypto';
import type { BatchStep, Cargo, HeldState } from '../../src/ipc.ts';
import { Connection } from '../connection.ts';
import type { Gateway } from '../gateway.ts';
import { KeptFrame } from '../poll/mailbox.ts';
import { PollSession } from '../poll/session.ts';
import { pollEncoding, RAW_POLL } from '../transports/poll-encoder.ts';
import { WebSocketSession } from '../websocket/session.ts';
import { NO_WIRE } from '../wire/no-wire.ts';
import type { Wire } from '../wire/wire.ts';
import { encodingOf } from './encodings.ts';
import { asBuffer } from './hand-over.ts';

/** Most connections in one batch. */
export const BATCH_LIMIT = 256;
/** Beyond all of the giver's own limits (giver.ts): for a giver that forgets. */
const BATCH_DEADLINE_MS = 30_000;
/** Batches that are offered and not over: a few givers at a time, when workers are scaled down. */
const BATCHES_LIMIT = 64;

export interface TakerOptions {
  /** Says a step to the batch's giver. */
  say(batch: string, step: BatchStep): void;
  /** Whether there is room for so many more. */
  hasRoom(count: number): boolean;
  /** A connection for that wire; null when there is no room. */
  admit(wire: Wire): Connection | null;
}

interface Expected {
  readonly states: readonly HeldState[];
  /** By index; null where there is none, or no more. Empty before the fence. */
  places: (Connection | PollSession | null)[];
  readonly deadline: NodeJS.Timeout;
}

export class Taker {
  private readonly gateway: Gateway;
  private readonly options: TakerOptions;
  private readonly batches = new Map<string, Expected>();

  constructor(gateway: Gateway, options: TakerOptions) {
    this.gateway = gateway;
    this.options = options;
  }

  onOffer(batch: string, states: readonly HeldState[]): void {
    const { broker, history } = this.gateway;
    // Or it has yet to hear where the history stands: the fence would have no place here.
    const away = broker.state !== 'up' || history?.line.sure === false;
    const why = away ? 'its broker is away' : this.refusal(states);
    if (why !== null) {
      this.options.say(batch, { kind: 'refused', why, away });
      return;
    }
    const deadline = setTimeout(() => this.onOver(batch), BATCH_DEADLINE_MS).unref();
    this.batches.set(batch, { states, places: [], deadline });
    this.options.say(batch, { kind: 'accepted' });
  }

  private refusal(states: readonly HeldState[]): string | null {
    if (this.gateway.draining) return 'it is draining';
    // Places are made when a fence comes by: those that are accepted and not fenced take room as well.
    const coming = [
      states,
      ...[...this.batches.values()].flatMap(({ places, states }) => (places.length > 0 ? [] : [states])),
    ].flat();
    const sessions = coming.filter(({ poll }) => poll !== undefined).length;
    if (!this.options.hasRoom(coming.length - sessions)) return 'it has no room for them';
    if (sessions > 0 && !this.gateway.polls.hasRoom(sessions)) return 'it has no room for their sessions';
    if (this.batches.size >= BATCHES_LIMIT || states.length > BATCH_LIMIT) return 'it expects too many already';
    if (states.some(({ encoding, poll }) => poll === undefined && encodingOf(encoding) === null))
      return 'it does not know their encoding';
    return null;
  }

  /** The batch's fence has come by. */
  onFence(batch: string): void {
    const expected = this.batches.get(batch);
    if (expected === undefined || expected.places.length > 0) return;
    expected.places = expected.states.map((state) => this.makePlace(state));
    this.options.say(batch, { kind: 'fenced' });
  }

  private makePlace({ encoding: index, channels, poll, identity }: HeldState): Connection | PollSession | null {
    const { polls, presence } = this.gateway;
    if (poll !== undefined) {
      const format = index === RAW_POLL ? 'raw' : 'json';
      const session = polls.expect(poll.sid, channels, pollEncoding(format, poll.keepAlive, poll.fields));
      presence.introduce(session, identity);
      return session;
    }
    const encoding = encodingOf(index);
    const place = encoding === null ? null : this.options.admit(NO_WIRE);
    if (place === null || encoding === null) return null;
    place.expect(encoding, channels, encoding.transport === 'websocket' ? new WebSocketSession() : null);
    presence.introduce(place, identity);
    return place;
  }

  /** A descriptor has come; false when nobody waits for it. */
  take(
    { batch, index, unread, heartbeatMs, heard, client, forwarded }: Extract<Cargo, { kind: 'held' }>,
    wire: Wire,
  ): boolean {
    const places = this.batches.get(batch)?.places;
    const place = places?.[index] ?? null;
    if (places === undefined || !(place instanceof Connection) || place.state !== 'moving') return false;
    places[index] = null;
    if (place.session instanceof WebSocketSession) place.session.heard = heard;
    place.wire = wire;
    wire.attach(place);
    this.gateway.clients?.welcome(place, client, forwarded);
    if (place.channels !== null) this.gateway.presence.enter(place, place.channels);
    place.goOn(heartbeatMs);
    if (unread.length > 0) place.onWireRead(asBuffer(unread), unread.length);
    return true;
  }

  /** What a poll session holds has come: it is served here from now on. */
  onSession(batch: string, step: Extract<BatchStep, { kind: 'session' }>): void {
    const { index, position, acknowledged, frames, places: kept = [] } = step;
    const places = this.batches.get(batch)?.places;
    const session = places?.[index] ?? null;
    if (places === undefined || !(session instanceof PollSession) || session.state !== 'expected') return;
    places[index] = null;
    session.acknowledged = acknowledged;
    session.mailbox.restore(
      position,
      kept[0] ?? null,
      frames.map((frame, i) => {
        const bytes = typeof frame === 'string' ? Buffer.from(frame, 'latin1') : asBuffer(frame);
        return new KeptFrame(bytes, kept[i + 1] ?? null);
      }),
    );
    this.gateway.presence.enter(session, session.channels);
    session.goOn();
    this.gateway.polls.touch(session);
    this.gateway.polls.onOpened(session.sid);
  }

  /** No more descriptors come: those that are still expected stay with the giver, or are gone with it. */
  onOver(batch: string): void {
    const expected = this.batches.get(batch);
    if (expected === undefined) return;
    this.batches.delete(batch);
    clearTimeout(expected.deadline);
    for (const place of expected.places) {
      if (place instanceof PollSession) this.gateway.polls.forget(place);
      else if (place?.state === 'moving') place.leaveToAnother();
    }
  }
}

/** A name for a batch that no worker of any gateway on the same broker has used. */
export function newBatchId(): string {
  return randomUUID();
}
