// Reading a file that the configuration names: never more than a mebibyte of it, whatever it turns out to be.

import { closeSync, openSync, readSync } from 'node:fs';

/** A chain of three certificates is about 6 KB, a thousand namespaces 300 KB; whatever is larger was named by mistake. */
const FILE_LIMIT_BYTES = 1_048_576;

/** The text of the file, cut at the limit. Not `readFile`: /dev/zero and its like have no end. Throws what `open` throws. */
export function readBounded(path: string): string {
  const file = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(FILE_LIMIT_BYTES);
    let length = 0;
    for (let read = -1; read !== 0 && length < bytes.length; length += read) {
      read = readSync(file, bytes, length, bytes.length - length, null);
    }
    return bytes.toString('utf8', 0, length);
  } finally {
    closeSync(file);
  }
}
