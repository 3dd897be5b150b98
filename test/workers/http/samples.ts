// Requests to feed parsers with: made of pieces that are valid, odd or wrong, and then changed byte by byte.
//
// Odd pieces come from how request smuggling is done (two framings, hidden lengths, look-alike line ends), from
// llhttp's own list of what must be rejected, and from the rules of RFC 9112 one by one. Half of the samples are not
// changed at all, so that the share which both parsers take stays large.

import type { Random } from './random.ts';

// biome-ignore format: a list, read across
export const METHODS = [
  'GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH',
] as const;
// biome-ignore format: a list, read across
export const ODD_METHODS = [
  'get', 'GE', 'GETT', 'CONNECT', 'TRACE', 'QUERY', 'PRI', 'M-SEARCH', 'SOURCE', '', ' GET', 'G\tT', '\r\nGET',
];

// biome-ignore format: a list, read across
export const TARGETS = [
  '/', '/sse/alice', '/sse/al%20ice?channel=b&channel=c', '/a?b?c=/d', '//', 'http://host/x?y', 'HTTPS://h:1',
];
// biome-ignore format: a list, read across
export const ODD_TARGETS = [
  '*', '?x', '/a#b', '/é', '/a b', '', 'http://', 'http:///x', 'http://a@b/', 'ftp://h/', 'h:80', 'http://h?q',
  'http://[::1]:8/', 'http://h#f', '/\u007f', '/a\t', 'x', 'http:/h', 'http://h\\x/', '/"<>\\^`{|}', '*x',
  'http://[h/', 'http://h:x/', '/%zz',
];

// biome-ignore format: a list, read across
export const VERSIONS = [
  'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0',
];
// biome-ignore format: a list, read across
export const ODD_VERSIONS = [
  'HTTP/2.0', 'HTTP/1.2', 'HTTP/0.9', 'http/1.1', 'HTTP/1.10', 'HTTP/01.1', 'HTTP/1,1', 'HTTP/ 1.1', 'HTTP/1.1 ',
  'HTTP/11', '',
];

// biome-ignore format: a list, read across
export const HEADERS = [
  'Accept: text/event-stream', 'accept-language:de,en;q=0.5', 'User-Agent: \t curl/8.5 \t', 'Cookie: a="b;c"; d=é',
  'X-Empty:', 'X-White: \t ', 'Connection: keep-alive', 'Connection: Close', 'Connection: Upgrade, HTTP2-Settings',
  'Upgrade: websocket', 'Connection: foo , close', 'Last-Event-ID: 12', 'Expect: 100-continue', 'X-Colon: a:b:c',
  "!#$%&'*+-.^_`|~0: token",
];
// biome-ignore format: a list, read across
export const ODD_HEADERS = [
  'Host: a', 'host:', 'Host: a b', 'Host: a/b', 'Host: u@a', 'Host: [::1]:80', 'Host: a:b', 'Host : a', ' Host: a',
  'Host\t: a', 'Content-Length: 0', 'Content-Length: 3', 'content-length: 03', 'Content-Length: +3',
  'Content-Length: -1', 'Content-Length: 3, 3', 'Content-Length: 3 3', 'Content-Length:', 'Content-Length: 0x3',
  'Content-Length: 18446744073709551617', 'Content-Length: 9007199254740992', 'Content-Length: 3\t',
  'Content-Length: \u000b3', 'Content-Length: 3;', 'Content-Length: 1e1', 'Content_Length: 3',
  'Transfer-Encoding: chunked', 'transfer-encoding:CHUNKED ', 'Transfer-Encoding: gzip, chunked',
  'Transfer-Encoding: chunked, gzip', 'Transfer-Encoding: chunked, chunked', 'Transfer-Encoding: identity',
  'Transfer-Encoding: xchunked', 'Transfer-Encoding: "chunked"', 'Transfer-Encoding:',
  'Transfer-Encoding: chunked;q=1', 'Transfer-Encoding : chunked', 'Transfer-Encoding: ,chunked',
  'Transfer-Encoding: chunked,', 'Transfer-Encoding: \u000bchunked', 'Transfer-Encoding: gzip',
  'Transfer-Encoding: chunked\t', 'Transfer-Encoding:\tchunked', 'Content-Length:\t3', 'Content-Length: 3 ',
  'Connection: x,\tclose', ' folded', '\tfolded', 'NoColon', ': no name', 'a b: c', 'a\u0000: b', 'a: \u0000',
  'a: b\u007f', 'a: b\u0001c', 'é: a', 'a: b\rc', 'a: b\nc', 'a: b\nTransfer-Encoding: chunked', 'a: b\r', '(a): b',
  'a"b: c', 'Connection: close, keep-alive', 'Connection: keep-alive, close', 'Connection: ,, close ,',
  'Connection: closed', 'Connection: x-close', 'Connection: close foo', 'Connection: keep-alive x',
  'Connection: keep-alivee', 'Connection:upgrade', 'Connection: upgrade;x', 'Connection: "close"', 'Connection:',
  'Connection: Keep-Alive\t,\tUpgrade', 'Connection: upgrade\t', 'Upgrade:', 'Upgrade: h2c', 'Expect: 200-ok',
  'Expect:', 'Keep-Alive: timeout=5', 'Proxy-Connection: close',
];

