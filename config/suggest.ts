// What an unknown name was probably meant to be: a `LONGWIRE_` knob's, or an option's of the namespaces file. Runs once a
// start, and only when something is wrong. Case does not matter.

/** A third of a name mistyped is another name. */
const LARGEST_SHARE_WRONG = 1 / 3;

/**
 * The known name that is closest to `name`, or null when none is close.
 *
 * A name without its unit (`LONGWIRE_HEARTBEAT`) or with a prefix that it should not have (`LONGWIRE_PORT`) is close.
 */
export function suggest(name: string, known: readonly string[]): string | null {
  const given = name.toUpperCase();
  const bare = withoutPrefix(given);
  const obvious =
    known.find((other) => other.toUpperCase() === given || other.toUpperCase() === bare) ??
    known.find((other) => other.toUpperCase().startsWith(`${given}_`));
  if (obvious !== undefined) return obvious;

  let best: string | null = null;
  let least = Math.floor(bare.length * LARGEST_SHARE_WRONG) + 1;
  for (const other of known) {
    const distance = editDistance(bare, withoutPrefix(other.toUpperCase()));
    if (distance < least) {
      least = distance;
      best = other;
    }
  }
  return best;
}

function withoutPrefix(name: string): string {
  return name.replace(/^LONGWIRE_/, '');
}

/** Letters to add, drop, change or swap with their neighbour to get from one to the other (optimal string alignment). */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      let cost = Math.min(at(last, j) + 1, at(row, j - 1) + 1, at(last, j - 1) + same);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, at(beforeLast, j - 2) + 1);
      }
      row.push(cost);
    }
    beforeLast = last;
    last = row;
  }
  return at(last, b.length);
}

function at(row: readonly number[], index: number): number {
  return row[index] ?? Number.POSITIVE_INFINITY;
}
