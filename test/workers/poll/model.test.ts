// Polls beside a model of a few lines, with everything interleaved at random: whoever polls gets what is published in its channels
// from its first poll on, each once and each channel's in order, whatever fan-outs are under way as sessions take the place of
// first polls, answers are lost, connections vanish and waits are over.
//
// The clock is a fake that slow members of each crowd move on, so that fan-outs are cut everywhere; turns of the loop are real ones.

import assert from 'node:assert/strict';
import { describe, it, mock } from 'node:test';
import { DEFAULT_OPTIONS } from '../../../config/namespaces.ts';
import { Publication } from '../../../src/publication.ts';
import { makeGateway, type TestGateway } from '../gateways.ts';
import { Random } from '../http/random.ts';
import { get, Peer } from '../peers.ts';

const STEPS = 3_000;
const CLIENTS = 30;
/** Those of `h` have history, and so a place in the order of all. */
const CHANNELS = ['a', 'b', 'h:c', 'h:d'];
const SLOW_MEMBERS = 10;
/** Clients whose polls go on waiting. */
const OVER_LIMIT = 60;

let nowMs = 0;
mock.method(performance, 'now', () => nowMs);

/** One that polls, and what must reach it: these publications of each channel in this order. */
class Client {
  readonly channels: readonly string[];
  /** Begins with the first poll, anew where that one was never answered. */
  due: string[] = [];
  readonly got: string[] = [];
  begun = false;
  private readonly test: TestGateway;
  private peer: Peer;
  private cursor = '';
  private seen = 0;

  constructor(test: TestGateway, channels: readonly string[]) {
    this.test = test;
    this.channels = channels;
    this.peer = new Peer(test.gateway);
  }

  get waits(): boolean {
    return this.peer.state === 'waiting';
  }

  /** Polls, once the answer before is read, or was lost on its way. */
  poll(timeout: string, lost: boolean): void {
    if (this.waits) return;
    this.read(lost);
    const [first, ...more] = this.channels;
    const others = more.map((channel) => `&channel=${channel}`).join('');
    this.begun = true;
    this.peer.send(get(`/poll/${first}?timeout=${timeout}${others}${this.cursor}`));
  }

  giveUpWaiting(): void {
    if (this.waits) this.peer.connection.answerPoll();
  }

  vanish(): void {
    this.peer.connection.close('client-left');
    this.peer = new Peer(this.test.gateway);
    this.seen = 0;
    if (this.cursor !== '') return;
    // Nothing was said to it.
    this.begun = false;
    this.due = [];
  }

  /** Reads what has come; an answer may be lost on its way, but for the first, without which nobody has a session. */
  read(lost: boolean): void {
    const { answers } = this.peer;
    for (const answer of answers.slice(this.seen)) {
      this.seen++;
      assert.ok(answer.status === 200 || answer.status === 204, answer.head);
      assert.equal(answer.headers['longwire-lost'], undefined);
      if (lost && this.cursor !== '') continue;
      this.cursor = `&sid=${answer.headers['longwire-sid']}&since=${answer.headers['longwire-since']}`;
      if (answer.status === 204) continue;
      const { publications } = JSON.parse(answer.text) as { publications: { channel: string; data: string }[] };
      this.got.push(...publications.map(({ channel, data }) => `${channel} ${data}`));
    }
  }
}

describe('polls beside a model', () => {
  for (const seed of [1, 2, 3]) {
    it(`seed ${seed}: each gets what is published from its first poll on, once and in order`, async () => {
      const random = new Random(seed);
      const history = { ...DEFAULT_OPTIONS, historySize: 100, historyTtlSeconds: 60 };
      const test = makeGateway({ channelOptions: { default: DEFAULT_OPTIONS, named: { h: history } } });
      const { gateway } = test;
      gateway.onHistory({ epoch: 'e', offset: 0, past: new Map() });
      const slow = (): void => {
        nowMs += random.below(3) === 0 ? 1 : 0;
      };
      const clients: Client[] = [];
      const newClient = (): Client => {
        const channels = CHANNELS.filter(() => random.once(2));
        return new Client(test, channels.length > 0 ? channels : ['a']);
      };
      const over: Client[] = [];
      let top = 0;
      let opened = 0;
      let openedInFanOut = 0;
      gateway.polls.onOpened = () => {
        opened++;
        if (gateway.hub.waitingCount > 0) openedInFanOut++;
      };
      for (let i = 0; i < CLIENTS; i++) clients.push(newClient());

      for (let step = 0; step < STEPS; step++) {
        const client = random.pick(clients);
        const what = random.below(100);
        if (what < 40) client.poll(random.once(5) ? '0' : '20', random.once(4));
        else if (what < 50) client.giveUpWaiting();
        else if (what < 53) client.vanish();
        else if (what < 55 && over.length < OVER_LIMIT) {
          // A newcomer takes its place; this one is looked at again in the end.
          over.push(client);
          clients[clients.indexOf(client)] = newClient();
        } else if (what < 60) {
          const members = SLOW_MEMBERS;
          const channel = random.pick(CHANNELS);
          for (let i = 0; i < members; i++) {
            const member = { warm: () => 0, deliver: slow };
            gateway.hub.subscribe(channel, member);
            if (random.once(2)) setImmediate(() => gateway.hub.unsubscribe(channel, member));
          }
        } else if (what < 85) {
          const channel = random.pick(CHANNELS);
          const publication = new Publication(channel, Buffer.from(`${step}`));
          for (const each of [...clients, ...over]) {
            if (each.begun && each.channels.includes(channel)) each.due.push(`${channel} ${step}`);
          }
          gateway.onPublication(channel.startsWith('h:') ? publication.place('e', ++top, 0) : publication);
        } else await turn();
      }

      const all = [...clients, ...over].filter(({ begun }) => begun);
      while (gateway.hub.waitingCount > 0) await turn();
      for (let round = 0; round < 3; round++) {
        for (const client of all) {
          client.giveUpWaiting();
          client.read(false);
          client.poll('0', false);
          client.read(false);
        }
        await turn();
      }
      assert.ok(opened > 60 && openedInFanOut > 20, `the run was worth it: ${opened}, ${openedInFanOut}`);
      for (const { channels, due, got } of all) {
        assert.deepEqual([...got].sort(), [...due].sort(), 'each once');
        for (const channel of channels) assert.deepEqual(of(channel, got), of(channel, due), 'in order');
        // With a place in the history there is one order for all channels.
        assert.deepEqual(of('h:', got), of('h:', due), 'in the order of all');
      }
    });
  }
});

function of(prefix: string, publications: readonly string[]): string[] {
  return publications.filter((each) => each.startsWith(prefix));
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
