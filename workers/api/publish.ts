// `/api/publish` and `/api/broadcast`: one payload to one channel, or to many.
//
// `{"channel":"alice","data":…}` or `{"channels":["alice","bob"],"data":…}`. A string is delivered as it is, any other JSON
// value as its JSON; `"b64data"` in place of `data` gives bytes. `"event"` and `"id"` are optional and reach SSE clients
// as the event's name and id. The answer comes when the broker has taken the publication.

import type { Taken } from '../../src/broker/broker.ts';
import { LongwireError } from '../../src/errors.ts';
import type { Position } from '../../src/position.ts';
import { NOTICE_EVENT, Publication } from '../../src/publication.ts';
import type { Gateway } from '../gateway.ts';
import { eventFieldFault } from '../transports/sse-encoder.ts';
import { checkedChannel, givenChannelFault, type Params } from './params.ts';

export async function publish(gateway: Gateway, params: Params): Promise<object> {
  const channel = checkedChannel(params.channel);
  const content = readContent(params);
  const fault = sizeFault(gateway, channel, content.payload);
  if (fault !== null) throw fault;
  const { payload, event, id } = content;
  const publication = new Publication(channel, payload, event, id);
  publication.idempotencyKey = readKey(gateway, params);
  const taken = gateway.broker.publish([publication]);
  return resultOf((await taken)[0]);
}

/** The answer for one publication: its place in the history, where its channel has one. */
function resultOf(position: Position | null | undefined): { offset?: number; epoch?: string } {
  return position ? { offset: position.offset, epoch: position.epoch } : {};
}

/** Publishes to each channel whose name is right; the answer says of each, in the order given, how it went. */
export async function broadcast(gateway: Gateway, params: Params): Promise<object> {
  const { taken, responses } = publishToEach(gateway, params);
  const positions = await taken;
  let at = 0;
  return { responses: responses.map((fault) => fault ?? { result: resultOf(positions[at++]) }) };
}

/**
 * Apart from `broadcast`, so that while that waits it holds the answer alone and not what was published. `responses` has
 * null for what is published.
 */
function publishToEach(gateway: Gateway, params: Params): { taken: Promise<Taken>; responses: (object | null)[] } {
  const { channels } = params;
  if (!Array.isArray(channels) || channels.length === 0) {
    throw new LongwireError('bad-request', 'channels must be an array of at least one channel name');
  }
  const { payload, event, id } = readContent(params);
  if (payload.length > gateway.config.payloadLimitBytes) throw tooLarge(payload, gateway.config.payloadLimitBytes);
  const key = readKey(gateway, params);
  const publications: Publication[] = [];
  const responses = channels.map((given: unknown) => {
    const fault = givenChannelFault(given) ?? sizeFault(gateway, given as string, payload);
    if (fault !== null) return fault.toBody();
    const publication = new Publication(given as string, payload, event, id);
    publication.idempotencyKey = key;
    publications.push(publication);
    return null;
  });
  // With nothing to publish the broker is not asked: it may be away.
  const taken = publications.length === 0 ? Promise.resolve([]) : gateway.broker.publish(publications);
  return { taken, responses };
}

function sizeFault(gateway: Gateway, channel: string, payload: Buffer): LongwireError | null {
  const limitBytes = gateway.payloadLimitBytes(channel);
  return payload.length > limitBytes ? tooLarge(payload, limitBytes) : null;
}

function tooLarge({ length }: Buffer, limitBytes: number): LongwireError {
  return new LongwireError('limit-exceeded', `the payload has ${length} bytes; ${limitBytes} are allowed`);
}

function readContent(params: Params): { payload: Buffer; event: string | null; id: string | null } {
  return { payload: readPayload(params), event: readField(params, 'event'), id: readField(params, 'id') };
}

function readPayload({ data, b64data }: Params): Buffer {
  if (b64data !== undefined) {
    if (data !== undefined) throw new LongwireError('bad-request', 'give data or b64data, not both');
    if (typeof b64data !== 'string' || !isBase64(b64data)) {
      throw new LongwireError('bad-request', 'b64data must be a string in base64');
    }
    return Buffer.from(b64data, 'base64');
  }
  if (data === undefined) throw new LongwireError('bad-request', 'data is missing');
  if (typeof data !== 'string') return Buffer.from(writeJson(data));
  // A lone surrogate has no UTF-8; encoding would put U+FFFD in its place without a word.
  if (!data.isWellFormed())
    throw new LongwireError('bad-request', 'data must be well-formed Unicode; use b64data for bytes');
  return Buffer.from(data);
}

/**
 * RFC 4648 §4, with its padding or without; Buffer alone would pass over what does not belong. One look for a stray
 * character: a pattern with repetitions backtracks, and runs out of stack at some megabytes.
 */
function isBase64(text: string): boolean {
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  const digits = text.length - padding;
  const fits = padding === 0 ? digits % 4 !== 1 : text.length % 4 === 0;
  return fits && !NOT_BASE64.test(padding === 0 ? text : text.slice(0, digits));
}

const NOT_BASE64 = /[^A-Za-z0-9+/]/;

/** JSON.parse reads any depth; before Node 26, JSON.stringify runs out of stack at some thousand levels. */
function writeJson(data: unknown): string {
  try {
    return JSON.stringify(data);
  } catch (thrown) {
    if (!(thrown instanceof RangeError)) throw thrown;
    throw new LongwireError('bad-request', 'data is nested too deeply');
  }
}

/** Kept for some minutes, a channel: what is published again with it is not, and gets the answer of the first. */
function readKey(gateway: Gateway, { idempotency_key: key = null }: Params): string | null {
  if (key === null || key === '') return null;
  if (typeof key !== 'string' || !key.isWellFormed() || Buffer.byteLength(key) > FIELD_LIMIT_BYTES) {
    throw new LongwireError('bad-request', `idempotency_key must be a string of at most ${FIELD_LIMIT_BYTES} bytes`);
  }
  const { name, history } = gateway.broker;
  if (name === 'redis' && history === null) {
    throw new LongwireError('not-available', 'over Redis idempotency_key needs a namespace with history');
  }
  return key;
}

const FIELD_LIMIT_BYTES = 255;

function readField(params: Params, name: 'event' | 'id'): string | null {
  const value = params[name];
  if (value === undefined || value === null) return null;
  if (typeof value !== 'string' || !value.isWellFormed() || Buffer.byteLength(value) > FIELD_LIMIT_BYTES) {
    throw new LongwireError('bad-request', `${name} must be a string of at most ${FIELD_LIMIT_BYTES} bytes`);
  }
  if (name === 'event' && value === NOTICE_EVENT) {
    throw new LongwireError('bad-request', `event must not be ${NOTICE_EVENT}, which is the gateway's own`);
  }
  const fault = eventFieldFault(name, value);
  if (fault !== null) throw new LongwireError('bad-request', fault);
  return value;
}
