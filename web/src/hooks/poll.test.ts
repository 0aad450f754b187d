import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { ApiError } from "../api/client";
import { poll, type PollResult } from "./poll";

let page: EventTarget & { hidden: boolean };

beforeEach(() => {
  vi.useFakeTimers();
  page = Object.assign(new EventTarget(), { hidden: false });
  vi.stubGlobal("document", page);
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const later = <T>(value: T, milliseconds: number): Promise<T> => new Promise((done) => setTimeout(() => done(value), milliseconds));
const pass = (milliseconds: number): Promise<unknown> => vi.advanceTimersByTimeAsync(milliseconds);
function show(hidden: boolean): void {
  page.hidden = hidden;
  page.dispatchEvent(new Event("visibilitychange"));
}

it("drops the late result of a request that was stopped", async () => {
  const results: unknown[] = [];
  const onResult = ({ data }: PollResult<string>): unknown => results.push(data);
  const stop = poll(() => later("older", 500), onResult, () => null);
  stop();
  poll(() => later("newer", 50), onResult, () => null);
  await pass(1000);
  expect(results).toEqual(["newer"]);
});

it("repeats the request while there is a delay, and pauses in a hidden tab", async () => {
  const fetchData = vi.fn(async () => 1);
  const pauses = [100, 100, 100];
  const stop = poll(fetchData, () => {}, () => pauses.shift() ?? null);
  await pass(100);
  expect(fetchData).toHaveBeenCalledTimes(2);
  show(true);
  await pass(10_000);
  expect(fetchData).toHaveBeenCalledTimes(2);
  show(false);
  await pass(0);
  expect(fetchData).toHaveBeenCalledTimes(3);
  show(true);
  show(false);
  await pass(10_000);
  expect(fetchData).toHaveBeenCalledTimes(4);
  stop();
});

it("stops at a permanent error, and goes on after a temporary one", async () => {
  for (const [status, times] of [[401, 1], [403, 1], [404, 1], [503, 11]] as const) {
    const fetchData = vi.fn(() => Promise.reject(new ApiError(status, "no")));
    const stop = poll(fetchData, () => {}, () => 100);
    await pass(1000);
    expect([status, fetchData.mock.calls.length]).toEqual([status, times]);
    stop();
  }
});
