// The certificate over a gateway's life: files that are at fault at start, SIGHUP with good files and bad ones, what workers
// that come later serve, and which sessions can be resumed. Nobody who is connected notices any of it.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { type Certificates, makeCertificates } from '../harness/certificates.ts';
import { type GatewayProcess, runGateway, startGateway } from '../harness/gateway.ts';
import { RawClient } from '../harness/raw-client.ts';
import { SseClient } from '../harness/sse-client.ts';
import { waitUntil } from '../harness/wait.ts';

const HEALTH = 'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n';
const RELOADED = 'the TLS certificate was reloaded';
const KEPT = 'the TLS certificate was not reloaded';

let first: Certificates;
let second: Certificates;
let folder: string;
/** The files that the gateway was told of. */
let cert: string;
let key: string;
const gateways: GatewayProcess[] = [];

before(() => {
  first = makeCertificates();
  second = makeCertificates();
  folder = mkdtempSync(join(tmpdir(), 'longwire-tls-'));
  cert = join(folder, 'cert.pem');
  key = join(folder, 'key.pem');
});

afterEach(async () => {
  for (const gateway of gateways.splice(0)) await gateway.kill();
});

after(() => {
  first.remove();
  second.remove();
  rmSync(folder, { recursive: true, force: true });
});

function put(certificates: Certificates): void {
  copyFileSync(certificates.cert, cert);
  copyFileSync(certificates.key, key);
}

async function start(env: Record<string, string> = {}): Promise<GatewayProcess> {
  put(first);
  const files = { LONGWIRE_TLS_CERT: cert, LONGWIRE_TLS_KEY: key };
  const gateway = await startGateway({ env: { ...files, ...env } });
  gateways.push(gateway);
  return gateway;
}

/** SIGHUP; resolves once the log has one more line that says this. */
async function reload(gateway: GatewayProcess, text: string): Promise<void> {
  const count = gateway.logged(text).length;
  gateway.signal('SIGHUP');
  await waitUntil(
    () => gateway.logged(text).length > count,
    () => `'${text}' in the log: ${gateway.log}`,
  );
}

/** A client that has asked and been answered, and so has seen whatever ticket there is. */
async function visit(
  port: number,
  session?: Buffer,
): Promise<{ socket: TLSSocket; ticket: Buffer; client: RawClient }> {
  const ca = [readFileSync(first.ca), readFileSync(second.ca)];
  const client = new RawClient(port, { tls: { ca, ...(session === undefined ? {} : { session }) } });
  const socket = client.socket as TLSSocket;
  let ticket: Buffer = Buffer.alloc(0);
  socket.on('session', (bytes: Buffer) => {
    ticket = bytes;
  });
  client.write(HEALTH);
  assert.equal((await client.answers(1))[0]?.status, 200);
  return { socket, ticket, client };
}

async function servedBy(port: number): Promise<'first' | 'second'> {
  const { socket, client } = await visit(port);
  const fingerprint = socket.getPeerCertificate().fingerprint256;
  client.close();
  const [one, two] = [first, second].map((each) => new X509Certificate(readFileSync(each.cert)).fingerprint256);
  assert.ok(fingerprint === one || fingerprint === two);
  return fingerprint === one ? 'first' : 'second';
}

/** Resolves once every worker serves it; word of it may take a moment to reach them all. */
async function serves(port: number, which: 'first' | 'second'): Promise<void> {
  await waitUntil(async () => {
    const seen = await Promise.all(Array.from({ length: 8 }, () => servedBy(port)));
    return seen.every((each) => each === which);
  }, `the ${which} certificate`);
}

async function killAndReplace(gateway: GatewayProcess): Promise<void> {
  const [victim = assert.fail()] = await gateway.workers();
  process.kill(victim.pid ?? assert.fail(), 'SIGKILL');
  await waitUntil(async () => {
    const [worker = assert.fail()] = await gateway.workers();
    return worker.generation > victim.generation && worker.state === 'ready';
  }, 'a replacement');
}

