// Requests to throw at a running gateway: sound ones, of which it is known how they must be answered, and odd ones, of which
// it is only known that they must do no harm.
//
// Sound ones cover the whole public port and keep the connection. Odd ones are the parsers' samples brought to paths that
// exist, calls whose JSON or framing is wrong, lines and bodies beyond every limit, other protocols, and noise; half of
// them are changed byte by byte on top. Everything comes from a seeded generator, so that a run can be had again.

import type { Random } from '../../test/workers/http/random.ts';
import { BYTES, changeOnce, makeSample } from '../../test/workers/http/samples.ts';

export interface SoundRequest {
  bytes: Buffer;
  /** What it is answered with; the connection stays open after it. */
  status: number;
  /** What its success publishes, 'channel payload' each. */
  published: string[];
}

/** Limits that the odd requests go beyond, small so that going beyond them is cheap. */
export const FUZZ_LIMITS = {
  headBytes: 4_096,
  targetBytes: 2_048,
  headers: 32,
  bodyBytes: 32_768,
  payloadBytes: 16_384,
} as const;

const CHANNELS = ['fuzz', 'a', 'news/europe', 'al ice', 'é😀', 'x'.repeat(255)];
const DATA = ['hello', '', '\r\n', 'a\nb\rc', '\0', '"\\', 'é😀', '\u2028', '{"a":1}', 'x'.repeat(700)];

export function makeSoundRequest(random: Random, key: string): SoundRequest {
  const channel = random.pick(CHANNELS);
  const data = random.pick(DATA);
  switch (random.below(14)) {
    case 0:
      return sound(get(`/healthz${random.once(2) ? '?x=%41' : ''}`), 200);
    case 1:
      return sound('HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n', 200);
    case 2:
      return sound(`\r\nGET http://gateway/healthz HTTP/1.1\r\nhOsT:\tgateway \r\n${padding(random)}\r\n`, 200);
    case 3:
      return sound('OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n', 204);
    case 4:
      return sound('OPTIONS /sse/a HTTP/1.1\r\nHost: a\r\nOrigin: https://a.example\r\n\r\n', 204);
    case 5:
      return sound(call(random, key, 'publish', random.pick(WRONG_BODIES)), 400);
    case 6:
      return sound(call(random, key, random.pick(['', 'nothing', '__proto__', 'a/b', '%70ublish%']), '{}'), 404);
    case 7: {
      const channels = [channel, 'b', channel];
      const body = JSON.stringify({ channels, data });
      return sound(
        call(random, key, 'broadcast', body),
        200,
        channels.map((each) => `${each} ${data}`),
      );
    }
    case 8: {
      const bytes = Buffer.from(Array.from({ length: random.below(50) }, () => random.below(256)));
      const body = JSON.stringify({ channel, b64data: bytes.toString('base64'), event: 'e', id: 'é' });
      return sound(call(random, key, 'publish', body), 200, [`${channel} ${bytes}`]);
    }
    case 9:
      return sound(get(`/poll/a?timeout=0&channel=${encodeURIComponent(channel)}`), 204);
    case 10:
      // Slot 0 has no worker, so nobody is asked whether it has this session.
      return sound(get('/poll/a?since=3&sid=AAEbcdefghij-_012345'), 410);
    default:
      return sound(call(random, key, 'publish', JSON.stringify({ channel, data })), 200, [`${channel} ${data}`]);
  }
}

/** Anything: a whole request, several, a part of one, or none at all. */
export function makeOddRequest(random: Random, key: string): Buffer {
  switch (random.below(9)) {
    case 0:
    case 1:
    case 2:
      return atHome(makeSample(random), random, key);
    case 3:
      return change(makeSoundRequest(random, key).bytes, random);
    case 4:
      return Buffer.from(call(random, key, random.pick(['publish', 'broadcast']), oddBody(random)));
    case 5:
      return Buffer.from(wrongLength(random, key));
    case 6:
      return Buffer.from(beyondLimits(random, key), 'latin1');
    case 7:
      return Buffer.from(stream(random), 'latin1');
    default:
      return noise(random);
  }
}

/** One to four changes of a byte or a stretch. */
export function change(bytes: Buffer, random: Random): Buffer {
  let changed: Buffer = bytes;
  for (let count = 1 + random.below(4); count > 0; count--) {
    const at = random.below(changed.length + 1);
    changed = changeOnce(changed, random.below(7), at, random.pick(BYTES), 1 + random.below(12));
  }
  return changed;
}

