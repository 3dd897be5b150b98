// Logs: JSON, one object a line, to stderr: `{"time":"…","level":"warn","process":"worker 2","text":"…",…}`.
//
// Written by hand rather than with a library because it is thirty lines, and a logger such as pino would cost each worker
// several megabytes of the 12 that docs/budgets.md allows it above bare Node. Lines are written synchronously enough for a
// crash (stderr of a pipe or file), so that the last words of a process are not lost. Nothing here runs per delivery.

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export type LogFields = Readonly<Record<string, unknown>>;

export interface Log {
  debug(text: string, fields?: LogFields): void;
  info(text: string, fields?: LogFields): void;
  warn(text: string, fields?: LogFields): void;
  error(text: string, fields?: LogFields): void;
}

/**
 * Makes a log that writes lines of `level` and above.
 *
 * @param process Who speaks: 'primary' or 'worker 3'.
 * @param write Where lines go; stderr unless a test says otherwise.
 */
export function createLog(
  level: LogLevel,
  processName: string,
  write: (line: string) => void = (line) => process.stderr.write(line),
): Log {
  const threshold = LOG_LEVELS.indexOf(level);
  const at = (name: LogLevel) => (text: string, fields?: LogFields) => {
    if (LOG_LEVELS.indexOf(name) < threshold) return;
    write(
      `${JSON.stringify({ time: new Date().toISOString(), level: name, process: processName, text, ...fields })}\n`,
    );
  };
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}
