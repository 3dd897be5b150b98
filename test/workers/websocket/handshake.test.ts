// The opening handshake by its clauses: what is answered 101 and with which bytes, and what each other request is told.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { faultAnswer } from '../../../workers/http/answers.ts';
import { HeadParser } from '../../../workers/http/head-parser.ts';
import type { RequestHead } from '../../../workers/http/request-head.ts';
import { acceptOf, answerHandshake, HANDSHAKE_FAULTS } from '../../../workers/websocket/handshake.ts';
import { headOf } from '../heads.ts';

const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const CONNECTION = 'Connection: Upgrade';
const UPGRADE = 'Upgrade: websocket';
const VERSION = 'Sec-WebSocket-Version: 13';
const KEY_LINE = `Sec-WebSocket-Key: ${KEY}`;
const ASKED = [CONNECTION, UPGRADE, VERSION, KEY_LINE];

const ANSWER =
  'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
  'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n';

const FAULT_CASES: { readonly [Name in keyof typeof HANDSHAKE_FAULTS]: Readonly<Record<string, RequestHead>> } = {
  method: {
    HEAD: headOf('HEAD', '/ws/a', ...ASKED),
    POST: headOf('POST', '/ws/a', ...ASKED),
    OPTIONS: headOf('OPTIONS', '/ws/a', ...ASKED),
  },
  httpVersion: { 'HTTP/1.0': oldHeadOf(...ASKED) },
  upgrade: {
    'a plain GET': headOf('GET', '/ws/a'),
    'no Connection': asked({ [CONNECTION]: null }),
    'Connection without upgrade': asked({ [CONNECTION]: 'Connection: keep-alive' }),
    'no Upgrade': asked({ [UPGRADE]: null }),
    'an empty Upgrade': asked({ [UPGRADE]: 'Upgrade:' }),
    'another protocol': asked({ [UPGRADE]: 'Upgrade: h2c' }),
    'a longer word': asked({ [UPGRADE]: 'Upgrade: websockets' }),
    'a shorter word': asked({ [UPGRADE]: 'Upgrade: websocke' }),
    'a version behind it': asked({ [UPGRADE]: 'Upgrade: websocket/13' }),
    'two words': asked({ [UPGRADE]: 'Upgrade: websocket h2c' }),
    'quotes around it': asked({ [UPGRADE]: 'Upgrade: "websocket"' }),
    'a look-alike header': asked({ [UPGRADE]: 'Upgrade: h2c', more: 'X-Upgrade: websocket' }),
  },
  body: {
    'a length': asked({ more: 'Content-Length: 3' }),
    chunks: asked({ more: 'Transfer-Encoding: chunked' }),
  },
  versions: {
    'twice the same': asked({ more: VERSION }),
    'two different': asked({ more: 'sec-websocket-version: 8' }),
    'an unknown one first': asked({ [VERSION]: 'Sec-WebSocket-Version: 8', more: VERSION }),
  },
  version: {
    none: asked({ [VERSION]: null }),
    'an empty one': asked({ [VERSION]: 'Sec-WebSocket-Version:' }),
    'an old one': asked({ [VERSION]: 'Sec-WebSocket-Version: 8' }),
    'a list': asked({ [VERSION]: 'Sec-WebSocket-Version: 13, 8' }),
    'a leading zero': asked({ [VERSION]: 'Sec-WebSocket-Version: 013' }),
    'before the key is looked at': asked({ [VERSION]: 'Sec-WebSocket-Version: 14', [KEY_LINE]: null }),
  },
  noKey: { none: asked({ [KEY_LINE]: null }) },
  keys: {
    'twice the same': asked({ more: KEY_LINE }),
    'two different': asked({ more: 'sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==' }),
    'one empty': asked({ more: 'Sec-WebSocket-Key:' }),
  },
  key: {
    'an empty one': asked({ [KEY_LINE]: 'Sec-WebSocket-Key:' }),
    '15 bytes': asked({ [KEY_LINE]: `Sec-WebSocket-Key: ${Buffer.alloc(15).toString('base64')}` }),
    '17 bytes': asked({ [KEY_LINE]: `Sec-WebSocket-Key: ${Buffer.alloc(17).toString('base64')}` }),
    '32 bytes': asked({ [KEY_LINE]: `Sec-WebSocket-Key: ${Buffer.alloc(32).toString('base64')}` }),
    'a character too few': asked({ [KEY_LINE]: `Sec-WebSocket-Key: ${KEY.slice(1)}` }),
    'no padding': asked({ [KEY_LINE]: `Sec-WebSocket-Key: ${KEY.slice(0, -2)}` }),
    'half the padding': asked({ [KEY_LINE]: `Sec-WebSocket-Key: ${KEY.slice(0, -1)}` }),
    'the alphabet of URLs': asked({ [KEY_LINE]: `Sec-WebSocket-Key: __${KEY.slice(2)}` }),
    'a space in it': asked({ [KEY_LINE]: `Sec-WebSocket-Key: dGhl ${KEY.slice(5)}` }),
    'another character': asked({ [KEY_LINE]: `Sec-WebSocket-Key: \u00e9${KEY.slice(1)}` }),
    'two in a list': asked({ [KEY_LINE]: `Sec-WebSocket-Key: ${KEY}, ${KEY}` }),
  },
};

