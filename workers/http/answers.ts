// Answers that are known in full when they are written: faults, and the API's and health check's small ones.
//
// An answer is one Buffer, made whole: one write. Faults are met most when the gateway has the least to spare (a flood of
// malformed or rejected requests), so each distinct one is built once and again only when the second changes. A Buffer
// that was handed out is never changed afterwards: it may still lie in an outbox.
//
// Cost: a cached fault about 400 bytes a worker, FAULT_CACHE_LIMIT of them at most. RFC 9112 §4, §9.6; RFC 9110 §15.

const REASONS: Readonly<Record<number, string>> = {
  200: 'OK',
  204: 'No Content',
  304: 'Not Modified',
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  409: 'Conflict',
  410: 'Gone',
  411: 'Length Required',
  413: 'Content Too Large',
  414: 'URI Too Long',
  415: 'Unsupported Media Type',
  417: 'Expectation Failed',
  421: 'Misdirected Request',
  426: 'Upgrade Required',
  429: 'Too Many Requests',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  503: 'Service Unavailable',
  505: 'HTTP Version Not Supported',
};

/** Tells a client that waits with its body to send it (RFC 9110 §15.2.1). */
export const CONTINUE: Buffer = Buffer.from('HTTP/1.1 100 Continue\r\n\r\n', 'latin1');

/**
 * What a 429 and a 503 say in Retry-After unless told otherwise. Long enough for a worker to be replaced, short enough that a
 * client which keeps to it is soon back.
 */
const RETRY_AFTER_SECONDS = 5;

/**
 * Texts are constants of ours, some 40; fields may name any origin that is allowed. When there are more than this many the
 * cache begins anew.
 */
const FAULT_CACHE_LIMIT = 128;

export interface AnswerOptions {
  status: number;
  /** Bytes or text, UTF-8. Nothing unless given. */
  body?: Buffer | string;
  /** 'text/plain; charset=utf-8' unless given; left out when there is no body. */
  contentType?: string;
  /** Further field lines, each made by `field`. */
  fields?: string;
  /** Whether the connection stays open after it: says so in Connection. */
  keepAlive: boolean;
  /** The answer to a HEAD: everything but the body (RFC 9110 §9.3.2). */
  headOnly?: boolean;
}

interface CachedFault {
  second: number;
  answer: Buffer;
}

const RETRIED: readonly number[] = [429, 503];
const RETRY_LATER = `Retry-After: ${RETRY_AFTER_SECONDS}\r\n`;

const faults = new Map<string, CachedFault>();

let dateSecond = -1;
let dateText = '';

/**
 * A whole answer that ends the connection: `Connection: close`, the text as its body.
 *
 * A 405 must be given its Allow (RFC 9110 §15.5.6); a 429 and a 503 have a Retry-After unless `fields` holds another.
 *
 * @param text A constant, for people; a line end is added.
 * @param fields Further field lines, each made by `field`.
 * @param headOnly The answer to a HEAD.
 */
export function faultAnswer(status: number, text: string, fields = '', headOnly = false): Buffer {
  const key = `${status}${headOnly ? '-' : ' '}${text}\n${fields}`;
  const second = currentSecond(Date.now());
  const cached = faults.get(key);
  if (cached !== undefined && cached.second === second) return cached.answer;
  const made = answer({
    status,
    body: `${text}\n`,
    fields: RETRIED.includes(status) && !fields.includes('Retry-After: ') ? fields + RETRY_LATER : fields,
    keepAlive: false,
    headOnly,
  });
  if (cached !== undefined) {
    cached.second = second;
    cached.answer = made;
  } else {
    if (faults.size === FAULT_CACHE_LIMIT) faults.clear();
    faults.set(key, { second, answer: made });
  }
  return made;
}

/** A whole answer with Date, Connection and, unless the status forbids it, Content-Length. */
export function answer(options: AnswerOptions): Buffer {
  const { status, body = '', contentType = 'text/plain; charset=utf-8', fields = '', keepAlive } = options;
  const length = typeof body === 'string' ? Buffer.byteLength(body) : body.length;
  const head = answerHead(status, length, contentType, fields, keepAlive);
  if (isBodiless(status) || options.headOnly === true || length === 0) return Buffer.from(head, 'latin1');

  // Heads are latin1 and one byte a character; a body is UTF-8 or bytes.
  const whole = Buffer.allocUnsafe(head.length + length);
  whole.write(head, 0, 'latin1');
  if (typeof body === 'string') whole.write(body, head.length);
  else body.copy(whole, head.length);
  return whole;
}

/**
 * An answer's head with the empty line, latin1.
 *
 * @param length Of the body, in bytes; null for the answer to a HEAD that does not know it.
 */
export function answerHead(
  status: number,
  length: number | null,
  contentType: string,
  fields: string,
  keepAlive: boolean,
): string {
  let head = `HTTP/1.1 ${status} ${REASONS[status] ?? 'Unknown'}\r\nDate: ${dateHeader()}\r\n`;
  if (!isBodiless(status)) {
    if (length !== 0) head += `Content-Type: ${contentType}\r\n`;
    if (length !== null) head += `Content-Length: ${length}\r\n`;
  }
  return `${head}${fields}Connection: ${keepAlive ? 'keep-alive' : 'close'}\r\n\r\n`;
}

/** A 204 and a 304 end with their head; a 204 must not have a Content-Length (RFC 9110 §8.6). */
function isBodiless(status: number): boolean {
  return status === 204 || status === 304;
}

/**
 * One field line with its CRLF, for `fields`.
 *
 * @throws {TypeError} when the value could end the line: a value that comes from outside must have been checked before.
 */
export function field(name: string, value: string): string {
  if (FORBIDDEN_IN_VALUE.test(value))
    throw new TypeError(`the value of ${name} holds a character that fields must not`);
  return `${name}: ${value}\r\n`;
}

const FORBIDDEN_IN_VALUE = /[^\t\u0020-\u007e\u0080-\u00ff]/;

/** The value of Date: an IMF-fixdate (RFC 9110 §5.6.7), made once a second and only when somebody asks. */
export function dateHeader(nowMilliseconds: number = Date.now()): string {
  const second = currentSecond(nowMilliseconds);
  if (second !== dateSecond) {
    dateSecond = second;
    dateText = new Date(second * 1000).toUTCString();
  }
  return dateText;
}

function currentSecond(nowMilliseconds: number): number {
  return Math.floor(nowMilliseconds / 1000);
}