// biome-ignore format: a list, read across
export const CHUNK_TAILS = [
  '', '', '', ';a', ';a=b', ';a="b;\\"c"', ';a;b=c',
];
// biome-ignore format: a list, read across
export const ODD_CHUNK_TAILS = [
  ' ', ';', ';a=', '; a', ';a b', ';a="b', ' ;a', ';a="b"c', ';a=b=c', '\t', ';a="\n"', ';a\n', '\r', 'g',
  ';a="\\\u0001"', '_', '.0',
];
// biome-ignore format: a list, read across
const ODD_SIZES = [
  '0x3', '+3', '-3', ' 3', '', 'fffffffffffffffff', '00000000000000000003', 'FFFFFFFFFFFFFFFF', '3 ',
];
// biome-ignore format: a list, read across
export const TRAILERS = [
  'X-Sum: 1', 'x:', 'Server-Timing: a;dur=1',
];
// biome-ignore format: a list, read across
export const ODD_TRAILERS = [
  'Content-Length: 1', 'Transfer-Encoding: chunked', 'Host: x', 'no colon', ' x: y', 'x : y', 'x: \u0000', 'x: a\nb',
  'é: x',
];

// biome-ignore format: a list, read across
const LINE_ENDS = [
  '\r\n', '\n', '\r', '\r\r\n', '\n\r', '\r\n\r\n', ' \r\n', '\r\n ', '',
];

/** Bytes that parsers stumble over, for changes. */
// biome-ignore format: a list, read across
export const BYTES = [
  0x00, 0x09, 0x0a, 0x0a, 0x0b, 0x0d, 0x0d, 0x20, 0x20, 0x22, 0x23, 0x2c, 0x30, 0x31, 0x3a, 0x3b, 0x3d, 0x41, 0x5c,
  0x61, 0x7f, 0x80, 0xff,
];

/** A connection's bytes: one to three requests, each more or less sound. */
export function makeSample(random: Random): Buffer {
  let text = '';
  for (let count = random.once(4) ? 1 + random.below(3) : 1; count > 0; count--) text += makeRequest(random);
  const bytes = Buffer.from(text, 'latin1');
  return random.once(2) ? bytes : change(bytes, random);
}

