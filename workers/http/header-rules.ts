// What the headers say about framing and the connection, and whether they may say it (RFC 9112 §3.2, §6, §9; RFC 9110
// §7.6.1, §10.1.1).
//
// Fed each header line as it is read, and asked for the sum when the head is whole. Two statements of where a body ends
// are never weighed against each other: any second one is a fault, for whoever is in front may have weighed otherwise.
//
// Cost: a header of no interest one comparison of its length, rarely of its first letter; no allocation but for a
// Transfer-Encoding that is a fault.

import { COMMA, CR, equalsIgnoringCase, HTAB, SP, ZERO } from './characters.ts';
import { type Fault, HEAD_FAULTS } from './faults.ts';
import type { RequestHead } from './request-head.ts';
import { isAuthority } from './target.ts';

export class HeaderRules {
  private hosts: number;
  private lengthSeen: boolean;
  private codingSeen: boolean;
  private closeListed: boolean;
  private keepAliveListed: boolean;
  private upgradeListed: boolean;
  private upgradeSeen: boolean;
  private expectSeen: boolean;
  private expectUnknown: boolean;

  constructor() {
    this.hosts = 0;
    this.lengthSeen = false;
    this.codingSeen = false;
    this.closeListed = false;
    this.keepAliveListed = false;
    this.upgradeListed = false;
    this.upgradeSeen = false;
    this.expectSeen = false;
    this.expectUnknown = false;
  }

  reset(): void {
    this.hosts = 0;
    this.lengthSeen = false;
    this.codingSeen = false;
    this.closeListed = false;
    this.keepAliveListed = false;
    this.upgradeListed = false;
    this.upgradeSeen = false;
    this.expectSeen = false;
    this.expectUnknown = false;
  }

  /** Takes in one header line of `head.buffer` (absolute offsets, value without the white space around it, CR behind it). */
  look(head: RequestHead, nameStart: number, nameEnd: number, valueStart: number, valueEnd: number): Fault | null {
    const { buffer } = head;
    switch (nameEnd - nameStart) {
      case 4:
        if (!equalsIgnoringCase(buffer, nameStart, 'host')) return null;
        if (++this.hosts > 1) return HEAD_FAULTS.hosts;
        return isAuthority(buffer, valueStart, valueEnd) ? null : HEAD_FAULTS.host;
      case 6:
        if (!equalsIgnoringCase(buffer, nameStart, 'expect')) return null;
        this.expectSeen = true;
        if (!is(buffer, valueStart, valueEnd, '100-continue')) this.expectUnknown = true;
        return null;
      case 7:
        // An empty list of protocols asks for none.
        if (valueEnd > valueStart && equalsIgnoringCase(buffer, nameStart, 'upgrade')) this.upgradeSeen = true;
        return null;
      case 10:
        if (equalsIgnoringCase(buffer, nameStart, 'connection')) this.lookAtConnection(buffer, valueStart, valueEnd);
        return null;
      case 14:
        if (!equalsIgnoringCase(buffer, nameStart, 'content-length')) return null;
        return this.lookAtContentLength(head, valueStart, valueEnd);
      case 17:
        if (!equalsIgnoringCase(buffer, nameStart, 'transfer-encoding')) return null;
        return this.lookAtTransferEncoding(head, valueStart, valueEnd);
      default:
        return null;
    }
  }

  /** What only the whole head can tell: fills in `keepAlive`, `upgrade` and `expectsContinue`. */
  finish(head: RequestHead): Fault | null {
    if (head.minorVersion === 0) {
      // RFC 9112 §9.3. RFC 9110 §7.8 and §10.1.1: Upgrade and Expect mean nothing from an HTTP/1.0 client.
      head.keepAlive = this.keepAliveListed && !this.closeListed;
      return null;
    }
    if (this.hosts === 0) return HEAD_FAULTS.noHost;
    if (this.expectUnknown) return HEAD_FAULTS.expectation;
    head.keepAlive = !this.closeListed;
    head.upgrade = this.upgradeListed && this.upgradeSeen;
    head.expectsContinue = this.expectSeen && (head.bodyKind === 'chunked' || head.contentLength > 0);
    return null;
  }

