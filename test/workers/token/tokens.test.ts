// Tokens, verified: what is taken and what it says, every way of getting one wrong, the edges of its time, and 25,000 mutants.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { describe, it, mock } from 'node:test';
import type { TokenKey } from '../../../config/config.ts';
import type { Who } from '../../../workers/presence/who.ts';
import { TokenFault } from '../../../workers/token/faults.ts';
import { TOKEN_LIMIT_BYTES, Tokens } from '../../../workers/token/tokens.ts';
import { verifierFor } from '../../../workers/token/verifier.ts';
import { type Claims, encodePart, makeKeyPair, makeToken, secondsFromNow, TOKEN_SECRET } from '../../harness/tokens.ts';
import { Random } from '../http/random.ts';

const HMAC: TokenKey = { algorithm: 'HS256', key: TOKEN_SECRET };
const RSA = makeKeyPair('RS256');
const EC = makeKeyPair('ES256');

function tokensWith(key: TokenKey, tokenAudience = ''): Tokens {
  return new Tokens({ tokenRequired: 'auto', tokenAudience }, verifierFor(key));
}

const tokens = tokensWith(HMAC);

function refusalOf(token: string, by = tokens): string {
  const read = by.read(token);
  return read instanceof TokenFault ? `${read.refusal}: ${read.error.message}` : `taken: ${JSON.stringify(read)}`;
}

function taken(token: string, by = tokens): Who {
  const read = by.read(token);
  if (read instanceof TokenFault) assert.fail(`${read.refusal}: ${read.error.message}`);
  return read;
}

/** Signed over whatever stands there. */
function signedText(head: string, claims: string): string {
  const signed = `${encodePart(head)}.${encodePart(claims)}`;
  return `${signed}.${createHmac('sha256', TOKEN_SECRET).update(signed).digest('base64url')}`;
}

describe('a token', () => {
  it('says who its client is, until when, and what it may hold', () => {
    const exp = Math.floor(secondsFromNow(60));
    const token = makeToken({
      sub: 'alice',
      info: { name: 'Åsa "1"' },
      exp,
      iat: 1,
      nbf: 1,
      channels: ['a', 'room:b'],
    });
    assert.deepEqual(taken(token), {
      user: 'alice',
      info: '{"name":"Åsa \\"1\\""}',
      grant: { expiresAtMs: exp * 1_000, channels: ['a', 'room:b'] },
    });
  });

  it('says as little as it wants: nobody, for ever, anything', () => {
    assert.deepEqual(taken(makeToken({})), { user: '', info: '', grant: { expiresAtMs: 0, channels: null } });
    assert.deepEqual(taken(makeToken({ sub: '', unknown: [1], jti: 'x', iss: 'y' })).user, '');
    assert.deepEqual(taken(makeToken({ channels: [] })).grant?.channels, []);
    assert.deepEqual(taken(makeToken({ info: {} })).info, '{}');
  });

  it('has the head of any library', () => {
    for (const head of [{}, { typ: undefined }, { typ: 'at+jwt' }, { kid: '1' }, { kid: 7, jku: 'http://elsewhere' }]) {
      taken(makeToken({ sub: 'a' }, { head }));
    }
  });

  it('is signed for a public key where that is what there is', () => {
    for (const pair of [RSA, EC]) {
      const by = tokensWith({ algorithm: pair.algorithm, key: pair.publicPem });
      assert.equal(taken(pair.makeToken({ sub: 'alice' }), by).user, 'alice');
      assert.match(refusalOf(makeKeyPair(pair.algorithm).makeToken({ sub: 'alice' }), by), /^invalid/);
    }
  });
});

