// The backend's key: the right one in either of two headers, and nothing else.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { digestKey, keyMatches } from '../../../workers/api/key.ts';
import { headOf } from '../heads.ts';

const KEY = 'the-key-of-this-test';
const digest = digestKey(KEY);

function matches(...headers: string[]): boolean {
  return keyMatches(headOf('POST', '/api/publish', ...headers), digest);
}

describe('the key', () => {
  for (const header of [
    `X-API-Key: ${KEY}`,
    `x-api-key:${KEY}`,
    `X-Api-Key: \t${KEY} \t`,
    `Authorization: apikey ${KEY}`,
    `authorization: ApiKey ${KEY}`,
  ]) {
    it(`is taken from ${JSON.stringify(header)}`, () => assert.equal(matches(header), true));
  }

  for (const [what, ...headers] of [
    ['no header'],
    ['an empty one', 'X-API-Key:'],
    ['another key', 'X-API-Key: another-key-of-this-test'],
    ['its beginning', `X-API-Key: ${KEY.slice(0, -1)}`],
    ['more than it', `X-API-Key: ${KEY}x`],
    ['another case', `X-API-Key: ${KEY.toUpperCase()}`],
    ['a space inside', `X-API-Key: ${KEY.slice(0, 3)} ${KEY.slice(3)}`],
    ['it twice in one header', `X-API-Key: ${KEY}, ${KEY}`],
    ['its digest', `X-API-Key: ${digest.toString('hex')}`],
    ['its digest as bytes', `X-API-Key: ${digest.toString('latin1').replaceAll(/[^\u0021-\u007e]/g, 'x')}`],
    ['a very long one', `X-API-Key: ${'x'.repeat(10_000)}`],
    ['another scheme', `Authorization: Bearer ${KEY}`],
    ['no scheme', `Authorization: ${KEY}`],
    ['the scheme alone', 'Authorization: apikey'],
    ['two spaces behind the scheme', `Authorization: apikey  ${KEY}`],
    ['a look-alike header', `X-API-Key-2: ${KEY}`],
    ['another look-alike', `X_API_Key: ${KEY}`],
    ['a wrong key before the right one', 'X-API-Key: wrong', `X-API-Key: ${KEY}`],
    ['a wrong key beside a right Authorization', 'X-API-Key: wrong', `Authorization: apikey ${KEY}`],
  ] as [string, ...string[]][]) {
    it(`is not ${what}`, () => assert.equal(matches(...headers), false));
  }

  it('in the target is none', () => {
    assert.equal(keyMatches(headOf('POST', `/api/publish?api_key=${KEY}&X-API-Key=${KEY}`), digest), false);
  });

  it('is compared as a digest: 32 bytes, whatever the key', () => {
    for (const key of ['', 'x', KEY, 'x'.repeat(512)]) assert.equal(digestKey(key).length, 32);
    assert.notDeepEqual(digestKey('a'), digestKey('b'));
  });
});
