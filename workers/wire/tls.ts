// TLS on the public port: makes of each accepted socket one that speaks TLS, to be a SocketWire from that moment on.
//
// Not `tls.Server`, which shows a connection once its handshake is done and has a timer for each until then: here the
// connection exists from its accept, so that its handshake counts against the cap, is part of the head deadline, and is
// drained like any other. What is written before the handshake is done goes out after it.
//
// TLS 1.2 and 1.3 (RFC 5246, RFC 8446) with Node's ciphers, ALPN http/1.1 alone (RFC 7301: a client that offers other
// protocols only is refused), no renegotiation. Sessions are resumed by tickets, with keys that all workers share.
// Cost a connection beyond SocketWire's: a second socket and OpenSSL's state; docs/operations.md has it measured.

import type { Socket } from 'node:net';
import { createSecureContext, type SecureContext, TLSSocket, type TLSSocketOptions } from 'node:tls';
import type { TlsIdentity } from '../../src/ipc.ts';
import { DRAIN_MARK_BYTES } from './wire.ts';

export class Tls {
  private context: SecureContext;

  /** @throws Error for an identity that makes no context; the primary has checked it. */
  constructor(identity: TlsIdentity) {
    this.context = makeContext(identity);
  }

  /** Serves new connections with another certificate; held ones keep theirs. */
  renew(identity: TlsIdentity): void {
    this.context = makeContext(identity);
  }

  /** Takes an accepted socket over. */
  secure(accepted: Socket): TLSSocket {
    // The types do not know that it takes what net.Socket takes.
    const options: TLSSocketOptions & { highWaterMark: number } = {
      isServer: true,
      secureContext: this.context,
      ALPNProtocols: ALPN,
      highWaterMark: DRAIN_MARK_BYTES,
    };
    const socket = new TLSSocket(accepted, options);
    socket.disableRenegotiation();
    // A fault after the handshake is told by this alone, unless there is a `tls.Server` behind the socket.
    socket.on('_tlsError', destroyWith);
    return socket;
  }
}

/** One name with its length before it, as RFC 7301 §3.1 has it: given as an array it would be converted for each. */
const ALPN = Buffer.from('\x08http/1.1', 'latin1');

function makeContext({ certificate, key, ticketKeys }: TlsIdentity): SecureContext {
  return createSecureContext({
    cert: certificate,
    key,
    minVersion: 'TLSv1.2',
    honorCipherOrder: true,
    ticketKeys: Buffer.from(ticketKeys),
    sessionIdContext: 'longwire',
  });
}

function destroyWith(this: TLSSocket, error: Error): void {
  this.destroy(error);
}
