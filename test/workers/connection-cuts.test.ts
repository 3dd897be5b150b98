// However the bytes of a connection are cut, and however much of them comes while an earlier request is still being served,
// it answers the same, publishes the same and ends in the same way. Cuts are what TCP makes of any request.
//
// The bytes are those of the fuzz (bench/fuzz/requests.ts): sound, odd and changed; each stream of them is given whole, byte
// by byte, and cut at random with turns of the loop between.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { atHome, change, makeOddRequest, makeSoundRequest } from '../../bench/fuzz/requests.ts';
import { API_KEY, makeGateway } from './gateways.ts';
import { Random } from './http/random.ts';
import { makeSample } from './http/samples.ts';
import { closedOf, get, Peer, rejectedOf } from './peers.ts';

const SAMPLES = 1_500;
const PIPELINES = 200;

interface Outcome {
  answers: string;
  state: string;
  published: string[];
  closed: string[];
  rejected: string[];
  faults: string[];
}

type Cut = (left: number) => number;

/** `turns`: whether the loop goes round now and then between two pieces, so that calls come back in between. */
async function run(bytes: Buffer, cut: Cut, turns: Random | null): Promise<Outcome> {
  const { gateway, broker, lines } = makeGateway({
    bodyLimitBytes: 4_000,
    headLimitBytes: 2_000,
    targetLimitBytes: 500,
  });
  const peer = new Peer(gateway);
  for (let at = 0; at < bytes.length; ) {
    const end = at + cut(bytes.length - at);
    peer.send(bytes.subarray(at, end));
    at = end;
    if (turns?.once(4)) await new Promise((resolve) => setImmediate(resolve));
  }
  await peer.settle();
  return {
    answers: peer.wire.received
      .toString('latin1')
      .replaceAll(/^Date: .*\r\n/gm, '')
      .replaceAll(/(sid[=:] ?)[\w-]{20}/gi, '$1'),
    state: peer.state,
    published: broker.published.map(({ channel, payload }) => `${channel} ${payload}`),
    closed: closedOf(gateway),
    rejected: rejectedOf(gateway),
    faults: lines.map(({ text }) => text),
  };
}

async function sameHoweverCut(bytes: Buffer, random: Random): Promise<Outcome> {
  const text = JSON.stringify(bytes.toString('latin1'));
  const whole = await run(bytes, (left) => left, null);
  assert.deepEqual(await run(bytes, () => 1, null), whole, `byte by byte: ${text}`);
  const piece = (left: number) => Math.min(left, 1 + random.below(random.once(3) ? 80 : 6));
  assert.deepEqual(await run(bytes, piece, random), whole, `cut at random: ${text}`);
  assert.deepEqual(whole.faults, [], text);
  return whole;
}

describe('the bytes of a connection', () => {
  it('of samples at paths that exist come to the same however they are cut', async () => {
    const random = new Random(7);
    const outcomes = new Map<string, number>();
    for (let i = 0; i < SAMPLES; i++) {
      const { answers, state } = await sameHoweverCut(atHome(makeSample(random), random, API_KEY), random);
      for (const seen of [...statusesOf(answers), state]) outcomes.set(`${seen}`, (outcomes.get(`${seen}`) ?? 0) + 1);
    }
    // That all were refused would agree as well.
    for (const seen of ['200', '204', '400', '401', '404', '405', 'open', 'closing', 'head', 'idle']) {
      assert.ok((outcomes.get(seen) ?? 0) > 3, `${seen}: ${JSON.stringify([...outcomes])}`);
    }
  });

  it('of requests in a pipeline are answered in their order, each as if it came alone', async () => {
    const random = new Random(8);
    for (let i = 0; i < PIPELINES; i++) {
      const requests = Array.from({ length: 1 + random.below(12) }, () => makeSoundRequest(random, API_KEY));
      const last = random.pick(['', get('/sse/a'), get('/healthz', 'Connection: close'), 'NONSENSE\r\n\r\n']);
      const bytes = Buffer.concat([...requests.map((request) => request.bytes), Buffer.from(last)]);
      const { answers, published, state } = await sameHoweverCut(bytes, random);
      const lastStatus = last === '' ? [] : [last.startsWith('N') ? 400 : 200];
      assert.deepEqual(
        statusesOf(answers).filter((status) => status !== 100),
        [...requests.map(({ status }) => status), ...lastStatus],
      );
      assert.deepEqual(
        published,
        requests.flatMap((request) => request.published),
      );
      assert.equal(state, last === '' ? 'idle' : last.includes('/sse/') ? 'open' : 'closing');
    }
  });

  it('of requests in a pipeline that was changed come to the same however they are cut', async () => {
    const random = new Random(9);
    for (let i = 0; i < PIPELINES; i++) {
      const requests = Array.from({ length: 1 + random.below(5) }, () => makeSoundRequest(random, API_KEY).bytes);
      await sameHoweverCut(change(Buffer.concat(requests), random), random);
    }
  });

  it('of odd requests come to the same however they are cut', async () => {
    const random = new Random(10);
    for (let i = 0; i < PIPELINES; i++) await sameHoweverCut(makeOddRequest(random, API_KEY), random);
  });
});

/** None of our bodies has the like of a status line in it. */
function statusesOf(answers: string): number[] {
  return [...answers.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
}
