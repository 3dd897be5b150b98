// The README's table of knobs and `.env.example` are what the code says. To write them anew after a change of the table:
// UPDATE_DOCUMENTS=1 npm test

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parse } from 'dotenv';
import { KNOB_FIELDS, KNOBS } from '../../config/knobs.ts';
import { environmentExample, knobsMarkdown } from '../../config/print.ts';
import { PROJECT_ROOT, projectFile } from '../project.ts';

const UPDATE = process.env.UPDATE_DOCUMENTS === '1';
const HINT = 'run UPDATE_DOCUMENTS=1 npm test to write it anew';
const BEGIN = '<!-- knobs:begin -->\n';
const END = '<!-- knobs:end -->';

describe('documents about the knobs', () => {
  it('README.md has the table that the code prints', () => {
    const readme = projectFile('README.md');
    const begin = readme.indexOf(BEGIN);
    const end = readme.indexOf(END);
    assert.ok(begin >= 0 && end > begin, `README.md has no ${BEGIN.trim()} … ${END}`);
    const expected = `${readme.slice(0, begin)}${BEGIN}${knobsMarkdown()}${readme.slice(end)}`;
    if (UPDATE) writeFileSync(join(PROJECT_ROOT, 'README.md'), expected);
    else assert.equal(readme, expected, HINT);
  });

  it('.env.example is what the code prints', () => {
    if (UPDATE) writeFileSync(join(PROJECT_ROOT, '.env.example'), environmentExample());
    else assert.equal(projectFile('.env.example'), environmentExample(), HINT);
  });

  it('.env.example sets nothing as it is, and the defaults once its lines are taken in', () => {
    assert.deepEqual(parse(environmentExample()), {});
    const taken = parse(environmentExample().replaceAll(/^#(?! )/gm, ''));
    const defaults = Object.fromEntries(KNOB_FIELDS.map((field) => [KNOBS[field].environment, KNOBS[field].default]));
    assert.deepEqual(taken, defaults);
  });

  it('the table has one line a knob and four cells a line', () => {
    const rows = knobsMarkdown().trimEnd().split('\n').slice(2);
    assert.equal(rows.length, KNOB_FIELDS.length);
    for (const row of rows) assert.equal(row.split(/(?<!\\)\|/).length, 6, row);
  });
});