describe('a token is refused', () => {
  const invalid = 'invalid: the token is not valid';

  it('whose signature is missing, cut, another’s or of another content', () => {
    const token = makeToken({ sub: 'alice' });
    const [head = '', claims = '', signature = ''] = token.split('.');
    for (const wrong of [
      makeToken({ sub: 'alice' }, { secret: `${TOKEN_SECRET}x` }),
      makeToken({ sub: 'alice' }, { secret: '' }),
      `${head}.${claims}.`,
      `${head}.${claims}`,
      `${head}.${claims}.${signature.slice(0, -2)}`,
      `${head}.${claims}.${signature}AA`,
      `${head}.${encodePart({ sub: 'bob' })}.${signature}`,
      `${encodePart({ alg: 'HS256' })}.${claims}.${signature}`,
      `${head}.${claims}.${signature}=`,
      `${head}.${claims}.${signature} `,
      ` ${token}`,
      `${token}.`,
      `${token}.x.y`,
    ]) {
      assert.equal(refusalOf(wrong), invalid, wrong);
    }
  });

  it('that says no algorithm is enough, or takes another than the key’s', () => {
    const unsigned = `.${encodePart({ sub: 'alice' })}.`;
    for (const alg of [
      'none',
      'None',
      'NONE',
      'nOnE',
      '',
      null,
      undefined,
      0,
      ['HS256'],
      { HS256: 1 },
      'hs256',
      'HS512',
    ]) {
      assert.equal(refusalOf(encodePart({ alg }) + unsigned), invalid, `${alg}, unsigned`);
      assert.equal(refusalOf(makeToken({ sub: 'alice' }, { head: { alg } })), invalid, `${alg}, signed`);
    }
    const signed = `${encodePart({ alg: 'HS512' })}.${encodePart({})}`;
    const digest = createHmac('sha512', TOKEN_SECRET).update(signed).digest('base64url');
    assert.equal(refusalOf(`${signed}.${digest}`), invalid);
  });

  it('that is signed with the public key as if that were a secret', () => {
    for (const { algorithm, publicPem } of [RSA, EC]) {
      const by = tokensWith({ algorithm, key: publicPem });
      for (const secret of [publicPem, publicPem.trim(), publicPem.replaceAll('\n', '')]) {
        for (const alg of ['HS256', algorithm]) {
          assert.equal(refusalOf(makeToken({ sub: 'alice' }, { head: { alg }, secret }), by), invalid);
        }
      }
      assert.equal(refusalOf(makeToken({ sub: 'alice' }), by), invalid);
      assert.equal(refusalOf(`${encodePart({ alg: 'none' })}.${encodePart({})}.`, by), invalid);
    }
    assert.equal(refusalOf(RSA.makeToken({ sub: 'alice' })), invalid);
    assert.equal(refusalOf(RSA.makeToken({}), tokensWith({ algorithm: 'ES256', key: EC.publicPem })), invalid);
  });

  it('whose key its own head would bring', () => {
    const jwk = { kty: 'oct', k: encodePart('own') };
    assert.equal(refusalOf(makeToken({ sub: 'a' }, { head: { jwk }, secret: 'own' })), invalid);
  });

  it('whose head asks for what is not understood here', () => {
    for (const crit of [['exp'], ['b64'], ['x'], [], 'x', 1]) {
      assert.equal(refusalOf(makeToken({}, { head: { crit, b64: false, x: 1 } })), invalid, `${crit}`);
    }
  });

  it('that is no token at all', () => {
    const head = '{"alg":"HS256"}';
    for (const wrong of ['', '.', '..', '...', 'a', 'a.b.c', 'null', '{}', '\0', '漢字.漢字.漢字', '%2e%2e', '=.=.=']) {
      assert.equal(refusalOf(wrong), invalid, wrong);
    }
    for (const claims of ['', '[]', 'null', '1', '"sub"', '{', '{"sub":"alice"', '{} {}', "{'sub':'alice'}"]) {
      assert.equal(refusalOf(signedText(head, claims)), invalid, claims);
    }
    for (const other of ['', '[]', 'null', '"HS256"', '{"alg":"HS256"', '[{"alg":"HS256"}]']) {
      assert.equal(refusalOf(signedText(other, '{}')), invalid, other);
    }
  });

  it('that is longer than one may be, before anything of it is read', () => {
    const padded = (length: number) => makeToken({ pad: 'x'.repeat(length) });
    // Four characters for every three bytes.
    const most = Math.floor(((TOKEN_LIMIT_BYTES - padded(0).length) * 3) / 4);
    let verified = 0;
    const by = new Tokens({ tokenRequired: 'auto', tokenAudience: '' }, (token) => {
      verified++;
      return verifierFor(HMAC)(token);
    });
    assert.ok(padded(most).length <= TOKEN_LIMIT_BYTES && padded(most + 2).length > TOKEN_LIMIT_BYTES);
    assert.equal(refusalOf(padded(most + 2), by), invalid);
    assert.equal(refusalOf(`${'a.'.repeat(1_000_000)}`, by), invalid);
    assert.equal(verified, 0);
    taken(padded(most), by);
    assert.equal(verified, 1);
  });

  it('whose claims are of the wrong type, and is told so only because it is signed', () => {
    const wrong: [Claims, RegExp][] = [
      ...['exp', 'nbf', 'iat'].flatMap((name) =>
        ['1', '', null, true, [1], {}, '2026-01-01'].map((value): [Claims, RegExp] => [
          { [name]: value },
          new RegExp(`its ${name} must be a number of seconds`),
        ]),
      ),
      ...[1, null, true, ['alice'], {}].map((sub): [Claims, RegExp] => [{ sub }, /its sub must be a string/]),
      [{ sub: '\ud800' }, /its sub must be a string/],
      [{ sub: 'a\nb' }, /its sub must not hold control characters/],
      [{ sub: 'a\u0085b' }, /its sub must not hold control characters/],
      [{ sub: 'x'.repeat(256) }, /its sub must not be longer than 255 bytes/],
      [{ sub: 'ü'.repeat(128) }, /its sub must not be longer than 255 bytes/],
      ...['text', 1, null, true, [1], []].map((info): [Claims, RegExp] => [{ info }, /its info must be an object/]),
      [{ info: { a: 'x'.repeat(1_017) } }, /its info must not be longer than 1024 bytes/],
      [{ info: { a: '\u0085' } }, /its info must be JSON on one line/],
      ...['a', 1, null, {}, [1], [null], ['a', ['b']], ['\ud800']].map((channels): [Claims, RegExp] => [
        { channels },
        /its channels must be a list of strings/,
      ]),
      ...['', ':own', 'a\nb', 'x'.repeat(256)].map((channel): [Claims, RegExp] => [
        { channels: ['a', channel] },
        /its channels must be names of channels/,
      ]),
      ...['a', '', null, ['a']].map((channel): [Claims, RegExp] => [
        { channel, channels: ['a'] },
        /its channel makes it a token of another kind/,
      ]),
      ...[1, null, {}, [1], ['push', 1]].map((aud): [Claims, RegExp] => [
        { aud },
        /its aud must be a string or a list/,
      ]),
    ];
    for (const [claims, text] of wrong) {
      const refusal = refusalOf(makeToken(claims));
      assert.match(refusal, /^claims: /, JSON.stringify(claims));
      assert.match(refusal, text, JSON.stringify(claims));
      assert.equal(refusalOf(makeToken(claims, { secret: 'another' })), invalid);
    }
    assert.match(refusalOf(signedText('{"alg":"HS256"}', '{"exp":1e999}')), /its exp must be a number/);
  });

  it('keeps what its largest claims hold', () => {
    const info = { a: 'x'.repeat(1_016) };
    assert.deepEqual(taken(makeToken({ info, sub: 'x'.repeat(255) })).info, JSON.stringify(info));
    const odd = signedText('{"alg":"HS256"}', '{"info":{"__proto__":{"sub":"x"},"a":"\\n\\u0001"},"sub":"é\\u0301"}');
    assert.deepEqual(taken(odd), {
      user: 'é\u0301',
      info: '{"__proto__":{"sub":"x"},"a":"\\n\\u0001"}',
      grant: { expiresAtMs: 0, channels: null },
    });
  });

  it('that is made out to another service', () => {
    const by = tokensWith(HMAC, 'push');
    for (const aud of ['push', ['push'], ['other', 'push']]) {
      taken(makeToken({ aud }), by);
      assert.match(refusalOf(makeToken({ aud })), /^audience: /);
    }
    for (const claims of [{}, { aud: 'other' }, { aud: 'push ' }, { aud: [] }, { aud: ['Push'] }, { aud: '' }]) {
      assert.match(refusalOf(makeToken(claims), by), /^audience: /, JSON.stringify(claims));
    }
    assert.match(refusalOf(makeToken({ aud: [] })), /^audience: /);
  });
});

