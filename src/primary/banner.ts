// What the operator sees on stdout once the gateway is ready: where it listens, what it runs on, and two lines to paste.
//
// A key is shown only when it was made for this start, because nobody could publish otherwise; a configured one is not.

import type { Config } from '../../config/config.ts';

export interface BannerFacts {
  version: string;
  config: Config;
  /** Where the public port was found. */
  address: string;
  port: number;
  adminAddress: string;
  adminPort: number;
  workers: number;
  wire: string;
  wireWhy: string;
  /** Most connections of all workers. */
  connectionLimit: number;
  connectionLimitPerWorker: number;
}

export function banner(facts: BannerFacts): string {
  const { config, port } = facts;
  const scheme = config.tlsCert === '' ? 'http' : 'https';
  const base = `${scheme}://${hostForUrl(facts.address)}:${port}`;
  const key = config.apiKeyMade ? config.apiKey : '$LONGWIRE_API_KEY';
  const quote = config.apiKeyMade ? "'" : '"';
  const rows: [string, string][] = [
    ['public', `${scheme}://${bracketed(facts.address)}:${port}`],
    ['admin', `http://${bracketed(facts.adminAddress)}:${facts.adminPort}  (/metrics /live /ready /workers)`],
    ['workers', `${facts.workers}, accepting from ${ACCEPT_TEXT[config.accept]}`],
    ['wire', `${facts.wire} (${facts.wireWhy})`],
    [
      'broker',
      config.redisUrl === '' ? 'memory, embedded (REDIS_URL is not set)' : `redis at ${hidden(config.redisUrl)}`,
    ],
    ['connections', `at most ${facts.connectionLimit}, ${facts.connectionLimitPerWorker} a worker`],
  ];
  return [
    `Longwire ${facts.version} on Node ${process.versions.node} is ready`,
    ...rows.map(([name, value]) => `  ${name.padEnd(12)}${value}`),
    '',
    'Subscribe, in one terminal:',
    `  curl -N ${base}/sse/alice`,
    `Publish, in another${config.apiKeyMade ? ' (the key was made for this start; LONGWIRE_API_KEY sets your own)' : ''}:`,
    `  curl -X POST ${base}/api/publish -H ${quote}X-API-Key: ${key}${quote} -d '{"channel":"alice","data":"hello"}'`,
    '',
  ].join('\n');
}

const ACCEPT_TEXT = {
  shared: 'one shared socket (LONGWIRE_ACCEPT=shared)',
  reuseport: 'a socket each (LONGWIRE_ACCEPT=reuseport)',
  sticky: 'the primary, which gives polls to the worker of their session (LONGWIRE_ACCEPT=sticky)',
};

/** Something that can be typed on this machine: wildcards and loopback are called localhost. */
function hostForUrl(address: string): string {
  return ['', '::', '0.0.0.0', '127.0.0.1', '::1'].includes(address) ? 'localhost' : bracketed(address);
}

function bracketed(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}

/** A URL without its user and password. */
function hidden(url: string): string {
  if (!URL.canParse(url)) return 'REDIS_URL';
  const parsed = new URL(url);
  parsed.username = '';
  parsed.password = '';
  return parsed.href;
}
