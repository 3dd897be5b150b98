// Request heads for unit tests of what comes behind the parser.

import assert from 'node:assert/strict';
import { HeadParser } from '../../workers/http/head-parser.ts';
import type { RequestHead } from '../../workers/http/request-head.ts';

const LIMITS = { targetLimitBytes: 8_192, headLimitBytes: 16_384, headerLimit: 100 };

/** A parsed head of that target, with those header lines beside its Host. */
export function headOf(method: string, target: string, ...headers: string[]): RequestHead {
  const text = `${[`${method} ${target} HTTP/1.1`, 'Host: gateway', ...headers].join('\r\n')}\r\n\r\n`;
  const bytes = Buffer.from(text, 'latin1');
  const parser = new HeadParser(LIMITS);
  assert.equal(parser.parse(bytes, 0, bytes.length), bytes.length, `${text}${parser.faultText}`);
  return parser.head;
}
