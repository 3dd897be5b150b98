// Where the project's own files are, for tests that hold sources and documents against each other.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder that holds tsconfig.json, from this file upwards; the working directory when built somewhere else. */
export const PROJECT_ROOT = findRoot(dirname(fileURLToPath(import.meta.url)));

function findRoot(folder: string): string {
  if (existsSync(join(folder, 'tsconfig.json'))) return folder;
  const parent = dirname(folder);
  return parent === folder ? process.cwd() : findRoot(parent);
}

/** A file of the project as text. */
export function projectFile(path: string): string {
  return readFileSync(join(PROJECT_ROOT, path), 'utf8');
}

/** All files below a folder, as paths from the root with '/' between; none when there is no such folder. */
export function projectFiles(folder: string): string[] {
  if (!existsSync(join(PROJECT_ROOT, folder))) return [];
  const files: string[] = [];
  for (const entry of readdirSync(join(PROJECT_ROOT, folder), { withFileTypes: true })) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) files.push(...projectFiles(path));
    else files.push(path);
  }
  return files.sort();
}