function makeRequest(random: Random): string {
  const odd = random.once(2);
  const oddly = () => odd && random.once(6);
  const end = () => (odd && random.once(25) ? random.pick(LINE_ENDS) : '\r\n');
  const method = oddly() ? random.pick(ODD_METHODS) : random.pick(METHODS);
  const target = oddly() ? random.pick(ODD_TARGETS) : random.pick(TARGETS);
  const version = oddly() ? random.pick(ODD_VERSIONS) : random.pick(VERSIONS);
  const lines = [`${method} ${target} ${version}`];
  if (!oddly()) lines.push(random.once(2) ? 'Host: gateway:3000' : 'host:[::1]');
  for (let count = random.below(5); count > 0; count--)
    lines.push(oddly() ? random.pick(ODD_HEADERS) : random.pick(HEADERS));

  let body = '';
  const framed = random.below(5);
  if (framed < 2) {
    body = random.pick([
      '',
      'abc',
      '{"channel":"a","data":1}',
      'GET / HTTP/1.1\r\nHost: a\r\n\r\n',
      '\r\n',
      '0\r\n\r\n',
      'é\u0000',
    ]);
    const off = oddly() ? random.pick([-1, 1]) : 0;
    lines.push(`Content-Length: ${Math.max(0, body.length + off)}`);
  } else if (framed === 2) {
    lines.push(random.once(2) ? 'Transfer-Encoding: chunked' : 'transfer-encoding:Chunked');
    body = makeChunks(random, oddly, end);
  }
  // The framing header comes last above; put it anywhere behind the request line.
  const framing = lines.pop() as string;
  lines.splice(lines.length === 0 ? 0 : 1 + random.below(lines.length), 0, framing);
  return lines.map((line) => line + end()).join('') + end() + body;
}

function makeChunks(random: Random, oddly: () => boolean, end: () => string): string {
  let chunks = '';
  const tail = () => (oddly() ? random.pick(ODD_CHUNK_TAILS) : random.pick(CHUNK_TAILS));
  for (let count = random.below(4); count > 0; count--) {
    const data = random.pick(['a', 'abc', 'x'.repeat(300), '\r\n0\r\n\r\n', 'é\u0000\u0000']);
    const size = oddly()
      ? random.pick(ODD_SIZES)
      : random.pick([data.length.toString(16), data.length.toString(16).toUpperCase(), `0${data.length.toString(16)}`]);
    chunks += size + tail() + end() + data + end();
  }
  chunks += `0${tail()}${end()}`;
  for (let count = random.once(3) ? random.below(3) : 0; count > 0; count--) {
    chunks += (oddly() ? random.pick(ODD_TRAILERS) : random.pick(TRAILERS)) + end();
  }
  return chunks + end();
}

/** One to three changes of a byte or a stretch. */
function change(bytes: Buffer, random: Random): Buffer {
  let changed = bytes;
  for (let count = 1 + random.below(3); count > 0; count--) {
    changed = changeOnce(
      changed,
      random.below(7),
      random.below(changed.length + 1),
      random.pick(BYTES),
      1 + random.below(12),
    );
  }
  return changed;
}

/** Change `kind` (0 to 6) at `at`, with `byte` or over `length` bytes. */
export function changeOnce(bytes: Buffer, kind: number, at: number, byte: number, length: number): Buffer {
  const before = bytes.subarray(0, at);
  const after = bytes.subarray(at);
  switch (kind) {
    case 0: // put in a byte
      return Buffer.concat([before, Buffer.of(byte), after]);
    case 1: // replace a byte
      return Buffer.concat([before, Buffer.of(byte), after.subarray(1)]);
    case 2: // take out a byte
      return Buffer.concat([before, after.subarray(1)]);
    case 3: // turn over one bit
      return Buffer.concat([
        before,
        Buffer.from(after.subarray(0, 1).map((old) => old ^ (1 << (byte & 7)))),
        after.subarray(1),
      ]);
    case 4: // say a stretch twice
      return Buffer.concat([before, after.subarray(0, length), after]);
    case 5: // take out a stretch
      return Buffer.concat([before, after.subarray(length)]);
    default: // end here
      return Buffer.concat([before]);
  }
}
