// What the primary answers workers that ask of the embedded broker's history (src/broker/memory-questions.ts).

import type { HistoryQuestion, PresentHead, Refused, ToldHead } from '../broker/memory-questions.ts';
import { type FrameWriter, LENGTH_OF_HEAD_BYTES } from '../broker/relay-frames.ts';
import type { HistoryLog, LogPage } from './history-log.ts';

/** Largest answer: a worker would have to hold it at once. */
const ANSWER_LIMIT_BYTES = 64 * 1024 * 1024;

/** Adds the answer to call `call` to `frames`, which must be empty. */
export function answerQuestion(log: HistoryLog, question: HistoryQuestion, frames: FrameWriter, call: number): void {
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
  const bytes = packed.reduce((sum, { length }) => sum + length, 0);
  if (bytes <= ANSWER_LIMIT_BYTES) addTold(frames, call, head, packed);
  else addTold(frames, call, { error: `the answer would have ${bytes} bytes; ${ANSWER_LIMIT_BYTES} are allowed` });
}

/** Adds an answer to `frames`, which must be empty. */
export function addTold(
  frames: FrameWriter,
  call: number,
  head: ToldHead | PresentHead | Refused,
  packed: readonly Buffer[] = [],
): void {
  const headBytes = Buffer.from(JSON.stringify(head));
  const bytes = packed.reduce((sum, { length }) => sum + length, 0);
  const body = frames.add('told', call, LENGTH_OF_HEAD_BYTES + headBytes.length + bytes);
  body.writeUInt32LE(headBytes.length);
  let at = LENGTH_OF_HEAD_BYTES + headBytes.copy(body, LENGTH_OF_HEAD_BYTES);
  for (const each of packed) at += each.copy(body, at);
}
