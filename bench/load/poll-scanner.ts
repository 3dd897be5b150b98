// Reads the answers on a connection that polls: each with a length or a 204, whole or cut anywhere, and one at a time.
//
// The first is the answer to what stands before the first poll (transports.ts) and tells that the poll behind it has been
// read. Each later one is told as a payload, if it has one, and as answered, with the ETag that the next poll sends back.
// Cost a connection: one object; of an answer that came cut, what has come of it.

import { REST_LIMIT_BYTES, type ScannerSink } from './scanner.ts';

const EMPTY = Buffer.alloc(0);
const END_OF_HEAD = '\r\n\r\n';

export interface PollSink<Owner> extends ScannerSink<Owner> {
  /** A poll was answered: the next one is due. */
  onAnswered(owner: Owner, tag: string): void;
}

export class PollScanner<Owner> {
  private readonly owner: Owner;
  private readonly sink: PollSink<Owner>;
  private phase: 'opening' | 'polling' | 'over';
  private rest: Buffer;

  constructor(owner: Owner, sink: PollSink<Owner>) {
    this.owner = owner;
    this.sink = sink;
    this.phase = 'opening';
    this.rest = EMPTY;
  }

  /** Takes the first `length` bytes of `buffer`, which may be used again after the call. */
  feed(buffer: Buffer, length: number): void {
    const read = buffer.subarray(0, length);
    const bytes = this.rest.length === 0 ? read : Buffer.concat([this.rest, read]);
    let at = 0;
    while (at < bytes.length && this.phase !== 'over') {
      const next = this.answer(bytes, at);
      if (next === at) break;
      at = next;
    }
    const left = bytes.length - at;
    if (left > REST_LIMIT_BYTES) this.fault(`more than ${REST_LIMIT_BYTES} bytes without an end`);
    this.rest = left === 0 || this.phase === 'over' ? EMPTY : Buffer.from(bytes.subarray(at));
  }

  /** Where the next answer begins; `start` when this one is not whole. */
  private answer(bytes: Buffer, start: number): number {
    const headEnd = bytes.indexOf(END_OF_HEAD, start, 'latin1');
    if (headEnd < 0) return start;
    const head = bytes.toString('latin1', start, headEnd + 2);
    const status = head.startsWith('HTTP/1.1 ') ? Number(head.slice(9, 12)) : Number.NaN;
    const bodyAt = headEnd + END_OF_HEAD.length;
    if (this.phase === 'opening') {
      this.phase = status === 204 ? 'polling' : 'over';
      this.sink.onHead(this.owner, status);
      return bodyAt;
    }
    const length = status === 204 ? 0 : Number(/\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n/i.exec(head)?.[1]);
    const tag = /\r\netag:[ \t]*(\S+)[ \t]*\r\n/i.exec(head)?.[1];
    if ((status !== 200 && status !== 204) || Number.isNaN(length) || tag === undefined) {
      this.fault(`a poll was answered ${head.slice(0, 40)}`);
      return bodyAt;
    }
    if (bodyAt + length > bytes.length) return start;
    if (status === 200) this.sink.onPayload(this.owner, bytes, bodyAt, bodyAt + length);
    this.sink.onAnswered(this.owner, tag);
    return bodyAt + length;
  }

  private fault(text: string): void {
    this.phase = 'over';
    this.sink.onFault(this.owner, text);
  }
}
