// The embedded broker, the primary's end: takes what one worker publishes and sends it to all of them, in one order.
//
// Invariants:
//   - All workers are sent the same sequence of publications; one that joins is sent everything accepted from then on.
//   - A publish is taken whole or refused whole. It is refused, with nothing sent to anyone, while a worker is so far
//     behind that its backlog would pass `backlogLimitBytes`: nothing is dropped silently, and memory stays bounded.
//   - A call is answered after its publications were sent, so its own worker reads them first.
//
// So one worker that hangs stops publishing on this broker until it reads on or is gone; the log says which one it is.
//
// Cost: a copy of what is published, and one write of it a worker and turn; a worker that is behind takes a copy of its own.

import type { Question } from '../broker/memory-questions.ts';
import { NO_RETENTION, packedBytes, packPublications, type Retention, type RetentionOf } from '../broker/packed.ts';
import { type FrameKind, FrameWriter, GATHER_BYTES } from '../broker/relay-frames.ts';
import type { FramePort } from '../broker/relay-link.ts';
import { MARK_CHANNEL } from '../channel.ts';
import type { Log } from '../log.ts';
import { Publication } from '../publication.ts';
import { addTold, answerQuestion } from './history-answers.ts';
import { HistoryLog } from './history-log.ts';
import { PresenceTable } from './presence-table.ts';

/** Most bytes that may wait for one worker to read them: the hard limit that Redis has for a subscriber. */
const BACKLOG_LIMIT_BYTES = 32 * 1024 * 1024;

/** A refusal is logged at most once in this time. */
const LOG_PERIOD_MS = 5_000;

/** How often the history lets go of what has expired: expired publications are never told, only held that long. */
const SWEEP_MS = 10_000;

/** Takes a frame of member `id`; `body` is for the time of the call. */
export type FrameForwarder = (id: number, kind: FrameKind, call: number, body: Buffer) => void;

interface Member {
  /** The worker's slot, for the log: a slot has two members while its worker is replaced. */
  readonly worker: number;
  readonly port: FramePort;
}

export class Relay {
  readonly #log: Log;
  readonly #backlogLimitBytes: number;
  readonly #members = new Map<number, Member>();
  /** What this turn has brought. */
  readonly #publications = new FrameWriter();
  readonly #answer = new FrameWriter();
  /** `offsets` are those of what the history took; null where it was not asked to. */
  #answers: { member: Member; call: number; offsets: readonly number[] | null }[] = [];
  readonly history: HistoryLog;
  readonly presence: PresenceTable;
  /** Told of a channel whose history was removed: whoever follows forgets it too. */
  onRemoved: (channel: string) => void = () => {};
  /** Takes what workers say while another primary's relay has the order; null while this one has. */
  #forward: FrameForwarder | null = null;
  #immediate: NodeJS.Immediate | null = null;
  #loggedAt = Number.NEGATIVE_INFINITY;

