// What the primary makes of the certificate's files: the keys of tickets over reloads, and what the log says of a certificate.
// test/end-to-end/tls-reload.test.ts has the files at fault.

import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import type { TlsIdentity } from '../../src/ipc.ts';
import { logCertificate, readTlsIdentity } from '../../src/primary/tls.ts';
import { logLines } from '../broker/log-lines.ts';
import { type Certificates, makeCertificates } from '../harness/certificates.ts';

const DAY_MS = 86_400_000;

let first: Certificates;
let second: Certificates;

before(() => {
  first = makeCertificates();
  second = makeCertificates();
});

after(() => {
  first.remove();
  second.remove();
});

function read({ cert, key }: Certificates, former: TlsIdentity | null): TlsIdentity {
  const outcome = readTlsIdentity({ tlsCert: cert, tlsKey: key }, former);
  assert.ok('identity' in outcome && outcome.identity !== null);
  return outcome.identity;
}

describe('readTlsIdentity', () => {
  it('reads nothing when no TLS is configured', () => {
    assert.deepEqual(readTlsIdentity({ tlsCert: '', tlsKey: '' }, null), { identity: null });
  });

  it('keeps the keys of tickets while the certificate is the same, and makes new ones for another', () => {
    const one = read(first, null);
    assert.equal(one.ticketKeys.length, 48);
    assert.equal(one.certificate, readFileSync(first.cert, 'utf8'));
    assert.equal(one.key, readFileSync(first.key, 'utf8'));
    assert.deepEqual(read(first, one).ticketKeys, one.ticketKeys);
    assert.notDeepEqual(read(second, one).ticketKeys, one.ticketKeys);
    assert.notDeepEqual(read(first, null).ticketKeys, one.ticketKeys, 'another start');
  });
});

describe('logCertificate', () => {
  it('says whom it names and until when, and warns outside of its time', () => {
    const identity = read(first, null);
    const validTo = Date.parse(new X509Certificate(identity.certificate).validTo);
    for (const [now, warning] of [
      [validTo - DAY_MS, null],
      [validTo + DAY_MS, /has expired/],
      [validTo - 30 * DAY_MS, /not valid yet/],
    ] as const) {
      const { log, lines } = logLines();
      logCertificate(log, 'TLS is on', identity, now);
      const [said, warned, ...more] = lines;
      assert.equal(said?.text, 'TLS is on');
      assert.equal(said?.names, 'DNS:localhost, IP Address:127.0.0.1');
      assert.equal(said?.validTo, new Date(validTo).toISOString());
      assert.equal(warned?.level, warning === null ? undefined : 'warn');
      if (warning !== null) assert.match(String(warned?.text), warning);
      assert.deepEqual(more, []);
    }
  });
});
