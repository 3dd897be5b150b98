// Whatever a request says of who somebody is, in whichever place and spelling: nobody is let in who shows no token of the backend's, and nobody is
// anybody else than his says. Requests made at random, from a seed, of everything that might be taken for an identity.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Tokens } from '../../../workers/token/tokens.ts';
import { verifierFor } from '../../../workers/token/verifier.ts';
import { encodePart, makeToken, secondsFromNow, TOKEN_SECRET } from '../../harness/tokens.ts';
import { KEY } from '../../harness/websocket-client.ts';
import { makeGateway } from '../gateways.ts';
import { Random } from '../http/random.ts';
import { Peer } from '../peers.ts';

const REQUESTS = 6_000;

const tokens = new Tokens(
  { tokenRequired: 'auto', tokenAudience: '' },
  verifierFor({ algorithm: 'HS256', key: TOKEN_SECRET }),
);

const ALICE = makeToken({ sub: 'alice', exp: Math.floor(secondsFromNow(3_600)), channels: ['a'] });
const [HEAD = '', CLAIMS = '', SIGNATURE = ''] = ALICE.split('.');
const FORGED = [
  makeToken({ sub: 'admin' }, { secret: 'guessed' }),
  makeToken({ sub: 'admin' }, { secret: '' }),
  `${encodePart({ alg: 'none' })}.${encodePart({ sub: 'admin' })}.`,
  `${HEAD}.${encodePart({ sub: 'admin' })}.${SIGNATURE}`,
  `${HEAD}.${CLAIMS}.`,
  makeToken({ sub: 'admin', exp: 1 }),
  'admin',
];

const QUERY_NAMES = [
  'token',
  'Token',
  'tok%65n',
  'token%00',
  'token[]',
  'access_token',
  'user',
  'us%65r',
  'info',
  'sub',
  'channels',
  'x',
];
const FIELDS = [
  'Authorization',
  'authorization',
  'AUTHORIZATION',
  'Proxy-Authorization',
  'X-User',
  'X-Authorization',
  'Cookie',
  'X-API-Key',
];
const SCHEMES = ['Bearer ', 'bearer ', 'BEARER  ', 'Bearer', 'Basic ', 'apikey ', 'Token ', '', 'Bearer\t', 'Bearer,'];
const PATHS = [
  '/sse/a',
  '/stream/a',
  '/poll/a',
  '/ws/a',
  '/sse/%61',
  '/sse?channel=a',
  '/poll/a?timeout=0',
  '/sse/b',
  '/poll/a?channel=b',
];

interface Made {
  text: string;
  /** Whether the backend's own token stands where a token may stand, and nothing else that could be taken for one. */
  shows: boolean;
}

function make(random: Random): Made {
  const pairs: string[] = [];
  const lines: string[] = [];
  const authorizations: string[] = [];
  let own = 0;
  let others = 0;
  for (let i = random.below(3); i > 0; i--) {
    const name = random.pick(QUERY_NAMES);
    const value = random.once(2) ? ALICE : random.pick(FORGED);
    const decoded = decodeURIComponent(name);
    if (decoded === 'token' && value === ALICE) own++;
    else if (['token', 'user', 'info'].includes(decoded)) others++;
    pairs.push(`${name}=${value}`);
  }
  for (let i = random.below(3); i > 0; i--) {
    const name = random.pick(FIELDS);
    const scheme = random.pick(SCHEMES);
    const value = random.once(2) ? ALICE : random.pick(FORGED);
    if (name.toLowerCase() === 'authorization') authorizations.push(`${scheme}${value}`);
    lines.push(`${name}: ${scheme}${value}\r\n`);
  }
  // Several fields are one list (RFC 9110 §5.3); one of another scheme is not ours to look at.
  const [, shown = ''] = /^bearer +(.+)$/i.exec(authorizations.join(', ')) ?? [];
  if (shown === ALICE) own++;
  else if (shown !== '') others++;
  const path = random.pick(PATHS);
  const joint = pairs.length === 0 ? '' : path.includes('?') ? '&' : '?';
  const socket = path.startsWith('/ws')
    ? `Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n`
    : '';
  const text = `GET ${path}${joint}${pairs.join('&')} HTTP/1.1\r\nHost: a\r\n${socket}${lines.join('')}\r\n`;
  return { text, shows: own === 1 && others === 0 && !/b(?:\?| |&)/.test(`${path} `) };
}

describe('whatever a request says of who somebody is', () => {
  it('it is let in with one token of the backend’s alone, as whom that says', () => {
    const random = new Random(4_006);
    const { gateway } = makeGateway({}, tokens);
    const { identities } = gateway.presence;
    let taken = 0;
    for (let i = 0; i < REQUESTS; i++) {
      const { text, shows } = make(random);
      const peer = new Peer(gateway);
      peer.send(text);
      const held = ['open', 'waiting'].includes(peer.state) || / (?:200|204) /.test(peer.text.slice(0, 13));
      if (held) {
        taken++;
        for (const [, { user, grant }] of identities.entries()) {
          assert.equal(user, 'alice', text);
          assert.deepEqual(grant?.channels, ['a'], text);
        }
        assert.ok(identities.size > 0, text);
      } else {
        assert.match(peer.text, /^HTTP\/1\.1 (?:400|401|403|426) /, text);
      }
      // Some fields make a head that is none, or none that asks for a WebSocket.
      if (held || !peer.text.startsWith('HTTP/1.1 400 ')) assert.equal(held, shows, `${text}\n${peer.text}`);
      peer.connection.close('client-left');
      for (const session of gateway.polls.sessions) gateway.polls.end(session);
      assert.equal(identities.size, 0);
    }
    assert.ok(taken > REQUESTS / 20, `${taken} of ${REQUESTS} were taken`);
  });
});
