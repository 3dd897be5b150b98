// The table of knobs as documents: the README's Markdown table and `.env.example`. test/config/documents.test.ts holds the
// committed files equal to what this prints, and writes them when asked to.

import { KNOB_FIELDS, KNOBS } from './knobs.ts';

/** One row a knob, in the table's order: name, default, allowed, why. Ends with a line break. */
export function knobsMarkdown(): string {
  const rows = KNOB_FIELDS.map((field) => {
    const knob = KNOBS[field];
    const initial = knob.default === '' ? '' : `\`${knob.default}\``;
    return `| \`${knob.environment}\` | ${initial} | ${cell(knob.allowed)} | ${cell(knob.why)} |\n`;
  });
  return `| name | default | allowed | what it decides |\n| --- | --- | --- | --- |\n${rows.join('')}`;
}

/** Every knob with its default, commented out, so that a copy changes nothing until a line is edited. */
export function environmentExample(): string {
  const entries = KNOB_FIELDS.map((field) => {
    const knob = KNOBS[field];
    return `\n# ${knob.why}\n# Allowed: ${knob.allowed.replaceAll('`', '')}.\n#${knob.environment}=${knob.default}\n`;
  });
  const head = [
    '# The knobs of Longwire with their defaults. Copy this file to .env and take the # away from the lines you change.',
    '# What is set in the real environment wins over .env. An empty value means the default.',
  ];
  return `${head.join('\n')}\n${entries.join('')}`;
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}
