// Memory from /proc: what a process tree takes in user space, and what its sockets take in the kernel.
//
// User: PSS of smaps_rollup, that is private pages plus a fair share of shared ones; nothing else is both complete (native
// allocations, heap, code) and free of double counting over a process tree. No garbage collection is forced. A reading is
// taken once the value has stayed within a band for `SETTLE_WINDOW_MS`.
//
// Kernel: a socket lives in slabs that no process's figures show. /proc/slabinfo names them (needs root); else the whole
// growth of /proc/meminfo's Slab is taken, which other programs disturb. Both ends of a loopback connection are on this
// machine: TCPv6 objects are the server's (it listens on ::, clients use IPv4) and TCP objects are the clients' then;
// everything else, and TCP when both ends have it, is divided by two. The clients' bound source ports have buckets that the
// server's end has not, so the half is rather too much for the server than too little.

import { readFileSync } from 'node:fs';
import { nowMs, sleep } from './clock.ts';

const PAGE_BYTES = 4096;
const SAMPLE_EVERY_MS = 250;
const SETTLE_WINDOW_MS = 2_000;
const SETTLE_BAND_SHARE = 0.005;

export interface UserMemory {
  pssBytes: number;
  /** The part of it that is no file's. */
  anonBytes: number;
  /** Seconds until it stood still; `settled` is false when it never did within the limit. */
  settleSeconds: number;
  settled: boolean;
}

/** Reads /proc/PID/smaps_rollup. */
export function parseRollup(text: string): { pssBytes: number; anonBytes: number } {
  return { pssBytes: kilobytes(text, 'Pss') * 1024, anonBytes: kilobytes(text, 'Pss_Anon') * 1024 };
}

/** A `Name:   123 kB` line's number; 0 where there is none. */
function kilobytes(text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0);
}

/** PSS of all of them, now. Processes that are gone count as nothing. */
export function pssOf(pids: readonly number[]): { pssBytes: number; anonBytes: number } {
  const total = { pssBytes: 0, anonBytes: 0 };
  for (const pid of pids) {
    let text: string;
    try {
      text = readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1');
    } catch {
      continue;
    }
    const { pssBytes, anonBytes } = parseRollup(text);
    total.pssBytes += pssBytes;
    total.anonBytes += anonBytes;
  }
  return total;
}

/** Waits until the PSS of all groups together stands still, then reads each group's. */
export async function settledMemory(groups: readonly (readonly number[])[], limitMs: number): Promise<UserMemory[]> {
  const all = [...new Set(groups.flat())];
  const window: number[] = [];
  const samples = SETTLE_WINDOW_MS / SAMPLE_EVERY_MS;
  const began = nowMs();
  let settled = false;
  while (!settled && nowMs() - began < limitMs) {
    window.push(pssOf(all).pssBytes);
    if (window.length > samples) window.shift();
    settled = window.length === samples && isStill(window);
    await sleep(SAMPLE_EVERY_MS);
  }
  const settleSeconds = (nowMs() - began) / 1000;
  return groups.map((group) => ({ ...pssOf(group), settleSeconds, settled }));
}

/** Whether all values lie within the band around their mean. */
export function isStill(values: readonly number[]): boolean {
  const mean = values.reduce((total, value) => total + value, 0) / values.length;
  return values.every((value) => Math.abs(value - mean) <= mean * SETTLE_BAND_SHARE);
}

export interface KernelMemory {
  source: 'slabinfo' | 'meminfo';
  /** Bytes by slab cache that sockets use; with meminfo one entry, `Slab`. */
  caches: Record<string, number>;
  /** Pages of socket buffers, both ends. */
  bufferBytes: number;
}

/** Caches that an open socket has objects in: itself, its file, its place in epoll, its buffers. */
const SOCKET_CACHE =
  /^(TCP|TCPv6|sock_inode_cache|b?filp|dentry|lsm_\w+_cache|eventpoll_\w+|tcp_bind2?_bucket|(request|tw)_sock_TCP(v6)?|skbuff_\w+|kmalloc-(cg-|rcl-)?\w+)$/;

/** Reads /proc/slabinfo: bytes of the pages that each socket cache holds. */
export function parseSlabinfo(text: string): Record<string, number> {
  const caches: Record<string, number> = {};
  for (const line of text.split('\n').slice(2)) {
    const [name, , , , , pagesPerSlab] = line.split(/\s+/);
    const slabs = /slabdata\s+\d+\s+(\d+)/.exec(line)?.[1];
    if (name === undefined || slabs === undefined || !SOCKET_CACHE.test(name)) continue;
    caches[name] = Number(slabs) * Number(pagesPerSlab) * PAGE_BYTES;
  }
  return caches;
}

export function kernelMemory(): KernelMemory {
  const sockstat = readFileSync('/proc/net/sockstat', 'latin1');
  const bufferBytes = Number(/^TCP:.* mem (\d+)/m.exec(sockstat)?.[1] ?? 0) * PAGE_BYTES;
  try {
    return { source: 'slabinfo', caches: parseSlabinfo(readFileSync('/proc/slabinfo', 'latin1')), bufferBytes };
  } catch {
    const slab = kilobytes(readFileSync('/proc/meminfo', 'latin1'), 'Slab') * 1024;
    return { source: 'meminfo', caches: { Slab: slab }, bufferBytes };
  }
}

/** What the server's ends of the connections opened between two readings take, in bytes, as the head of this file says. */
export function serverShare(before: KernelMemory, after: KernelMemory): number {
  const growth = (name: string) => Math.max(0, (after.caches[name] ?? 0) - (before.caches[name] ?? 0));
  const names = Object.keys(after.caches);
  const divided = growth('TCPv6') > growth('TCP') / 2;
  let bytes = Math.max(0, after.bufferBytes - before.bufferBytes) / 2;
  for (const name of names) {
    if (divided && name === 'TCPv6') bytes += growth(name);
    else if (!divided || name !== 'TCP') bytes += growth(name) / 2;
  }
  return bytes;
}
