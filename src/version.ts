// The version, from package.json: it stands beside the compiled tree as it does in the package.

import { readFileSync } from 'node:fs';

/** From the package.json above the compiled file, wherever it was installed. */
export function readVersion(): string {
  const manifest: { version?: unknown } = JSON.parse(
    readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
  );
  return String(manifest.version);
}
