// What the primary answers workers that ask of the embedded broker's history (src/broker/memory-history.ts).

import type { Question, ToldHead } from '../broker/memory-history.ts';
import { type FrameWriter, LENGTH_OF_HEAD_BYTES } from '../broker/relay-frames.ts';
import type { HistoryLog, LogPage } from './history-log.ts';

/** Largest answer: a worker would have to hold it at once. */
const ANSWER_LIMIT_BYTES = 64 * 1024 * 1024;

/** Adds the answer to call `call` to `frames`, which must be empty. */
export function answerQuestion(log: HistoryLog, question: Question, frames: FrameWriter, call: number): void {
  const head: ToldHead = { epoch: log.epoch, offset: log.offset, channels: [] };
  const packed: Buffer[] = [];
  const add = (channel: string, page: LogPage): void => {
    head.channels.push({ channel, top: page.top, floor: page.floor, count: page.packed.length });
    packed.push(...page.packed);
  };
  if (question.what === 'read') {
    add(question.channel, log.read(question.channel, question.since, question.limit, question.reverse));
  } else if (question.what === 'missed') {
    for (const channel of question.channels) {
      const page = log.read(channel, question.since, Number.POSITIVE_INFINITY, false);
      if (page.top > question.since) add(channel, page);
    }
  } else if (question.what === 'remove') {
    log.remove(question.channel);
  }
  let bytes = packed.reduce((sum, { length }) => sum + length, 0);
  if (bytes > ANSWER_LIMIT_BYTES) {
    head.error = `the answer would have ${bytes} bytes; ${ANSWER_LIMIT_BYTES} are allowed`;
    packed.length = 0;
    bytes = 0;
  }
  const headBytes = Buffer.from(JSON.stringify(head));
  const body = frames.add('told', call, LENGTH_OF_HEAD_BYTES + headBytes.length + bytes);
  body.writeUInt32LE(headBytes.length);
  let at = LENGTH_OF_HEAD_BYTES + headBytes.copy(body, LENGTH_OF_HEAD_BYTES);
  for (const each of packed) at += each.copy(body, at);
}
