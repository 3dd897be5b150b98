// A real browser, driven by nothing but a page: the page is served by this process, runs the test's script, and says what
// it sees by POST to where it came from.
//
// Headless Chromium with a profile of its own in a temporary folder. Its flags keep it from calling home; a page on
// 127.0.0.1 needs no network.

import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ForeignProgram } from './foreign.ts';
import { waitUntil } from './wait.ts';

const FLAGS = [
  '--headless=new',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--no-first-run',
  '--no-default-browser-check',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-default-apps',
  '--disable-extensions',
  '--disable-sync',
  '--disable-domain-reliability',
  '--disable-client-side-phishing-detection',
  '--disable-features=OptimizationHints,MediaRouter,Translate,InterestFeedContentSuggestions',
  '--metrics-recording-only',
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
];

/** Makes `report(value)` known to the page's script; reports arrive in order. Faults of the page are reports too. */
const PREAMBLE = `
let reporting = Promise.resolve();
const report = (value) => {
  const body = JSON.stringify(value);
  reporting = reporting.then(() => fetch('/report', { method: 'POST', body }));
};
addEventListener('error', (event) => report({ fault: event.message }));
addEventListener('unhandledrejection', (event) => report({ fault: String(event.reason) }));
`;

export class BrowserPage {
  readonly reports: unknown[] = [];
  readonly #server: Server;
  readonly #folder = mkdtempSync(join(tmpdir(), 'longwire-chromium-'));
  #program: ForeignProgram | null = null;
  #body = '';

  constructor() {
    this.#server = createServer((request, response) => {
      if (request.url === '/report') {
        let text = '';
        request.setEncoding('utf8').on('data', (part: string) => {
          text += part;
        });
        request.on('end', () => {
          this.reports.push(JSON.parse(text));
          response.end();
        });
        return;
      }
      response.setHeader('Content-Type', 'text/html; charset=utf-8');
      response.end(request.url === '/' ? this.#body : '');
    });
  }

  /** Resolves with the page's origin: to be known before it is run, for a gateway that must allow it. */
  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Opens a page that runs these scripts, each a module of its own. */
  run(...scripts: string[]): void {
    const modules = scripts.map((script) => `<script type="module">${script}</script>`).join('\n');
    this.#body = `<!doctype html><title>test</title><script>${PREAMBLE}</script>\n${modules}`;
    const { port } = this.#server.address() as AddressInfo;
    const profile = `--user-data-dir=${this.#folder}`;
    this.#program = new ForeignProgram('chromium', [...FLAGS, profile, `http://127.0.0.1:${port}/`], this.#folder);
  }

  /** Resolves once a report satisfies `wanted`. */
  async reported(wanted: (report: unknown) => boolean, what: string): Promise<void> {
    await waitUntil(
      () => this.reports.some(wanted) || this.#program?.exited === true,
      () => `${what}; the page said: ${JSON.stringify(this.reports).slice(0, 2_000)}`,
      60_000,
    );
    if (!this.reports.some(wanted)) throw new Error(`Chromium has ended: ${this.#program?.errors}`);
  }

  async stop(): Promise<void> {
    await this.#program?.stop();
    this.#server.closeAllConnections();
    this.#server.close();
    // Helpers of the browser may write for a moment after they were killed.
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}
