// docs/guarantees.md is backed by tests: each row names one that is there.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { projectFile, projectFiles } from './project.ts';

const ROW = /^\|.*\| `([^`|]+(?:`[^`|]+)*)` \|$/;

describe('docs/guarantees.md', () => {
  const lines = projectFile('docs/guarantees.md').split('\n');
  const rows = lines.filter((line) => line.startsWith('| ') && !line.startsWith('| ---') && !line.endsWith('| test |'));
  const sources = projectFiles('test')
    .filter((path) => path.endsWith('.ts'))
    .map(projectFile)
    .join('\n');

  it('has rows, and each names a test', () => {
    assert.ok(rows.length > 25);
    for (const row of rows) assert.match(row, ROW);
  });

  it('names only tests that are there', () => {
    for (const row of rows) {
      const name = ROW.exec(row)?.[1] ?? '';
      assert.ok(sources.includes(`it('${name}'`) || sources.includes(`it("${name}"`), name);
    }
  });
});
