// Presence on the embedded broker, a worker's end: asks the primary, which keeps it (src/primary/presence-table.ts).

import type { PresenceChange, PresenceCount } from '../presence.ts';
import { type PresenceStore, tooManyMembers } from './broker.ts';
import type { MemoryQuestions } from './memory-questions.ts';

export class MemoryPresence implements PresenceStore {
  readonly #questions: MemoryQuestions;

  constructor(questions: MemoryQuestions) {
    this.#questions = questions;
  }

  async change(changes: readonly PresenceChange[]): Promise<readonly number[]> {
    const { head } = await this.#questions.ask({ what: 'present', changes });
    return head.unknown ?? [];
  }

  async read(channel: string): Promise<readonly string[]> {
    const { members, clients = 0 } = (await this.#questions.ask({ what: 'members', channel })).head;
    if (members === null || members === undefined) throw tooManyMembers(clients);
    return members;
  }

  async count(channel: string): Promise<PresenceCount> {
    const { clients = 0, users = 0 } = (await this.#questions.ask({ what: 'count', channel })).head;
    return { clients, users };
  }
}
