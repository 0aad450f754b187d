import { expect, it } from "vitest";
import { backoff } from "./backoff";

it("waits longer each time, up to a bound, and not all pages alike", () => {
  const waits = Array.from({ length: 8 }, (_, failed) => backoff(failed, 0.5));
  expect(waits).toEqual([250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
  expect(backoff(5000, 1)).toBe(15_000);
  expect([backoff(0, 0), backoff(0, 1)]).toEqual([125, 375]);
});
