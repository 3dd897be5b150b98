// The container's health check: exits 0 when the public port answers /healthz at all.
//
// 503 is an answer too: a gateway that is full or draining says so and works as it should, and an orchestrator that kills
// unhealthy containers must not cut its connections. Silence, or a refused connection, is what is unhealthy.
//
// With LONGWIRE_TLS_CERT it asks through TLS and takes any certificate: whether 127.0.0.1 is in it says nothing of health.

//
// With LONGWIRE_PROXY_PROTOCOL it says, as proxies do of their own checks, that there is no client; 127.0.0.1 must be among
// LONGWIRE_TRUSTED_PROXIES then.

import { get } from 'node:http';
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';

const { PORT, LONGWIRE_TLS_CERT, LONGWIRE_PROXY_PROTOCOL } = process.env;

function connection() {
  const socket = connect(Number(PORT || 3000), '127.0.0.1');
  if (LONGWIRE_PROXY_PROTOCOL === 'on') socket.write('PROXY UNKNOWN\r\n');
  if (!LONGWIRE_TLS_CERT) return socket;
  socket.on('error', () => process.exit(1));
  return connectTls({ socket, rejectUnauthorized: false });
}

const request = get({ host: '127.0.0.1', path: '/healthz', timeout: 2_000, createConnection: connection }, (response) =>
  process.exit(response.statusCode === 200 || response.statusCode === 503 ? 0 : 1),
);
request.on('error', () => process.exit(1));
request.on('timeout', () => process.exit(1));
