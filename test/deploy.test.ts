// What lies beside the code and names its knobs, ports and metrics must name those that exist.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { KNOB_FIELDS, KNOBS } from '../config/knobs.ts';
import { formatFaults, loadConfig } from '../config/load.ts';
import { DEFINITIONS } from '../src/primary/metrics.ts';
import { PROJECT_ROOT, projectFile } from './project.ts';

/** The lines `NAME: value` of the gateway's environment in the compose file. */
function composeEnvironment(): Map<string, string> {
  const block = /\n {4}environment:\n((?: {6}[^\n]*\n)+)/.exec(projectFile('docker-compose.yml'))?.[1] ?? '';
  const lines = [...block.matchAll(/^ {6}([A-Z_]+):(?: "?([^"\n]*)"?)?$/gm)];
  return new Map(lines.map(([, name = '', value = '']) => [name, value]));
}

describe('docker-compose.yml', () => {
  it('passes every knob on, so that .env means the same with and without it', () => {
    const known = KNOB_FIELDS.map((field) => KNOBS[field].environment);
    assert.deepEqual([...composeEnvironment().keys()].sort(), [...known].sort());
  });

  it('gives values that the gateway takes', () => {
    const outcome = loadConfig(Object.fromEntries(composeEnvironment()));
    assert.ok('config' in outcome, 'faults' in outcome ? formatFaults(outcome.faults) : '');
    assert.equal(outcome.config.adminHost, '0.0.0.0');
  });

  it('does not publish the admin port', () => {
    const published = [...projectFile('docker-compose.yml').matchAll(/- "[^"]*:(\d+)"/g)].map(([, port]) => port);
    assert.ok(published.includes(composeEnvironment().get('PORT')));
    assert.ok(!published.includes(composeEnvironment().get('LONGWIRE_ADMIN_PORT')));
  });

  it('leaves the drain more time than the gateway takes for it', () => {
    const grace = Number(/stop_grace_period: (\d+)s/.exec(projectFile('docker-compose.yml'))?.[1]);
    assert.ok(grace > Number(KNOBS.drainSeconds.default) + 5);
  });
});

describe('Prometheus', () => {
  it('scrapes the admin port of the compose file', () => {
    const target = /targets: \["longwire:(\d+)"\]/.exec(projectFile('deploy/prometheus.yml'))?.[1];
    assert.equal(target, composeEnvironment().get('LONGWIRE_ADMIN_PORT'));
  });

  for (const file of ['deploy/alerts.yml', 'deploy/grafana/dashboards/longwire.json']) {
    it(`finds the metrics that ${file} asks for`, () => {
      const exported = new Set(DEFINITIONS.map(({ name }) => name));
      const asked = [...projectFile(file).matchAll(/\b(?:longwire|process)_[a-z0-9_]+\b/g)].map(([name]) => name);
      assert.ok(asked.length > 0);
      for (const name of asked) assert.ok(exported.has(name.replace(/_bucket$/, '')), name);
    });
  }

  it('has a word in docs/operations.md about each alert', () => {
    const alerts = [...projectFile('deploy/alerts.yml').matchAll(/- alert: (\w+)/g)].map(([, name]) => name ?? '');
    const documented = [...projectFile('docs/operations.md').matchAll(/^\| `(Longwire\w+)` \|/gm)].map(
      ([, name]) => name,
    );
    assert.deepEqual(documented, alerts);
  });
});

describe('docs/operations.md', () => {
  it('has a row for each exit code of the command', () => {
    const codes = [...projectFile('src/main.ts').matchAll(/^const EXIT_\w+ = (\d+);$/gm)].map(([, code]) => code);
    assert.ok(codes.length > 0);
    const rows = [...projectFile('docs/operations.md').matchAll(/^\| (\d+) \|/gm)].map(([, code]) => code);
    assert.deepEqual(rows, ['0', ...codes]);
  });

  it('names no knob that is not there', () => {
    const known: string[] = KNOB_FIELDS.map((field) => KNOBS[field].environment);
    for (const [name] of projectFile('docs/operations.md').matchAll(/LONGWIRE_\w+/g))
      assert.ok(known.includes(name), name);
  });

  it('sets what docker-compose.yml sets', () => {
    const documented = new Map(
      [...projectFile('docs/operations.md').matchAll(/^\| ○ `(net\.[^`]+)` \| [^|]* \| ([^|]*) \|/gm)].map(
        ([, name = '', value = '']) => [name, value],
      ),
    );
    const set = [...projectFile('docker-compose.yml').matchAll(/^ {6}(net\.\S+): "([^"]+)"$/gm)];
    assert.ok(set.length > 0);
    for (const [, name = '', value] of set) assert.equal(documented.get(name), value, name);
  });
});

describe('the health check', () => {
  const outcomes: [answer: string, status: number | null, exit: number][] = [
    ['accepts', 200, 0],
    ['is full or draining', 503, 0],
    ['is something else', 404, 1],
    ['is not there', null, 1],
  ];
  for (const [answer, status, exit] of outcomes) {
    it(`exits ${exit} when the gateway ${answer}`, async () => {
      const paths: (string | undefined)[] = [];
      const server = createServer((request, response) => {
        paths.push(request.url);
        response.writeHead(status ?? 500).end();
      });
      const port = await listen(server);
      if (status === null) await close(server);
      const script = join(PROJECT_ROOT, 'deploy/healthcheck.mjs');
      const child = spawn(process.execPath, [script], { env: { PORT: String(port) }, stdio: 'inherit' });
      const [code] = await once(child, 'exit');
      assert.equal(code, exit);
      if (status !== null) {
        assert.deepEqual(paths, ['/healthz']);
        await close(server);
      }
    });
  }
});

async function listen(server: Server): Promise<number> {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  return address.port;
}

async function close(server: Server): Promise<void> {
  server.closeAllConnections();
  await once(server.close(), 'close');
}
