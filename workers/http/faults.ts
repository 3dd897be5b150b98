// The peer's mistakes in a request's head or body: the one table of what it is answered and why.
//
// Each is a constant, so meeting one allocates nothing and the answer that carries it can be cached (answers.ts). The
// texts name the rule and never repeat what was sent. A test sees to it that each has a case that brings it about.

export interface Fault {
  readonly status: number;
  readonly text: string;
}

export const HEAD_FAULTS = {
  // The request line, RFC 9112 §2 and §3.
  requestLine: { status: 400, text: 'malformed request line' },
  method: { status: 400, text: 'malformed method' },
  unknownMethod: { status: 501, text: 'unknown method' },
  target: { status: 400, text: 'malformed request target' },
  targetLimit: { status: 414, text: 'request line too long' },
  version: { status: 400, text: 'malformed HTTP version' },
  unknownVersion: { status: 505, text: 'HTTP version not supported' },
  // Header lines, RFC 9112 §5.
  headLimit: { status: 431, text: 'request head too large' },
  headerLimit: { status: 431, text: 'too many headers' },
  name: { status: 400, text: 'malformed header name' },
  folded: { status: 400, text: 'folded header line' },
  value: { status: 400, text: 'forbidden character in a header value' },
  lineEnd: { status: 400, text: 'line not ended by CR LF' },
  // What headers say, RFC 9112 §3.2 and §6, RFC 9110 §10.1.1.
  noHost: { status: 400, text: 'no Host' },
  host: { status: 400, text: 'malformed Host' },
  hosts: { status: 400, text: 'more than one Host' },
  length: { status: 400, text: 'malformed Content-Length' },
  lengths: { status: 400, text: 'more than one Content-Length' },
  coding: { status: 400, text: 'malformed Transfer-Encoding' },
  codings: { status: 400, text: 'more than one Transfer-Encoding' },
  unknownCoding: { status: 501, text: 'unknown transfer coding' },
  codingOnOld: { status: 400, text: 'Transfer-Encoding on HTTP/1.0' },
  lengthAndCoding: { status: 400, text: 'both Content-Length and Transfer-Encoding' },
  expectation: { status: 417, text: 'unknown expectation' },
} as const satisfies Readonly<Record<string, Fault>>;

/** RFC 9112 §7.1. */
export const BODY_FAULTS = {
  lineEnd: HEAD_FAULTS.lineEnd,
  bodyLimit: { status: 413, text: 'request body too large' },
  chunkSize: { status: 400, text: 'malformed chunk size' },
  chunkEnd: { status: 400, text: 'chunk longer than its size' },
  extension: { status: 400, text: 'malformed chunk extension' },
  extensionLimit: { status: 413, text: 'chunk extensions too large' },
  trailer: { status: 400, text: 'malformed trailer' },
  trailerForbidden: { status: 400, text: 'header that must not be a trailer' },
  trailerLimit: { status: 431, text: 'trailers too large' },
} as const satisfies Readonly<Record<string, Fault>>;
