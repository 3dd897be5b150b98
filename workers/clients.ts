// Who the clients are: the address behind a connection, or behind the exchange on a connection of a proxy's; and how many
// connections each of them has.
//
//   accepted ─▶ (PROXY header) ─▶ a client's connection: its address, from now to its end
//                            └──▶ a trusted proxy's connection: with each request the address that it forwards, up to the answer
//
// Nobody's word is taken but that of LONGWIRE_TRUSTED_PROXIES, and nobody is counted whom it lists: a proxy has as many
// connections as its clients. Each worker counts its own. An IPv6 client is its /64, of which it can have any address.
//
// Made only where something asks for addresses (`clientsFor`). Without it a connection costs nothing; with it an entry of a
// map and the address as text, 71 bytes measured, and 106 with a limit and an address of its own.

import { addressText, contains, type Network, networkOf, parseAddress, parseNetwork } from '../config/address.ts';
import type { Config } from '../config/config.ts';
import type { Seldom } from '../src/broker/seldom.ts';
import type { Rejection } from '../src/close-reason.ts';
import type { Log, LogFields } from '../src/log.ts';
import { forwardedClient } from './forwarded.ts';
import type { RequestHead } from './http/request-head.ts';
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

/** A connection of a trusted proxy's. */
interface ProxyConnection {
  readonly address: string;
  /** Whom it forwards for now; null between requests, and where it does not say. */
  client: string | null;
  /** Whether that one is counted. */
  counted: boolean;
}

const NOT_TRUSTED: Refusal = {
  status: 403,
  text: 'connections come through a proxy here, and this address is not one of them',
  rejection: 'not-allowed',
};

const TOO_MANY: Refusal = {
  status: 429,
  text: 'this address holds as many connections as one may; try again later',
  rejection: 'too-many',
};

/** What one subscriber is given of IPv6, and can choose its addresses from: RFC 6177 §2 has no less. */
const IPV6_CLIENT_BITS = 64;

/** Null where nothing asks who the clients are. */
export function clientsFor(config: Config, log: Log, seldom: Seldom): Clients | null {
  const { trustedProxies, maxConnectionsPerAddress, logLevel } = config;
  const asked = trustedProxies.length > 0 || maxConnectionsPerAddress > 0 || logLevel === 'debug';
  return asked ? new Clients(config, log, seldom) : null;
}

export class Clients {
  /** Whether connections begin with a header of the PROXY protocol. */
  readonly expectsHeader: boolean;
  private readonly header: Config['forwardedHeader'];
  private readonly trusted: readonly Network[];
  private readonly trusts: (address: Uint8Array) => boolean;
  /** Most connections of an address; Infinity for no limit. */
  private readonly limit: number;
  /** Null unless each connection is told of. */
  private readonly log: Log | null;
  private readonly seldom: Seldom;
  /** The address of each connection that is a client's own. */
  private readonly addresses: Map<Arrival, string>;
  /** Those of them that are being turned away, and are not counted. */
  private readonly refused: Set<Arrival>;
  private readonly proxies: Map<Arrival, ProxyConnection>;
  /** Connections by address, or by network; empty without a limit. */
  private readonly counts: Map<string, number>;

  constructor(config: Config, log: Log, seldom: Seldom) {
    this.expectsHeader = config.proxyProtocol === 'on';
    this.header = config.forwardedHeader;
    this.trusted = config.trustedProxies.flatMap((text) => parseNetwork(text) ?? []);
    this.trusts = (address) => this.trusted.some((network) => contains(network, address));
    this.limit = config.maxConnectionsPerAddress === 0 ? Number.POSITIVE_INFINITY : config.maxConnectionsPerAddress;
    this.log = config.logLevel === 'debug' ? log : null;
    this.seldom = seldom;
    this.addresses = new Map();
    this.refused = new Set();
    this.proxies = new Map();
    this.counts = new Map();
  }

  /**
   * A connection was accepted. Returns why it may not stay, or null; 'gone' where its peer has reset it already, so that
   * the kernel knows no address any more: what it has left behind may yet be read, and is nobody's word.
   */
  arrive(connection: Arrival): Refusal | 'gone' | null {
    const peer = parseAddress(connection.wire.peerAddress());
    if (peer === null) return 'gone';
    if (!this.expectsHeader) return this.meet(connection, peer);
    if (this.trusts(peer)) return null;
    this.seldom.say('warn', 'not-trusted', 'a connection was rejected: its peer is not in LONGWIRE_TRUSTED_PROXIES', {
      peer: addressText(peer),
    });
    return NOT_TRUSTED;
  }

  /** Its PROXY header has said who the client is; null for the proxy itself. */
  introduce(connection: Arrival, client: Uint8Array | null): Refusal | null {
    const address = client ?? parseAddress(connection.wire.peerAddress());
    return address === null ? null : this.meet(connection, address);
  }