describe('SIGHUP', () => {
  it('serves new connections with the new certificate, and those that are held go on', async () => {
    const gateway = await start();
    const { publicPort: port } = gateway;
    const tls = { ca: readFileSync(first.ca) };
    const held = await Promise.all(
      Array.from({ length: 10 }, () => new SseClient(port, '/sse/held', '', { tls }).opened()),
    );
    await serves(port, 'first');
    put(second);
    await reload(gateway, RELOADED);
    await serves(port, 'second');
    await gateway.publish('held', 'after the reload');
    for (const client of held) {
      assert.deepEqual(await client.data(1), ['after the reload']);
      assert.equal(client.connection.ending, 'none');
      client.close();
    }
    assert.match(String(gateway.logged(RELOADED)[0]?.names), /localhost/);
    assert.deepEqual(
      (await gateway.workers()).map(({ generation }) => generation),
      [1, 1],
    );
  });

  it('keeps the old certificate when the files are bad, says why, and takes them once they are good', async () => {
    const gateway = await start({ LONGWIRE_WORKERS: '1' });
    const { publicPort: port } = gateway;
    const broken: [what: string, because: RegExp, change: () => void][] = [
      ['no certificate', /LONGWIRE_TLS_CERT=".*" must be a file that this user can read/, () => rmSync(cert)],
      [
        'half a certificate',
        /LONGWIRE_TLS_CERT=".*" must hold a certificate/,
        () => writeFileSync(cert, readFileSync(second.cert).subarray(0, 200)),
      ],
      [
        'a key that is none',
        /LONGWIRE_TLS_KEY=".*" must hold a private key/,
        () => writeFileSync(key, 'secret, but no key'),
      ],
      ['another’s key', /LONGWIRE_TLS_KEY=".*" must be the key of the certificate/, () => copyFileSync(first.key, key)],
    ];
    for (const [what, because, change] of broken) {
      put(second);
      change();
      await reload(gateway, KEPT);
      const { level, faults } = gateway.logged(KEPT).at(-1) ?? assert.fail(what);
      assert.equal(level, 'error');
      assert.match(String(faults), because, what);
      assert.equal(await servedBy(port), 'first', what);
    }
    assert.ok(!gateway.log.includes('secret, but no key'));
    put(second);
    await reload(gateway, RELOADED);
    await serves(port, 'second');
  });

  it('is remembered by workers that come later', async () => {
    const gateway = await start({ LONGWIRE_WORKERS: '1' });
    put(second);
    await reload(gateway, RELOADED);
    // Nothing is read from the files for it: they are gone.
    rmSync(cert);
    rmSync(key);
    await killAndReplace(gateway);
    assert.equal(await servedBy(gateway.publicPort), 'second');
  });

  it('leaves the workers where they are; replaced when asked, they drain what cannot move, and count it', async () => {
    const gateway = await start({ LONGWIRE_DRAIN_SECONDS: '0' });
    const held = await new SseClient(gateway.publicPort, '/sse/held', '', {
      tls: { ca: readFileSync(first.ca) },
    }).opened();
    await reload(gateway, RELOADED);
    const generations = async () => (await gateway.workers()).map(({ generation }) => generation);
    assert.deepEqual(await generations(), [1, 1]);
    assert.equal(held.connection.ending, 'none');
    await gateway.command('/workers/replace');
    await waitUntil(() => gateway.logged('operation is done').length > 0, 'the operation to end');
    assert.deepEqual(await generations(), [2, 2]);
    await waitUntil(() => held.connection.ending !== 'none', 'the end');
    assert.equal(held.connection.ending, 'fin');
    assert.equal((await gateway.metrics()).value('longwire_not_moved_total', { reason: 'tls' }), 1);
    assert.equal(await servedBy(gateway.publicPort), 'first');
  });

  it('without TLS replaces the workers, which moves every connection and harms nobody', async () => {
    const gateway = await startGateway();
    gateways.push(gateway);
    const held = await new SseClient(gateway.publicPort, '/sse/plain').opened();
    await reload(gateway, 'operation is done');
    for (const pid of await gateway.workerPids()) process.kill(pid, 'SIGHUP');
    await gateway.publish('plain', 'still here');
    assert.deepEqual(await held.data(1), ['still here']);
    assert.deepEqual(
      (await gateway.workers()).map(({ generation }) => generation),
      [2, 2],
    );
    held.close();
  });
});

