// What clients' tokens are verified with: the secret, or the public key from its file, read here, in the primary; workers are sent it
// with their configuration, and need no access to the file.
//
// The algorithm follows from the key and never from a token (RFC 8725 §3.1): a secret is for HS256, an RSA key for RS256, a P-256 key
// for ES256. What is none of these is a fault at the start.

import { createPublicKey } from 'node:crypto';
import type { Config, TokenKey } from '../../config/config.ts';
import { KNOBS } from '../../config/knobs.ts';
import type { Fault } from '../../config/load.ts';
import { errorText } from '../errors.ts';
import { readBounded } from './bounded-file.ts';

type Knobs = Pick<Config, 'tokenHmacSecret' | 'tokenPublicKey'>;

/** RFC 7518 §3.3: RS256 takes no shorter key. */
const RSA_MIN_BITS = 2_048;

/** @returns the key, null where none is configured; or what is wrong with the file. */
export function readTokenKey({ tokenHmacSecret, tokenPublicKey }: Knobs): { key: TokenKey | null } | { fault: Fault } {
  if (tokenHmacSecret !== '') return { key: { algorithm: 'HS256', key: tokenHmacSecret } };
  if (tokenPublicKey === '') return { key: null };
  let text: string;
  try {
    text = readBounded(tokenPublicKey);
  } catch (thrown) {
    return fault(tokenPublicKey, `must be a file that this user can read (${errorText(thrown)})`);
  }
  // A private key would be taken as well, for its public half: it does not belong on this machine.
  if (text.includes('PRIVATE KEY-----'))
    return fault(tokenPublicKey, 'must hold a public key, and not the private one');
  try {
    const { asymmetricKeyType, asymmetricKeyDetails = {}, ...key } = publicKey(text);
    if (asymmetricKeyType === 'rsa' && (asymmetricKeyDetails.modulusLength ?? 0) >= RSA_MIN_BITS) {
      return { key: { algorithm: 'RS256', ...key } };
    }
    if (asymmetricKeyType === 'ec' && asymmetricKeyDetails.namedCurve === 'prime256v1') {
      return { key: { algorithm: 'ES256', ...key } };
    }
    return fault(tokenPublicKey, `must be an RSA key of at least ${RSA_MIN_BITS} bits, or one on the curve P-256`);
  } catch (thrown) {
    return fault(tokenPublicKey, `must hold a public key in PEM (${errorText(thrown)})`);
  }
}

/** In one form, whatever the file has around it. */
function publicKey(text: string) {
  const key = createPublicKey(text);
  const { asymmetricKeyType, asymmetricKeyDetails } = key;
  return { asymmetricKeyType, asymmetricKeyDetails, key: String(key.export({ type: 'spki', format: 'pem' })) };
}

function fault(value: string, problem: string): { fault: Fault } {
  const { environment, allowed, default: initial } = KNOBS.tokenPublicKey;
  return { fault: { name: environment, value, problem, allowed, default: initial } };
}
