// A sid names its worker, cannot be guessed, and is what @socket.io/sticky looks for.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isSid, makeSid, slotOf } from '../../../workers/poll/sid.ts';

describe('a sid', () => {
  it('tells the slot of its worker, whatever the slot', () => {
    for (let slot = 1; slot <= 4_095; slot++) assert.equal(slotOf(makeSid(slot)), slot);
  });

  it('is found by the pattern of @socket.io/sticky, in a query and in an entity tag', () => {
    for (let i = 0; i < 1_000; i++) {
      const sid = makeSid(1 + (i % 64));
      assert.equal(sid.length, 20);
      assert.ok(isSid(sid));
      for (const around of [`GET /poll/a?sid=${sid}&since=1 HTTP/1.1`, `If-None-Match: "sid=${sid};since=1"`]) {
        assert.equal(/sid=([\w-]{20})/.exec(around)?.[1], sid);
      }
    }
  });

  it('is another each time, in all of its bits but the slot’s', () => {
    const sids = Array.from({ length: 2_000 }, () => makeSid(5));
    assert.equal(new Set(sids).size, sids.length);
    // Each of the 108 random bits is 1 in about half of them: 2,000 tosses stay within 800 and 1,200 (9 deviations).
    const bytes = sids.map((sid) => Buffer.from(sid, 'base64url'));
    for (let bit = 12; bit < 120; bit++) {
      const ones = bytes.filter((each) => ((each[bit >> 3] as number) >> (7 - (bit & 7))) & 1).length;
      assert.ok(ones > 800 && ones < 1_200, `bit ${bit} is 1 in ${ones} of 2,000`);
    }
  });

  it('has 20 characters of its alphabet and nothing else', () => {
    for (const text of ['', 'a'.repeat(19), 'a'.repeat(21), `${'a'.repeat(19)}+`, `${'a'.repeat(20)}\n`]) {
      assert.equal(isSid(text), false, JSON.stringify(text));
    }
  });
});