describe('the time of a token', () => {
  it('ends with its exp and begins with its nbf, to the millisecond', () => {
    const now = mock.method(Date, 'now', () => 1_000_000);
    const at = (nowMs: number, claims: Claims) => {
      now.mock.mockImplementation(() => nowMs);
      return refusalOf(makeToken(claims)).split(':')[0];
    };
    assert.equal(at(1_999_999, { exp: 2_000 }), 'taken');
    assert.equal(at(2_000_000, { exp: 2_000 }), 'expired');
    assert.equal(at(2_000_499, { exp: 2_000.5 }), 'taken');
    assert.equal(at(2_000_500, { exp: 2_000.5 }), 'expired');
    assert.equal(at(1_999_999, { nbf: 2_000 }), 'early');
    assert.equal(at(2_000_000, { nbf: 2_000 }), 'taken');
    assert.equal(at(2_000_000, { nbf: 2_000, exp: 2_000 }), 'expired');
    assert.equal(at(2_000_000, { iat: 3_000 }), 'taken');
    for (const exp of [0, -0, -1, 1]) assert.equal(at(2_000_000, { exp }), 'expired', `${exp}`);
    for (const exp of [1e15, 1e300, Number.MAX_VALUE]) assert.equal(at(2_000_000, { exp }), 'taken', `${exp}`);
    assert.equal(at(2_000_000, { nbf: 1e300 }), 'early');
    for (const exp of [1e13, 1e306, Number.MAX_VALUE]) {
      assert.equal(taken(makeToken({ exp })).grant?.expiresAtMs, Number.MAX_SAFE_INTEGER, 'still a number');
    }
    now.mock.restore();
  });
});

