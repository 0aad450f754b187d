import { describe, expect, it } from "vitest";
import { makeSession } from "../fixtures";
import type { EndedSession } from "./feedState";
import { BUCKET_BOUNDS_MS, countPerInterval, delayHistogram, rankCounts } from "./statistics";

const END = "2026-01-02T03:04:05Z";
const after = (milliseconds: number): EndedSession => ({
  session: makeSession("a", { status: "closed", end_time: END }), shownAt: Date.parse(END) + milliseconds,
});

describe("the distribution", () => {
  it("counts each end in one bucket, and returns the median", () => {
    const found = delayHistogram([after(20), after(50), after(51), after(900), after(60_000)])!;
    expect([found.count, found.median, found.p99]).toEqual([5, 51, 60_000]);
    expect(found.buckets).toEqual([2, 1, 0, 0, 1, 0, 0, 0, 1]);
    expect(found.buckets).toHaveLength(BUCKET_BOUNDS_MS.length + 1);
  });

  it("leaves out ends that the page did not see", () => {
    const unseen: EndedSession = { session: makeSession("a"), shownAt: 0 };
    expect(delayHistogram([])).toBeNull();
    expect(delayHistogram([unseen])).toBeNull();
    expect(delayHistogram([unseen, after(7)])).toMatchObject({ count: 1, median: 7, p99: 7 });
  });
});

it("counts times in each interval up to now", () => {
  expect(countPerInterval([0, 999, 1000, 2500, 3999, 9000], 3000, 1000, 3)).toEqual([1, 1, 1]);
  expect(countPerInterval([], 3000, 1000, 2)).toEqual([0, 0]);
});

it("ranks counts, and leaves out zeros", () => {
  expect(rankCounts({ b: 1, a: 1, c: 4, d: 0 })).toEqual([{ name: "c", count: 4, fraction: 1 }, { name: "a", count: 1, fraction: 0.25 }, { name: "b", count: 1, fraction: 0.25 }]);
  expect(rankCounts({})).toEqual([]);
});
