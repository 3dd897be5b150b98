// Presence on the embedded broker, in the primary: who holds which channel, and which worker said so last.
//
// An entry belongs to the worker that joined or renewed it last, so that a connection which moves changes its worker and nothing
// else. When a worker is gone its entries are; not at once (`GRACE_MS`): it may have given its connections away a moment before, and
// the word of who took them comes by another link.
//
// Bound: ENTRY_LIMIT entries and ENTRY_LIMIT_BYTES of them. What has no room is not kept, and its worker says it again with the
// next renewal. Cost: 900 bytes for a member that is alone in its channel, measured, less for others; a look at each of them when a
// worker is gone.

import type { PresenceQuestion, PresentHead } from '../broker/memory-questions.ts';
import { MEMBERS_LIMIT, type PresenceChange } from '../presence.ts';
import { Publication } from '../publication.ts';

const ENTRY_LIMIT = 1_000_000;
const ENTRY_LIMIT_BYTES = 256 * 1024 * 1024;
/** Far beyond what a message takes from a worker that lives. */
const GRACE_MS = 1_000;

/** A member as another primary is told of it. */
export type MemberState = readonly [channel: string, client: string, user: string, text: string, told: boolean];

interface Entry {
  readonly user: string;
  readonly text: string;
  readonly told: boolean;
  worker: number;
}

export class PresenceTable {
  readonly #tell: (coming: Publication) => void;
  readonly #graceMs: number;
  /** By channel, then by client. */
  readonly #channels = new Map<string, Map<string, Entry>>();
  #entries = 0;
  #bytes = 0;

  /** @param tell Puts into the channel's order that a member has come or gone. */
  constructor(tell: (coming: Publication) => void, graceMs: number = GRACE_MS) {
    this.#tell = tell;
    this.#graceMs = graceMs;
  }

  /** Answers the worker that is known by this number, here and in `leave`. */
  answer(worker: number, question: PresenceQuestion): PresentHead {
    if (question.what === 'present') {
      const { changes } = question;
      return { unknown: changes.flatMap((change, i) => (this.#change(worker, change) ? [] : [i])) };
    }
    const members = this.#channels.get(question.channel) ?? NOBODY;
    const clients = members.size;
    if (question.what === 'count') {
      const users = new Set<string>();
      for (const { user } of members.values()) users.add(user);
      return { clients, users: users.size };
    }
    return { clients, members: clients > MEMBERS_LIMIT ? null : Array.from(members.values(), ({ text }) => text) };
  }

  /** The worker is gone; whom nobody else speaks for by then is gone a moment later. */
  leave(worker: number, graceMs: number = this.#graceMs): void {
    if (this.#entries > 0) setTimeout(() => this.#removeAllOf(worker), graceMs).unref();
  }

  /** Everybody, for another primary. */
  *states(): Generator<MemberState> {
    for (const [channel, members] of this.#channels) {
      for (const [client, { user, text, told }] of members) yield [channel, client, user, text, told];
    }
  }

  /** Takes over what another primary knew; `worker` stands for its workers, until ours speak for them. */
  restore(worker: number, states: readonly MemberState[]): void {
    for (const [channel, client, user, text, told] of states) {
      if (this.#channels.get(channel)?.has(client) !== true) this.#add(channel, client, { user, text, told, worker });
    }
  }

  /** False where the member is not here afterwards although it ought to be. */
  #change(worker: number, { kind, channel, client, user, entry, told }: PresenceChange): boolean {
    const known = this.#channels.get(channel)?.get(client);
    if (kind === 'leave') {
      if (known !== undefined) this.#remove(channel, client, known);
      return true;
    }
    if (known !== undefined) {
      known.worker = worker;
      return true;
    }
    if (kind === 'renew' || !this.#add(channel, client, { user, text: entry, told, worker })) return false;
    if (told) this.#tell(Publication.coming('join', channel, Buffer.from(entry)));
    return true;
  }

  #add(channel: string, client: string, entry: Entry): boolean {
    const bytes = bytesOf(entry);
    if (this.#entries >= ENTRY_LIMIT || this.#bytes + bytes > ENTRY_LIMIT_BYTES) return false;
    let members = this.#channels.get(channel);
    if (members === undefined) {
      members = new Map();
      this.#channels.set(channel, members);
    }
    members.set(client, entry);
    this.#entries++;
    this.#bytes += bytes;
    return true;
  }

  #remove(channel: string, client: string, entry: Entry): void {
    const members = this.#channels.get(channel);
    if (members?.delete(client) !== true) return;
    if (members.size === 0) this.#channels.delete(channel);
    this.#entries--;
    this.#bytes -= bytesOf(entry);
    if (entry.told) this.#tell(Publication.coming('leave', channel, Buffer.from(entry.text)));
  }

  #removeAllOf(worker: number): void {
    for (const [channel, members] of this.#channels) {
      for (const [client, entry] of members) if (entry.worker === worker) this.#remove(channel, client, entry);
    }
  }
}

const NOBODY: ReadonlyMap<string, Entry> = new Map();

function bytesOf({ user, text }: Entry): number {
  return user.length + text.length;
}
