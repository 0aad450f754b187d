import { expect, it } from "vitest";
import { backoffDelay } from "./backoff";

it("doubles the delay up to a maximum, with jitter", () => {
  const waits = Array.from({ length: 8 }, (_, failed) => backoffDelay(failed, 0.5));
  expect(waits).toEqual([250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
  expect(backoffDelay(5000, 1)).toBe(15_000);
  expect([backoffDelay(0, 0), backoffDelay(0, 1)]).toEqual([125, 375]);
});
