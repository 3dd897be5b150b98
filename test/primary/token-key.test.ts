// What the primary makes of the key of tokens: which algorithm it is for, and what is no key of any.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { formatFaults } from '../../config/load.ts';
import { readTokenKey } from '../../src/primary/token-key.ts';
import { makeCertificates } from '../harness/certificates.ts';
import { makeKeyPair, TOKEN_SECRET } from '../harness/tokens.ts';

const folder = mkdtempSync(join(tmpdir(), 'longwire-token-key-'));
const file = join(folder, 'key.pem');
after(() => rmSync(folder, { recursive: true, force: true }));

function readFile(text: string) {
  writeFileSync(file, text);
  return readTokenKey({ tokenHmacSecret: '', tokenPublicKey: file });
}

describe('the key of tokens', () => {
  it('is none, a secret, an RSA key or one on P-256', () => {
    assert.deepEqual(readTokenKey({ tokenHmacSecret: '', tokenPublicKey: '' }), { key: null });
    assert.deepEqual(readTokenKey({ tokenHmacSecret: TOKEN_SECRET, tokenPublicKey: '' }), {
      key: { algorithm: 'HS256', key: TOKEN_SECRET },
    });
    for (const algorithm of ['RS256', 'ES256'] as const) {
      const { publicPem } = makeKeyPair(algorithm);
      for (const text of [publicPem, `\n${publicPem.replaceAll('\n', '\r\n')}\n`]) {
        assert.deepEqual(readFile(text), { key: { algorithm, key: publicPem } });
      }
    }
  });

  it('may be that of a certificate', () => {
    const certificates = makeCertificates();
    const read = readTokenKey({ tokenHmacSecret: '', tokenPublicKey: certificates.cert });
    assert.ok('key' in read && read.key !== null);
    assert.match(read.key.key, /^-----BEGIN PUBLIC KEY-----/);
    certificates.remove();
  });

  it('is refused where it is anything else, with what would do', () => {
    const rsa = makeKeyPair('RS256');
    for (const [text, problem] of [
      ['', /must hold a public key in PEM/],
      ['not a key', /must hold a public key in PEM/],
      [TOKEN_SECRET, /must hold a public key in PEM/],
      [rsa.publicPem.slice(0, 100), /must hold a public key in PEM/],
      [rsa.privatePem, /must hold a public key, and not the private one/],
      [rsa.publicPem + rsa.privatePem, /must hold a public key, and not the private one/],
      [makeKeyPair('RS256', { bits: 1_024 }).publicPem, /an RSA key of at least 2048 bits, or one on the curve P-256/],
      [makeKeyPair('ES256', { curve: 'P-384' }).publicPem, /on the curve P-256/],
      [makeKeyPair('ES256', { curve: 'secp256k1' }).publicPem, /on the curve P-256/],
    ] as const) {
      const read = readFile(text);
      assert.ok('fault' in read, text);
      assert.match(read.fault.problem, problem);
      assert.match(formatFaults([read.fault]), /LONGWIRE_TOKEN_PUBLIC_KEY=.*Allowed: the path of a PEM file/);
    }
    const missing = readTokenKey({ tokenHmacSecret: '', tokenPublicKey: join(folder, 'missing') });
    assert.match('fault' in missing ? missing.fault.problem : '', /must be a file that this user can read/);
  });
});
