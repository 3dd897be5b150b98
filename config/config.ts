// What the gateway runs on, once parsed: the shape that all other code reads. `knobs.ts` says where each value comes from.

import type { Namespaces } from './namespaces.ts';

/** What tokens are verified with, and by which algorithm alone. */
export interface TokenKey {
  readonly algorithm: 'HS256' | 'RS256' | 'ES256';
  /** The secret, or the public key in PEM. */
  readonly key: string;
}

export interface Config {
  /** Public port; 0 takes a free one. */
  port: number;
  /** Public address to listen on; empty for all, IPv6 and IPv4. */
  host: string;
  /** PEM files of the certificate, with its chain, and of its key; both empty for no TLS. */
  tlsCert: string;
  tlsKey: string;
  /** Addresses and networks whose word on a client's address is taken; see address.ts for their form. */
  trustedProxies: string[];
  /** In which field those that speak HTTP say it. */
  forwardedHeader: 'x-forwarded-for' | 'forwarded';
  /** Whether connections begin with a header of the PROXY protocol. */
  proxyProtocol: 'off' | 'on';
  /** `redis://` or `rediss://` with auth and database number; empty for the embedded broker. */
  redisUrl: string;
  /** Prefix of the channels in Redis. */
  redisPrefix: string;
  /** Number of workers; `auto` has been resolved. */
  workers: number;
  accept: 'shared' | 'reuseport' | 'sticky';
  wire: 'auto' | 'handle' | 'socket';
  /** Most connections of all workers together; 0 for as many as RLIMIT_NOFILE allows. */
  maxConnections: number;
  /** Most connections of one client's address on one worker; 0 for no such limit. */
  maxConnectionsPerAddress: number;
  adminHost: string;
  /** 0 takes a free one. */
  adminPort: number;
  /** What commands on the admin port need; empty for none. */
  adminToken: string;
  /** The backend's key; `apiKeyMade` when it was made at start. */
  apiKey: string;
  apiKeyMade: boolean;
  /** Whether an error of the API has a status that says so, or 200 and the error in its body alone. */
  apiErrors: 'status' | 'body';
  /** What clients' tokens are signed with, HS256; empty for another kind of key, or no tokens. */
  tokenHmacSecret: string;
  /** PEM file of the public key that they are signed for, RS256 or ES256. */
  tokenPublicKey: string;
  /** Whether nobody is let in without a token: auto, where there is a key. */
  tokenRequired: 'auto' | 'off' | 'on';
  /** What a token must be made out to; empty for one that names nobody. */
  tokenAudience: string;
  /** Either key, as it was read; null for no tokens. */
  tokenKey: TokenKey | null;
  /** Origins whose pages may read the streams: exact origins, or `*` alone for any; empty for none but our own. */
  corsOrigins: string[];
  heartbeatSeconds: number;
  headDeadlineSeconds: number;
  keepAliveSeconds: number;
  stallSeconds: number;
  drainSeconds: number;
  /** From the signal to the drain: time for balancers to hear that this gateway is not ready. */
  drainDelaySeconds: number;
  /** Silence of a worker after which it is killed and replaced; 0 for never. */
  hangSeconds: number;
  /** Resident memory of a worker above which it is replaced by moving; 0 for no limit. */
  workerMemoryLimitBytes: number;
  /** How far the largest and the smallest worker may be apart, in percent of the mean; 0 for whatever comes. */
  rebalancePercent: number;
  /** The reconnection delay that SSE clients are told, in milliseconds. */
  retryMilliseconds: number;
  outboxLimitBytes: number;
  payloadLimitBytes: number;
  bodyLimitBytes: number;
  headLimitBytes: number;
  targetLimitBytes: number;
  /** The longest, and usual, wait of a poll. */
  pollWaitSeconds: number;
  /** For how long a poll session outlives its last poll. */
  pollExpirySeconds: number;
  /** Most poll sessions of one worker. */
  pollSessionLimit: number;
  mailboxLimitBytes: number;
  /** Of all mailboxes of one worker. */
  mailboxTotalLimitBytes: number;
  /** Most header fields in one head. */
  headerLimit: number;
  /** Most channels on one connection. */
  channelLimit: number;
  /** For how long a member is present that nobody renews. */
  presenceSeconds: number;
  /** Most bytes that the embedded broker's history holds. */
  historyLimitBytes: number;
  historyPositionSeconds: number;
  /** The JSON file of the namespaces; empty for none. */
  namespaces: string;
  /** What that file says. */
  channelOptions: Namespaces;
  logLevel: 'debug' | 'info' | 'warn' | 'error';
}
