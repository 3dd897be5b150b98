// The cursor of a poll, from its query or its If-None-Match.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { queryValues } from '../../../workers/http/target.ts';
import { type Cursor, entityTag, readCursor, writePosition } from '../../../workers/poll/cursor.ts';
import { headOf } from '../heads.ts';

const SID = 'AAEbcdefghij-_012345';

function read(query: string, ...headers: string[]): Cursor | string {
  return readCursor(headOf('GET', `/poll/a?${query}`, ...headers), queryValues(query) ?? []);
}

describe('a cursor', () => {
  it('is nothing in a first poll', () => {
    assert.deepEqual(read('channel=b&timeout=1'), { sid: null, since: null, place: null });
    assert.deepEqual(
      read('', 'If-None-Match: ""'),
      { sid: null, since: null, place: null },
      'as curl --etag-compare says it',
    );
  });

  it('comes in the query', () => {
    assert.deepEqual(read(`sid=${SID}&since=17`), { sid: SID, since: 17, place: null });
    assert.deepEqual(read(`since=0&sid=${SID}`), { sid: SID, since: 0, place: null });
    assert.deepEqual(read(`sid=${SID}`), { sid: SID, since: null, place: null });
  });

  it('comes in If-None-Match, as it was given in ETag or weakened', () => {
    const tag = entityTag(SID, '17');
    assert.deepEqual(read('', `If-None-Match: ${tag}`), { sid: SID, since: 17, place: null });
    assert.deepEqual(read('', `If-None-Match: W/${tag}`), { sid: SID, since: 17, place: null });
  });

  it('has the place in the history before its count, and may have that alone where there is no session', () => {
    const both = { sid: SID, since: 17, place: 'b1946ac92f.40' };
    assert.equal(writePosition(both.place, 17), 'b1946ac92f.40.17');
    assert.deepEqual(read(`sid=${SID}&since=b1946ac92f.40.17`), both);
    assert.deepEqual(read('', `If-None-Match: ${entityTag(SID, 'b1946ac92f.40.17')}`), both);
    for (const since of ['b1946ac92f.40', 'b1946ac92f.40.17', '1234567890.40.17', '1234567890.40']) {
      const place = since.split('.').slice(0, 2).join('.');
      assert.deepEqual(read(`since=${since}`), { sid: null, since: null, place }, since);
    }
    // What says nothing is a position all the same, whose outcome is a gap.
    assert.deepEqual(read('since=x'), { sid: null, since: null, place: 'x' });
  });

  it('in the query wins over the header', () => {
    const other = SID.replace('A', 'B');
    assert.deepEqual(read(`sid=${SID}&since=1`, `If-None-Match: ${entityTag(other, '2')}`), {
      sid: SID,
      since: 1,
      place: null,
    });
    assert.deepEqual(read(`sid=${SID}`, `If-None-Match: ${entityTag(SID, '2')}`), {
      sid: SID,
      since: null,
      place: null,
    });
  });

  it('that is none is refused with what is wrong', () => {
    for (const [query, problem] of [
      ['since=17', /sid too/],
      ['sid=', /20 characters/],
      [`sid=${SID}x`, /20 characters/],
      [`sid=${SID}&since=`, /position/],
      [`sid=${SID}&since=-1`, /position/],
      [`sid=${SID}&since=1e3`, /position/],
      [`sid=${SID}&since=b1946ac92f.40`, /position/],
      [`sid=${SID}&since=b1946ac92f.40.17.1`, /position/],
      [`sid=${SID}&since=1234567890123456`, /position/],
    ] as const) {
      assert.match(read(query) as string, problem, query);
    }
    for (const tag of ['*', '"other"', `"sid=${SID}"`, `${entityTag(SID, '1')}, "b"`, `sid=${SID};since=1`]) {
      assert.match(read('', `If-None-Match: ${tag}`) as string, /ETag of the last answer/, tag);
    }
  });
});
