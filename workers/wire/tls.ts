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
  private readonly onError: (error: NodeJS.ErrnoException) => void;

  /**
   * @param onFault Told of each connection that TLS could not be spoken with: the peer's bytes are not TLS, or have nothing
   *   in common with what is offered here. `code` begins with ERR_SSL_. The connection closes by itself.
   * @throws Error for an identity that makes no context; the primary has checked it.
   */
  constructor(identity: TlsIdentity, onFault: (code: string) => void) {
    this.context = makeContext(identity);
    this.onError = ({ code }) => {
      if (code !== undefined && isPeersFault(code)) onFault(code);
    };
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
    socket.on('error', this.onError);
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

/** An alert is the other way round: the peer will not have us, because it does not know our certificate for example. */
function isPeersFault(code: string): boolean {
  return code.startsWith('ERR_SSL_') && !code.includes('_ALERT_');
}

function destroyWith(this: TLSSocket, error: Error): void {
  this.destroy(error);
}
