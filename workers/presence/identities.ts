// Identities: a table beside the connections, for those that are known: who has said `?user=`, or holds a channel with presence.
//
// A holder is what the hub delivers to: a connection, or a poll session, which outlives its connections.
// Each that is known has a client id, for all of its life, moves included.
//
// Cost: nothing for those who are not known; else this entry, an id, and two or three places in maps: 450 bytes with all that goes with
// it, measured (docs/adr/0022).

import { randomBytes } from 'node:crypto';
import type { Grant, Identity } from '../../src/presence.ts';
import type { Subscriber } from '../hub.ts';
import { HeldGrant } from '../token/grant.ts';
import type { Who } from './who.ts';

/** 16 characters. Unguessable, so that knowing one's own says nothing of others'. */
const CLIENT_ID_BYTES = 12;

export interface Holder extends Subscriber {
  /** On its way to another worker, or from one. */
  readonly onItsWay: boolean;
}

export class Known implements Identity {
  readonly client: string;
  readonly user: string;
  readonly info: string;
  /** In which of its channels it is present; null for none. */
  channels: string | readonly string[] | null;
  /** What its token allows it; null without one. */
  grant: HeldGrant | null;
  /** The place, among all changes of the worker, of the last one that was said of it; 0 for none. */
  lastSaid: number;

  constructor({ client, user, info, grant }: Identity) {
    this.client = client;
    this.user = user;
    this.info = info;
    this.channels = null;
    this.grant = grant ? new HeldGrant(grant) : null;
    this.lastSaid = 0;
  }
}

export class Identities {
  private readonly known = new Map<Holder, Known>();
  private readonly clients = new Map<string, Holder>();
  /** Of those that have a name: the one who has it, the usual case, or all. */
  private readonly users = new Map<string, Holder | Set<Holder>>();
  private named = 0;

  get size(): number {
    return this.known.size;
  }

  of(holder: Holder): Known | null {
    return this.known.get(holder) ?? null;
  }

  /** How many different users they are; all without a name are one. */
  get userCount(): number {
    return this.users.size + (this.known.size > this.named ? 1 : 0);
  }

  holdersOf(user: string): Holder[] {
    const holders = this.users.get(user);
    if (holders === undefined) return [];
    return holders instanceof Set ? [...holders] : [holders];
  }

  /** Makes it known, unless it is. */
  make(holder: Holder, who: Who | null): Known {
    const client = (): string => randomBytes(CLIENT_ID_BYTES).toString('base64url');
    return this.of(holder) ?? this.add(holder, { ...(who ?? NOBODY), client: client() });
  }

  grantOf(holder: Holder): HeldGrant | null {
    return this.of(holder)?.grant ?? null;
  }

  /** It has shown another token. */
  regrant(holder: Holder, grant: Grant): void {
    const known = this.of(holder);
    if (known !== null) known.grant = new HeldGrant(grant);
  }

  /** So long, but not beyond the end of the holder's token. */
  within(holder: Holder, delayMs: number): number {
    const grant = this.grantOf(holder);
    return grant === null ? delayMs : Math.min(delayMs, grant.leftMs);
  }

  add(holder: Holder, identity: Identity): Known {
    const known = new Known(identity);
    this.set(holder, known);
    return known;
  }

  /** Another holder is this client from now on. */
  pass(from: Holder, to: Holder): void {
    const known = this.known.get(from);
    if (known === undefined) return;
    this.remove(from);
    this.set(to, known);
  }

  private set(holder: Holder, known: Known): void {
    this.known.set(holder, known);
    this.clients.set(known.client, holder);
    if (known.user !== '') this.name(known.user, holder);
  }

  remove(holder: Holder): void {
    const known = this.known.get(holder);
    if (known === undefined) return;
    this.known.delete(holder);
    if (this.clients.get(known.client) === holder) this.clients.delete(known.client);
    if (known.user !== '') this.unname(known.user, holder);
  }

  holderOf(client: string): Holder | null {
    return this.clients.get(client) ?? null;
  }

  /** In the order in which they came; those that come meanwhile too. */
  entries(): IterableIterator<[Holder, Known]> {
    return this.known.entries();
  }

  private name(user: string, holder: Holder): void {
    const others = this.users.get(user);
    this.named++;
    if (others === undefined) this.users.set(user, holder);
    else if (others instanceof Set) others.add(holder);
    else this.users.set(user, new Set([others, holder]));
  }

  private unname(user: string, holder: Holder): void {
    const holders = this.users.get(user);
    this.named--;
    if (holders instanceof Set) {
      holders.delete(holder);
      if (holders.size > 0) return;
    }
    this.users.delete(user);
  }
}

const NOBODY: Who = { user: '', info: '' };
