// A log that keeps its lines for a test to look at.

import { createLog, type Log } from '../../src/log.ts';

export interface LogLine {
  level: string;
  text: string;
  [field: string]: unknown;
}

export function logLines(): { log: Log; lines: LogLine[] } {
  const lines: LogLine[] = [];
  return { log: createLog('debug', 'test', (line) => lines.push(JSON.parse(line))), lines };
}