  /** There is no PROXY header where there ought to be one. */
  misintroduced(connection: Arrival, fault: string): Refusal {
    this.seldom.say('warn', 'proxy-header', 'a connection of a trusted proxy was rejected', {
      peer: connection.wire.peerAddress(),
      reason: fault,
    });
    return { status: 400, text: fault, rejection: 'proxy-header' };
  }

  /**
   * One that another worker has let in, over the limit or not.
   *
   * @param client The address that it had there, '' for none.
   * @param forwarded For whom a held stream was asked, where the connection is a proxy's.
   */
  welcome(connection: Arrival, client: string, forwarded = ''): void {
    const address = parseAddress(client === '' ? connection.wire.peerAddress() : client);
    if (address === null) return;
    const text = addressText(address);
    if (this.trusts(address)) {
      const asked = parseAddress(forwarded);
      const counted = asked !== null && !this.trusts(asked);
      this.proxies.set(connection, { address: text, client: asked === null ? null : forwarded, counted });
      if (counted) this.count(forwarded, 1);
    } else {
      this.addresses.set(connection, text);
      this.count(text, 1);
    }
  }

  /** A request's head is whole: the proxy whose connection it is may say for whom it asks. */
  ask(connection: Arrival, head: RequestHead): Refusal | null {
    const proxy = this.proxies.get(connection);
    if (proxy === undefined) return null;
    this.forget(proxy);
    const client = forwardedClient(head, this.header, this.trusts);
    if (client === null) return null;
    if (typeof client === 'string') return { status: 400, text: client, rejection: 'malformed' };
    proxy.client = addressText(client);
    if (this.trusts(client)) return null;
    if (this.isFull(proxy.client)) return TOO_MANY;
    this.count(proxy.client, 1);
    proxy.counted = true;
    return null;
  }

  /** The request is answered, and its connection kept for the next one. */
  answered(connection: Arrival): void {
    const proxy = this.proxies.get(connection);
    if (proxy !== undefined) this.forget(proxy);
  }

  /** The connection is closed, or another worker's. */
  left(connection: Arrival): void {
    const address = this.addresses.get(connection);
    if (address !== undefined) {
      this.addresses.delete(connection);
      if (!this.refused.delete(connection)) this.count(address, -1);
    }
    this.answered(connection);
    this.proxies.delete(connection);
  }

  /** The client of this exchange: its address, or its connection's as long as no other is known; '' where there is none. */
  addressOf(connection: Arrival): string {
    return this.proxies.get(connection)?.client ?? this.ownAddressOf(connection);
  }

  /** For whom a request on a proxy's connection is being served; '' for nobody that is known. */
  forwardedOf(connection: Arrival): string {
    return this.proxies.get(connection)?.client ?? '';
  }

  /** The connection's address, whatever a request on it says: the peer's, or that of its PROXY header. */
  ownAddressOf(connection: Arrival): string {
    const own = this.addresses.get(connection) ?? this.proxies.get(connection)?.address;
    return own ?? connection.wire.peerAddress();
  }

  /** For whoever looks for one client among many: a line at debug. */
  tell(connection: Arrival, text: string, fields: LogFields): void {
    this.log?.debug(text, { client: this.addressOf(connection), ...fields });
  }

  private meet(connection: Arrival, address: Uint8Array): Refusal | null {
    const text = addressText(address);
    if (this.trusts(address)) {
      this.proxies.set(connection, { address: text, client: null, counted: false });
      return null;
    }
    this.addresses.set(connection, text);
    if (this.isFull(text)) {
      this.refused.add(connection);
      return TOO_MANY;
    }
    this.count(text, 1);
    return null;
  }

  private forget(proxy: ProxyConnection): void {
    if (proxy.counted && proxy.client !== null) this.count(proxy.client, -1);
    proxy.client = null;
    proxy.counted = false;
  }

  private isFull(address: string): boolean {
    if ((this.counts.get(countedAs(address)) ?? 0) < this.limit) return false;
    this.seldom.say('warn', 'too-many', 'an address holds LONGWIRE_MAX_CONNECTIONS_PER_ADDRESS connections', {
      client: address,
    });
    return true;
  }

  private count(address: string, by: 1 | -1): void {
    if (this.limit === Number.POSITIVE_INFINITY) return;
    const key = countedAs(address);
    const count = (this.counts.get(key) ?? 0) + by;
    if (count === 0) this.counts.delete(key);
    else this.counts.set(key, count);
  }
}

/** `2001:db8:0:1::/64` for any address in it; an IPv4 address as it is. */
function countedAs(address: string): string {
  const bytes = address.includes(':') ? parseAddress(address) : null;
  return bytes === null ? address : `${addressText(networkOf(bytes, IPV6_CLIENT_BITS))}/${IPV6_CLIENT_BITS}`;
}
