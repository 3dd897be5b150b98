// CORS: which pages a browser lets read a stream (the Fetch standard, §3.2), by what was configured.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Cors } from '../../workers/cors.ts';

const APP = 'https://app.example';
const PREFLIGHT =
  'Access-Control-Allow-Methods: GET, HEAD\r\n' +
  'Access-Control-Allow-Headers: Authorization, Last-Event-ID, If-None-Match, Cache-Control\r\n' +
  'Access-Control-Max-Age: 86400\r\n';

/** Origins that are on no list: other hosts, look-alikes, other ports and schemes, and what no browser sends. */
const STRANGERS = [
  'https://evil.example',
  'https://app.example.evil.example',
  'https://evil-app.example',
  'http://app.example',
  'https://app.example:8443',
  'https://app.example/',
  'HTTPS://APP.EXAMPLE',
  ' https://app.example',
  'null',
  '*',
  '',
  'a\r\nSet-Cookie: b',
];

describe('no origins', () => {
  const cors = new Cors([]);

  it('nobody but our own pages may read, and nothing depends on Origin', () => {
    for (const origin of [null, APP, ...STRANGERS]) {
      assert.equal(cors.fields(origin), '');
      assert.equal(cors.preflightFields(origin), '');
    }
  });
});

describe('any origin', () => {
  const cors = new Cors(['*']);

  it('everybody may read, with the same answer for all', () => {
    for (const origin of [null, APP, ...STRANGERS]) {
      assert.equal(cors.fields(origin), 'Access-Control-Allow-Origin: *\r\n');
      assert.equal(cors.preflightFields(origin), `Access-Control-Allow-Origin: *\r\n${PREFLIGHT}`);
    }
  });
});

describe('a list of origins', () => {
  const cors = new Cors(['https://other.example:8443', APP, 'capacitor://localhost']);

  it('those on it may read, by name, and caches must keep the answers apart', () => {
    for (const origin of ['https://other.example:8443', APP, 'capacitor://localhost']) {
      assert.equal(cors.fields(origin), `Access-Control-Allow-Origin: ${origin}\r\nVary: Origin\r\n`);
      assert.equal(
        cors.preflightFields(origin),
        `Access-Control-Allow-Origin: ${origin}\r\nVary: Origin\r\n${PREFLIGHT}`,
      );
    }
  });

  it('others may not, and nothing of what they sent comes back to them', () => {
    for (const origin of [null, ...STRANGERS]) {
      assert.equal(cors.fields(origin), 'Vary: Origin\r\n');
      assert.equal(cors.preflightFields(origin), 'Vary: Origin\r\n');
    }
  });

  it('credentials are never allowed', () => {
    for (const each of [cors, new Cors(['*'])]) assert.doesNotMatch(each.preflightFields(APP), /credentials/i);
  });
});
