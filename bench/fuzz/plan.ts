// What one connection of the fuzz will do: bytes, where they are cut, and how it ends. Made from the seed and the
// connection's number alone, so that one that went wrong can be made again by itself.

import { Random } from '../../test/workers/http/random.ts';
import { change, makeOddRequest, makeSoundRequest } from './requests.ts';

/**
 * end: FIN once everything is written; the gateway owes all answers and then its own end.
 * close: closes once the last sound request is answered, or with the FIN of the gateway.
 * wait: does nothing until the gateway ends it by a deadline of its own.
 * reset: RST behind the last byte, or in the middle.
 * deaf: never reads, and leaves.
 */
export type Leaving = 'end' | 'close' | 'wait' | 'reset' | 'deaf';

export interface Plan {
  number: number;
  /** What is written, one after the other, with a turn of the loop between them where `turns` says so. */
  pieces: Buffer[];
  turns: boolean[];
  /** Made-up requests in it; one that was changed counts as one, whatever became of it. */
  requests: number;
  /** What the requests at the beginning, which are sound, must be answered with, in this order. */
  statuses: number[];
  /** Whether there is nothing but those. */
  sound: boolean;
  leaving: Leaving;
}

const BYTE_BY_BYTE_LIMIT = 300;

export function makePlan(seed: number, number: number, key: string): Plan {
  const random = new Random(Math.imul(seed, 0x9e3779b1) ^ Math.imul(number + 1, 0x85ebca6b));
  const requests: Buffer[] = [];
  const statuses: number[] = [];
  let sound = true;
  for (let count = 1 + random.below(random.pick([2, 8, 24])); count > 0; count--) {
    if (!random.once(7)) {
      const request = makeSoundRequest(random, key);
      requests.push(request.bytes);
      if (sound) statuses.push(request.status);
      continue;
    }
    sound = false;
    const odd = makeOddRequest(random, key);
    requests.push(random.once(3) ? change(odd, random) : odd);
    // It nearly always ends the connection: what comes behind is mostly not read.
    if (!random.once(6)) break;
  }
  const bytes = Buffer.concat(requests);
  const leaving = random.once(150) ? 'wait' : random.once(50) ? 'deaf' : random.once(8) ? 'reset' : pickEnd(random);
  return { number, ...cut(bytes, requests, random), requests: requests.length, statuses, sound, leaving };
}

function pickEnd(random: Random): Leaving {
  return random.once(3) ? 'close' : 'end';
}

/** Whole, request by request, byte by byte, or anywhere. */
function cut(bytes: Buffer, requests: Buffer[], random: Random): { pieces: Buffer[]; turns: boolean[] } {
  let pieces: Buffer[];
  const how = random.below(10);
  if (how < 4) pieces = [bytes];
  else if (how < 7) pieces = requests;
  else {
    pieces = [];
    const most = how === 7 && bytes.length < BYTE_BY_BYTE_LIMIT ? 1 : random.pick([20, 200, 2_000, 20_000]);
    for (let at = 0; at < bytes.length; ) {
      // Few pieces: each is a system call here and a turn there.
      const end = pieces.length > 40 ? bytes.length : Math.min(bytes.length, at + 1 + random.below(most));
      pieces.push(bytes.subarray(at, end));
      at = end;
    }
  }
  return { pieces, turns: pieces.map(() => !random.once(3)) };
}
