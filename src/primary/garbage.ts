// The primary's garbage, collected by hand, at moments when nobody is waited for (docs/adr/0004).
//
// Descriptors that are passed on live for longer than two of a small young generation's collections, so that they end as
// garbage among what lasts: 1 MB in 10,000 moves, which V8 leaves there until there is twenty times as much.
//
// Node lends V8's `gc` only to a process that was started for it, but to each context made while the flag is set.
// Cost: 5 ms for the heap of a primary.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

export function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc()');
  setFlagsFromString('--no-expose-gc');
}
