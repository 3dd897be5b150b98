// Clients' tokens as a backend makes them: by node:crypto alone, so that nothing of what verifies them has made them.

import { createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';

export const TOKEN_SECRET = 'what-the-backend-and-the-gateway-share';

export type Claims = Record<string, unknown>;

/** A part of a token: an object as JSON, a text as it is. */
export function encodePart(part: unknown): string {
  return Buffer.from(typeof part === 'string' ? part : JSON.stringify(part)).toString('base64url');
}

/** A token of these claims, HS256 unless its head says otherwise. */
export function makeToken(
  claims: unknown,
  { head = {}, secret = TOKEN_SECRET }: { head?: object; secret?: string } = {},
) {
  const signed = `${encodePart({ alg: 'HS256', typ: 'JWT', ...head })}.${encodePart(claims)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

/** Unix time, in seconds, as tokens have it. */
export function secondsFromNow(seconds: number): number {
  return Date.now() / 1_000 + seconds;
}

export interface KeyPair {
  readonly algorithm: 'RS256' | 'ES256';
  readonly publicPem: string;
  readonly privatePem: string;
  makeToken(claims: Claims): string;
}

export function makeKeyPair(algorithm: 'RS256' | 'ES256', { bits = 2_048, curve = 'P-256' } = {}): KeyPair {
  const { publicKey, privateKey } =
    algorithm === 'RS256'
      ? generateKeyPairSync('rsa', { modulusLength: bits })
      : generateKeyPairSync('ec', { namedCurve: curve });
  return {
    algorithm,
    publicPem: String(publicKey.export({ type: 'spki', format: 'pem' })),
    privatePem: String(privateKey.export({ type: 'pkcs8', format: 'pem' })),
    makeToken: (claims) => signedWith(algorithm, privateKey, claims),
  };
}

function signedWith(algorithm: string, key: KeyObject, claims: Claims): string {
  const signed = `${encodePart({ alg: algorithm, typ: 'JWT' })}.${encodePart(claims)}`;
  const signature = sign('sha256', Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' });
  return `${signed}.${signature.toString('base64url')}`;
}
