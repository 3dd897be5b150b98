// Waiting for conditions in tests: never for a time.
//
// Where an event can be awaited, await that. `waitUntil` is for what only shows from outside: a list that fills, a process
// that is gone. It looks every few milliseconds and fails with what it was waiting for.

const POLL_MS = 5;

/**
 * Resolves once `condition` holds; its value is looked at at once and then every 5 ms.
 *
 * @param what Ends the sentence "waited in vain for …".
 * @throws Error when it does not hold within `timeoutMs` (default 30 s, far beyond what a busy machine takes).
 */
export async function waitUntil(
  condition: () => boolean | Promise<boolean>,
  what: string | (() => string),
  timeoutMs = 30_000,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) {
      throw new Error(`waited ${timeoutMs} ms in vain for ${typeof what === 'string' ? what : what()}`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
