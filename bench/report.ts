// What a benchmark leaves behind: a table for people, with its budget (docs/budgets.md) beside each figure, and JSON with
// every raw run.
//
// A cell is the median over the runs, with the least and the most behind it when there were several. Verdicts are about
// Longwire alone, taken from the median: one for each of its columns that the budget is for.

import { mkdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import type { Machine } from './machine.ts';
import type { Options } from './options.ts';
import { median } from './statistics.ts';

export interface Row<Figures> {
  name: string;
  unit: string;
  /** Digits behind the point. */
  digits: number;
  /** The figure of one run; NaN where it does not apply. */
  of: (figures: Figures, column: string) => number;
  budget?: Budget;
  /** Columns that the budget is for; `longwire` when nothing is said. */
  judged?: readonly string[];
}

export interface Budget {
  text: string;
  /** Whether the median keeps to it. */
  holds: (value: number) => boolean;
}

export const atMost = (limit: number, unit: string): Budget => ({
  text: `≤ ${limit.toLocaleString('en')} ${unit}`.trim(),
  holds: (value) => value <= limit,
});

export const atLeast = (limit: number, unit: string): Budget => ({
  text: `≥ ${limit.toLocaleString('en')} ${unit}`.trim(),
  holds: (value) => value >= limit,
});

/** For what must not happen at all. */
export const none: Budget = { text: 'none', holds: (value) => value === 0 };

export interface Verdict {
  row: string;
  column: string;
  budget: string;
  value: number;
  holds: boolean;
}

/** What all runs brought, by column. */
export interface Outcome<Figures> {
  machine: Machine;
  results: Map<string, Figures[]>;
}

/** The table's lines, and what is said of each budget. */
export function table<Figures>(
  rows: readonly Row<Figures>[],
  results: ReadonlyMap<string, Figures[]>,
): { lines: string[]; verdicts: Verdict[] } {
  const columns = [...results.keys()];
  const cells: string[][] = [['', ...columns, 'budget', '']];
  const verdicts: Verdict[] = [];
  for (const row of rows) {
    const name = row.unit === '' ? row.name : `${row.name}, ${row.unit}`;
    const values = (column: string) => (results.get(column) ?? []).map((figures) => row.of(figures, column));
    const judged = judge(row, name, values);
    verdicts.push(...judged);
    const line = columns.map((column) => cell(values(column), row.digits));
    cells.push([name, ...line, row.budget?.text ?? '', verdictText(judged)]);
  }
  return { lines: aligned(cells), verdicts };
}

function judge<Figures>(row: Row<Figures>, name: string, values: (column: string) => number[]): Verdict[] {
  const { budget, judged = ['longwire'] } = row;
  if (budget === undefined) return [];
  return judged
    .map((column) => ({ column, value: median(values(column)) }))
    .filter(({ value }) => !Number.isNaN(value))
    .map(({ column, value }) => ({ row: name, column, budget: budget.text, value, holds: budget.holds(value) }));
}

/** One word for all; with several columns, those that missed it. */
function verdictText(verdicts: readonly Verdict[]): string {
  const missed = verdicts.filter(({ holds }) => !holds).map(({ column }) => column);
  if (missed.length === 0) return verdicts.length === 0 ? '' : 'kept';
  return verdicts.length === 1 ? 'MISSED' : `MISSED: ${missed.join(', ')}`;
}

function cell(values: readonly number[], digits: number): string {
  const known = values.filter((value) => !Number.isNaN(value));
  if (known.length === 0) return '–';
  const text = (value: number) =>
    value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const middle = text(median(known));
  const least = text(Math.min(...known));
  const most = text(Math.max(...known));
  return least === most ? middle : `${middle} (${least}–${most})`;
}

/** Pads the columns to one width each: those without a heading hold words and go to the left, figures to the right. */
export function aligned(cells: readonly (readonly string[])[]): string[] {
  const [headings = []] = cells;
  const widths = headings.map((_, column) => Math.max(...cells.map((line) => line[column]?.length ?? 0)));
  const padded = (text: string, column: number) =>
    headings[column] === '' ? text.padEnd(widths[column] ?? 0) : text.padStart(widths[column] ?? 0);
  return cells.map((line) => line.map(padded).join('  ').trimEnd());
}

/** One line for the machine, above the table. */
function machineLine(machine: Machine): string {
  const memory = (machine.memoryBytes / 2 ** 30).toFixed(0);
  const flags = machine.nodeFlags.length === 0 ? 'no flags' : machine.nodeFlags.join(' ');
  return (
    `${machine.cpu}, ${machine.cpus} cores, ${memory} GiB, ${machine.kernel.split(' ')[0]}, subjects on Node ` +
    `${machine.node} (${flags}), commit ${machine.commit}, load before ${machine.loadBefore.toFixed(2)}`
  );
}

/** Prints the table and writes the JSON; a missed budget makes the exit code 2. */
export function writeReport<Figures>(
  bench: string,
  outcome: Outcome<Figures>,
  options: Options,
  rows: readonly Row<Figures>[],
  notes: readonly string[],
): void {
  const { machine, results } = outcome;
  const { lines, verdicts } = table(rows, results);
  const file = writeJson(bench, machine, options, results, verdicts, notes);
  const { connections, workers, runs, messages } = options;
  const over = options.transport === 'sse' ? '' : ` over ${options.transport}`;
  const head = `${bench}${over}: ${connections} connections, ${workers} worker(s), ${messages} rounds, median of ${runs} run(s)`;
  process.stdout.write(
    `${[head, machineLine(machine), '', ...lines, '', ...notes, `raw results: ${file}`].join('\n')}\n`,
  );
  if (verdicts.some((verdict) => !verdict.holds)) process.exitCode = 2;
}

function writeJson<Figures>(
  bench: string,
  machine: Machine,
  options: Options,
  results: ReadonlyMap<string, Figures[]>,
  verdicts: readonly Verdict[],
  notes: readonly string[],
): string {
  const stamp = machine.date.replace(/[-:]|\..*/g, '');
  const major = /\d+/.exec(machine.node)?.[0] ?? '';
  const variant = options.transport === 'sse' ? '' : `-${options.transport}`;
  const name = `${bench}${variant}-${stamp}-node${major}-${machine.commit.replace('+', 'x')}.json`;
  const file = resolve(options.json === '' ? join(tmpdir(), name) : options.json);
  mkdirSync(dirname(file), { recursive: true });
  const { json: _, ...asked } = options;
  const content = { bench, machine, options: asked, verdicts, notes, runs: Object.fromEntries(results) };
  // Results are for others: which Node it was says its version, not where it lies on this machine.
  const json = JSON.stringify(content, (key, value) => (key === 'node' ? basename(String(value)) : value), 2);
  writeFileSync(file, `${json}\n`);
  return file;
}