describe('mutants of a token', () => {
  it('are never taken, whatever is done to one, for another than it is', () => {
    const random = new Random(37);
    const claims = { sub: 'alice', exp: Math.floor(secondsFromNow(3_600)), info: { n: 1 }, channels: ['a', 'b'] };
    for (const [key, token, rounds] of [
      [HMAC, makeToken(claims), 20_000],
      [{ algorithm: 'RS256', key: RSA.publicPem }, RSA.makeToken(claims), 4_000],
      [{ algorithm: 'ES256', key: EC.publicPem }, EC.makeToken(claims), 1_000],
    ] as const) {
      const by = tokensWith(key);
      taken(token, by);
      let refused = 0;
      for (let i = 0; i < rounds; i++) {
        const mutant = mutate(random, token);
        const read = by.read(mutant);
        if (read instanceof TokenFault) refused++;
        else assert.ok(isSame(mutant, token), `taken: ${mutant}`);
      }
      assert.ok(refused > rounds * 0.9, `${refused} of ${rounds}`);
    }
  });

  /** The unused bits of base64's last character are read over: such a signature is the same bytes. */
  function isSame(mutant: string, token: string): boolean {
    const [signed, signature] = cut(mutant);
    const [expected, own] = cut(token);
    return signed === expected && Buffer.from(signature, 'base64url').equals(Buffer.from(own, 'base64url'));
  }

  function cut(token: string): [string, string] {
    const dot = token.lastIndexOf('.');
    return [token.slice(0, dot), token.slice(dot + 1)];
  }

  function mutate(random: Random, token: string): string {
    const at = random.below(token.length);
    const character = random.pick([...'ABCxyz019-_.=+/ \n\0é']);
    const parts = token.split('.');
    const which = random.below(3);
    switch (random.below(8)) {
      case 0:
        return token.slice(0, at) + character + token.slice(at + 1);
      case 1:
        return token.slice(0, at) + token.slice(at + 1);
      case 2:
        return token.slice(0, at) + character + token.slice(at);
      case 3:
        return token.slice(0, at);
      case 4: {
        const other = random.below(token.length);
        return token.slice(0, at) + token.slice(other);
      }
      case 5: {
        // One bit of what a part means, encoded again.
        const bytes = Buffer.from(parts[which] ?? '', 'base64url');
        const place = random.below(bytes.length);
        bytes[place] = (bytes[place] as number) ^ (1 << random.below(8));
        parts[which] = bytes.toString('base64url');
        return parts.join('.');
      }
      case 6: {
        const head = random.pick([
          { alg: 'none' },
          { alg: 'HS256' },
          { alg: 'RS256' },
          { alg: 'HS256', typ: 'JWT', kid: 'x' },
        ]);
        return [encodePart(head), random.once(2) ? parts[1] : encodePart({ sub: 'root' }), parts[2]].join('.');
      }
      default:
        return [parts[random.below(3)], parts[random.below(3)], parts[random.below(3)]].join('.');
    }
  }
});
