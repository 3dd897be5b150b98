// `GET /poll/{channel}`: long-poll. Answers at once when there is something since the client's position, else waits.
//
// preflight → channels and format → cursor and timeout → no body → who it is → HEAD → session:
//   none named    → room for one more → waits; its first answer opens the session. With a place in the history it recovers
//   named, here   → the poll that waits is superseded → what was answered is acknowledged → answered, or waits
//   named, another worker's     → the connection goes to that worker with its request; 421 where it cannot, as with TLS
//   named, of ours and not here → expired, or died with its worker: recovers where it has a place in the history, else 410
//   dismissed by the backend → 410, which is told once
//
// A session's channels and format are those of its first poll; a poll that names others is refused, so that nobody takes
// silence on a channel for nothing published.

import { LongwireError } from '../../src/errors.ts';
import type { PollEncoding } from '../encoding.ts';
import type { Exchange, Handler } from '../exchange.ts';
import type { Gateway } from '../gateway.ts';
import type { RequestHead } from '../http/request-head.ts';
import { type QueryValue, queryValues } from '../http/target.ts';
import { type Cursor, readCursor } from '../poll/cursor.ts';
import type { PollOrigin } from '../poll/parts.ts';
import type { PollSession } from '../poll/session.ts';
import { slotOf } from '../poll/sid.ts';
import type { Who } from '../presence/who.ts';
import { authorize, REFUSED } from '../token/authorize.ts';
import { answerPreflight } from './held-stream.ts';
import { encodePoll, encodePollFarewell, encodePollFault, encodePollHead, pollEncoding } from './poll-encoder.ts';
import { readSubscriptionRequest, type SubscriptionRequest } from './subscription-request.ts';

const PREFIX_LENGTH = '/poll/'.length;
const EXPOSED =
  'Access-Control-Expose-Headers: ETag, Longwire-Sid, Longwire-Since, Longwire-Lost, Longwire-Client, Retry-After\r\n';
/** Seconds, with fractions down to the wheel's tick and below. */
const TIMEOUT = /^\d{1,9}(\.\d{1,3})?$/;

const GONE = new LongwireError('session-gone', 'this session has expired or its worker has died; poll without sid');
const ELSEWHERE = new LongwireError('session-elsewhere', 'another worker holds this session; poll on a new connection');

export const handlePoll: Handler = (exchange, head) => {
  const { config, cors, draining } = exchange.gateway;
  const origin = head.header('origin');
  if (head.method === 'OPTIONS') {
    answerPreflight(exchange, head, cors.preflightFields(origin));
    return;
  }
  const headOnly = head.method === 'HEAD';
  const allowed = cors.fields(origin);
  const corsFields = allowed.includes('Allow-Origin') ? allowed + EXPOSED : allowed;
  const refuse = (text: string): void => exchange.reject(400, text, 'malformed', corsFields, headOnly);

  const asked = readSubscriptionRequest(head, PREFIX_LENGTH, 'json', config.channelLimit);
  if (typeof asked === 'string') return refuse(asked);
  const values = queryValues(head.query()) ?? [];
  const cursor = readCursor(head, values);
  if (typeof cursor === 'string') return refuse(cursor);
  const waitMs = readTimeoutMs(values, config.pollWaitSeconds * 1_000);
  if (waitMs === null) return refuse('timeout must be a number of seconds');
  if (head.bodyKind !== 'none') return refuse('a poll has no body');
  const who = authorize(exchange, head, asked, corsFields);
  if (who === REFUSED) return;

  const encoding = pollEncoding(asked.format, head.keepAlive, corsFields);
  const keepAlive = head.keepAlive && !draining;
  if (headOnly) exchange.answerReady([encodePollHead(encoding, keepAlive)], keepAlive);
  else if (cursor.sid === null) {
    const origin = cursor.place === null ? null : { place: cursor.place, sessionLost: false };
    begin(exchange, { ...asked, who }, encoding, origin, waitMs);
  } else if (!passOn(exchange, head, cursor.sid, encoding)) {
    resume(exchange, { ...asked, who }, encoding, cursor.sid, cursor, waitMs);
  }
};

/** The first poll of a client, or of one whose session is gone. */
function begin(
  exchange: Exchange,
  { channels, format, who }: SubscriptionRequest,
  encoding: PollEncoding,
  origin: PollOrigin | null,
  waitMs: number,
): void {
  const { polls, draining, history } = exchange.gateway;
  if (origin !== null && format === 'raw' && history?.hasAny(channels) === true) {
    const text = 'the raw format has no place for how a recovery went; take json';
    exchange.reject(400, text, 'malformed', encoding.fields);
  } else if (draining) {
    exchange.reject(503, 'this worker is draining; try again', 'draining', encoding.fields);
  } else if (polls.hasRoom()) {
    exchange.wait(encoding, channels, { who, origin }, waitMs);
  } else {
    exchange.reject(503, 'this worker holds as many poll sessions as it may; try again', 'capacity', encoding.fields);
  }
}

