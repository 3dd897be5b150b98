// Reading the history in Redis: in pages, so that neither Redis nor a worker stands still for it, whatever has been published.
//
// Redis does nothing else while it answers, and an answer lies whole in the memory of both. So an answer holds PAGE_BYTES, or one
// publication, and for more it is asked again. All of a channel is read from its newest publication downwards. What is published
// meanwhile lies above the first page, and comes live; what is trimmed meanwhile is the oldest, which had not been read. So the pages
// are one whole piece that ends at the `top` of the first, and its floor is what the oldest that was read says that came before it
// (`Publication.previous`): they are worth what one answer of that first moment would be, or less, and say so. When another epoch begins
// meanwhile they are worth nothing, and reading fails.
//
// Bounds: CHANNEL_BYTES of a channel, the newest of it; MISSED_BYTES of all that are asked for in one call. What is beyond is told as gone.

import { LongwireError } from '../errors.ts';
import type { ChannelHistory, HistoryState } from '../history.ts';
import { Publication } from '../publication.ts';
import type { HistoryQuery, Missed } from './broker.ts';
import { publicationBytes } from './calls.ts';

/** Redis is busy with as much for 1.2 ms where publications are small, for 2.9 where one is a megabyte. */
export const PAGE_BYTES = 1024 * 1024;
/** As on the embedded broker (ANSWER_LIMIT_BYTES). */
export const CHANNEL_BYTES = 16 * 1024 * 1024;
/** What a worker may hold while it catches up (HELD_LIMIT_BYTES). */
const MISSED_BYTES = 64 * 1024 * 1024;

/** Calls a function of the library, with the prefix and these. */
type LibraryCall = (name: string, ...args: (string | number)[]) => Promise<unknown>;

type Reply = Buffer | number | null | Reply[];

interface Range {
  readonly behind: number;
  /** 0 for no end. */
  readonly before: number;
  readonly limit: number;
  readonly bytes: number;
}

interface Page extends ChannelHistory {
  readonly more: boolean;
}

/** As HistoryStore.read says. */
export function readHistory(call: LibraryCall, channel: string, query: HistoryQuery): Promise<ChannelHistory> {
  const { since, limit, reverse } = query;
  const bytes = CHANNEL_BYTES;
  if (reverse) return readDownwards(call, channel, { behind: 0, before: since, limit, bytes });
  if (limit < Number.POSITIVE_INFINITY) return readUpwards(call, channel, { behind: since, before: 0, limit, bytes });
  return readDownwards(call, channel, { behind: since, before: 0, limit, bytes }).then((read) => {
    return { ...read, publications: [...read.publications].reverse() };
  });
}

/** As HistoryStore.missed says. */
export async function readMissed(call: LibraryCall, offset: number, channels: readonly string[]): Promise<Missed> {
  let state: HistoryState | null = null;
  const found: Missed['channels'][number][] = [];
  let room = MISSED_BYTES;
  for (let at = 0; at < channels.length && room > 0; ) {
    const asked = channels.slice(at);
    const answer = await call('longwire_missed', offset, Math.min(PAGE_BYTES, room), ...asked);
    const [told, replies, looked] = answer as [Reply, [number, number, Reply[], number][], number];
    const now = stateOf(told);
    state = sameEpoch(state, now);
    for (const [index, floor, entries, more] of replies) {
      const channel = asked[index] as string;
      const newest = entries.map((entry) => publicationOf(channel, now.epoch, entry));
      room -= bytesOf(newest);
      const before = newest.at(-1)?.offset ?? 0;
      const bytes = Math.min(CHANNEL_BYTES, room);
      const range: Range = { behind: offset, before, limit: Number.POSITIVE_INFINITY, bytes };
      const older = more === 1 && bytes > 0 ? (await readDownwards(call, channel, range, now)).publications : [];
      room -= bytesOf(older);
      const publications = [...newest, ...older].reverse();
      found.push({ channel, floor: publications[0]?.previous ?? floor, publications });
    }
    at += looked;
    // Whether the others have anything is not known.
    const others = room > 0 ? [] : channels.slice(at);
    found.push(...others.map((channel) => ({ channel, floor: Number.POSITIVE_INFINITY, publications: [] })));
  }
  if (state === null) throw new LongwireError('bad-request', 'no channel was named');
  return { state, channels: found };
}

