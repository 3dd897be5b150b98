// `GET /ws/{channel}`: opens a WebSocket (RFC 6455 §4.2).
//
// Browsers let any page open a WebSocket to anywhere and leave it to the server to look at Origin (§10.2): pages of the
// gateway's own host and of LONGWIRE_CORS_ORIGINS may, others are answered 403. Clients that are no browsers send no Origin
// and are let in. No extensions are taken up: docs/adr/0006-no-websocket-compression.md.

import type { Handler } from '../exchange.ts';
import { authorize, REFUSED } from '../token/authorize.ts';
import { answerHandshake } from '../websocket/handshake.ts';
import { WebSocketSession } from '../websocket/session.ts';
import { readSubscriptionRequest } from './subscription-request.ts';
import { WEBSOCKET_JSON, WEBSOCKET_RAW } from './websocket-encoder.ts';

const PREFIX_LENGTH = '/ws/'.length;

export const handleWebSocket: Handler = (exchange, head) => {
  const { config, cors, draining } = exchange.gateway;
  const asked = readSubscriptionRequest(head, PREFIX_LENGTH, 'json', config.channelLimit);
  if (typeof asked === 'string') {
    exchange.reject(400, asked, 'malformed');
    return;
  }
  const handshake = answerHandshake(head);
  if (!Buffer.isBuffer(handshake)) {
    exchange.reject(handshake.status, handshake.text, 'malformed', handshake.fields);
  } else if (!cors.mayConnect(head.header('origin'), head.header('host'))) {
    exchange.reject(403, 'pages of this origin may not connect', 'not-allowed');
  } else if (asked.since !== null && asked.format === 'raw') {
    exchange.reject(400, 'the raw format has no place for how a recovery went; take json', 'malformed');
  } else if (draining) {
    exchange.reject(503, 'this worker is draining; try again', 'draining');
  } else {
    const who = authorize(exchange, head, asked);
    if (who === REFUSED) return;
    const encoding = asked.format === 'json' ? WEBSOCKET_JSON : WEBSOCKET_RAW;
    const { channels, since } = asked;
    exchange.open(encoding, channels, handshake, { session: new WebSocketSession(), since, who });
  }
};
