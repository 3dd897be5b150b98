// The json format: whatever the payload, it can be had back from it byte for byte.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { Publication } from '../../src/publication.ts';
import { encodeJsonFormat } from '../../workers/json-format.ts';
import { NASTY_PAYLOADS } from './payloads.ts';

const SEED = 2026;
const RUNS = 3_000;

interface Decoded {
  channel: string;
  data: string;
  encoding?: string;
  id?: string;
  event?: string;
}

function encode(payload: Buffer, event: string | null = null, id: string | null = null): { line: string } & Decoded {
  const line = encodeJsonFormat(new Publication('al"ice/é', payload, event, id)).toString();
  return { line, ...(JSON.parse(line) as Decoded) };
}

function payloadOf({ data, encoding }: Decoded): Buffer {
  assert.ok(encoding === undefined || encoding === 'base64');
  return Buffer.from(data, encoding ?? 'utf8');
}

describe('the json format', () => {
  for (const [what, payload] of Object.entries(NASTY_PAYLOADS)) {
    it(`gives back: ${what}`, () => {
      const decoded = encode(payload);
      assert.ok(payloadOf(decoded).equals(payload));
      assert.equal(decoded.channel, 'al"ice/é');
      assert.doesNotMatch(decoded.line, /[\r\n\0]/, 'one line');
    });
  }

  it('gives back anything, and says base64 exactly where it is not UTF-8', () => {
    const strict = new TextDecoder('utf-8', { fatal: true });
    const anything = fc.oneof(
      fc.uint8Array({ maxLength: 100 }),
      fc.string({ unit: 'binary' }).map((text) => new TextEncoder().encode(text.toWellFormed())),
    );
    fc.assert(
      fc.property(anything, (bytes) => {
        const payload = Buffer.from(bytes);
        const decoded = encode(payload);
        assert.ok(payloadOf(decoded).equals(payload));
        let text = true;
        try {
          strict.decode(payload);
        } catch {
          text = false;
        }
        assert.equal(decoded.encoding, text ? undefined : 'base64');
      }),
      { seed: SEED, numRuns: RUNS },
    );
  });

  it('has id and event when the publication has them, the empty ones too', () => {
    const { line } = encode(Buffer.from('x'));
    assert.equal(line, '{"channel":"al\\"ice/é","data":"x"}');
    const { line: full } = encode(Buffer.from('x'), 'name', '7');
    assert.equal(full, '{"channel":"al\\"ice/é","data":"x","id":"7","event":"name"}');
    const { id, event } = encode(Buffer.from('x'), '', '');
    assert.deepEqual([id, event], ['', '']);
  });

  it('leaves a payload that is JSON a string that holds JSON', () => {
    const json = '{"a":[1,"b"]}';
    const { data } = encode(Buffer.from(json));
    assert.equal(data, json);
  });
});