/** The same requests at paths that exist and take their methods, mostly, and with the key, mostly: else nearly all end at 404. */
export function atHome(bytes: Buffer, random: Random, key: string): Buffer {
  const text = bytes.toString('latin1');
  const moved = text.replaceAll(/^(\S+) (?:\/|\/\/|\/a\?b\?c=\/d|\/sse\/\S*)(?= HTTP)/gm, (_, method: string) => {
    const toApi = (method === 'POST') !== random.once(8);
    return `${method} ${random.pick(toApi ? ['/api/publish', '/api/broadcast'] : ['/sse/a', '/sse?channel=b', '/stream/a', '/poll/a', '/healthz'])}`;
  });
  const fields = random.once(5) ? '' : `X-API-Key: ${key}\r\n`;
  return Buffer.from(
    moved.replaceAll(/^host:.*\r\n/gim, (host) => `${host}${fields}`),
    'latin1',
  );
}

// biome-ignore format: a list, read across
const WRONG_BODIES = [
  '', ' ', 'x', 'null', '[]', '"a"', '1', '{}', '{"channel":"a"}', '{"data":"x"}', '{"channel":"","data":1}',
  '{"channel":":own","data":1}', '{"channel":"a","data":"\\ud800"}', '{"channel":"a","b64data":"?"}', '{"channel":7,"data":1}',
  '{"channel":"a","data":1,"b64data":""}', '{"channel":"a","data":1,"event":"\\n"}', '{"channel":"a\\u0000","data":1}', '{',
];

function sound(text: string, status: number, published: string[] = []): SoundRequest {
  return { bytes: Buffer.from(text), status, published };
}

function get(target: string): string {
  return `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`;
}

/** Header lines that mean nothing here. */
function padding(random: Random): string {
  return Array.from({ length: random.below(6) }, (_, i) => `X-${i}: ${'v'.repeat(random.below(40))}\r\n`).join('');
}

