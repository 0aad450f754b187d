import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Refused } from "../api";
import { asking, type Outcome } from "./asking";

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

it("tells no slow answer to a question that is no longer asked", async () => {
  const told: unknown[] = [];
  const tell = ({ answer }: Outcome<string>): unknown => told.push(answer);
  const stop = asking(() => later("older", 500), tell, () => null);
  stop();
  asking(() => later("newer", 50), tell, () => null);
  await pass(1000);
  expect(told).toEqual(["newer"]);
});

it("looks again as long as it is told to, and in no hidden tab", async () => {
  const ask = vi.fn(async () => 1);
  const pauses = [100, 100, 100];
  const stop = asking(ask, () => {}, () => pauses.shift() ?? null);
  await pass(100);
  expect(ask).toHaveBeenCalledTimes(2);
  show(true);
  await pass(10_000);
  expect(ask).toHaveBeenCalledTimes(2);
  show(false);
  await pass(0);
  expect(ask).toHaveBeenCalledTimes(3);
  show(true);
  show(false);
  await pass(10_000);
  expect(ask).toHaveBeenCalledTimes(4);
  stop();
});

it("asks no more once it was refused for good, and again where the console only failed", async () => {
  for (const [status, times] of [[401, 1], [403, 1], [404, 1], [503, 11]] as const) {
    const ask = vi.fn(() => Promise.reject(new Refused(status, "no")));
    const stop = asking(ask, () => {}, () => 100);
    await pass(1000);
    expect([status, ask.mock.calls.length]).toEqual([status, times]);
    stop();
  }
});
