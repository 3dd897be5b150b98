// Who the clients are: the address behind a connection, or behind the exchange on a connection of a proxy's.
//
//   accepted ─▶ (PROXY header) ─▶ a client's connection: its address, from now to its end
//                            └──▶ a trusted proxy's connection: with each request the address that it forwards
//
// Nobody's word is taken but that of LONGWIRE_TRUSTED_PROXIES. Made only where something asks for addresses (`clientsFor`);
// without it a connection costs nothing, with it an entry of a map and the address as text, about 100 bytes.

import { addressText, contains, type Network, parseAddress, parseNetwork } from '../config/address.ts';
import type { Config } from '../config/config.ts';
import type { Seldom } from '../src/broker/seldom.ts';
import type { Rejection } from '../src/close-reason.ts';
import type { Log, LogFields } from '../src/log.ts';
import type { Wire } from './wire/wire.ts';

/** Why a connection is turned away, and what it is told. */
export interface Refusal {
  status: number;
  text: string;
  rejection: Rejection;
}

/** What is known of a connection by itself, whatever else it is. */
export interface Arrival {
  readonly wire: Wire;
}

const NOT_TRUSTED: Refusal = {
  status: 403,
  text: 'connections come through a proxy here, and this address is not one of them',
  rejection: 'not-allowed',
};

/** Null where nothing asks who the clients are. */
export function clientsFor(config: Config, log: Log, seldom: Seldom): Clients | null {
  const asked = config.trustedProxies.length > 0 || config.logLevel === 'debug';
  return asked ? new Clients(config, log, seldom) : null;
}

export class Clients {
  /** Whether connections begin with a header of the PROXY protocol. */
  readonly expectsHeader: boolean;
  private readonly trusted: readonly Network[];
  /** Null unless each connection is told of. */
  private readonly log: Log | null;
  private readonly seldom: Seldom;
  private readonly addresses: Map<Arrival, string>;

  constructor({ proxyProtocol, trustedProxies, logLevel }: Config, log: Log, seldom: Seldom) {
    this.expectsHeader = proxyProtocol === 'on';
    this.trusted = trustedProxies.flatMap((text) => parseNetwork(text) ?? []);
    this.log = logLevel === 'debug' ? log : null;
    this.seldom = seldom;
    this.addresses = new Map();
  }

  /**
   * A connection was accepted. Returns why it may not stay, or null; 'gone' where its peer has reset it already, so that
   * the kernel knows no address any more: what it has left behind may yet be read, and is nobody's word.
   */
  arrive(connection: Arrival): Refusal | 'gone' | null {
    const peer = peerOf(connection);
    if (peer === null) return 'gone';
    if (!this.expectsHeader) return this.meet(connection, peer);
    if (this.trusts(peer)) return null;
    this.seldom.say('warn', 'not-trusted', 'a connection was rejected: its peer is not in LONGWIRE_TRUSTED_PROXIES', {
      peer: connection.wire.peerAddress(),
    });
    return NOT_TRUSTED;
  }

  /** Its PROXY header has said who the client is; null for the proxy itself. */
  introduce(connection: Arrival, client: Uint8Array | null): Refusal | null {
    return this.meet(connection, client ?? peerOf(connection));
  }

  /** There is no PROXY header where there ought to be one. */
  misintroduced(connection: Arrival, fault: string): Refusal {
    this.seldom.say('warn', 'proxy-header', 'a connection of a trusted proxy was rejected', {
      peer: connection.wire.peerAddress(),
      reason: fault,
    });
    return { status: 400, text: fault, rejection: 'proxy-header' };
  }

  /** One that another worker has let in; `client` is the address that it had there, '' for none. */
  welcome(connection: Arrival, client: string): void {
    this.addresses.set(connection, client === '' ? connection.wire.peerAddress() : client);
  }

  /** The connection is closed, or another worker's. */
  left(connection: Arrival): void {
    this.addresses.delete(connection);
  }

  /** The client's address, or the peer's as long as no other is known; '' where the kernel knows none. */
  addressOf(connection: Arrival): string {
    return this.addresses.get(connection) ?? connection.wire.peerAddress();
  }

  /** For whoever looks for one client among many: a line at debug. */
  tell(connection: Arrival, text: string, fields: LogFields): void {
    this.log?.debug(text, { client: this.addressOf(connection), ...fields });
  }

  private meet(connection: Arrival, address: Uint8Array | null): Refusal | null {
    if (address !== null) this.addresses.set(connection, addressText(address));
    return null;
  }

  private trusts(address: Uint8Array): boolean {
    return this.trusted.some((network) => contains(network, address));
  }
}

/** Who the kernel says it is; null for a connection that is gone. */
function peerOf({ wire }: Arrival): Uint8Array | null {
  return parseAddress(wire.peerAddress());
}
