// Statistics of what the page has received from the feed.

import { displayDelay, type EndedSession } from "./feedState";

/** Upper bounds of the histogram's buckets. One more bucket has all longer delays. */
export const BUCKET_BOUNDS_MS = [50, 100, 200, 500, 1000, 2000, 5000, 30_000] as const;

interface DelayHistogram {
  count: number;
  /** Counts per bucket: one more than there are bounds. */
  buckets: number[];
  median: number;
  p99: number;
}

/** Returns the distribution of display delays, or null if there are no delays. */
export function delayHistogram(ended: readonly EndedSession[]): DelayHistogram | null {
  const delays = ended.flatMap((it) => displayDelay(it) ?? []).sort((a, b) => a - b);
  if (delays.length === 0) return null;
  const buckets = Array.from({ length: BUCKET_BOUNDS_MS.length + 1 }, () => 0);
  for (const it of delays) {
    const index = BUCKET_BOUNDS_MS.findIndex((bound) => it <= bound);
    const bucket = index < 0 ? BUCKET_BOUNDS_MS.length : index;
    buckets[bucket] = (buckets[bucket] ?? 0) + 1;
  }
  const quantile = (fraction: number): number => delays[Math.min(delays.length - 1, Math.ceil(delays.length * fraction) - 1)] ?? 0;
  return { count: delays.length, buckets, median: quantile(0.5), p99: quantile(0.99) };
}

/** Counts the times in each of the last `intervals` intervals before `now`, oldest first. All times are in milliseconds. */
export function countPerInterval(times: readonly number[], now: number, interval: number, intervals: number): number[] {
  const counts = Array.from({ length: intervals }, () => 0);
  // Intervals begin at multiples of their length, so that a count only grows until its interval ends.
  const end = Math.floor(now / interval) + 1;
  for (const time of times) {
    const index = intervals - (end - Math.floor(time / interval));
    if (index >= 0 && index < intervals) counts[index] = (counts[index] ?? 0) + 1;
  }
  return counts;
}

/** Returns the positive counts, highest first. `fraction` is the count divided by the highest count. */
export function rankCounts(counts: Readonly<Record<string, number>>): { name: string; count: number; fraction: number }[] {
  const positive = Object.entries(counts).filter(([, count]) => count > 0);
  positive.sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1));
  const highest = positive[0]?.[1] ?? 1;
  return positive.map(([name, count]) => ({ name, count, fraction: count / highest }));
}
