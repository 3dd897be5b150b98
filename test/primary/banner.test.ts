// The start-up text: lines that can be pasted, and no secret that was not made for this start.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { loadConfig } from '../../config/load.ts';
import { type BannerFacts, banner } from '../../src/primary/banner.ts';

function facts(environment: Record<string, string>, changes: Partial<BannerFacts> = {}): BannerFacts {
  const loaded = loadConfig(environment);
  assert.ok('config' in loaded);
  return {
    version: '1.2.3',
    config: loaded.config,
    address: '::',
    port: 3000,
    adminAddress: '127.0.0.1',
    adminPort: 3001,
    workers: 2,
    wire: 'handle',
    wireWhy: 'the probe passed',
    connectionLimit: 200,
    connectionLimitPerWorker: 100,
    ...changes,
  };
}

describe('banner', () => {
  it('shows a key that was made, in lines that can be pasted', () => {
    const shown = facts({});
    const text = banner(shown);
    assert.ok(text.includes('\n  curl -N http://localhost:3000/sse/alice\n'), text);
    assert.ok(
      text.includes(
        `\n  curl -X POST http://localhost:3000/api/publish -H 'X-API-Key: ${shown.config.apiKey}' ` +
          `-d '{"channel":"alice","data":"hello"}'\n`,
      ),
      text,
    );
    assert.match(text, /handle \(the probe passed\)/);
    assert.match(text, /at most 200, 100 a worker/);
    assert.match(text, /memory/);
  });

  it('does not show a configured key, nor the password of Redis', () => {
    const text = banner(
      facts({ LONGWIRE_API_KEY: 'a-configured-key-of-ours', REDIS_URL: 'redis://user:secret-word@redis:6379/2' }),
    );
    assert.ok(!text.includes('a-configured-key-of-ours'));
    assert.ok(!text.includes('secret-word'));
    assert.ok(!text.includes('user'));
    assert.match(text, /redis:\/\/redis:6379\/2/);
    // In double quotes, so that the shell fills it in.
    assert.match(text, /-H "X-API-Key: \$LONGWIRE_API_KEY"/);
  });

  it('says https where TLS is on', () => {
    const text = banner(facts({ LONGWIRE_TLS_CERT: 'cert.pem', LONGWIRE_TLS_KEY: 'key.pem' }, { wireWhy: 'TLS' }));
    assert.match(text, /public +https:\/\/\[::\]:3000/);
    assert.match(text, /curl -N https:\/\/localhost:3000\/sse\/alice/);
    assert.match(text, /curl -X POST https:\/\/localhost:3000\/api\/publish/);
    assert.match(text, /admin +http:\/\//);
  });

  it('calls wildcards and loopback localhost, and puts brackets around IPv6', () => {
    for (const address of ['::', '0.0.0.0', '127.0.0.1', '::1']) {
      assert.match(banner(facts({}, { address })), /curl -N http:\/\/localhost:3000\/sse/);
    }
    assert.match(banner(facts({}, { address: '192.0.2.7' })), /curl -N http:\/\/192\.0\.2\.7:3000\/sse/);
    assert.match(banner(facts({}, { address: '2001:db8::7' })), /curl -N http:\/\/\[2001:db8::7\]:3000\/sse/);
  });
});
