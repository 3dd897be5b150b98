// nginx and haproxy in front of a gateway, each with the least configuration that passes requests on: what people begin
// with. Files go to a temporary folder; nothing of the system's own installation is read or written.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ForeignProgram } from './foreign.ts';
import { freePort } from './redis.ts';
import { waitUntil } from './wait.ts';

export type ProxyName = 'nginx' | 'haproxy';

export interface RunningProxy {
  readonly port: number;
  stop(): Promise<void>;
}

/** Arguments with which each says its version. */
export const PROXIES: Record<ProxyName, string[]> = { nginx: ['-v'], haproxy: ['-v'] };

/** The line with which each names its client in X-Forwarded-For; by default neither does. */
export const NAMES_CLIENTS: Record<ProxyName, string> = {
  nginx: 'proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;',
  haproxy: 'option forwardfor',
};

/**
 * Starts it in front of the gateway on `gatewayPort`; resolves when it accepts connections.
 *
 * @param more A line for where it passes requests on.
 */
export async function startProxy(name: ProxyName, gatewayPort: number, more = ''): Promise<RunningProxy> {
  const folder = mkdtempSync(join(tmpdir(), `longwire-${name}-`));
  const port = await freePort();
  const file = join(folder, `${name}.conf`);
  writeFileSync(file, name === 'nginx' ? nginx(folder, port, gatewayPort, more) : haproxy(port, gatewayPort, more));
  // Both in the foreground.
  const args = name === 'nginx' ? ['-p', folder, '-c', file, '-e', 'stderr'] : ['-db', '-f', file];
  const program = new ForeignProgram(name, args, folder);
  const stop = async (): Promise<void> => {
    await program.stop();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await waitUntil(
      async () => program.exited || (await accepts(port)),
      () => `${name} to accept connections: ${program.errors}`,
    );
    if (program.exited) throw new Error(`${name} has ended: ${program.out}${program.errors}`);
  } catch (error) {
    await stop();
    throw error;
  }
  return { port, stop };
}

/** The lines for WebSockets are those of docs/clients.md; nothing else is other than by default. */
function nginx(folder: string, port: number, gatewayPort: number, more: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  return `
daemon off;
pid ${folder}/nginx.pid;
events {}
http {
  access_log off;
  ${temporary.map((kind) => `${kind}_temp_path ${folder}/${kind};`).join('\n  ')}
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://127.0.0.1:${gatewayPort};
      ${more}
    }
    location /ws/ {
      proxy_pass http://127.0.0.1:${gatewayPort};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
      proxy_set_header Host $http_host;
    }
  }
}
`;
}

/** haproxy has no default timeouts and warns of it; these are those of Debian's own haproxy.cfg. */
function haproxy(port: number, gatewayPort: number, more: string): string {
  return `
defaults
  mode http
  timeout connect 5000
  timeout client 50000
  timeout server 50000

frontend public
  bind 127.0.0.1:${port}
  default_backend gateway

backend gateway
  ${more}
  server one 127.0.0.1:${gatewayPort}
`;
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
