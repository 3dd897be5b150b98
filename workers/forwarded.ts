// Whom a proxy forwards for: the last address of X-Forwarded-For, or of Forwarded (RFC 7239), that no trusted proxy has.
//
// Each proxy appends whom it was asked by. So the list is walked from its end, past the proxies that are trusted, to the first
// that is not: what stands before that one is the word of a stranger. One of the two fields is read, the one that the proxies
// write (LONGWIRE_FORWARDED_HEADER): the other comes through them as the client has sent it.
//
// What a trusted proxy has written and cannot be read is a fault, never a guess. `unknown` and names of a proxy's own
// (RFC 7239 §6.2, §6.3) are neither: then the client is whoever the list knew last.

import { parseAddress } from '../config/address.ts';
import type { RequestHead } from './http/request-head.ts';

export type ForwardedHeader = 'x-forwarded-for' | 'forwarded';

/** In a list of nodes: one that is not an address. */
const UNNAMED = null;
type Node = Uint8Array | typeof UNNAMED;

/**
 * @param trusts Whether an address is a trusted proxy's.
 * @returns the client's address, which is a proxy's where the list names no other; null where there is no list; or, as a
 *   string, what is wrong with it.
 */
export function forwardedClient(
  head: RequestHead,
  header: ForwardedHeader,
  trusts: (address: Uint8Array) => boolean,
): Uint8Array | string | null {
  const list = head.headerList(header);
  if (list === null) return null;
  return header === 'forwarded' ? lastOfForwarded(list, trusts) : lastOfXForwardedFor(list, trusts);
}

/** `client, proxy1, proxy2`: read from its end and no further than needed, for its beginning may hold anything. */
function lastOfXForwardedFor(list: string, trusts: (address: Uint8Array) => boolean): Uint8Array | string | null {
  let known: Uint8Array | null = null;
  for (let end = list.length; end > 0; ) {
    const comma = list.lastIndexOf(',', end - 1);
    const element = trimmed(list.slice(comma + 1, end));
    end = comma;
    // Empty elements of a list mean nothing: RFC 9110 §5.6.1.2.
    if (element === '') continue;
    const node = readNode(element);
    if (node === undefined) return 'a trusted proxy has sent an X-Forwarded-For that cannot be read';
    if (node === UNNAMED) return known;
    known = node;
    if (!trusts(node)) return known;
  }
  return known;
}

/** Read from its beginning, for where an element begins is known from there alone: a quoted string may hold a comma. */
function lastOfForwarded(list: string, trusts: (address: Uint8Array) => boolean): Uint8Array | string | null {
  const nodes = readForwarded(list);
  if (nodes === null) return 'a trusted proxy has sent a Forwarded that cannot be read';
  let known: Uint8Array | null = null;
  for (let i = nodes.length - 1; i >= 0; i--) {
    const node = nodes[i] ?? UNNAMED;
    if (node === UNNAMED) return known;
    known = node;
    if (!trusts(node)) return known;
  }
  return known;
}

/** A pair, or none, and what separates it from the next: RFC 7239 §4, RFC 9110 §5.6.2 and §5.6.4. */
const PAIR = /[ \t]*(?:([!#$%&'*+.^`|~\w-]+)=(?:([!#$%&'*+.^`|~\w-]+)|"((?:[^"\\]|\\.)*)")[ \t]*)?(;|,|$)/y;

/** Whom each element was forwarded for; null for a list that is not one. */
function readForwarded(list: string): Node[] | null {
  const nodes: Node[] = [];
  for (let at = 0; at < list.length; ) {
    let node: Node | undefined;
    let pairs = 0;
    for (let separator = ';'; separator === ';'; ) {
      PAIR.lastIndex = at;
      const match = PAIR.exec(list);
      if (match === null) return null;
      const [, name, token, quoted = '', following = ''] = match;
      at = PAIR.lastIndex;
      separator = following;
      if (name !== undefined) pairs++;
      if (name?.toLowerCase() !== 'for') continue;
      // §4: no parameter twice in one element.
      if (node !== undefined) return null;
      node = readNode(token ?? quoted.replaceAll(/\\(.)/g, '$1'));
      if (node === undefined) return null;
    }
    // An empty element of a list means nothing; one without a `for` hides whom it is for.
    if (pairs > 0) nodes.push(node ?? UNNAMED);
  }
  return nodes;
}

/** An address, with a port where one is said: `192.0.2.1:80`, `[2001:db8::1]:80` (§6), or an IPv6 address without brackets. */
function readNode(text: string): Node | undefined {
  if (/^(?:unknown|_[\w.-]+)(?::(?:\d{1,5}|_[\w.-]+))?$/i.test(text)) return UNNAMED;
  const [, bracketed, dotted] = /^(?:\[([^\]]*)\]|([\d.]+))(?::(?:\d{1,5}|_[\w.-]+))?$/.exec(text) ?? [];
  if (bracketed !== undefined && !bracketed.includes(':')) return undefined;
  return parseAddress(bracketed ?? dotted ?? text) ?? undefined;
}

function trimmed(element: string): string {
  return element.replace(/^[ \t]+|[ \t]+$/g, '');
}
