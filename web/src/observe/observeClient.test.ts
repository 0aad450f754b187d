import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { onUnauthorized } from "../api/client";
import { FakeSocket } from "../fakeSocket";
import { PING_INTERVAL_MS } from "../websocket/keepalive";
import { ObserveClient } from "./observeClient";

const listener = { onMessage: vi.fn(), onOutput: vi.fn(), onLost: vi.fn(), onRefused: vi.fn() };
const refuse = (status: number): void => {
  vi.stubGlobal("fetch", async () => new Response(JSON.stringify({ error: "no" }), { status }));
};
/** Waits for the answers to HTTP requests. */
const answered = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);
/** Longer than any delay before the next attempt. */
const LONG = 16_000;

let client: ObserveClient;
beforeEach(() => {
  FakeSocket.all = [];
  vi.useFakeTimers();
  vi.clearAllMocks();
  vi.stubGlobal("WebSocket", FakeSocket);
  vi.stubGlobal("window", globalThis);
  vi.stubGlobal("location", { origin: "https://console" });
  client = new ObserveClient("s-1", listener);
});
afterEach(() => {
  client.close();
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  onUnauthorized(() => {});
});

it("passes on the messages and output of its session", () => {
  expect([FakeSocket.last.address, FakeSocket.last.protocols]).toEqual(["wss://console/api/v1/sessions/s-1/follow", ["follow.bastion.dev"]]);
  FakeSocket.last.onopen();
  FakeSocket.last.says({ type: "terminal_end", number: 3 });
  FakeSocket.last.onmessage({ data: new Uint8Array([0, 0, 0, 3, 65]).buffer });
  expect(listener.onMessage).toHaveBeenCalledWith({ type: "terminal_end", number: 3 });
  expect(listener.onOutput).toHaveBeenCalledWith({ number: 3, bytes: new Uint8Array([65]) });
});

it("reconnects after a loss, and reports the reason", () => {
  FakeSocket.last.onopen();
  FakeSocket.last.onclose({ reason: "this console ends" });
  expect(listener.onLost).toHaveBeenCalledWith("this console ends");
  expect(FakeSocket.all.length).toBe(1);
  vi.advanceTimersByTime(LONG);
  expect(FakeSocket.all.length).toBe(2);
  client.close();
  FakeSocket.last.onclose({ reason: "" });
  vi.advanceTimersByTime(LONG);
  expect([FakeSocket.all.length, listener.onLost.mock.calls.length]).toEqual([2, 1]);
});

it("increases the delay while connections do not last", () => {
  vi.spyOn(Math, "random").mockReturnValue(0.5);
  const wait = (): number => {
    const [before, since] = [FakeSocket.all.length, Date.now()];
    FakeSocket.last.onclose({ reason: "" });
    while (FakeSocket.all.length === before) vi.advanceTimersToNextTimer();
    FakeSocket.last.onopen();
    FakeSocket.last.says({ type: "following" });
    return Date.now() - since;
  };
  FakeSocket.last.onopen();
  expect([wait(), wait(), wait()]).toEqual([250, 500, 1000]);
  FakeSocket.last.says({ type: "pong" });
  expect(wait()).toBe(250);
});

it("gives up a connection whose pings stay unanswered", () => {
  FakeSocket.last.onopen();
  for (let count = 0; count < 6; count++) {
    vi.advanceTimersByTime(PING_INTERVAL_MS);
    FakeSocket.last.says({ type: "pong" });
  }
  expect([FakeSocket.last.sent.length, listener.onLost.mock.calls.length]).toEqual([6, 0]);
  vi.advanceTimersByTime(3 * PING_INTERVAL_MS);
  expect([FakeSocket.all[0]!.closed, listener.onLost.mock.calls]).toEqual([true, [[null]]]);
});

it("stops at the end of the session", () => {
  FakeSocket.last.onopen();
  FakeSocket.last.says({ type: "end", status: "closed", reason: "UserExit", message: "" });
  FakeSocket.last.onclose({ reason: "" });
  vi.advanceTimersByTime(LONG);
  expect([FakeSocket.all.length, listener.onMessage.mock.calls.length, listener.onLost.mock.calls.length]).toEqual([1, 1, 0]);
});

it("requests the reason of a refusal, and gives up if it is permanent", async () => {
  for (const status of [401, 403, 404, 409]) {
    const unknown = vi.fn();
    onUnauthorized(unknown);
    refuse(status);
    client.close();
    client = new ObserveClient("s-1", listener);
    const { length } = FakeSocket.all;
    FakeSocket.last.onclose({ reason: "" });
    await answered();
    expect(listener.onRefused).toHaveBeenLastCalledWith(expect.objectContaining({ status, message: "no" }));
    expect(unknown).toHaveBeenCalledTimes(status === 401 ? 1 : 0);
    await vi.advanceTimersByTimeAsync(LONG);
    expect(FakeSocket.all.length).toBe(length);
  }
  expect(listener.onLost).not.toHaveBeenCalled();
});

it("tries again if the gateway, a proxy or the network fails", async () => {
  for (const [status, why] of [[502, "no"], [426, null], [0, null]] as const) {
    if (status) refuse(status);
    else vi.stubGlobal("fetch", () => Promise.reject(new TypeError("down")));
    const { length } = FakeSocket.all;
    FakeSocket.last.onclose({ reason: "" });
    await answered();
    expect(listener.onLost).toHaveBeenLastCalledWith(why);
    await vi.advanceTimersByTimeAsync(LONG);
    expect(FakeSocket.all.length).toBe(length + 1);
  }
  expect(listener.onRefused).not.toHaveBeenCalled();
});
