import { describe, expect, it } from "vitest";
import { makeSession } from "../fixtures";
import type { Ended } from "./feed";
import { BOUNDS, distribution, pulse, ranked } from "./figures";

const END = "2026-01-02T03:04:05Z";
const after = (milliseconds: number): Ended => ({
  session: makeSession("a", { status: "closed", end_time: END }), shownAt: Date.parse(END) + milliseconds,
});

describe("the distribution", () => {
  it("has each end once, in its bar, and says what half of them took", () => {
    const found = distribution([after(20), after(50), after(51), after(900), after(60_000)])!;
    expect([found.count, found.median, found.p99]).toEqual([5, 51, 60_000]);
    expect(found.bars).toEqual([2, 1, 0, 0, 1, 0, 0, 0, 1]);
    expect(found.bars).toHaveLength(BOUNDS.length + 1);
  });

  it("has no ends that nobody saw", () => {
    const unseen: Ended = { session: makeSession("a"), shownAt: 0 };
    expect(distribution([])).toBeNull();
    expect(distribution([unseen])).toBeNull();
    expect(distribution([unseen, after(7)])).toMatchObject({ count: 1, median: 7, p99: 7 });
  });
});

it("counts what happened in each span, up to now", () => {
  expect(pulse([0, 999, 1000, 2500, 3999, 9000], 3000, 1000, 3)).toEqual([1, 1, 1]);
  expect(pulse([], 3000, 1000, 2)).toEqual([0, 0]);
});

it("ranks counts, and leaves out what never was", () => {
  expect(ranked({ b: 1, a: 1, c: 4, d: 0 })).toEqual([{ name: "c", count: 4, part: 1 }, { name: "a", count: 1, part: 0.25 }, { name: "b", count: 1, part: 0.25 }]);
  expect(ranked({})).toEqual([]);
});