  constructor(log: Log, backlogLimitBytes: number = BACKLOG_LIMIT_BYTES, historyLimitBytes: number = 0) {
    this.#log = log;
    this.history = new HistoryLog(historyLimitBytes);
    this.presence = new PresenceTable((coming) => this.#tellComing(coming));
    setInterval(() => this.history.sweep(), SWEEP_MS).unref();
    this.#backlogLimitBytes = backlogLimitBytes;
  }

  /**
   * Member `id` gets everything that is published from now on.
   *
   * @param worker The worker's slot; the id itself where members are slots.
   */
  join(id: number, port: FramePort, worker: number = id): void {
    this.#flush();
    this.#members.set(id, { worker, port });
  }

  /** Member `id` is gone. Unknown ids are ignored. */
  leave(id: number): void {
    this.#members.delete(id);
    this.presence.leave(id);
  }

  /** Bytes that wait for member `id` to read them; 0 when it has not joined. */
  backlogBytes(id: number): number {
    return this.#members.get(id)?.port.backlogBytes ?? 0;
  }

  /**
   * Takes a frame from member `id`: relays what it publishes, or refuses it, and answers with `published` either way. A
   * worker that has not joined is not answered, and so runs into its own deadline.
   */
  receive(id: number, kind: FrameKind, call: number, body: Buffer): void {
    const publisher = this.#members.get(id);
    if (publisher !== undefined && this.#forward !== null) {
      this.#forward(id, kind, call, body);
      return;
    }
    if (publisher !== undefined && kind === 'ask') {
      this.#answerQuestion(id, publisher, call, JSON.parse(body.toString()));
      return;
    }
    if (publisher !== undefined && kind === 'yield') {
      this.#flush();
      this.#tell(publisher, call, '');
      return;
    }
    if (publisher === undefined || (kind !== 'publish' && kind !== 'store')) {
      this.#log.warn('the relay was sent what it does not expect', { member: id, kind });
      return;
    }
    const behind = this.#behind(body.length);
    if (behind !== null) {
      this.#refuse(publisher, call, behind);
      return;
    }
    if (kind === 'publish') {
      this.#gather(body);
      this.#answers.push({ member: publisher, call, offsets: null });
    } else {
      const { relayed, offsets } = this.history.take(body);
      this.#gather(relayed);
      this.#answers.push({ member: publisher, call, offsets });
    }
    this.#flushSoon();
  }

  // ---- while another primary's relay has the order (relay-following.ts)

  /** From now on `forward` takes what workers say; null, and this relay has the order. */
  follow(forward: FrameForwarder | null): void {
    this.#forward = forward;
  }

  /** Sends what the other relay has put in order to every worker. */
  pass(body: Buffer): void {
    this.#gather(body);
    this.#flushSoon();
  }

  /** Sends its answer, behind all that was passed on before. */
  answer(id: number, kind: FrameKind, call: number, body: Buffer): void {
    const member = this.#members.get(id);
    this.#flush();
    if (member !== undefined) this.#send(member, kind, call, body);
  }

  /** Whether some worker has as much to read as may wait for it. */
  get isBehind(): boolean {
    return this.#behind(1) !== null;
  }

  // ----

  /** Everything that was published before is sent first, so that nobody reads what they were not yet sent. */
  #answerQuestion(id: number, { port }: Member, call: number, question: Question): void {
    switch (question.what) {
      case 'present':
      case 'members':
      case 'count': {
        const head = this.presence.answer(id, question);
        this.#flush();
        addTold(this.#answer, call, head);
        break;
      }
      default:
        if (question.what === 'mark') {
          this.#gather(this.history.take(pack(new Publication(MARK_CHANNEL, Buffer.alloc(0)), unkept)).relayed);
        }
        this.#flush();
        answerQuestion(this.history, question, this.#answer, call);
        if (question.what === 'remove') this.onRemoved(question.channel);
    }
    if (!port.send(this.#answer.take())) this.#answer.leave();
  }

  #gather(body: Buffer): void {
    if (!this.#publications.fits(body.length)) this.#flush();
    if (body.length > 0) body.copy(this.#publications.add('publications', 0, body.length));
  }

  #flushSoon(): void {
    if (this.#publications.bytes >= GATHER_BYTES) this.#flush();
    else this.#immediate ??= setImmediate(() => this.#flush());
  }

  /** A worker whose backlog has no room for `bytes` more; one with no backlog always has, whatever the size. */
  #behind(bytes: number): { worker: number; backlogBytes: number } | null {
    for (const { worker, port } of this.#members.values()) {
      const backlogBytes = port.backlogBytes + this.#publications.bytes;
      if (backlogBytes > 0 && backlogBytes + bytes > this.#backlogLimitBytes) return { worker, backlogBytes };
    }
    return null;
  }

  #refuse(publisher: Member, call: number, behind: { worker: number; backlogBytes: number }): void {
    const { worker, backlogBytes } = behind;
    // Earlier calls of the same worker are answered first: answers come in the order of the calls.
    this.#flush();
    this.#tell(publisher, call, `worker ${worker} is ${backlogBytes} bytes behind; nothing was published`);
    this.#logBehind('publishing is refused: a worker does not read what it is sent', behind);
  }

  /** A worker that does not read bounds this as it bounds publishing; there is nobody to refuse it to. */
  #tellComing(coming: Publication): void {
    const packed = pack(coming);
    const behind = this.#behind(packed.length);
    if (behind === null) {
      this.#gather(packed);
      this.#flushSoon();
    } else {
      this.#logBehind('who comes and goes is not told: a worker does not read what it is sent', behind);
    }
  }

  #logBehind(text: string, { worker, backlogBytes }: { worker: number; backlogBytes: number }): void {
    const now = performance.now();
    if (now - this.#loggedAt < LOG_PERIOD_MS) return;
    this.#loggedAt = now;
    this.#log.warn(text, { worker, backlogBytes });
  }

  /** Sends what this turn has gathered: to every worker its publications, then to the publishers their answers. */
  #flush(): void {
    if (this.#immediate !== null) clearImmediate(this.#immediate);
    this.#immediate = null;
    const answers = this.#answers;
    this.#answers = [];
    if (this.#publications.bytes > 0) this.#sendToAll();
    for (const { member, call, offsets } of answers) {
      if (offsets === null) this.#tell(member, call, '');
      else this.#send(member, 'placed', call, Buffer.from(Float64Array.from(offsets).buffer));
    }
  }

  #sendToAll(): void {
    const frames = this.#publications.take();
    let needed = false;
    for (const { port } of this.#members.values()) if (!port.send(frames)) needed = true;
    if (needed) this.#publications.leave();
  }

  /** Answers a call: with why it was refused, or with nothing. */
  #tell(member: Member, call: number, refusal: string): void {
    this.#send(member, 'published', call, Buffer.from(refusal));
  }

  #send({ port }: Member, kind: FrameKind, call: number, bytes: Buffer): void {
    bytes.copy(this.#answer.add(kind, call, bytes.length));
    if (!port.send(this.#answer.take())) this.#answer.leave();
  }
}

function pack(publication: Publication, retentionOf: RetentionOf = NO_RETENTION): Buffer {
  const packed = Buffer.alloc(packedBytes([publication], retentionOf));
  packPublications(packed, [publication], retentionOf);
  return packed;
}

/** A mark takes an offset and is not kept. */
function unkept(): Retention {
  return { historySize: 0, historyTtlSeconds: 0 };
}