/** A call of the API with a body of known length, in chunks, or announced with Expect. */
function call(random: Random, key: string, method: string, body: string): string {
  const field = random.once(3) ? `authorization: apikey ${key}` : `X-API-Key: ${key}`;
  const head = `POST /api/${method} HTTP/1.1\r\nHost: a\r\n${padding(random)}${field}\r\n`;
  if (random.once(3)) return `${head}Transfer-Encoding: chunked\r\n\r\n${chunked(body, random)}`;
  const expect = random.once(8) ? 'Expect: 100-continue\r\n' : '';
  return `${head}${expect}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
}

function chunked(body: string, random: Random): string {
  let text = '';
  for (let at = 0; at < body.length; ) {
    // By characters, each chunk sized in bytes; a pair of surrogates must not be torn.
    let end = Math.min(body.length, at + 1 + random.below(random.pick([4, 400])));
    if (!body.slice(at, end).isWellFormed()) end++;
    const piece = body.slice(at, end);
    text += `${Buffer.byteLength(piece).toString(16)}${random.pick(['', ';a=b', ';c="d;"'])}\r\n${piece}\r\n`;
    at = end;
  }
  return `${text}0\r\n${random.once(3) ? 'X-Sum: 1\r\n' : ''}\r\n`;
}

function oddBody(random: Random): string {
  const deep = random.pick([10, 1_000, 15_000]);
  switch (random.below(8)) {
    case 0:
      return `{"channel":"a","data":${'['.repeat(deep)}${']'.repeat(deep)}}`;
    case 1:
      return `{"channel":"a","data":${'{"a":'.repeat(deep / 10)}1${'}'.repeat(deep / 10)}}`;
    case 2:
      return JSON.stringify({ channel: 'x'.repeat(random.below(1_000)), data: 'x'.repeat(random.below(20_000)) });
    case 3:
      return JSON.stringify({ channel: 'a', b64data: 'QUJD'.repeat(random.below(7_000)), id: 'x'.repeat(300) });
    case 4:
      return JSON.stringify({ channels: Array.from({ length: random.below(3_000) }, (_, i) => `${i}`), data: 'x' });
    case 5:
      return JSON.stringify({
        channel: { toString: 1 },
        channels: { length: 1e9 },
        data: { __proto__: null },
        event: [],
      });
    case 6:
      return `\ufeff{"channel":"a","data":1e999,"data":-0,"__proto__":{"channel":1},"constructor":null}`;
    default:
      return change(Buffer.from(JSON.stringify({ channel: 'a', data: random.pick(DATA) })), random).toString('latin1');
  }
}

function wrongLength(random: Random, key: string): string {
  const body = '{"channel":"a","data":"x"}';
  const head = `POST /api/publish HTTP/1.1\r\nHost: a\r\nX-API-Key: ${key}\r\n`;
  switch (random.below(5)) {
    case 0:
      return `${head}Content-Length: ${body.length + random.pick([-5, -1, 1, 2, 100])}\r\n\r\n${body}`;
    case 1:
      return `${head}Content-Length: ${random.pick(['0', '9999999999', '1e9', '-1', ''])}\r\n\r\n${body}`;
    case 2: {
      const size = body.length + random.pick([-2, -1, 1, 2]);
      return `${head}Transfer-Encoding: chunked\r\n\r\n${size.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
    }
    case 3:
      return `${head}Transfer-Encoding: chunked\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    default:
      return `${head}\r\n${body}`;
  }
}

function beyondLimits(random: Random, key: string): string {
  const { headBytes, targetBytes, headers, bodyBytes } = FUZZ_LIMITS;
  const off = random.pick([-1, 0, 1, 50, 20_000]);
  const post = `POST /api/publish HTTP/1.1\r\nHost: a\r\nX-API-Key: ${key}\r\n`;
  switch (random.below(10)) {
    case 0:
      return get(`/healthz?${'q'.repeat(Math.max(0, targetBytes - 'GET /healthz? HTTP/1.1'.length + off))}`);
    case 1:
      return `GET / HTTP/1.1\r\nHost: a\r\nX: ${'v'.repeat(Math.max(0, headBytes - 40 + off))}\r\n\r\n`;
    case 2:
      return `GET /healthz HTTP/1.1\r\nHost: a\r\n${'a:\r\n'.repeat(Math.max(0, headers - 1 + Math.min(off, 900)))}\r\n`;
    case 3:
      return `${'A'.repeat(headBytes + off)} / HTTP/1.1\r\n`;
    case 4:
      return `${post}Content-Length: ${bodyBytes + off}\r\n\r\n${' '.repeat(bodyBytes + off)}`;
    case 5:
      return `${post}Transfer-Encoding: chunked\r\n\r\n${`ff\r\n${' '.repeat(255)}\r\n`.repeat((bodyBytes + off) / 255 + 1)}0\r\n\r\n`;
    case 6:
      return `${post}Transfer-Encoding: chunked\r\n\r\n1;${'e'.repeat(4_090 + Math.min(off, 50))}\r\n`;
    case 7:
      return `${post}Transfer-Encoding: chunked\r\n\r\n0\r\n${`t: ${'v'.repeat(96)}\r\n`.repeat(39 + Math.min(off, 50))}\r\n`;
    case 8:
      return get('/healthz').repeat(1 + random.below(200));
    default:
      return random.pick(['\r\n', '\n', ' ', '\0', 'GET ', 'x']).repeat(1 + random.below(3_000));
  }
}

/** A stream that is opened, with something behind it. */
function stream(random: Random): string {
  const channels = Array.from({ length: random.below(80) }, (_, i) => `channel=${i}`);
  const target = `/${random.pick(['sse', 'sse', 'stream', 'poll'])}${random.pick(['/fuzz', '/a', '', '/', '/%00', '/%ff', '/:own', '/%'])}`;
  const query = random.pick([
    '',
    '?',
    '?format=json',
    '?format=x',
    `?${channels.join('&')}`,
    '?channel=',
    '?%',
    `?sid=${random.pick(['ABE', 'ACE', 'AJE'])}bcdefghij-_012345`,
  ]);
  const method = random.pick(['GET', 'GET', 'GET', 'HEAD', 'POST', 'DELETE']);
  const version = random.pick(['1.1', '1.1', '1.0']);
  const behind = random.pick(['', '', '\r\n', '\r\n\r\n\r\n', 'x', get('/healthz'), '\0'.repeat(1_000)]);
  return `${method} ${target}${query} HTTP/${version}\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n${behind}`;
}

function noise(random: Random): Buffer {
  switch (random.below(5)) {
    case 0:
      // A TLS 1.2 ClientHello up to its random.
      return Buffer.concat([Buffer.from('1603010200010001fc0303', 'hex'), randomBytes(random, 32 + random.below(200))]);
    case 1:
      return Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0', 'latin1');
    case 2:
      return Buffer.concat([Buffer.of(0x81, 0x85), randomBytes(random, 9)]);
    case 3:
      return Buffer.from('*3\r\n$7\r\nPUBLISH\r\n$6\r\npush:a\r\n$1\r\nx\r\n');
    default:
      return randomBytes(random, 1 + random.below(random.pick([20, 300, 5_000])));
  }
}

function randomBytes(random: Random, count: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: count }, () => random.below(256)));
}