  /** A list of options; unknown ones name headers that are none of our business (RFC 9110 §7.6.1). */
  private lookAtConnection(buffer: Buffer, start: number, end: number): void {
    for (let pos = start; pos < end; ) {
      let comma = pos;
      while (comma < end && buffer[comma] !== COMMA) comma++;
      let optionStart = pos;
      let optionEnd = comma;
      while (optionStart < optionEnd && (buffer[optionStart] === SP || buffer[optionStart] === HTAB)) optionStart++;
      while (optionEnd > optionStart && (buffer[optionEnd - 1] === SP || buffer[optionEnd - 1] === HTAB)) optionEnd--;
      if (is(buffer, optionStart, optionEnd, 'keep-alive')) this.keepAliveListed = true;
      else if (is(buffer, optionStart, optionEnd, 'close')) this.closeListed = true;
      else if (is(buffer, optionStart, optionEnd, 'upgrade')) this.upgradeListed = true;
      pos = comma + 1;
    }
  }

  /** RFC 9110 §8.6, RFC 9112 §6.3. A list of equal values, which a recipient may accept, is a fault here. */
  private lookAtContentLength(head: RequestHead, start: number, end: number): Fault | null {
    if (this.lengthSeen) return HEAD_FAULTS.lengths;
    this.lengthSeen = true;
    if (this.codingSeen) return HEAD_FAULTS.lengthAndCoding;
    if (start === end) return HEAD_FAULTS.length;
    const { buffer } = head;
    let length = 0;
    for (let pos = start; pos < end; pos++) {
      const digit = (buffer[pos] as number) - ZERO;
      if (digit < 0 || digit > 9 || length > (Number.MAX_SAFE_INTEGER - digit) / 10) return HEAD_FAULTS.length;
      length = length * 10 + digit;
    }
    if (tabFollows(buffer, end)) return HEAD_FAULTS.length;
    head.bodyKind = 'length';
    head.contentLength = length;
    return null;
  }

  /** RFC 9112 §6.1: chunked is the one coding that the gateway knows. */
  private lookAtTransferEncoding(head: RequestHead, start: number, end: number): Fault | null {
    if (this.codingSeen) return HEAD_FAULTS.codings;
    this.codingSeen = true;
    if (this.lengthSeen) return HEAD_FAULTS.lengthAndCoding;
    if (head.minorVersion === 0) return HEAD_FAULTS.codingOnOld;
    if (!is(head.buffer, start, end, 'chunked')) {
      // §6.3: 400 where chunked is not last, for the body's end cannot be known; §6.1: 501 for a coding beneath it.
      const codings = head.buffer.toString('latin1', start, end).toLowerCase().split(',');
      const names = codings.map((coding) => coding.trim());
      const beneath = names.slice(0, -1);
      const ends = names.at(-1) === 'chunked' && !beneath.includes('chunked') && !beneath.includes('');
      return ends ? HEAD_FAULTS.unknownCoding : HEAD_FAULTS.coding;
    }
    if (tabFollows(head.buffer, end)) return HEAD_FAULTS.coding;
    head.bodyKind = 'chunked';
    return null;
  }
}

/** Whether the bytes are `lowerCaseText` in any case, no more and no less. */
function is(buffer: Buffer, start: number, end: number, lowerCaseText: string): boolean {
  return end - start === lowerCaseText.length && equalsIgnoringCase(buffer, start, lowerCaseText);
}

/**
 * Whether there is a HTAB between a value and its line's CR. White space by RFC 9110 §5.6.3, yet llhttp takes it for part of
 * what decides where a body ends: such disagreements are what smuggling is made of, and no client sends one.
 */
function tabFollows(buffer: Buffer, valueEnd: number): boolean {
  for (let pos = valueEnd; buffer[pos] !== CR; pos++) if (buffer[pos] === HTAB) return true;
  return false;
}
