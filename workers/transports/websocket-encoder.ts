// WebSocket frames of publications (RFC 6455 §5.2): one text frame each; in the raw format a binary one where the payload is
// not UTF-8, so that bytes arrive as published either way.
//
// The heartbeat is a ping: the client's pong, which every WebSocket answers with by itself, shows that it lives. The ending
// is close code 1012, service restart: come back, and any other worker or machine will do.

import { isUtf8 } from 'node:buffer';
import type { Encoding, Farewell } from '../encoding.ts';
import { encodeJsonFormat } from '../json-format.ts';
import { noticeJson } from '../recovery/notice.ts';
import { CLOSE_CODES } from '../websocket/close-codes.ts';
import { BINARY, encodeClose, encodeFrame, encodeText, PING, TEXT } from '../websocket/frame.ts';

/** Payloads alone have no place for a gap, or for who comes and goes. */
const NOTHING = Buffer.alloc(0);
const HEARTBEAT = encodeFrame(PING, Buffer.alloc(0));
const ENDING = encodeClose(CLOSE_CODES.serviceRestart, 'come back');

export const WEBSOCKET_JSON: Encoding = {
  index: 6,
  transport: 'websocket',
  format: 'json',
  encode: (publication) => encodeFrame(TEXT, encodeJsonFormat(publication)),
  farewell: encodeFarewell,
  heartbeat: HEARTBEAT,
  ending: ENDING,
  notice: (notice) => encodeText(noticeJson(notice)),
};

export const WEBSOCKET_RAW: Encoding = {
  index: 7,
  transport: 'websocket',
  format: 'raw',
  encode: ({ payload, kind }) =>
    kind === 'published' ? encodeFrame(isUtf8(payload) ? TEXT : BINARY, payload) : NOTHING,
  farewell: encodeFarewell,
  heartbeat: HEARTBEAT,
  ending: ENDING,
  notice: null,
};

function encodeFarewell({ reason, reconnect, code }: Farewell): Buffer {
  return encodeClose(code ?? (reconnect ? CLOSE_CODES.serviceRestart : CLOSE_CODES.doNotComeBack), reason);
}