/** Sees to a poll whose session another worker holds; false when it is ours, or nobody's. */
function passOn(exchange: Exchange, head: RequestHead, sid: string, encoding: PollEncoding): boolean {
  const { polls, goneSlot, sharesSlot } = exchange.gateway;
  const slot = slotOf(sid);
  const session = polls.find(sid);
  // One that is expected is with its giver still, or is here before a request that the giver sends back.
  const expected = session?.state === 'expected';
  if ((session !== null && !expected) || slot === goneSlot || slot === 0) return false;
  // A worker that leaves gives its sessions to the next one in its slot: whoever has not got one asks the other.
  if (slot === polls.slot && !sharesSlot && !expected) return false;
  const handedOver = exchange.handOver(slot, head);
  if (handedOver === 'kept' && !expected) answerFault(exchange, encoding, ELSEWHERE);
  return handedOver === 'given' || (handedOver === 'kept' && !expected);
}

function resume(
  exchange: Exchange,
  asked: SubscriptionRequest,
  encoding: PollEncoding,
  sid: string,
  { since, place }: Cursor,
  waitMs: number,
): void {
  const { polls, draining, history, presence } = exchange.gateway;
  const session = polls.find(sid);
  if (session === null || (session.farewell === null && !owns(exchange.gateway, session, asked.who))) {
    if (place !== null && asked.format === 'json' && history?.hasAny(asked.channels) === true) {
      begin(exchange, asked, encoding, { place, sessionLost: true }, waitMs);
    } else {
      answerFault(exchange, encoding, GONE);
    }
    return;
  }
  if (session.farewell !== null) {
    polls.end(session);
    const keepAlive = encoding.keepAlive && !draining;
    exchange.answerReady([encodePollFarewell(session.farewell, encoding, keepAlive)], keepAlive);
    return;
  }
  if (session.state === 'expected') {
    exchange.reject(503, 'this session is on its way to this worker; try again', 'draining', encoding.fields);
    return;
  }
  const fault = faultOf(session, asked, since);
  if (fault !== null) {
    exchange.reject(400, fault, 'malformed', encoding.fields);
    return;
  }
  polls.supersede(session);
  if (asked.who?.grant) presence.identities.regrant(session, asked.who.grant);
  session.acknowledge(since);
  if (session.hasContent || waitMs === 0 || draining) {
    polls.touch(session);
    const keepAlive = encoding.keepAlive && !draining;
    exchange.answerReady(encodePoll(encoding, session, keepAlive), keepAlive);
  } else {
    exchange.wait(encoding, session.channels, session, waitMs);
  }
}

/** With tokens a session is whose first poll it was: to anybody else it is not there. */
function owns({ tokens, presence }: Gateway, session: PollSession, who: Who | null): boolean {
  if (tokens === null) return true;
  const known = presence.identities.of(session);
  const owner = known?.grant ? known.user : null;
  return owner === (who?.user ?? null);
}

function faultOf(session: PollSession, { channels, format }: SubscriptionRequest, since: number | null): string | null {
  if (!session.holds(channels)) return 'this session holds other channels; poll without sid to begin another';
  if (format !== session.format) return 'this session has another format; poll without sid to begin another';
  if (since !== null && since > session.mailbox.position) return 'since is a position that this session never had';
  return null;
}

function answerFault(exchange: Exchange, encoding: PollEncoding, fault: LongwireError): void {
  const { gateway } = exchange;
  gateway.countRejected(fault === GONE ? 'session-gone' : 'session-elsewhere');
  // Whoever is told to come on a new connection must not be kept on this one.
  const keepAlive = encoding.keepAlive && fault === GONE && !gateway.draining;
  exchange.answerReady([encodePollFault(fault, encoding, keepAlive)], keepAlive);
}

/** `?timeout=` in milliseconds, at most the limit; null for what is no number. */
function readTimeoutMs(values: readonly QueryValue[], limitMs: number): number | null {
  const given = values.find(({ name }) => name === 'timeout')?.value;
  if (given === undefined) return limitMs;
  return TIMEOUT.test(given) ? Math.min(Number(given) * 1_000, limitMs) : null;
}
