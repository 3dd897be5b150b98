// A relay between one client and the gateway, for what TLS hides: it keeps the gateway's bytes as they went over the network,
// and can put bytes of its own among the client's.

import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

/** Content types of TLS records: RFC 8446 §5.1. TLS 1.3 says 'application data' of everything that is encrypted. */
const ALERT = 21;
const DATA = 23;
/** An alert's two bytes, its true content type, and the tag behind them. */
const ENCRYPTED_ALERT_BYTES = 2 + 1 + 16;

export class Relay {
  /** What the client connects to. */
  port = 0;
  #toGateway: Socket | null = null;
  readonly #chunks: Buffer[] = [];
  readonly #server = createServer({ allowHalfOpen: true });

  static async to(port: number): Promise<Relay> {
    const relay = new Relay();
    const server = relay.#server;
    server.on('connection', (client) => {
      const gateway = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
      relay.#toGateway = gateway;
      gateway.on('data', (chunk: Buffer) => relay.#chunks.push(chunk));
      client.pipe(gateway);
      gateway.pipe(client);
      for (const socket of [client, gateway]) socket.on('error', () => {});
      client.on('close', () => gateway.destroy());
      gateway.on('close', () => client.destroy());
      server.close();
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') throw new TypeError('a TCP server has an address and a port');
    relay.port = address.port;
    return relay;
  }

  /** Sends bytes to the gateway that the client has no part in. */
  slip(bytes: Uint8Array): void {
    this.#toGateway?.write(bytes);
  }

  /** Whether the last record that the gateway has sent is an alert: a close_notify, where nothing went wrong. */
  get endsInAlert(): boolean {
    const bytes = Buffer.concat(this.#chunks);
    let type = 0;
    let length = 0;
    for (let at = 0; at + 5 <= bytes.length; at += 5 + length) {
      type = bytes.readUInt8(at);
      length = bytes.readUInt16BE(at + 3);
    }
    return type === ALERT || (type === DATA && length === ENCRYPTED_ALERT_BYTES);
  }
}
