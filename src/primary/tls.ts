// The certificate and its key: read from their files and checked here, in the primary, at start and again on SIGHUP.
//
// Workers are sent what was in the files and need no access to them: all serve the same, and one that is replaced gets what
// is in service. Nothing is given out that has not made a TLS context here first: what is at fault at start is a fault in
// the configuration, and later leaves in service what was there.

import { createPrivateKey, type KeyObject, randomBytes, X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import type { Config } from '../../config/config.ts';
import { KNOBS } from '../../config/knobs.ts';
import { type Fault, formatFaults } from '../../config/load.ts';
import { errorText } from '../errors.ts';
import type { TlsIdentity } from '../ipc.ts';
import type { Log, LogFields } from '../log.ts';
import { readBounded } from './bounded-file.ts';

type TlsFiles = Pick<Config, 'tlsCert' | 'tlsKey'>;

/** What OpenSSL takes: 16 bytes of name, 16 of HMAC key, 16 of AES key. */
const TICKET_KEY_BYTES = 48;
const CERTIFICATE = '-----BEGIN CERTIFICATE-----';

/**
 * Reads and checks both files.
 *
 * Sessions are resumed by tickets, which all workers must be able to read, so their keys are made here. They are kept for
 * as long as the certificate is the same: a client that resumes is not shown the certificate again, and should see a new one.
 *
 * @param former What was in service until now, if anything.
 * @returns null when no TLS is configured; or all that is wrong with the files.
 */
export function readTlsIdentity(
  files: TlsFiles,
  former: TlsIdentity | null,
): { identity: TlsIdentity | null } | { faults: Fault[] } {
  if (files.tlsCert === '') return { identity: null };
  const certificate = readPem(files, 'tlsCert', parseCertificate);
  const key = readPem(files, 'tlsKey', createPrivateKey);
  const faults = [certificate, key].flatMap((read) => ('fault' in read ? read.fault : []));
  if ('fault' in certificate || 'fault' in key) return { faults };
  const mismatch = checkPair(certificate, key);
  if (mismatch !== null) return { faults: [fault(files, 'tlsKey', mismatch)] };
  const same = former !== null && former.certificate === certificate.text && former.key === key.text;
  const ticketKeys = same ? former.ticketKeys : randomBytes(TICKET_KEY_BYTES);
  return { identity: { certificate: certificate.text, key: key.text, ticketKeys } };
}

/** For the log: whom the certificate names and until when, and a warning when its time is not now. */
export function logCertificate(log: Log, text: string, { certificate }: TlsIdentity, now = Date.now()): void {
  const { subject, subjectAltName, validFrom, validTo } = new X509Certificate(certificate);
  const facts: LogFields = { names: subjectAltName ?? subject, validTo: new Date(validTo).toISOString() };
  log.info(text, facts);
  if (now > Date.parse(validTo)) log.warn('the TLS certificate has expired: clients will refuse it', facts);
  if (now < Date.parse(validFrom)) log.warn('the TLS certificate is not valid yet: clients will refuse it', facts);
}

/**
 * What SIGHUP does: reads the files again and hands out what is in them, or says why not.
 *
 * @param first What is in service from the start; null without TLS.
 * @param handOut Gives a new identity to all workers, those to come included.
 */
export function tlsReloader(
  files: TlsFiles,
  first: TlsIdentity | null,
  log: Log,
  handOut: (identity: TlsIdentity) => void,
): () => void {
  let inService = first;
  return () => {
    const read = readTlsIdentity(files, inService);
    if ('faults' in read) {
      const faults = formatFaults(read.faults).trimEnd();
      log.error('the TLS certificate was not reloaded; the former one stays in service', { faults });
    } else if (read.identity === null) {
      log.info('SIGHUP: there is nothing to reload without TLS');
    } else {
      inService = read.identity;
      handOut(inService);
      logCertificate(log, 'the TLS certificate was reloaded', inService);
    }
  };
}

interface Pem<Parsed> {
  text: string;
  parsed: Parsed;
}

function readPem<Parsed>(
  files: TlsFiles,
  field: keyof TlsFiles,
  parse: (text: string) => Parsed,
): Pem<Parsed> | { fault: Fault } {
  let text: string;
  try {
    text = readBounded(files[field]);
  } catch (error) {
    return { fault: fault(files, field, `must be a file that this user can read (${errorText(error)})`) };
  }
  try {
    return { text, parsed: parse(text) };
  } catch (error) {
    const kind = field === 'tlsCert' ? 'a certificate' : 'a private key without a passphrase';
    return { fault: fault(files, field, `must hold ${kind} in PEM (${errorText(error)})`) };
  }
}

/** X509Certificate takes DER as well, which TLS contexts do not. */
function parseCertificate(text: string): X509Certificate {
  if (!text.includes(CERTIFICATE)) throw new TypeError(`there is no ${CERTIFICATE}`);
  return new X509Certificate(text);
}

/** Null, or why the two cannot serve together. */
function checkPair(certificate: Pem<X509Certificate>, key: Pem<KeyObject>): string | null {
  if (!certificate.parsed.checkPrivateKey(key.parsed)) {
    return `must be the key of the certificate in ${KNOBS.tlsCert.environment}`;
  }
  try {
    createSecureContext({ cert: certificate.text, key: key.text });
    return null;
  } catch (error) {
    return `must make a TLS context with its certificate (${errorText(error)})`;
  }
}

function fault(files: TlsFiles, field: keyof TlsFiles, problem: string): Fault {
  const { environment, allowed } = KNOBS[field];
  return { name: environment, value: files[field], problem, allowed, default: KNOBS[field].default };
}