/** Newest first; `floor` is that of what was read. @param known Of the answer that this goes on from. */
async function readDownwards(
  call: LibraryCall,
  channel: string,
  range: Range,
  known: HistoryState | null = null,
): Promise<ChannelHistory> {
  const first = await readPage(call, channel, range, 'newest');
  sameEpoch(known, first.state);
  const publications = [...first.publications];
  let bytes = range.bytes - bytesOf(publications);
  for (let { more } = first; more && bytes > 0 && publications.length < range.limit; ) {
    const limit = range.limit - publications.length;
    const before = publications.at(-1)?.offset ?? 0;
    const page = await readPage(call, channel, { behind: range.behind, before, limit, bytes }, 'newest');
    sameEpoch(first.state, page.state);
    publications.push(...page.publications);
    bytes -= bytesOf(page.publications);
    more = page.more;
  }
  return { ...first, floor: publications.at(-1)?.previous ?? first.floor, publications };
}

/** Oldest first. Where those are trimmed away meanwhile, from the one that is the oldest by then. */
async function readUpwards(call: LibraryCall, channel: string, range: Range): Promise<ChannelHistory> {
  let first = await readPage(call, channel, range, 'oldest');
  let publications = [...first.publications];
  let bytes = range.bytes - bytesOf(publications);
  for (let { more } = first; more && bytes > 0 && publications.length < range.limit; ) {
    const limit = range.limit - publications.length;
    const behind = publications.at(-1)?.offset ?? 0;
    const page = await readPage(call, channel, { behind, before: 0, limit, bytes }, 'oldest');
    sameEpoch(first.state, page.state);
    if (page.floor > behind) {
      first = page;
      publications = [];
    }
    publications.push(...page.publications);
    bytes -= bytesOf(page.publications);
    more = page.more;
  }
  return { ...first, publications };
}

async function readPage(
  call: LibraryCall,
  channel: string,
  { behind, before, limit, bytes }: Range,
  first: 'newest' | 'oldest',
): Promise<Page> {
  const most = [Math.min(limit, Number.MAX_SAFE_INTEGER), Math.min(bytes, PAGE_BYTES)];
  const answer = await call('longwire_history', channel, behind, before, ...most, first);
  const [told, top, floor, entries, more] = answer as [Reply, number, number, Reply[], number];
  const state = stateOf(told);
  const publications = entries.map((entry) => publicationOf(channel, state.epoch, entry));
  return { state, top, floor, publications, more: more === 1 };
}

function sameEpoch(known: HistoryState | null, told: HistoryState): HistoryState {
  if (known === null || known.epoch === told.epoch) return known ?? told;
  throw new LongwireError('unavailable', 'another epoch of the history began while it was read');
}

function bytesOf(publications: readonly Publication[]): number {
  return publications.reduce((sum, { channel, payload }) => sum + publicationBytes(channel, payload.length), 0);
}

/** Of what the library tells: epoch, offset, and former epochs in pairs. */
export function stateOf(reply: unknown): HistoryState {
  const [epoch, offset, pairs] = reply as [Buffer, number, (Buffer | number)[]];
  const past = new Map<string, number>();
  for (let i = 0; i + 1 < pairs.length; i += 2) past.set(String(pairs[i]), Number(pairs[i + 1]));
  return { epoch: String(epoch), offset, past };
}

/** From an entry of a stream: [id, [name, value, …]]. */
function publicationOf(channel: string, epoch: string, entry: Reply): Publication {
  const [id, fields] = entry as [Buffer, Buffer[]];
  const values = new Map<string, Buffer>();
  for (let i = 0; i + 1 < fields.length; i += 2) values.set(String(fields[i]), fields[i + 1] as Buffer);
  const text = (name: string): string | null => values.get(name)?.toString() ?? null;
  const publication = new Publication(channel, values.get('d') ?? Buffer.alloc(0), text('e'), text('i'));
  return publication.place(epoch, Number.parseInt(String(id), 10), Number(text('p')));
}
