// What the page counts of what it has seen: pure.

import { delay, type Ended } from "./feed";

/** Up to how many milliseconds each bar reaches; the last has what took longer. */
export const BOUNDS = [50, 100, 200, 500, 1000, 2000, 5000, 30_000] as const;

export interface Distribution {
  count: number;
  /** One more than there are bounds. */
  bars: number[];
  median: number;
  p99: number;
}

/** How long ends took to be shown, as far as somebody saw them. */
export function distribution(ended: readonly Ended[]): Distribution | null {
  const delays = ended.flatMap((it) => delay(it) ?? []).sort((a, b) => a - b);
  if (delays.length === 0) return null;
  const bars = Array.from({ length: BOUNDS.length + 1 }, () => 0);
  for (const it of delays) {
    const at = BOUNDS.findIndex((bound) => it <= bound);
    const bar = at < 0 ? BOUNDS.length : at;
    bars[bar] = (bars[bar] ?? 0) + 1;
  }
  const quantile = (part: number): number => delays[Math.min(delays.length - 1, Math.ceil(delays.length * part) - 1)] ?? 0;
  return { count: delays.length, bars, median: quantile(0.5), p99: quantile(0.99) };
}

/** How often something happened in each of the last spans before `now`, the oldest first. */
export function pulse(times: readonly number[], now: number, span: number, count: number): number[] {
  const bars = Array.from({ length: count }, () => 0);
  // Spans begin at round times: a bar grows, and then moves on as it is.
  const end = Math.floor(now / span) + 1;
  for (const time of times) {
    const at = count - (end - Math.floor(time / span));
    if (at >= 0 && at < count) bars[at] = (bars[at] ?? 0) + 1;
  }
  return bars;
}

/** Counts by name, the highest first, with what part of the highest each is. */
export function ranked(counts: Readonly<Record<string, number>>): { name: string; count: number; part: number }[] {
  const found = Object.entries(counts).filter(([, count]) => count > 0);
  found.sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1));
  const most = found[0]?.[1] ?? 1;
  return found.map(([name, count]) => ({ name, count, part: count / most }));
}
