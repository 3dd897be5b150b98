// Micro-benchmark: request heads a second, ours beside Node's own parser (llhttp through its binding) in the same run.
//
//   node dist/bench/heads.js [heads = 400000] [rounds = 7]
//
// Method: three heads as they come (a curl subscriber's, a browser's EventSource's, a backend's API call), each whole in
// one Buffer that is read over and over, as heads that arrive in one chunk are. Ours is asked what the gateway asks: is
// it GET, does the path begin with '/sse/', the channel's name, the query, one header. Node's hands over what it always
// does: target and headers as strings, through its callback, no IncomingMessage. Both are warmed up, rounds alternate so
// that a change of the machine's pace meets both, and the median round of each is shown, with the fastest.

import { createRequire } from 'node:module';
import { HeadParser } from '../workers/http/head-parser.ts';

const HEADS: Readonly<Record<string, string>> = {
  curl: 'GET /sse/user-0123456789abcdef HTTP/1.1\r\nHost: localhost:3000\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n',
  browser:
    'GET /sse/user-0123456789abcdef?channel=news HTTP/1.1\r\nHost: push.example.com\r\nConnection: keep-alive\r\n' +
    'sec-ch-ua-platform: "Linux"\r\nCache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) ' +
    'AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\nAccept: text/event-stream\r\n' +
    'sec-ch-ua: "Chromium";v="140", "Not=A?Brand";v="24"\r\nsec-ch-ua-mobile: ?0\r\nOrigin: https://www.example.com\r\n' +
    'Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\nReferer: https://www.example.com/\r\n' +
    'Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\nLast-Event-ID: 1234\r\n\r\n',
  api:
    'POST /api/publish HTTP/1.1\r\nHost: gateway:3000\r\nX-API-Key: 0123456789abcdef0123456789abcdef\r\n' +
    'Content-Type: application/json\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n',
};

interface NodeParser {
  [callback: number]: (...values: never[]) => number | undefined;
  initialize(kind: number, resource: object): void;
  execute(bytes: Buffer): number | Error;
}
interface NodeParserClass {
  new (): NodeParser;
  REQUEST: number;
  kOnHeadersComplete: number;
}

const { HTTPParser } = createRequire(import.meta.url)('_http_common') as { HTTPParser: NodeParserClass };
const headCount = Number(process.argv[2] ?? 400_000);
const roundCount = Number(process.argv[3] ?? 7);

const ours = new HeadParser({ targetLimitBytes: 8192, headLimitBytes: 16384, headerLimit: 100 });
let sum = 0;

function runOurs(bytes: Buffer, count: number): void {
  const { head } = ours;
  for (let i = 0; i < count; i++) {
    ours.reset();
    if (ours.parse(bytes, 0, bytes.length) < 0) throw new Error(ours.faultText);
    if (head.method === 'GET' && head.pathStartsWith('/sse/'))
      sum += (head.pathSlice(5) ?? '').length + head.query().length;
    sum += (head.header('last-event-id') ?? head.header('x-api-key') ?? '').length;
  }
}

const nodes = new HTTPParser();
nodes[HTTPParser.kOnHeadersComplete] = (
  _major: number,
  _minor: number,
  headers: string[],
  _method: number,
  url: string,
) => {
  sum += headers.length + url.length;
  return 0;
};

function runNodes(bytes: Buffer, count: number): void {
  nodes.initialize(HTTPParser.REQUEST, {});
  for (let i = 0; i < count; i++) {
    if (typeof nodes.execute(bytes) !== 'number') throw new Error('the reference rejects the head');
  }
}

function headsASecond(run: (bytes: Buffer, count: number) => void, bytes: Buffer): number {
  const begin = process.hrtime.bigint();
  run(bytes, headCount);
  return headCount / (Number(process.hrtime.bigint() - begin) / 1e9);
}

process.stdout.write(`Node ${process.version}, ${headCount} heads a round, median (fastest) of ${roundCount} rounds\n`);
for (const [name, text] of Object.entries(HEADS)) {
  const bytes = Buffer.from(text, 'latin1');
  runOurs(bytes, 20_000);
  runNodes(bytes, 20_000);
  const rates: { ours: number[]; nodes: number[] } = { ours: [], nodes: [] };
  for (let round = 0; round < roundCount; round++) {
    rates.ours.push(headsASecond(runOurs, bytes));
    rates.nodes.push(headsASecond(runNodes, bytes));
  }
  const show = (values: number[]) => {
    const sorted = values.sort((a, b) => a - b);
    return `${Math.round(sorted[sorted.length >> 1] ?? 0).toLocaleString('en')} (${Math.round(sorted.at(-1) ?? 0).toLocaleString('en')})`;
  };
  const ratio =
    (rates.ours.sort((a, b) => a - b)[roundCount >> 1] ?? 0) /
    (rates.nodes.sort((a, b) => a - b)[roundCount >> 1] ?? 1);
  process.stdout.write(
    `${name.padEnd(8)} ${String(bytes.length).padStart(4)} bytes   ours ${show(rates.ours)}   Node's ${show(rates.nodes)}   ${ratio.toFixed(2)} ×\n`,
  );
}
process.stdout.write(`(${sum % 10})\n`);
