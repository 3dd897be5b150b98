// Pairs of connected sockets for descriptor links (src/descriptor-link.ts), made ahead: a fork cannot wait for one.
//
// Node makes socket pairs only in the course of a fork, and then its own end cannot carry descriptors. So one end connects to a
// socket that the other is accepted from, in a folder that nobody else may enter and that is gone at once.
//
// Bound: `count` pairs are kept ready, two descriptors each. Where they cannot be made there are none, and descriptors go by
// node:cluster's channel: slower, and no worse otherwise.

import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectEnd, type IpcPipe } from '../descriptor-link.ts';
import { errorText } from '../errors.ts';
import type { Log } from '../log.ts';

/** A loopback of the kernel's own; it has no reason to wait. */
const ACCEPT_LIMIT_MS = 1_000;

export interface LinkPair {
  readonly ours: IpcPipe;
  /** What the worker is forked with; ours to destroy after that. */
  readonly theirs: Socket;
}

export class LinkPairs {
  readonly #log: Log;
  readonly #ready: LinkPair[] = [];
  #count = 0;
  /** One at a time: whoever asks for more waits for those that are being made. */
  #filling: Promise<void> = Promise.resolve();
  #state: 'open' | 'closed' = 'open';

  constructor(log: Log) {
    this.#log = log;
  }

  /** Keeps so many ready from now on; resolves when they are, or cannot be. */
  keep(count: number): Promise<void> {
    this.#count = count;
    return this.#fill();
  }

  /** One of them, or null. */
  take(): LinkPair | null {
    const pair = this.#ready.pop() ?? null;
    void this.#fill();
    return pair;
  }

  close(): void {
    this.#state = 'closed';
    for (const { ours, theirs } of this.#ready.splice(0)) {
      ours.close();
      theirs.destroy();
    }
  }

  #fill(): Promise<void> {
    this.#filling = this.#filling.then(() => this.#make());
    return this.#filling;
  }

  async #make(): Promise<void> {
    if (this.#state === 'closed' || this.#ready.length >= this.#count) return;
    let folder: string | null = null;
    const server = createServer({ pauseOnConnect: true });
    try {
      folder = await mkdtemp(join(tmpdir(), `longwire-link-${process.pid}-`));
      const path = join(folder, 'link');
      await new Promise<void>((resolve, reject) => server.once('error', reject).listen(path, resolve));
      while (this.#ready.length < this.#count) {
        const pair = await makePair(server, path);
        if (pair === null) break;
        this.#ready.push(pair);
      }
    } catch (thrown) {
      this.#log.debug('no descriptor links: connections move by the channel', { reason: errorText(thrown) });
    }
    server.close();
    // A folder that stays is empty and does no harm.
    if (folder !== null) await rm(folder, { recursive: true, force: true }).catch(() => {});
    if (this.#isClosed()) this.close();
  }

  #isClosed(): boolean {
    return this.#state === 'closed';
  }
}

async function makePair(server: Server, path: string): Promise<LinkPair | null> {
  const accepted = new Promise<Socket | null>((resolve) => {
    const deadline = setTimeout(() => resolve(null), ACCEPT_LIMIT_MS).unref();
    server.once('connection', (socket) => {
      clearTimeout(deadline);
      resolve(socket);
    });
  });
  const ours = await connectEnd(path);
  const theirs = ours === null ? null : await accepted;
  if (ours !== null && theirs !== null) return { ours, theirs };
  ours?.close();
  return null;
}