describe('a session', () => {
  it('is resumed by any worker, and after a reload of the same files', async () => {
    const gateway = await start({ LONGWIRE_WORKERS: '1' });
    const visitor = await visit(gateway.publicPort);
    assert.ok(!visitor.socket.isSessionReused());
    const { ticket } = visitor;
    assert.ok(ticket.length > 0);
    visitor.client.close();
    await killAndReplace(gateway);
    await reload(gateway, RELOADED);
    const again = await visit(gateway.publicPort, ticket);
    assert.ok(again.socket.isSessionReused());
    again.client.close();
  });

  it('is not resumed once there is another certificate, which its client has yet to see', async () => {
    const gateway = await start({ LONGWIRE_WORKERS: '1' });
    const { ticket, client } = await visit(gateway.publicPort);
    client.close();
    put(second);
    await reload(gateway, RELOADED);
    await serves(gateway.publicPort, 'second');
    const again = await visit(gateway.publicPort, ticket);
    assert.ok(!again.socket.isSessionReused());
    again.client.close();
  });
});

describe('a start with files at fault', () => {
  it('exits 78 and says what is wrong with which', async () => {
    put(first);
    const locked = join(folder, 'locked.pem');
    execFileSync('openssl', ['pkey', '-in', key, '-aes128', '-passout', 'pass:secret', '-out', locked], {
      stdio: 'pipe',
    });
    const faults: [env: Record<string, string>, problem: RegExp][] = [
      [{ LONGWIRE_TLS_CERT: cert }, /1 fault .*\n {2}LONGWIRE_TLS_KEY must be set when LONGWIRE_TLS_CERT is\./],
      [{ LONGWIRE_TLS_KEY: key }, /LONGWIRE_TLS_CERT must be set when LONGWIRE_TLS_KEY is/],
      [
        { LONGWIRE_TLS_CERT: '/nowhere/cert.pem', LONGWIRE_TLS_KEY: '/nowhere/key.pem' },
        /2 faults .*\n {2}LONGWIRE_TLS_CERT="\/nowhere\/cert\.pem" must be a file .*ENOENT.*\n {2}LONGWIRE_TLS_KEY=/,
      ],
      [{ LONGWIRE_TLS_CERT: key, LONGWIRE_TLS_KEY: key }, /LONGWIRE_TLS_CERT=.* must hold a certificate in PEM/],
      [{ LONGWIRE_TLS_CERT: cert, LONGWIRE_TLS_KEY: cert }, /LONGWIRE_TLS_KEY=.* must hold a private key/],
      [{ LONGWIRE_TLS_CERT: cert, LONGWIRE_TLS_KEY: locked }, /LONGWIRE_TLS_KEY=.* without a passphrase/],
      [
        { LONGWIRE_TLS_CERT: cert, LONGWIRE_TLS_KEY: second.key },
        /must be the key of the certificate in LONGWIRE_TLS_CERT/,
      ],
      [{ LONGWIRE_TLS_CERT: '/dev/zero', LONGWIRE_TLS_KEY: folder }, /2 faults/],
    ];
    for (const [env, problem] of faults) {
      const failed = runGateway({ env });
      assert.deepEqual(await failed.ended, { code: 78, signal: null });
      assert.match(failed.log, problem);
      assert.equal(failed.out, '');
    }
  });

  it('takes one file with both, as other programs have it', async () => {
    put(first);
    const both = join(folder, 'both.pem');
    for (const parts of [
      [key, cert],
      [cert, key],
    ]) {
      writeFileSync(both, Buffer.concat(parts.map((part) => readFileSync(part))));
      const gateway = await startGateway({ env: { LONGWIRE_TLS_CERT: both, LONGWIRE_TLS_KEY: both } });
      gateways.push(gateway);
      assert.equal(await servedBy(gateway.publicPort), 'first');
    }
  });
});
