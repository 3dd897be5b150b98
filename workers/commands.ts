// Commands: what is said on COMMAND_CHANNEL to all workers of all gateways, by one of them: orders to disconnect, whose history was
// removed, and what nodes say of themselves. Each is a JSON object that one member tells from the others; what another version says and nobody knows here is
// passed over.

import { type Holders, obey, readOrder } from './disconnects.ts';
import type { Nodes, NodeWord } from './nodes/nodes.ts';

export interface CommandTakers extends Holders {
  readonly history: { readonly cache: { removed(channel: string): void } } | null;
  readonly nodes: Nodes;
}

/** Does what it says; false where it says nothing that is known here. */
export function takeCommand(takers: CommandTakers, payload: Buffer): boolean {
  const said = parse(payload);
  if (said === null) return false;
  if ('disconnect' in said) {
    const order = readOrder(said.disconnect);
    if (order !== null) obey(takers, order);
    return order !== null;
  }
  if (typeof said.removed === 'string') {
    takers.history?.cache.removed(said.removed);
    return true;
  }
  const word = readWord(said);
  if (word !== null) takers.nodes.take(word);
  return word !== null;
}

function parse(payload: Buffer): Record<string, unknown> | null {
  try {
    const said: unknown = JSON.parse(payload.toString());
    return typeof said === 'object' ? (said as Record<string, unknown> | null) : null;
  } catch {
    return null;
  }
}

function readWord({ node, asks, gone, count }: Record<string, unknown>): NodeWord | null {
  if (isObject(node) && typeof node.uid === 'string' && typeof node.name === 'string') {
    return { node: node as unknown as Extract<NodeWord, { node: unknown }>['node'], asks: asks === true };
  }
  if (typeof gone === 'string') return { gone };
  if (!isObject(count)) return null;
  const { from, number, pattern } = count;
  const sound = typeof from === 'string' && typeof number === 'number' && typeof pattern === 'string';
  return sound ? { count: { from, number, pattern } } : null;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