describe('a handshake at fault', () => {
  for (const [name, cases] of Object.entries(FAULT_CASES)) {
    const fault = HANDSHAKE_FAULTS[name as keyof typeof HANDSHAKE_FAULTS];
    for (const [what, head] of Object.entries(cases)) {
      it(`${fault.status} ${fault.text}: ${what}`, () => {
        assert.deepEqual(answerHandshake(head), fault);
      });
    }
  }

  it('is told what the RFCs want it to be told', () => {
    for (const { status, text, fields } of Object.values(HANDSHAKE_FAULTS)) {
      const answer = faultAnswer(status, text, fields).toString('latin1');
      // RFC 6455 §4.4; RFC 9110 §15.5.22, §7.8; §15.5.6.
      if (status === 426)
        assert.match(answer, /\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n/);
      if (status === 405) assert.match(answer, /\r\nAllow: GET\r\n/);
      assert.match(answer, /^HTTP\/1\.1 (400 Bad Request|405 Method Not Allowed|426 Upgrade Required)\r\n/);
    }
  });
});

describe('a handshake', () => {
  // RFC 6455 §1.3.
  it('is answered as the RFC has it', () => {
    assert.equal(acceptOf(KEY), 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
    assert.equal(text(headOf('GET', '/ws/a', ...ASKED)), ANSWER);
  });

  for (const [what, head] of Object.entries({
    'names and tokens in any case': headOf(
      'GET',
      '/ws/a',
      'CONNECTION: uPGRADE',
      'upgrade: WebSocket',
      'sec-websocket-VERSION: 13',
      `SEC-WebSocket-key: ${KEY}`,
    ),
    'white space around the values': headOf(
      'GET',
      '/ws/a',
      'Connection:\t Upgrade \t',
      'Upgrade:\t websocket \t',
      'Sec-WebSocket-Version:\t13 ',
      `Sec-WebSocket-Key:  ${KEY}\t`,
    ),
    'upgrade among other options': asked({ [CONNECTION]: 'Connection: keep-alive, Upgrade' }),
    'two lines of Connection': asked({ [CONNECTION]: 'Connection: keep-alive', more: CONNECTION }),
    'websocket among other protocols': asked({ [UPGRADE]: 'Upgrade: h2c ,\twebsocket , x' }),
    'two lines of Upgrade': asked({ [UPGRADE]: 'Upgrade: h2c', more: UPGRADE }),
    'empty elements': asked({ [UPGRADE]: 'Upgrade: ,, websocket ,' }),
    'Content-Length: 0': asked({ more: 'Content-Length: 0' }),
    'what a browser sends besides': asked({
      more: 'Origin: https://example.com\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nSec-WebSocket-Protocol: chat',
    }),
  })) {
    it(`is taken with ${what}, and answered the same`, () => assert.equal(text(head), ANSWER));
  }

  it('is taken with every key of 16 bytes', () => {
    for (let byte = 0; byte < 256; byte++) {
      const key = Buffer.alloc(16, byte).toString('base64');
      const answer = text(asked({ [KEY_LINE]: `Sec-WebSocket-Key: ${key}` }));
      assert.match(answer, /\r\nSec-WebSocket-Accept: [A-Za-z0-9+/]{27}=\r\n\r\n$/);
      assert.ok(answer.includes(acceptOf(key)));
    }
  });

  it('offers neither extension nor subprotocol', () => {
    assert.doesNotMatch(ANSWER, /extensions|protocol:/i);
  });
});

/** A sound request with lines replaced, left out (null) or added (`more`). */
function asked(changes: Readonly<Record<string, string | null>>): RequestHead {
  const lines = ASKED.map((line) => (line in changes ? changes[line] : line));
  return headOf('GET', '/ws/a', ...[...lines, changes.more].filter((line) => typeof line === 'string'));
}

function oldHeadOf(...lines: string[]): RequestHead {
  const parser = new HeadParser({ targetLimitBytes: 8_192, headLimitBytes: 16_384, headerLimit: 100 });
  const bytes = Buffer.from(`GET /ws/a HTTP/1.0\r\n${lines.join('\r\n')}\r\n\r\n`);
  assert.equal(parser.parse(bytes, 0, bytes.length), bytes.length);
  return parser.head;
}

function text(head: RequestHead): string {
  const answer = answerHandshake(head);
  assert.ok(answer instanceof Buffer, JSON.stringify(answer));
  return answer.toString('latin1');
}
