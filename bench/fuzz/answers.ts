// The oracle for what one connection was answered: a row of whole HTTP/1.1 answers, each with a status that docs/protocol.md
// names, and nothing behind the one that said close.
//
// It does not know which answers were to a HEAD (the request may have been changed into one), so a body that is not there
// is taken for none where another answer, or the end, stands in its place. None of our bodies looks like an answer.

/** 200 and 204 for what went well, 100 for who waits with a body, the rest from the tables of docs/protocol.md. */
export const DOCUMENTED: ReadonlySet<number> = new Set([
  100, 200, 204, 400, 401, 404, 405, 408, 410, 411, 413, 414, 417, 421, 431, 501, 503, 505,
]);

export interface AnswersRead {
  /** Without 100s. */
  statuses: number[];
  /** Whether the last one is a stream. */
  stream: boolean;
  /** What is wrong with them, or null. */
  wrong: string | null;
}

/** @param whole Whether the gateway ended in an orderly way, so that the last answer must be whole. */
export function readAnswers(bytes: Buffer, whole: boolean): AnswersRead {
  const read: AnswersRead = { statuses: [], stream: false, wrong: null };
  const text = bytes.toString('latin1');
  let closed = false;
  for (let at = 0; at < text.length; ) {
    const end = text.indexOf('\r\n\r\n', at);
    const head = end < 0 ? text.slice(at) : text.slice(at, end);
    if (closed) return { ...read, wrong: `bytes behind the last answer: ${JSON.stringify(head.slice(0, 200))}` };
    if (end < 0) return { ...read, wrong: whole ? `a head that is cut: ${JSON.stringify(head)}` : null };
    const status = Number(/^HTTP\/1\.1 (\d{3}) [A-Z]/.exec(head)?.[1] ?? 0);
    if (!DOCUMENTED.has(status)) return { ...read, wrong: `no answer of ours: ${JSON.stringify(head.slice(0, 200))}` };
    if (status !== 100) read.statuses.push(status);
    closed = /\r\nConnection: close(\r\n|$)/.test(head);
    at = end + 4;
    if (/\r\nContent-Type: (text\/event-stream|application\/x-ndjson)/.test(head)) {
      read.stream = true;
      return read;
    }
    const length = Number(/\r\nContent-Length: (\d+)/.exec(head)?.[1] ?? 0);
    if (length === 0 || at === text.length || text.startsWith('HTTP/1.1 ', at)) continue;
    at += length;
    if (at > text.length && whole) return { ...read, wrong: `a body that is cut: ${JSON.stringify(text.slice(end))}` };
  }
  return read;
}
