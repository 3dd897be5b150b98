// The container's health check: exits 0 when the public port answers /healthz at all.
//
// 503 is an answer too: a gateway that is full or draining says so and works as it should, and an orchestrator that kills
// unhealthy containers must not cut its connections. Silence, or a refused connection, is what is unhealthy.
//
// With LONGWIRE_TLS_CERT it asks through TLS and takes any certificate: whether 127.0.0.1 is in it says nothing of health.

import { get as getPlain } from 'node:http';
import { get as getSecure } from 'node:https';

const { PORT, LONGWIRE_TLS_CERT } = process.env;
const get = LONGWIRE_TLS_CERT ? getSecure : getPlain;

const request = get(
  {
    host: '127.0.0.1',
    port: PORT || 3000,
    path: '/healthz',
    timeout: 2_000,
    agent: false,
    rejectUnauthorized: false,
  },
  (response) => process.exit(response.statusCode === 200 || response.statusCode === 503 ? 0 : 1),
);
request.on('error', () => process.exit(1));
request.on('timeout', () => process.exit(1));
