// docs/clients.md: every example is taken out of the document as it stands and run, against a gateway that is killed, and
// later stopped in order, and started again. Each must print what is published before, between and after, once.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { KNOBS } from '../config/knobs.ts';
import { BrowserPage } from './harness/chromium.ts';
import { ForeignProgram, missing } from './harness/foreign.ts';
import { type GatewayProcess, startGateway } from './harness/gateway.ts';
import { freePort } from './harness/redis.ts';
import { TOKEN_SECRET } from './harness/tokens.ts';
import { waitUntil } from './harness/wait.ts';
import { projectFile } from './project.ts';

/** The document's address, which becomes that of the test's gateway. */
const ADDRESS = 'localhost:3000';

interface Example {
  section: string;
  language: string;
  code: string;
}

/** Where an example can run: its file's name decides how a program reads it. */
interface Runner {
  section: string;
  command: string;
  file: string;
  skip: string | false;
}

const NO_CHROMIUM = missing('chromium', '--version');

const RUNNERS: Runner[] = [
  { section: 'fetch', command: process.execPath, file: 'fetch.mjs', skip: false },
  { section: 'Node', command: process.execPath, file: 'node.mjs', skip: false },
  { section: 'curl', command: 'bash', file: 'curl.sh', skip: missing('bash', '-c', 'curl --version') },
  { section: 'Python', command: 'python3', file: 'python.py', skip: missing('python3', '--version') },
  { section: 'Long-poll: fetch', command: process.execPath, file: 'poll.mjs', skip: false },
  { section: 'Long-poll: curl', command: 'bash', file: 'poll.sh', skip: missing('bash', '-c', 'curl --version') },
  { section: 'Long-poll: Python', command: 'python3', file: 'poll.py', skip: missing('python3', '--version') },
  { section: 'Tokens', command: process.execPath, file: 'tokens.mjs', skip: false },
];

const IN_PAGES = ['Browser: EventSource', 'Browser: WebSocket', 'fetch', 'Long-poll: fetch'];

function examplesOf(markdown: string): Example[] {
  const examples: Example[] = [];
  for (const part of markdown.split(/^## /m).slice(1)) {
    const section = part.slice(0, part.indexOf('\n'));
    for (const [, language = '', code = ''] of part.matchAll(/^```(.*)\n([\s\S]*?)^```$/gm)) {
      examples.push({ section, language, code });
    }
  }
  return examples;
}

/** An example that runs, and what it has printed. */
interface Running {
  name: string;
  skip: string | false;
  printed(): string;
}

describe('docs/clients.md', () => {
  const document = projectFile('docs/clients.md');
  const examples = examplesOf(document);
  const texts = ['first 🦊', 'after it was killed', 'after it was stopped'];
  const folder = mkdtempSync(join(tmpdir(), 'longwire-clients-'));
  const page = new BrowserPage();
  const programs: ForeignProgram[] = [];
  const running: Running[] = [
    ...RUNNERS.map(({ section, skip, file }, index) => ({
      name: `${section} (${file})`,
      skip,
      printed: () => programs[index]?.out ?? '',
    })),
    ...IN_PAGES.map((section) => ({
      name: `${section} in Chromium`,
      skip: NO_CHROMIUM,
      printed: () =>
        page.reports
          .flatMap((report) => ((report as { from?: string }).from === section ? JSON.stringify(report) : []))
          .join('\n'),
    })),
  ];
  let gateway: GatewayProcess;

  function codeOf(section: string, address: string): string {
    const { code } = examples.find((example) => example.section === section) ?? assert.fail(`no example ${section}`);
    assert.ok(code.includes(ADDRESS), section);
    return code.replaceAll(ADDRESS, address);
  }

  before(async () => {
    const origin = await page.listen();
    const port = await freePort();
    const env = {
      PORT: String(port),
      LONGWIRE_CORS_ORIGINS: origin,
      LONGWIRE_RETRY_MILLISECONDS: '200',
      LONGWIRE_DRAIN_SECONDS: '0',
      LONGWIRE_TOKEN_HMAC_SECRET: TOKEN_SECRET,
      LONGWIRE_TOKEN_REQUIRED: 'off',
    };
    gateway = await startGateway({ env });
    const address = `127.0.0.1:${port}`;
    for (const { section, command, file, skip } of RUNNERS) {
      const path = join(folder, file);
      writeFileSync(path, codeOf(section, address));
      programs.push(new ForeignProgram(skip === false ? command : 'true', [path]));
    }
    if (NO_CHROMIUM === false) {
      const scripts = IN_PAGES.map((section) => {
        const log = `(data) => report({ from: ${JSON.stringify(section)}, data })`;
        return `const console = { log: ${log}, error() {} };\n${codeOf(section, address)}`;
      });
      page.run(...scripts);
    }

    const there = running.filter(({ skip }) => skip === false);
    const publishToAll = async (text: string): Promise<void> => {
      await waitUntil(
        async () => (await gateway.metrics()).value('longwire_subscriptions') === there.length,
        `all ${there.length} to be connected`,
        60_000,
      );
      await gateway.publish('alice', text);
      await waitUntil(
        () => there.every(({ printed }) => printed().includes(text)),
        () =>
          `'${text}' to be printed by ${there.filter(({ printed }) => !printed().includes(text)).map(({ name }) => name)}`,
      );
    };
    const [first = '', killed = '', stopped = ''] = texts;
    await publishToAll(first);
    await gateway.kill();
    gateway = await startGateway({ env });
    await publishToAll(killed);
    await gateway.stop();
    gateway = await startGateway({ env });
    await publishToAll(stopped);
  });

  after(async () => {
    await Promise.all(programs.map((program) => program.stop()));
    await page.stop();
    await gateway?.kill();
    rmSync(folder, { recursive: true, force: true });
  });

  for (const { name, skip, printed } of running) {
    it(`${name} prints what is published, once each, and comes back`, { skip }, () => {
      for (const text of texts) assert.equal(printed().split(text).length - 1, 1, `${text}: ${printed()}`);
    });
  }

  it('Tokens goes on with a new token when one has expired', async () => {
    const address = `127.0.0.1:${gateway.publicPort}`;
    const path = join(folder, 'short-tokens.mjs');
    writeFileSync(path, codeOf('Tokens', address).replace('tokenSeconds = 600', 'tokenSeconds = 2'));
    const program = new ForeignProgram(process.execPath, [path]);
    programs.push(program);
    await gateway.metricReaches('longwire_closed_total', { reason: 'token-expired' }, (value) => value >= 2);
    let published = 0;
    await waitUntil(
      async () => {
        await gateway.publish('alice', `after ${published++}`);
        return program.out.includes('after ');
      },
      () => `a publication to be printed: ${program.out}`,
    );
  });

  it('names only knobs that exist', () => {
    const known = new Set(Object.values(KNOBS).map(({ environment }) => environment));
    for (const [name] of document.matchAll(/LONGWIRE_[A-Z_]+/g)) assert.ok(known.has(name), `${name} is no knob`);
  });

  it('has no example that is not run', () => {
    const run = new Set([...RUNNERS.map(({ section }) => section), ...IN_PAGES]);
    assert.deepEqual(
      examples.map(({ section }) => section),
      [...run].sort((a, b) => examples.findIndex((e) => e.section === a) - examples.findIndex((e) => e.section === b)),
    );
    for (const { section, language } of examples) assert.match(language, /^(js|bash|python)$/, section);
  });
});
