// What the primary answers workers that ask of the embedded broker's history (src/broker/memory-questions.ts).

import type { HistoryQuestion, PresentHead, Refused, ToldHead } from '../broker/memory-questions.ts';
import { type FrameWriter, LENGTH_OF_HEAD_BYTES } from '../broker/relay-frames.ts';
import type { HistoryLog, LogPage } from './history-log.ts';

/**
 * Largest answer, or one publication: a worker has to hold it at once, and the primary until that has read it, beside what is published
 * (relay.ts). What does not fit is told as gone: an answer that is refused would be asked for again and again.
 */
export const ANSWER_LIMIT_BYTES = 16 * 1024 * 1024;

/** Adds the answer to call `call` to `frames`, which must be empty. */
export function answerQuestion(log: HistoryLog, question: HistoryQuestion, frames: FrameWriter, call: number): void {
  const head: ToldHead = { epoch: log.epoch, offset: log.offset, channels: [] };
  const packed: Buffer[] = [];
  let bytes = 0;
  const add = (channel: string, page: LogPage): void => {
    for (const { length } of page.packed) bytes += length;
    head.channels.push({ channel, top: page.top, floor: page.floor, count: page.packed.length });
    packed.push(...page.packed);
  };
  if (question.what === 'read') {
    add(
      question.channel,
      log.read(question.channel, question.since, question.limit, question.reverse, ANSWER_LIMIT_BYTES),
    );
  } else if (question.what === 'missed') {
    for (const channel of question.channels) {
      const page = log.read(channel, question.since, Number.POSITIVE_INFINITY, false, ANSWER_LIMIT_BYTES - bytes);
      if (page.top <= question.since) continue;
      // One publication is always told, but not for each of many channels.
      add(channel, bytes < ANSWER_LIMIT_BYTES ? page : { top: page.top, floor: page.top, packed: [] });
    }
  } else if (question.what === 'remove') {
    log.remove(question.channel);
  }
  addTold(frames, call, head, packed);
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
