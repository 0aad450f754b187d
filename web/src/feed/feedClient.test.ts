import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { FakeSocket } from "../fakeSocket";
import { START_TIME } from "../fixtures";
import { FeedClient } from "./feedClient";

const snapshot = (part: number, subject: string | null): { data: string } => ({
  data: JSON.stringify({ type: "snapshot", sequence: 0, timestamp: START_TIME, data: { live: true, part, parts: 2, sessions: [], subject } }),
});

beforeEach(() => {
  FakeSocket.all = [];
  vi.useFakeTimers();
  vi.stubGlobal("WebSocket", FakeSocket);
  vi.stubGlobal("window", globalThis);
  vi.stubGlobal("location", { protocol: "https:", host: "console" });
  vi.stubGlobal("document", Object.assign(new EventTarget(), { hidden: true }));
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

it("rechecks the sign-in once for each attempt that opened no socket", () => {
  const recheck = vi.fn();
  const feed = new FeedClient(recheck);
  feed.open();
  FakeSocket.last.onclose({ code: 1006, reason: "" });
  expect([recheck.mock.calls.length, feed.refusal()]).toEqual([1, null]);
  vi.advanceTimersByTime(1000);
  expect(FakeSocket.all.length).toBe(2);
  FakeSocket.last.onopen();
  FakeSocket.last.onclose({ code: 1006, reason: "" });
  expect(recheck).toHaveBeenCalledTimes(1);
  feed.close();
});

it("rechecks the permissions once for each snapshot of another subject", () => {
  const recheck = vi.fn();
  const feed = new FeedClient(recheck);
  feed.open();
  FakeSocket.last.onopen();
  for (const subject of [null, null, "alice"]) for (const part of [1, 2]) FakeSocket.last.onmessage(snapshot(part, subject));
  expect(recheck).toHaveBeenCalledTimes(1);
  feed.close();
});

it("is not live while closed, and live again after it reopens", async () => {
  const feed = new FeedClient();
  for (let count = 0; count < 2; count++) {
    feed.open();
    FakeSocket.last.onopen();
    for (const part of [1, 2]) FakeSocket.last.onmessage(snapshot(part, null));
    await vi.advanceTimersByTimeAsync(0);
    expect(feed.snapshot().live).toBe(true);
    feed.close();
    expect(feed.snapshot().live).toBe(false);
  }
});

it("reports why the console closed it, and does not reconnect after it was closed here", () => {
  const feed = new FeedClient();
  feed.open();
  FakeSocket.last.onopen();
  FakeSocket.last.onclose({ code: 1008, reason: "the token is not known" });
  expect(feed.refusal()).toBe("the token is not known");
  feed.close();
  vi.advanceTimersByTime(60_000);
  expect(FakeSocket.all.length).toBe(1);
});
