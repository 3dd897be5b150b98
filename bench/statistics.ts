// The little statistics that results need: medians over runs, percentiles over deliveries.
//
// Percentiles are exact (nearest rank over all values, no histogram): a run has at most some hundred thousand of them.

/**
 * The value at or below which a share of the values lies, by nearest rank.
 *
 * @param sorted Ascending.
 * @param share 0 to 1; 0.5 is the median's rank.
 * @returns NaN when there are no values.
 */
export function percentile(sorted: ArrayLike<number>, share: number): number {
  if (sorted.length === 0) return Number.NaN;
  const rank = Math.ceil(share * sorted.length);
  return sorted[Math.min(sorted.length, Math.max(1, rank)) - 1] ?? Number.NaN;
}

/** The middle value, or the mean of the two in the middle; NaN of nothing. Values that are NaN are left out. */
export function median(values: readonly number[]): number {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort((a, b) => a - b);
  if (sorted.length === 0) return Number.NaN;
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** All values of several lists, ascending. */
export function mergeSorted(lists: readonly Float64Array[]): Float64Array {
  const merged = new Float64Array(lists.reduce((total, list) => total + list.length, 0));
  let at = 0;
  for (const list of lists) {
    merged.set(list, at);
    at += list.length;
  }
  return merged.sort();
}
