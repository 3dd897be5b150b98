// Packed publications come out as they went in, whatever is in them.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { packedBytes, packPublications, unpackPublications } from '../../src/broker/packed.ts';
import { Publication } from '../../src/publication.ts';

const name = fc.string({ unit: 'grapheme', maxLength: 60 }).filter((text) => Buffer.byteLength(text) <= 255);
const publication = fc
  .tuple(name, fc.uint8Array({ maxLength: 300 }), fc.option(name), fc.option(name))
  .map(([channel, payload, event, id]) => new Publication(channel, Buffer.from(payload), event, id));

function roundTrip(publications: Publication[]): Publication[] {
  const out: Publication[] = [];
  const packed = Buffer.alloc(packedBytes(publications));
  assert.equal(packPublications(packed, publications), packed.length);
  unpackPublications(packed, (each) => out.push(each));
  return out;
}

describe('packed publications', () => {
  it('are what was packed', () => {
    fc.assert(
      fc.property(fc.array(publication, { maxLength: 20 }), (publications) => {
        assert.deepEqual(roundTrip(publications), publications);
      }),
      { numRuns: 500 },
    );
  });

  it('keep empty apart from absent, the longest names, and a mebibyte', () => {
    const publications = [
      new Publication('a', Buffer.alloc(0)),
      new Publication('a', Buffer.alloc(0), '', ''),
      new Publication('é'.repeat(127), Buffer.alloc(1024 * 1024, 7), 'e'.repeat(255), '👋'.repeat(63)),
    ];
    assert.deepEqual(roundTrip(publications), publications);
  });
});
